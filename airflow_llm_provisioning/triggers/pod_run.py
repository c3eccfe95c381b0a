"""The wait for a pod that runs once: until it has ended, is deleted, and the node it made the autoscaler add is
gone.
"""

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_llm_provisioning.exceptions import ClusterError
from airflow_llm_provisioning.triggers.base import Wait

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.kubernetes import Cluster


class PodRunWait(Wait):
    """Waits for one pod's end, deletes it, and waits for its node to go.

    :param started_at: ISO instant in the cluster's clock; `timeout_s` counts from there, also after a restart.
    :param ledger_entry: carried through to whoever closes it.
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

    async def outcome(self) -> dict[str, Any]:
        """Return {pod, node, pulled_s, seconds, price_usd, price_basis, ended_at, ledger_entry, pod_gone}.

        Where the pod did not end well, `error` and `error_type` stand beside `ledger_entry` and `pod_gone`.
        """
        from airflow_llm_provisioning.connections import open_cluster

        async with open_cluster(self.cluster) as cluster:
            pod, why = await self._ended(cluster)
            ran_s = (cluster.clock() - self.started_at).total_seconds()
            await cluster.delete("pods", self.name, self.namespace, uid=self.uid, grace_s=0)
            left_s = max(60.0, self.timeout_s - ran_s)
            gone = await cluster.wait_gone("pods", self.name, self.namespace, uid=self.uid, timeout_s=left_s)
            known = {"ledger_entry": self.ledger_entry, "pod_gone": gone}
            node = (pod or {}).get("spec", {}).get("nodeName")
            if node:
                await cluster.wait_gone("nodes", node, timeout_s=left_s)
            if pod is None or why is not None:
                sentence = f"Pod {self.namespace}/{self.name} on {cluster.name} {why}, and was deleted."
                return {"error": sentence, "error_type": ClusterError.__name__, **known}
            return {
                "pod": self.name,
                "node": node,
                "pulled_s": _pulled_s(pod),
                "seconds": round(ran_s, 3),
                "price_usd": None,
                "price_basis": "one node for the seconds given; its type's price is not known here",
                "ended_at": cluster.clock().isoformat(),
                **known,
            }

    async def _ended(self, cluster: "Cluster") -> tuple[dict[str, Any] | None, str | None]:
        """Return the pod as it was last seen, and why it did not end well (None: it did)."""
        pod = None
        while (cluster.clock() - self.started_at).total_seconds() < self.timeout_s:
            pod = await cluster.get("pods", self.name, self.namespace)
            phase = (pod or {}).get("status", {}).get("phase")
            if pod is None:
                return None, "was deleted by somebody else before it had pulled the image"
            if phase == "Failed":
                return pod, "failed before it had pulled the image"
            if phase == "Succeeded":
                return pod, None
            await asyncio.sleep(max(0.2, cluster.real_seconds(5)))
        return pod, f"did not end within {self.timeout_s:.0f} s: no node came, or the image could not be pulled"


def _pulled_s(pod: dict[str, Any]) -> float | None:
    """Return the seconds from being scheduled to the container's start: pull and mount; None where a stamp is
    missing.
    """
    conditions = {item["type"]: item for item in pod["status"].get("conditions", ())}
    scheduled = conditions.get("PodScheduled", {}).get("lastTransitionTime")
    statuses = pod["status"].get("containerStatuses") or [{}]
    started = ((statuses[0].get("state") or {}).get("terminated") or {}).get("startedAt")
    if not scheduled or not started:
        return None
    return (datetime.fromisoformat(started) - datetime.fromisoformat(scheduled)).total_seconds()
