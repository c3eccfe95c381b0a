"""The controller of Jobs: one pod after the other until one has succeeded, or too many have failed.

Of kube-controller-manager 1.34 (pkg/controller/job) as far as a preparation needs it: one completion, no parallelism,
`backoffLimit`; the back-off between two pods is left out.
"""

from typing import Any, Final

from llm_provisioning_simulator.infra.machines import ClusterContext

Object = dict[str, Any]

_MANAGER: Final = "kube-controller-manager"
_DEFAULT_LIMIT: Final = 6


class JobController:
    """The Jobs of one cluster."""

    def __init__(self, ctx: ClusterContext) -> None:
        self._ctx = ctx

    async def run(self) -> None:
        """Follow Jobs and their pods until cancelled."""
        async for _type, resource, item in self._ctx.store.subscribe("jobs", "pods"):
            names = [item["metadata"]["name"]] if resource == "jobs" else _owners(item)
            for name in names:
                found = self._ctx.store.get("jobs", name, item["metadata"]["namespace"])
                if found is not None and not found["metadata"].get("deletionTimestamp"):
                    self._look(found)

    def _look(self, job: Object) -> None:
        if any(row["status"] == "True" for row in (job.get("status") or {}).get("conditions") or ()):
            return
        store, metadata = self._ctx.store, job["metadata"]
        pods = [pod for pod in store.peek_all("pods", metadata["namespace"]) if metadata["name"] in _owners(pod)]
        phases = [(pod.get("status") or {}).get("phase", "Pending") for pod in pods]
        failed = phases.count("Failed")
        if "Succeeded" in phases:
            self._report(job, {"succeeded": 1, "failed": failed}, "Complete", "", "")
        elif failed > int(job["spec"].get("backoffLimit", _DEFAULT_LIMIT)):
            text = "Job has reached the specified backoff limit"
            self._report(job, {"failed": failed}, "Failed", "BackoffLimitExceeded", text)
        elif len(pods) == failed:
            self._create(job)

    def _create(self, job: Object) -> None:
        metadata, template = job["metadata"], job["spec"]["template"]
        told = template.get("metadata") or {}
        labels = {
            **(told.get("labels") or {}),
            "batch.kubernetes.io/job-name": metadata["name"],
        }
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": metadata["name"], "uid": metadata["uid"]}
        named = {
            "generateName": f"{metadata['name']}-",
            "labels": labels,
            "annotations": dict(told.get("annotations") or {}),
            "ownerReferences": [{**owner, "controller": True}],
        }
        pod = {"metadata": named, "spec": dict(template["spec"])}
        self._ctx.store.create("pods", pod, namespace=metadata["namespace"], manager=_MANAGER)

    def _report(self, job: Object, counts: Object, condition: str, reason: str, message: str) -> None:
        metadata = job["metadata"]
        told = {"type": condition, "status": "True", "reason": reason, "message": message}

        def change(stored: Object) -> None:
            stored["status"] = {**(stored.get("status") or {}), **counts, "conditions": [told]}

        self._ctx.store.mutate(
            "jobs", metadata["name"], metadata["namespace"], change, subresource="status", manager=_MANAGER
        )


def _owners(pod: Object) -> list[str]:
    """Return the names of the Jobs that a pod belongs to."""
    owners = pod["metadata"].get("ownerReferences") or ()
    return [owner["name"] for owner in owners if owner["kind"] == "Job"]
