"""A simulated cluster without sockets: the real cluster gateway over a transport that calls the simulated API directly.

In virtual time nothing may wait for a socket. Gateway, watches and recorder are the shipped code. Below them are the
simulator's API modules, which its HTTP server calls in the same way.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from airflow_llm_provisioning.gateways.kubernetes import Cluster
from airflow_llm_provisioning.gateways.kubernetes.errors import error_for
from airflow_llm_provisioning.gateways.kubernetes.session import Session
from airflow_llm_provisioning.gateways.kubernetes.transport import Call, Reply, Transport
from llm_provisioning_simulator.infra.cluster import SimulatedCluster
from llm_provisioning_simulator.kube import discovery, writes
from llm_provisioning_simulator.kube.calls import Call as ServerCall
from llm_provisioning_simulator.kube.calls import locate
from llm_provisioning_simulator.kube.podlogs import pod_log
from llm_provisioning_simulator.kube.proxying import proxy
from llm_provisioning_simulator.kube.rendering import Rendering, encode
from llm_provisioning_simulator.kube.reviews import check_allowed
from llm_provisioning_simulator.kube.statuses import StatusError, not_found, path_not_found
from llm_provisioning_simulator.kube.watches import watch

_JSON = {"Content-Type": "application/json"}


class InProcessCluster(Cluster):
    """The cluster gateway of one simulated cluster, with the clock of that cluster."""

    def __init__(self, simulated: SimulatedCluster) -> None:
        super().__init__(_no_connection, name=simulated.description.name)
        self._transport = _InProcess(simulated)
        self._simulated_clock = simulated.store.clock

    def clock(self) -> datetime:
        """Return the cluster's time."""
        return self._simulated_clock.now()

    def clock_at(self, wall: float) -> datetime:
        """Return the cluster's time, which stands still while a line is handed on."""
        return self._simulated_clock.now()

    def real_seconds(self, cluster_seconds: float) -> float:
        """Return the loop's seconds, which are the cluster's seconds."""
        return max(0.0, cluster_seconds)


class _InProcess(Transport):
    """Answers a call like the simulated API server, without HTTP."""

    def __init__(self, simulated: SimulatedCluster) -> None:
        super().__init__(_no_connection, name=simulated.description.name)
        self._simulated = simulated
        self._store = simulated.store

    async def __aenter__(self) -> Self:
        self._session = Session(client=None, connect=_no_connection, expires_at=None)
        return self

    def of_session(self, session: Session) -> Transport:
        """Return this one: it has no sockets that another could outlive."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    async def once(self, call: Call) -> Reply:
        """Return the reply of one call."""
        if call.path == "/version":
            return Reply(200, _JSON, encode(self._version()))
        if found := discovery.document(self._store.resources, tuple(call.path.split("/")[1:]), "in-process"):
            return Reply(200, _JSON, encode(found))
        try:
            return await self._answer(self._server_call(call))
        except StatusError as error:
            return Reply(error.code, _JSON, encode(error.body()))

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[Any]:
        """Open a watch and return its lines."""
        try:
            server_call = self._server_call(call)
            check_allowed(server_call, self._simulated.faults)
        except StatusError as error:
            raise error_for(error.code, encode(error.body()), call.attempt) from error
        lines = watch(server_call, self._store, self._simulated.faults)
        try:
            yield lines
        finally:
            if isinstance(lines, AsyncGenerator):
                await lines.aclose()

    def _server_call(self, call: Call) -> ServerCall:
        split = urlsplit(call.path)
        place = locate(self._store.resources, split.path)
        if place is None:
            raise path_not_found()
        return ServerCall(
            method=call.method,
            place=place,
            query=dict(call.query),
            query_string=split.query,
            headers={"Content-Type": call.content_type, "Accept": "application/json", "User-Agent": "proof/1"},
            body=b"" if call.body is None else json.dumps(call.body).encode(),
        )

    async def _answer(self, call: ServerCall) -> Reply:
        check_allowed(call, self._simulated.faults)
        if call.place.subresource == "proxy":
            status, headers, answer = await proxy(call, self._store, self._simulated.application.runtime)
            return Reply(status, headers, await _whole(answer))
        if call.place.subresource == "log":
            return Reply(200, {}, await _whole(pod_log(call, self._store, self._simulated.application.runtime)))
        return Reply(*self._objects(call))

    def _objects(self, call: ServerCall) -> tuple[int, dict[str, str], bytes]:
        rendering = Rendering.asked(call, self._store)
        match call.verb:
            case "get":
                found = self._store.peek(call.place.resource.plural, call.place.name, call.place.namespace)
                if found is None:
                    raise not_found(call.place.resource, call.place.name)
                body = rendering.one(found)
            case "list":
                body = rendering.many(writes.chosen(call, self._store), self._store.version)
            case "create":
                body = rendering.one(writes.create(call, self._store))
            case "patch":
                body = rendering.one(writes.patch(call, self._store)[0])
            case "delete":
                body = writes.delete(call, self._store)
            case _:
                raise path_not_found()
        return 200, _JSON, encode(body)

    def _version(self) -> dict[str, Any]:
        description = self._simulated.description
        simulated = {
            "cluster": description.name,
            "clock": self._store.clock.declaration(),
            "cloud": description.cloud,
        }
        return {"gitVersion": f"v{description.kubernetes_version}+simulated", "simulated": simulated}


async def _whole(answer: bytes | AsyncIterator[bytes]) -> bytes:
    return answer if isinstance(answer, bytes) else b"".join([piece async for piece in answer])


async def _no_connection() -> Any:
    raise AssertionError("an in-process cluster opens no connection")
