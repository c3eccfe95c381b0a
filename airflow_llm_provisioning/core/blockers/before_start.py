"""Reads what keeps the containers of a pod on a node from being created: volumes, the sandbox and its network, devices
by claim. The sentences are those of the kubelet and of the attach-detach controller.
"""

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from airflow_llm_provisioning.core.blockers.events import Told

# The kubelet's and the controller's events of that time (kubernetes 1.36, pkg/kubelet/events/event.go,
# pkg/controller/volume/events). `FailedSync` and `Failed` also tell of other times, and of containers.
_REASONS: Final = frozenset(
    {
        "FailedMount", "FailedAttachVolume", "FailedMapVolume", "FailedMountOnFilesystemMismatch",
        "FailedCreatePodSandBox", "NetworkNotReady", "FailedCreatePodContainer", "FailedPrepareDynamicResources",
    }
)  # fmt: skip
# The kubelet's next steps, after the volumes and the sandbox.
_AFTER: Final = frozenset({"Pulling", "Pulled", "Created", "Started"})
# It sums up what other events of that reason say in detail (kubelet, volumemanager).
_SUMMARY: Final = re.compile(r"^Unable to attach or mount volumes")
# A detail that was not repeated for so long is over: the kubelet tries at least every 2 min 2 s.
_REPEATED_WITHIN: Final = timedelta(minutes=5)
_OBJECT: Final = (
    r"(?:secret|configmap|persistentvolumeclaim|service ?account|resourceclaim|network-attachment-definition"
    r"|secretproviderclass)s?(?:\.[\w.-]+)?"
)
# The name stands beside the words: `secrets store objects ...: provider not found` is another matter.
_MISSING: Final = re.compile(
    rf"{_OBJECT}:? \"?[\w./-]{{1,300}}\"? (?:was )?(?:not found|does not exist)|references non-existent", re.IGNORECASE
)
# Answers that follow from the pod or the disk alone, so every further try gets them too (GKE's Cloud Storage FUSE, and
# CSI's mounter). What a node lacks, as a path, a DaemonSet may still prepare.
_ALIKE: Final = re.compile(
    r"find the sidecar container in Pod spec|already contains \w+\b.* Mount error", re.IGNORECASE | re.DOTALL
)


def missing(sentence: str) -> bool:
    """Return whether a sentence says that an object which the pod names does not exist."""
    return bool(_MISSING.search(sentence))


def before_start(told: Sequence[Told]) -> tuple[str, Told] | None:
    """Return what keeps containers from being created, as the kind of blocker and the event; None if nothing does.

    `told`: the pod's events, newest first. A detail goes before the summary of several.
    """
    started = next((one.at for one in told if one.reason in _AFTER), None)
    failed = [one for one in told if one.reason in _REASONS and (started is None or one.at > started)]
    recent = [one for one in failed if failed[0].at - one.at < _REPEATED_WITHIN]
    one = min(recent, key=lambda one: bool(_SUMMARY.match(one.message)), default=None)
    if one is None:
        return None
    if missing(one.message):
        return "object_missing", one
    return ("container_refused" if _ALIKE.search(one.message) else "volume"), one
