"""Which pods were lost and replaced by others: preempted, drained, evicted, failed, or gone with their node.

A lost worker costs minutes, and what follows is not a clean start. This module knows no milestone and no verdict.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from airflow_llm_provisioning.core.fields import dig, text
from airflow_llm_provisioning.core.trace.objects import FirstMatch, History, Version, condition

# A replacement is created moments after its predecessor ended. Creation times are whole seconds.
_SLACK: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class LostPod:
    """A pod that ended before the deployment was ready and that another pod replaced.

    `end`: the version that shows its end. `successor`: the next pod of its group, or of its role.
    """

    pod: History
    end: FirstMatch
    successor: History

    @property
    def lived_s(self) -> float | None:
        """How long it existed, in seconds; None if its creation is unknown."""
        created = self.pod.created
        return max(0.0, (self.end.seen_at - created.at).total_seconds()) if created else None


def lost_pods_of(pods: Sequence[History]) -> list[LostPod]:
    """Return the pods that ended and were replaced by a later pod of the same group, in the order of their ends.

    Ray's autoscaler may replace a worker that was disrupted by one of another group, as an on-demand node for a spot
    node. A pod that an autoscaler removed and did not replace is not lost, and neither are the pods of a teardown.
    """
    found: list[LostPod] = []
    for pod in pods:
        later = [other for other in pods if other is not pod and _role(other) == _role(pod) and _after(other, pod)]
        own = [other for other in later if _group(other) == _group(pod)]
        ends = [(other, end) for other in own if (end := _ended(pod, other))]
        if not ends and disruption_of(pod):
            ends = [(other, end) for other in later if (end := _ended(pod, other))]
        if ends:
            # Of several that were lost together each has a successor of its own, as far as there are as many.
            taken = {lost.successor.uid for lost in found}
            successor, end = next((pair for pair in ends if pair[0].uid not in taken), ends[0])
            found.append(LostPod(pod, end, successor))
    return sorted(found, key=lambda lost: lost.end.seen_at)


def _role(pod: History) -> str:
    return text(pod.labels.get("ray.io/node-type"))


def _group(pod: History) -> tuple[str, str]:
    return _role(pod), text(pod.labels.get("ray.io/group"))


def _after(later: History, earlier: History) -> bool:
    return later.created is not None and earlier.created is not None and later.created.at >= earlier.created.at


def _ended(pod: History, successor: History) -> FirstMatch | None:
    """Return the last sign of a pod's end that came before its successor was created: that it is gone, else that it is
    being deleted or has failed.
    """
    created = successor.created
    limit = min(version.received_at for version in successor.versions)
    limit = max(limit, created.until) if created and successor.versions[0].kind == "LISTED" else limit
    found: FirstMatch | None = None
    for position, version in enumerate(pod.versions):
        gone = version.kind == "DELETED"
        if version.received_at > limit + (_SLACK if gone else timedelta()):
            break
        if gone or (found is None and _ending(version)):
            found = FirstMatch(version, version.received_at, pod.versions[:position])
    return found


def _ending(version: Version) -> bool:
    phase = dig(version.object, "status", "phase")
    return bool(dig(version.object, "metadata", "deletionTimestamp")) or phase in ("Failed", "Succeeded")


def disruption_of(pod: History) -> str:
    """Return the reason of a pod's condition DisruptionTarget (KEP-3329); empty if it has none."""
    for version in reversed(pod.versions):
        told = condition(version.object, "DisruptionTarget")
        if told.get("status") == "True":
            return text(told.get("reason"))
    return ""
