"""The wait for a pod that runs once: until it has ended, is deleted, and its new node is gone."""

import asyncio
import logging
import re
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from airflow_llm_provisioning.core.capacity.words import as_no_capacity
from airflow_llm_provisioning.exceptions import ClusterError, NoCapacityError
from airflow_llm_provisioning.triggers.base import Wait
from airflow_llm_provisioning.triggers.deadline import Deadline

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.kubernetes import Cluster

log = logging.getLogger(__name__)

# However late the pod ended, it and its node have this long to end, in the cluster's clock.
LEAVING_S: Final = 60.0
_LASTED: Final = re.compile(r" \(for \d+ s\)")


class PodRunWait(Wait):
    """Waits for one pod's end, deletes it, and waits for its node to go.

    :param started_at: ISO instant in the cluster's clock; `timeout_s` counts from there, also after a restart.
    :param ledger_entry: returned unchanged, so that the caller can close it.
    """

    def __init__(
        self,
        *,
        cluster: dict[str, Any],
        namespace: str,
        name: str,
        uid: str,
        ledger_entry: str,
        started_at: str,
        timeout_s: float,
    ) -> None:
        super().__init__(
            cluster=cluster,
            namespace=namespace,
            name=name,
            uid=uid,
            ledger_entry=ledger_entry,
            started_at=started_at,
            timeout_s=timeout_s,
        )
        self.cluster = cluster
        self.namespace = namespace
        self.name = name
        self.uid = uid
        self.ledger_entry = ledger_entry
        self.started_at = datetime.fromisoformat(started_at)
        self.timeout_s = timeout_s
        self._end: tuple[dict[str, Any] | None, str | None, float] | None = None

    async def outcome(self) -> dict[str, Any]:
        """Return {pod, node, node_gone, instance_type, region, pulled_s, seconds, node_s, ended_at, ledger_entry,
        pod_gone}.

        `node_s`: how long the node ran for this pod, until it was gone (or until now); None without a node. `pod_gone`,
        `node_gone`: whether they were seen to be gone. An outage of the API server is outlasted. If the pod did not
        succeed, the result is `error` and `error_type` with `ledger_entry` and `pod_gone`.
        """
        from airflow_llm_provisioning.connections import open_cluster
        from airflow_llm_provisioning.gateways.kubernetes.outage import through_outages

        limit_s = self.timeout_s + LEAVING_S
        return await through_outages(lambda: open_cluster(self.cluster), self._watched, limit_s=limit_s)

    async def _watched(self, cluster: "Cluster") -> dict[str, Any]:
        running = Deadline(cluster, self.started_at, self.timeout_s)
        # Repeated after an outage: how the pod ended is known by then, and after its deletion it cannot be seen again.
        self._end = self._end or (*await self._ended(cluster, running), running.waited_s())
        pod, why, ran_s = self._end
        await cluster.delete("pods", self.name, self.namespace, uid=self.uid, grace_s=0)
        leaving = Deadline(cluster, cluster.clock(), max(LEAVING_S, running.left_s()))
        gone = await leaving.gone("pods", {self.name: self.uid}, self.namespace)
        known = {"ledger_entry": self.ledger_entry, "pod_gone": gone}
        node = (pod or {}).get("spec", {}).get("nodeName")
        ran = await self._node_ran(cluster, node, leaving) if node else {}
        if pod is None or why is not None:
            end = "was deleted" if gone else "is not gone yet"
            sentence = f"Pod {self.namespace}/{self.name} on {cluster.name} {why}, and {end}."
            refused = as_no_capacity(sentence) if not node else None
            kind = NoCapacityError if refused else ClusterError
            return {"error": refused or sentence, "error_type": kind.__name__, **known}
        return {
            "pod": self.name,
            "node": node,
            "node_gone": None,
            "pulled_s": _pulled_s(pod),
            "seconds": round(ran_s, 3),
            "instance_type": None,
            "region": None,
            "node_s": None,
            **ran,
            "ended_at": cluster.clock().isoformat(),
            **known,
        }

    async def _node_ran(self, cluster: "Cluster", name: str, leaving: Deadline) -> dict[str, Any]:
        """Wait until a node is gone; return {instance_type, region, node_s, node_gone}."""
        metadata = (await cluster.get("nodes", name) or {}).get("metadata") or {}
        labels = metadata.get("labels") or {}
        gone = await leaving.gone("nodes", {name: metadata.get("uid")}, told=self._tell_nodes(cluster))
        created = metadata.get("creationTimestamp")
        # A node that existed before also runs for other pods: it counts from the start of this pod.
        since = max(datetime.fromisoformat(created), self.started_at) if created else self.started_at
        return {
            "instance_type": labels.get("node.kubernetes.io/instance-type"),
            "region": labels.get("topology.kubernetes.io/region"),
            "node_s": round((cluster.clock() - since).total_seconds(), 3),
            "node_gone": gone,
        }

    def _tell_nodes(self, cluster: "Cluster") -> Callable[[list[str]], None]:
        tell = self._telling()
        return lambda names: tell(cluster.clock(), f"waits for node {', '.join(names)} to go")

    def _telling(self) -> Callable[[datetime, str], None]:
        """Return a function that logs a state if it is due."""
        from airflow_llm_provisioning.core.progress import Standing
        from airflow_llm_provisioning.core.secrets import redacted_text

        standing = Standing(self.started_at)

        def tell(now: datetime, state: str) -> None:
            # How long a state has lasted is no change of it.
            if line := standing.due(now, redacted_text(_LASTED.sub("", state)).rstrip(". ")):
                log.info("%s", line)

        return tell

    async def _ended(self, cluster: "Cluster", running: Deadline) -> tuple[dict[str, Any] | None, str | None]:
        """Return the last version of the pod, and why it did not succeed (None: it did)."""
        from airflow_llm_provisioning.core.blockers import SinglePod
        from airflow_llm_provisioning.core.secrets import redacted_text

        watched, tell = SinglePod(), self._telling()
        while True:
            # The pod decides before the clock does: what has ended before this wait began has ended.
            pod = await cluster.get("pods", self.name, self.namespace)
            phase = (pod or {}).get("status", {}).get("phase")
            if pod is None:
                return None, "was deleted by something else before it had pulled the image"
            now = cluster.clock()
            watched.feed(pod, now)
            if phase == "Failed":
                return pod, f"failed before it had pulled the image. {watched.told(now)}".rstrip(". ")
            if phase == "Succeeded":
                return pod, None
            # The node is paid for meanwhile.
            if ending := watched.ending(now):
                return pod, f"cannot pull the image. {redacted_text(ending.told(now))}".rstrip(". ")
            if running.left_s() <= 0:
                break
            tell(now, f"pod {self.namespace}/{self.name}: {phase}. {watched.told(now)}")
            await asyncio.sleep(max(0.2, cluster.real_seconds(5)))
        blocked = watched.told(now) or "nothing is known to block it"
        if not (pod.get("spec") or {}).get("nodeName") and (refused := await self._refused(cluster)):
            blocked = f"{blocked.rstrip('.')}. {refused}"
        return pod, f"did not end within {self.timeout_s:.0f} s: {blocked}".rstrip(". ")

    async def _refused(self, cluster: "Cluster") -> str:
        """Return what refused the pod a node, in the cluster's own words; empty without a refusal, or without the right
        to read events.
        """
        from airflow_llm_provisioning.core.capacity import Refusals
        from airflow_llm_provisioning.exceptions import ProvisioningError

        found = Refusals()
        try:
            for namespace in dict.fromkeys((self.namespace, "default")):
                for event in (await cluster.list("events", namespace))[0]:
                    found.feed_event(event, cluster.clock())
        except ProvisioningError:
            return ""
        standing = found.standing(self.name, cluster.clock())
        return f"{standing.about_kind} {standing.about}, {standing.reason}: {standing.sentence}" if standing else ""


def _pulled_s(pod: dict[str, Any]) -> float | None:
    """Return the seconds from scheduling to the container's start: pull and mount; None without one of the stamps."""
    conditions = {item["type"]: item for item in pod["status"].get("conditions", ())}
    scheduled = conditions.get("PodScheduled", {}).get("lastTransitionTime")
    statuses = pod["status"].get("containerStatuses") or [{}]
    started = ((statuses[0].get("state") or {}).get("terminated") or {}).get("startedAt")
    if not scheduled or not started:
        return None
    return (datetime.fromisoformat(started) - datetime.fromisoformat(scheduled)).total_seconds()
