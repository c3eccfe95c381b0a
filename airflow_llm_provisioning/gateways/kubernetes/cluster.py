"""One Kubernetes cluster: its objects, the objects of a RayService, services and logs by proxy, its clock and lock.

An asynchronous context manager; synchronous callers run it with `asyncio.run`. This module must not know trials or
verdicts. No type of the Kubernetes client leaves `transport` and `credentials`.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self

from airflow_llm_provisioning.core.origin import is_simulated
from airflow_llm_provisioning.gateways.clouds.base import ClusterAccess
from airflow_llm_provisioning.gateways.kubernetes import lock
from airflow_llm_provisioning.gateways.kubernetes.clock import ClusterClock
from airflow_llm_provisioning.gateways.kubernetes.credentials import Connect, from_access
from airflow_llm_provisioning.gateways.kubernetes.errors import NotFoundError
from airflow_llm_provisioning.gateways.kubernetes.objects import ObjectApi, Objects
from airflow_llm_provisioning.gateways.kubernetes.resources import Resource, resource_named
from airflow_llm_provisioning.gateways.kubernetes.transport import Call, Transport

# KubeRay sets this label on every RayCluster of a RayService (ray-operator/controllers/ray/utils/constant.go, since
# 1.1).
LABEL_ORIGIN: Final = "ray.io/originated-from-cr-name"
LABEL_CLUSTER: Final = "ray.io/cluster"


class Cluster(ObjectApi):
    """One cluster. `name` is used in messages. `retry_s`: real seconds during which safe calls are retried after
    faults. `shared_as`: the connection's name, if its users in one event loop share sockets and watches.
    """

    def __init__(
        self, connect: Connect, *, name: str = "cluster", retry_s: float = 30.0, shared_as: str | None = None
    ) -> None:
        super().__init__(Transport(connect, name=name, retry_s=retry_s, shared_as=shared_as))
        self._version: dict[str, Any] = {}
        self._clock = ClusterClock()

    @classmethod
    def from_access(cls, mint: Callable[[], ClusterAccess], *, name: str = "cluster") -> Self:
        """Return a cluster that is reached by a cloud's `cluster_access`.

        `mint` is called again (in a thread) before each token expires.
        """
        return cls(from_access(mint), name=name)

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        try:
            self._version = await self._transport.json(Call("GET", "/version", self._attempt("get", "/version")))
            self._clock = ClusterClock.declared(self._version)
        except BaseException:
            await self._transport.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.__aexit__(kind, error, trace)

    def version(self) -> dict[str, Any]:
        """Return the /version that was read on entry: `gitVersion`, ..., and `simulated` for a simulated cluster."""
        return dict(self._version)

    def origin(self) -> str:
        """Return whether the cluster is simulated or measured, as the cluster declares it."""
        return self._clock.origin

    def clock(self) -> datetime:
        """Return the cluster's time: UTC, or the time that a simulated cluster declares."""
        return self._clock.now()

    def clock_at(self, wall: float) -> datetime:
        """Return the cluster's time at a real time (`time.time()`)."""
        return self._clock.at(wall)

    def ahead_s(self) -> float:
        """Return how far the API server's clock is ahead of ours; 0 for a simulated cluster, whose clock is shared."""
        return 0.0 if is_simulated(self.origin()) else self._transport.ahead_s or 0.0

    def real_seconds(self, cluster_seconds: float) -> float:
        """Return the real seconds for that much cluster time."""
        return self._clock.real_seconds(cluster_seconds)

    async def sleep(self, cluster_seconds: float) -> None:
        """Sleep for that much cluster time."""
        await asyncio.sleep(self.real_seconds(cluster_seconds))

    async def wait_gone(
        self, resource: str, name: str, namespace: str | None = None, *, uid: str | None = None, timeout_s: float
    ) -> bool:
        """Return True when the object is gone; False after `timeout_s` cluster seconds.

        With `uid`, an object of the same name with another uid counts as gone.
        """
        ends_at = self.clock().timestamp() + timeout_s
        while True:
            found = await self.get(resource, name, namespace)
            if found is None or (uid is not None and found["metadata"].get("uid") != uid):
                return True
            left_s = ends_at - self.clock().timestamp()
            if left_s <= 0:
                return False
            # At most 20 requests per real second, however fast the cluster's clock is.
            await asyncio.sleep(max(0.05, self.real_seconds(min(1.0, left_s))))

    async def ray_clusters(self, rayservice: str, namespace: str) -> Objects:
        """Return the RayClusters of a RayService: one, or two while it upgrades."""
        return (await self.list("rayclusters", namespace, labels=f"{LABEL_ORIGIN}={rayservice}"))[0]

    async def pods(self, rayservice: str, namespace: str) -> Objects:
        """Return the pods of a RayService, head and workers."""
        names = [cluster["metadata"]["name"] for cluster in await self.ray_clusters(rayservice, namespace)]
        if not names:
            return []
        return (await self.list("pods", namespace, labels=f"{LABEL_CLUSTER} in ({','.join(names)})"))[0]

    async def nodes(self, rayservice: str, namespace: str) -> Objects:
        """Return the nodes that host the pods of a RayService, as far as they still exist."""
        placed = {(pod.get("spec") or {}).get("nodeName") for pod in await self.pods(rayservice, namespace)}
        found = [await self.get("nodes", name) for name in sorted(filter(None, placed))]
        return [node for node in found if node is not None]

    async def proxy(
        self,
        service: str,
        port: str | int,
        path: str,
        *,
        namespace: str,
        method: str = "GET",
        body: Any = None,
        timeout_s: float = 30.0,
        at_most_bytes: int | None = None,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Return status, headers and body of a request to a Service, for every status (503: no endpoint yet).

        `path` begins with a slash and may contain a query; `body` is JSON. The request is never retried. Raises
        ClusterUnreachableError for a missing reply, and for one longer than `at_most_bytes`, because it may never end.
        """
        base = resource_named("services").path(namespace, f"{service}:{port}", "proxy")
        attempt = self._attempt(f"{method} {path} of", "services/proxy", f"{service}:{port}", namespace)
        call = Call(method, f"{base}{path}", attempt, body=body, repeatable=False, timeout_s=timeout_s)
        reply = await self._transport.once(replace(call, at_most_bytes=at_most_bytes))
        return reply.status, reply.headers, reply.body

    async def logs(
        self,
        pod: str,
        namespace: str,
        *,
        container: str | None = None,
        limit_bytes: int = 1 << 20,
        previous_lines: int | None = None,
    ) -> str | None:
        """Return a container's log (its first `limit_bytes`, each line with its time), or None if there is none.

        `previous_lines`: instead the last lines of the container that ran before it, whose end made it restart.
        """
        query = [("timestamps", "true"), ("limitBytes", str(limit_bytes))]
        if container is not None:
            query.append(("container", container))
        if previous_lines is not None:
            query += [("previous", "true"), ("tailLines", str(previous_lines))]
        path = resource_named("pods").path(namespace, pod, "log")
        call = Call("GET", path, self._attempt("get", "pods/log", pod, namespace), query=query)
        try:
            return (await self._transport.send(call)).body.decode("utf-8", "replace")
        except NotFoundError:
            return None

    async def can_i(self, verb: str, resource: str, namespace: str | None = None) -> bool:
        """Return whether this user may do that; `resource` may contain a subresource (`services/proxy`)."""
        plural, _, subresource = resource.partition("/")
        return await self._allowed(verb, resource_named(plural), namespace, subresource)

    async def may(self, verb: str, manifest: Mapping[str, Any], namespace: str) -> bool:
        """Return whether this user may do that with an object of a manifest's apiVersion and kind. `namespace`: counts
        where the kind is in one. Raises ClusterError where the cluster does not serve that kind.
        """
        found = await self.resource_for(manifest)
        return await self._allowed(verb, found, namespace if found.namespaced else None)

    async def _allowed(self, verb: str, found: Resource, namespace: str | None, subresource: str = "") -> bool:
        asked = {
            "verb": verb,
            "group": found.group,
            "resource": found.plural,
            "subresource": subresource,
            "namespace": namespace or "",
        }
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {key: value for key, value in asked.items() if value}},
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        attempt = self._attempt("create", "selfsubjectaccessreviews")
        answer = await self._transport.json(Call("POST", path, attempt, body=review))
        return bool((answer.get("status") or {}).get("allowed"))

    async def restart_deployment(self, namespace: str, name: str) -> None:
        """Restart a Deployment's pods like `kubectl rollout restart`: with a new annotation in the pod template."""
        stamp = {"kubectl.kubernetes.io/restartedAt": self.clock().isoformat()}
        patch = {"spec": {"template": {"metadata": {"annotations": stamp}}}}
        await self.patch_merge("deployments", name, patch, namespace)

    async def acquire_lock(
        self,
        holder: str,
        *,
        namespace: str,
        name: str = lock.LOCK_NAME,
        duration_s: float,
        trial: str | None = None,
    ) -> datetime:
        """Acquire the trial lock, or renew it if `holder` already holds it; return its expiry. Raises LockHeldError.

        `trial`: for which trial of the holder.
        """
        return await lock.acquire(self, holder, namespace=namespace, name=name, duration_s=duration_s, trial=trial)

    async def renew_lock(
        self, holder: str, *, namespace: str, name: str = lock.LOCK_NAME, duration_s: float
    ) -> datetime:
        """Renew the trial lock; return its expiry. Raises LockHeldError if another holder has it."""
        return await lock.renew(self, holder, namespace=namespace, name=name, duration_s=duration_s)

    async def check_lock(
        self, holder: str, *, namespace: str, name: str = lock.LOCK_NAME, trial: str | None = None
    ) -> None:
        """Raise LockHeldError if `holder` does not hold the lock (any more), or for another trial than `trial`."""
        await lock.check(self, holder, namespace=namespace, name=name, trial=trial)

    async def release_lock(
        self, holder: str, *, namespace: str, name: str = lock.LOCK_NAME, trial: str | None = None
    ) -> bool:
        """Release the trial lock; False if `holder` did not hold it, or holds it for another trial than `trial`."""
        return await lock.release(self, holder, namespace=namespace, name=name, trial=trial)
