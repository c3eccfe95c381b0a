"""What blocks one pod that no RayCluster has: the pod that pulls an image once."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from airflow_llm_provisioning.core.blockers.blocker import GRACE_S, Blocker, in_order, named_together
from airflow_llm_provisioning.core.blockers.events import Events
from airflow_llm_provisioning.core.blockers.pods import Pod
from airflow_llm_provisioning.core.secrets import redacted_text


class SinglePod:
    """One pod, updated with every version of it that was read."""

    def __init__(self) -> None:
        self._pod = Pod()

    def feed(self, pod: Mapping[str, Any], at: datetime) -> None:
        """Process a version of the pod."""
        self._pod.feed(pod, at)

    def told(self, now: datetime) -> str:
        """Return what blocks it, in sentences without secrets; empty if nothing does."""
        return redacted_text(named_together(self._blockers(now), now))

    def ending(self, now: datetime) -> Blocker | None:
        """Return the blocker for which it is no use to wait any longer, or None."""
        ends = ((one, one.ends_at(GRACE_S)) for one in self._blockers(now))
        return next((one for one, ends_at in ends if ends_at is not None and now >= ends_at), None)

    def _blockers(self, now: datetime) -> tuple[Blocker, ...]:
        return in_order(self._pod.blockers(Events(), now, alone=False))
