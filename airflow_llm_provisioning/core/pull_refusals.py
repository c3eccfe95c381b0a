"""Pods whose image will not come: the kubelet tries for ever, and neither RayService nor Serve says a word of it.

Only a registry's plain no is counted, and only once it has lasted over several tries: a throttled or broken connection
may recover, and so may a right that was granted a moment ago. Pure: time comes with the observations.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from airflow_llm_provisioning.core.fields import dig, items, mapping, text

# The kubelet's waits between tries grow from 10 s to 300 s (its documentation on images); this covers about four tries.
GRACE_S: Final = 180.0
# The kubelet's own reasons; in turns, for one and the same failure.
_REASONS: Final = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
# What registries and containerd say where another try would be answered alike.
_FINAL: Final = re.compile(
    r"not found|manifest unknown|unauthorized|authentication required|forbidden|denied|no match for platform"
    r"|invalid reference|InvalidImageName|ErrImageNeverPull",
    re.IGNORECASE,
)


class PullRefusals:
    """Containers that wait for an image they will not get, by pod and container."""

    def __init__(self, grace_s: float = GRACE_S) -> None:
        self._grace = timedelta(seconds=grace_s)
        self._since: dict[tuple[str, str], tuple[datetime, str]] = {}

    def feed(self, pod: Mapping[str, Any], kind: Any, received_at: datetime) -> None:
        """Take a version of a pod into account."""
        uid, name = text(dig(pod, "metadata", "uid")), text(dig(pod, "metadata", "name"))
        if kind == "DELETED":
            self._since = {key: kept for key, kept in self._since.items() if key[0] != uid}
            return
        for container, image, waiting in _containers(pod):
            key = (uid, container)
            said = _refusal(waiting)
            if said:
                sentence = f"Pod {name} cannot pull {image} for {container}: {said}"
                self._since.setdefault(key, (received_at, sentence))
            else:
                self._since.pop(key, None)

    def lasting(self, now: datetime) -> str | None:
        """Return one sentence about a refusal that has lasted, or None."""
        for since, sentence in self._since.values():
            if now - since >= self._grace:
                return f"{sentence} (for {(now - since).total_seconds():.0f} s)"
        return None


def _containers(pod: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Give each container's name, image and waiting state."""
    for field in ("initContainerStatuses", "containerStatuses"):
        for status in items(dig(pod, "status", field)):
            waiting = mapping(dig(status, "state", "waiting"))
            yield text(dig(status, "name")), text(dig(status, "image")), waiting


def _refusal(waiting: Mapping[str, Any]) -> str:
    """Return what was refused, or nothing: another state, or a failure that may pass."""
    reason, message = text(waiting.get("reason")), text(waiting.get("message"))
    if reason not in _REASONS or not _FINAL.search(f"{reason} {message}"):
        return ""
    return f"{reason}: {message}"[:400]
