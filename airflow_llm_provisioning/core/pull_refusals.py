"""Detects pods whose image cannot be pulled.

The kubelet retries without end, and neither the RayService nor Serve reports the failure. Only a registry's clear
refusal counts, and only after several tries: a throttled or broken connection may recover, and a permission may have
been granted a moment ago. Pure: the time comes with the observations.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from airflow_llm_provisioning.core.fields import dig, items, mapping, text

# The kubelet waits 10 s to 300 s between tries (its documentation on images); this covers about four tries.
GRACE_S: Final = 180.0
# The kubelet's reasons; it alternates between them for the same failure.
_REASONS: Final = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
# Messages of registries and containerd for failures that a retry does not change.
_FINAL: Final = re.compile(
    r"not found|manifest unknown|unauthorized|authentication required|forbidden|denied|no match for platform"
    r"|invalid reference|InvalidImageName|ErrImageNeverPull",
    re.IGNORECASE,
)


class PullRefusals:
    """Containers whose image was refused, by pod and container."""

    def __init__(self, grace_s: float = GRACE_S) -> None:
        self._grace = timedelta(seconds=grace_s)
        self._since: dict[tuple[str, str], tuple[datetime, str]] = {}

    def feed(self, pod: Mapping[str, Any], kind: Any, received_at: datetime) -> None:
        """Process a version of a pod."""
        uid, name = text(dig(pod, "metadata", "uid")), text(dig(pod, "metadata", "name"))
        if kind == "DELETED":
            self._since = {key: kept for key, kept in self._since.items() if key[0] != uid}
            return
        for container, image, waiting in _containers(pod):
            key = (uid, container)
            refusal = _refusal(waiting)
            if refusal:
                sentence = f"Pod {name} cannot pull {image} for {container}: {refusal}"
                self._since.setdefault(key, (received_at, sentence))
            else:
                self._since.pop(key, None)

    def lasting(self, now: datetime) -> str | None:
        """Return one sentence about a refusal that lasted longer than the grace period, or None."""
        for since, sentence in self._since.values():
            if now - since >= self._grace:
                return f"{sentence} (for {(now - since).total_seconds():.0f} s)"
        return None


def _containers(pod: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield each container's name, image and waiting state."""
    for field in ("initContainerStatuses", "containerStatuses"):
        for status in items(dig(pod, "status", field)):
            waiting = mapping(dig(status, "state", "waiting"))
            yield text(dig(status, "name")), text(dig(status, "image")), waiting


def _refusal(waiting: Mapping[str, Any]) -> str:
    """Return the refusal; empty for another state or a failure that may pass."""
    reason, message = text(waiting.get("reason")), text(waiting.get("message"))
    if reason not in _REASONS or not _FINAL.search(f"{reason} {message}"):
        return ""
    return f"{reason}: {message}"[:400]
