"""A recording in the background against the fake API server, and the deployment that it records."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web
from kube_fake_api import FakeApi

from airflow_llm_provisioning.core.trace import decode_line, header_line, mark_line
from airflow_llm_provisioning.gateways.kubernetes import Cluster
from airflow_llm_provisioning.gateways.recorder import Outcome, record

SUBJECT = {"namespace": "ml", "name": "llm", "uid": "uid-rs"}
CHAT = {"path": "/v1/chat/completions", "body": {"model": "phi"}, "expect_model": "phi"}


class Recording:
    """One recording in the background and the lines of its sink."""

    def __init__(
        self,
        api: FakeApi,
        *,
        subject: dict[str, str] | None = None,
        completion: dict[str, Any] | None = None,
        limit_s: float = 20,
        refuse: Callable[[], bool] = lambda: False,
        stored: Sequence[Any] = (),
    ) -> None:
        self.lines: list[Any] = []
        self._stored = stored
        self.chunks = 0
        self._refuse = refuse
        self._more = asyncio.Event()
        self.task = asyncio.create_task(self._run(api, subject or SUBJECT, completion, limit_s))

    async def _run(
        self, api: FakeApi, subject: dict[str, str], completion: dict[str, Any] | None, limit_s: float
    ) -> Outcome:
        async with Cluster.from_access(api.access(), name="test") as cluster:
            return await record(
                cluster,
                subject,
                sink=self._sink,
                deadline_at=cluster.clock() + timedelta(seconds=limit_s),
                completion=completion,
                header=header_line(cluster.clock(), origin="measured", **subject),
                marks=[mark_line(cluster.clock() - timedelta(seconds=1), "apply_started")],
                stored=self._stored,
            )

    async def _sink(self, chunk: Sequence[bytes]) -> None:
        if self._refuse():
            raise OSError("the store is away")
        self.chunks += 1
        self.lines += map(decode_line, chunk)
        self._more.set()

    async def until(self, holds: Callable[["Recording"], bool]) -> None:
        async with asyncio.timeout(60):
            while not holds(self):
                self._more.clear()
                await self._more.wait()

    def of(self, resource: str, kind: str | None = None) -> list[Any]:
        return [one for one in self.lines if one["resource"] == resource and kind in (None, one.get("type"))]

    def marks(self, name: str) -> list[Any]:
        return [one["object"] for one in self.of("trace", "MARK") if one["object"]["mark"] == name]


async def deploy(api: FakeApi) -> None:
    """Create a RayService with its RayCluster and head, like the operator."""
    await api.put("rayservices", "llm", "ml")
    api.objects["rayservices", "ml", "llm"]["metadata"]["uid"] = "uid-rs"
    await api.put("rayclusters", "llm-abc", "ml", metadata={"ownerReferences": [{"uid": "uid-rs"}]})


async def make_ready(api: FakeApi, ready: bool = True) -> None:
    """Create the serve Service and its EndpointSlice, like KubeRay and the cluster."""
    service = await api.put("services", "llm-serve-svc", "ml", metadata={"ownerReferences": [{"uid": "uid-rs"}]})
    await api.put(
        "endpointslices",
        "llm-serve-svc-x1",
        "ml",
        metadata={
            "labels": {"kubernetes.io/service-name": "llm-serve-svc"},
            "ownerReferences": [{"uid": service["metadata"]["uid"]}],
        },
        endpoints=[{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}],
    )


def serve(api: FakeApi, *answers: web.Response | Callable[[], Any]) -> list[datetime]:
    """Let the serve Service give these answers in turn, and repeat the last one; return the times of the requests."""
    asked: list[datetime] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(datetime.now(UTC))
        given = answers[min(len(asked), len(answers)) - 1]
        made = given() if callable(given) else given
        return web.Response(status=made.status, body=made.body, content_type=made.content_type)

    api.handlers["/api/v1/namespaces/ml/services/llm-serve-svc:8000/proxy/v1/chat/completions"] = answer
    return asked


def completion(model: str = "phi", text: str = "Hello") -> web.Response:
    return web.json_response({"model": model, "choices": [{"message": {"content": text}, "finish_reason": "stop"}]})


def owned_metadata(api: FakeApi, resource: str) -> dict[str, Any]:
    """Return the metadata of an object of this resource that belongs to the RayService."""
    cluster = api.objects["rayclusters", "ml", "llm-abc"]["metadata"]["uid"]
    return {"ownerReferences": [{"uid": cluster if resource == "pods" else "uid-rs"}]}


def fast_clock(speed: float) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {"speed": speed, "wall_epoch": now.timestamp(), "virtual_epoch": now.isoformat()}
