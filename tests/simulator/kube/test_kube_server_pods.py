"""What the simulated API server passes on to pods: the service proxy and logs."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from test_kube_server import CORE, call

from llm_provisioning_simulator.kube.backend import Answer, PodRequest
from llm_provisioning_simulator.kube.server import KubeServer


class Processes:
    """Answers on port 8265 of every pod, and a log that grows with `lines`."""

    def __init__(self) -> None:
        self.lines = [(datetime(2026, 11, 22, 8, 0, second, 5, tzinfo=UTC), f"line {second}") for second in range(3)]

    async def request(self, asked: PodRequest) -> Answer:
        if asked.port != 8265:
            raise ConnectionRefusedError
        if asked.path == "/stream":
            return 200, {"Content-Type": "text/plain"}, self._pieces()
        told = {name: getattr(asked, name) for name in ("method", "path", "query")}
        told |= {"pod": asked.pod["metadata"]["name"], "body": asked.body.decode()}
        return 202, {"Content-Type": "application/json"}, json.dumps(told).encode()

    async def _pieces(self) -> AsyncIterator[bytes]:
        for piece in (b"a", b"b"):
            yield piece

    def logs(self, pod: dict[str, Any], container: str) -> list[tuple[datetime, str]]:
        return list(self.lines)


def head(**status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "head"},
        "spec": {"containers": [{"name": "ray", "image": "r:1"}], "nodeName": "n"},
        "status": status,
    }


def slices(*, ready: bool) -> dict[str, Any]:
    target = {"kind": "Pod", "name": "head", "namespace": "default"}
    return {
        "metadata": {"name": "head-svc-1", "labels": {"kubernetes.io/service-name": "head-svc"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.244.0.3"], "conditions": {"ready": ready}, "targetRef": target}],
        "ports": [{"name": "dashboard", "port": 8265}, {"name": "serve", "port": 8000}],
    }


async def test_the_service_proxy_reaches_a_ready_pod(http: aiohttp.ClientSession, kube_server: KubeServer) -> None:
    """By port name and number, with method, path, query and body; the refusals are those of the recordings."""
    kube_server.proxy = Processes()
    store = kube_server.store
    base = f"{CORE}/services/head-svc"
    assert (await call(http, "GET", f"{base}:dashboard/proxy/"))[1]["message"] == 'services "head-svc" not found'
    ports = [{"name": "dashboard", "port": 8265}, {"name": "serve", "port": 8000}]
    store.create("services", {"metadata": {"name": "head-svc"}, "spec": {"ports": ports}}, manager="test")
    store.create("pods", head(podIP="10.244.0.3"), manager="test")
    store.create("endpointslices", slices(ready=False), manager="test")
    assert await call(http, "GET", f"{base}:dashboard/proxy/api/serve/applications/") == (
        503,
        {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": 'no endpoints available for service "head-svc"',
            "reason": "ServiceUnavailable",
            "code": 503,
        },
    )
    store.mutate(
        "endpointslices",
        "head-svc-1",
        "default",
        lambda item: item["endpoints"][0]["conditions"].update(ready=True),
        manager="test",
    )
    status, body = await call(http, "POST", f"{base}:8265/proxy/v1/chat%20x?a=1&b=2", data="hello")
    assert status == 202
    expected = {"pod": "head", "method": "POST", "path": "/v1/chat%20x", "query": "a=1&b=2", "body": "hello"}
    assert body == expected
    status, body = await call(http, "GET", f"{base}:serve/proxy/")
    refused = "error trying to reach service: dial tcp 10.244.0.3:8000: connect: connection refused"
    assert (status, body["message"]) == (503, refused)
    assert (await call(http, "GET", f"{CORE}/pods/head:8265/proxy/x"))[1]["path"] == "/x"
    async with http.get(f"{base}:dashboard/proxy/stream") as response:
        assert await response.text() == "ab"


async def test_logs_whole_tail_and_stamped(http: aiohttp.ClientSession, kube_server: KubeServer) -> None:
    """`tailLines`, `sinceTime` and `timestamps` as kubectl asks for them."""
    kube_server.proxy = Processes()
    kube_server.store.create(
        "pods", head(containerStatuses=[{"name": "ray", "state": {"running": {}}}]), manager="test"
    )
    path = f"{CORE}/pods/head/log"
    for query, text in (
        ("", "line 0\nline 1\nline 2\n"),
        ("?tailLines=1&timestamps=true", "2026-11-22T08:00:02.000005000Z line 2\n"),
        ("?sinceTime=2026-11-22T08:00:01Z", "line 1\nline 2\n"),
        ("?tailLines=0&container=ray", ""),
        ("?limitBytes=4", "line"),
    ):
        async with http.get(path + query) as response:
            assert await response.text() == text


async def test_a_followed_log_ends_with_its_container(http: aiohttp.ClientSession, kube_server: KubeServer) -> None:
    """New lines come as they are written; the stream ends when the container has."""
    processes = Processes()
    kube_server.proxy = processes
    kube_server.store.create(
        "pods", head(containerStatuses=[{"name": "ray", "state": {"running": {}}}]), manager="test"
    )
    async with http.get(f"{CORE}/pods/head/log?follow=true&tailLines=1") as response:
        assert await response.content.readline() == b"line 2\n"
        processes.lines.append((datetime(2026, 11, 22, 8, 1, tzinfo=UTC), "last"))

        def end(item: dict[str, Any]) -> None:
            item["status"]["containerStatuses"][0]["state"] = {"terminated": {"exitCode": 0}}

        kube_server.store.mutate("pods", "head", "default", end, subresource="status", manager="kubelet")
        async with asyncio.timeout(60):
            assert await response.text() == "last\n"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("?container=no", "container no is not valid for pod head"),
        ("", 'container "ray" in pod "head" is waiting to start: ContainerCreating'),
        ("?previous=true", 'previous terminated container "ray" in pod "head" not found'),
    ],
)
async def test_logs_that_there_are_not(
    http: aiohttp.ClientSession, kube_server: KubeServer, query: str, message: str
) -> None:
    """400 in the words of API server and kubelet."""
    waiting = {"name": "ray", "state": {"waiting": {"reason": "ContainerCreating"}}}
    kube_server.store.create("pods", head(containerStatuses=[waiting]), manager="test")
    status, body = await call(http, "GET", f"{CORE}/pods/head/log{query}")
    assert (status, body["message"]) == (400, message)
