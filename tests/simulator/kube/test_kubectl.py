"""The real kubectl works against the simulated API."""

import asyncio
import json
import os
import shutil
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from llm_provisioning_simulator.kube.backend import Answer, PodRequest
from llm_provisioning_simulator.kube.server import KubeServer

pytestmark = [
    pytest.mark.kubectl,
    pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on PATH: these need the real one"),
]

Kubectl = Callable[..., Awaitable[str]]

RAY_SERVICE = """
apiVersion: ray.io/v1
kind: RayService
metadata: {name: llm, labels: {team: a}}
spec:
  serveConfigV2: "applications: []"
  rayClusterConfig:
    headGroupSpec: {template: {spec: {containers: [{name: ray-head, image: "ray:1"}]}}}
    workerGroupSpecs:
    - {groupName: gpu, minReplicas: 0, maxReplicas: 1, template: {spec: {containers: [{name: w, image: "ray:1"}]}}}
"""
CONFIG_MAP = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {k: v}
"""
STATUS = {
    "apiVersion": "ray.io/v1",
    "kind": "RayService",
    "status": {"serviceStatus": "Running", "numServeEndpoints": 1},
}


class Logs:
    def __init__(self) -> None:
        self.lines = [(datetime(2026, 11, 22, 8, 0, second, tzinfo=UTC), f"line {second}") for second in range(3)]

    async def request(self, asked: PodRequest) -> Answer:
        return 200, {"Content-Type": "application/json"}, json.dumps({"path": asked.path}).encode()

    def logs(self, pod: dict[str, Any], container: str) -> list[tuple[datetime, str]]:
        return list(self.lines)


@pytest.fixture
def kubectl(kube_server: KubeServer, tmp_path: Path) -> Kubectl:
    """Run kubectl against the server: its output; an AssertionError with both streams when its code is another."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "none")}
    base = ("kubectl", "--server", str(kube_server.url), "--cache-dir", str(tmp_path / "cache"))

    async def run(*arguments: str, given: str = "", code: int = 0) -> str:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *base, *arguments, stdin=pipe, stdout=pipe, stderr=pipe, env=environment
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate(given.encode())
        assert process.returncode == code, (arguments, out.decode(), err.decode())
        return out.decode() if code == 0 else err.decode()

    return run


def fill(server: KubeServer) -> None:
    """Put a node, a running pod on it, and both kinds of events into the cluster."""
    store = server.store
    conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-22T08:00:00Z"}]
    info = {"kubeletVersion": "v1.34.9", "osImage": "Debian"}
    node = {"metadata": {"name": "node-1"}, "spec": {}, "status": {"conditions": conditions, "nodeInfo": info}}
    store.create("nodes", node, manager="kubelet")
    spec = {"nodeName": "node-1", "containers": [{"name": "ray", "image": "ray:1"}]}
    pod = store.create("pods", {"metadata": {"name": "head"}, "spec": spec}, manager="test")

    def run(item: dict[str, Any]) -> None:
        state = {"running": {"startedAt": "2026-11-22T08:00:00Z"}}
        entry = {"name": "ray", "ready": True, "restartCount": 0, "image": "ray:1", "imageID": "", "state": state}
        item["status"] |= {
            "phase": "Running",
            "podIP": "10.244.0.3",
            "containerStatuses": [entry],
            "conditions": conditions,
        }

    store.mutate("pods", "head", "default", run, subresource="status", manager="kubelet")
    store.record_event(
        pod, "Scheduled", "Assigned", component="default-scheduler", style="controller", action="Binding"
    )
    store.record_event(pod, "Pulled", "Image is present", component="kubelet", style="kubelet", host="node-1")


async def test_get_in_every_form(kubectl: Kubectl, kube_server: KubeServer) -> None:
    """Columns, wide, yaml, json, names and selectors for pods, nodes and events."""
    fill(kube_server)
    pods = (await kubectl("get", "pods")).splitlines()
    assert pods[0].split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert pods[1].split()[:4] == ["head", "1/1", "Running", "0"]
    assert "10.244.0.3" in await kubectl("get", "po", "-o", "wide")
    assert "Ready" in (await kubectl("get", "nodes")).splitlines()[1]
    assert json.loads(await kubectl("get", "pod", "head", "-o", "json"))["status"]["phase"] == "Running"
    assert "phase: Running" in await kubectl("get", "pod", "head", "-o", "yaml")
    assert await kubectl("get", "pods,nodes", "-o", "name") == "pod/head\nnode/node-1\n"
    assert (await kubectl("get", "pods", "--field-selector", "spec.nodeName=node-1", "-o", "name")) == "pod/head\n"
    for events in ("events", "events.events.k8s.io"):
        text = await kubectl("get", events)
        assert "Scheduled" in text
        assert "Pulled" in text
    assert 'pods "none" not found' in await kubectl("get", "pod", "none", code=1)


async def test_describe_tells_the_events(kubectl: Kubectl, kube_server: KubeServer) -> None:
    """Describe finds the object's events by their selectors, and a node's pods."""
    fill(kube_server)
    described = await kubectl("describe", "pod", "head")
    assert "Assigned" in described
    assert "Image is present" in described
    assert "default                     head" in await kubectl("describe", "node", "node-1")


async def test_a_ray_service_by_server_side_apply(kubectl: Kubectl, kube_server: KubeServer) -> None:
    """Apply, apply again, read, patch, label, annotate, wait for its condition, delete, wait for its end."""
    apply = ("apply", "--server-side", "-f", "-")
    assert await kubectl(*apply, given=RAY_SERVICE) == "rayservice.ray.io/llm serverside-applied\n"
    version = await kubectl("get", "rayservice", "llm", "-o", "jsonpath={.metadata.resourceVersion}")
    await kubectl(*apply, given=RAY_SERVICE)
    assert await kubectl("get", "rayservice", "llm", "-o", "jsonpath={.metadata.resourceVersion}") == version
    await kubectl("patch", "rayservice", "llm", "--subresource", "status", "--type", "merge", "-p", json.dumps(STATUS))
    table = [line.split() for line in (await kubectl("get", "rayservices")).splitlines()]
    assert table == [["NAME", "SERVICE", "STATUS", "NUM", "SERVE", "ENDPOINTS"], ["llm", "Running", "1"]]
    await kubectl("label", "rayservice", "llm", "tier=gpu")
    await kubectl("annotate", "rayservice", "llm", "note=x")
    assert "rayservice.ray.io/llm" in await kubectl("get", "rayservices", "-l", "tier=gpu", "-o", "name")
    assert "Service Status" in await kubectl("describe", "rayservice", "llm")
    incomplete = '{"status": {"conditions": [{"type": "Ready", "status": "True"}]}}'
    refused = await kubectl(
        *("patch", "rayservice", "llm", "--subresource", "status", "--type", "merge", "-p", incomplete), code=1
    )
    assert "status.conditions[0].message: Required value" in refused
    waiting = asyncio.create_task(kubectl("wait", "--for=condition=Ready", "rayservice/llm", "--timeout", "30s"))
    condition = {"type": "Ready", "status": "True", "reason": "NonZeroServeEndpoints", "message": ""}
    await asyncio.sleep(0.2)
    kube_server.store.mutate(
        "rayservices",
        "llm",
        "default",
        lambda item: item["status"].update(conditions=[condition | {"lastTransitionTime": "2026-11-22T08:00:00Z"}]),
        subresource="status",
        manager="operator",
    )
    assert "condition met" in await waiting
    await kubectl("delete", "rayservice", "llm", "--wait=false")
    assert await kubectl("wait", "--for=delete", "rayservice/llm", "--timeout", "30s") == ""
    assert kube_server.store.list("rayservices") == []


async def test_client_side_apply_then_server_side(kubectl: Kubectl, kube_server: KubeServer) -> None:
    """Created, unchanged, configured; the move to server-side apply keeps the object and hands over the fields."""
    apply = ("apply", "-f", "-")
    said = [await kubectl(*apply, given=CONFIG_MAP), await kubectl(*apply, given=CONFIG_MAP)]
    said.append(await kubectl(*apply, given=CONFIG_MAP.replace("k: v", "k: w")))
    assert said == [f"configmap/settings {word}\n" for word in ("created", "unchanged", "configured")]
    await kubectl("apply", "--server-side", "-f", "-", given=CONFIG_MAP.replace("k: v", "fresh: x"))
    assert kube_server.store.list("configmaps")[0]["data"] == {"fresh": "x"}
    await kubectl("apply", "-f", "-", given=RAY_SERVICE)
    assert "rayservice.ray.io/llm configured" in await kubectl(
        "apply", "-f", "-", given=RAY_SERVICE.replace("team: a", "team: b")
    )


async def test_typed_creates_and_questions(kubectl: Kubectl, kube_server: KubeServer) -> None:
    """What kubectl sends as protobuf: create configmap, secret and namespace, auth can-i."""
    await kubectl("create", "configmap", "c", "--from-literal", "k=v")
    await kubectl("create", "secret", "generic", "s", "--from-literal", "k=v")
    await kubectl("create", "namespace", "serving")
    assert 'configmaps "c" already exists' in await kubectl("create", "configmap", "c", code=1)
    assert kube_server.store.list("configmaps")[0]["data"] == {"k": "v"}
    assert kube_server.store.list("secrets")[0]["data"] == {"k": "dg=="}
    kube_server.faults.switch("forbidden", ["nodes"])
    assert await kubectl("auth", "can-i", "list", "pods") == "yes\n"
    await kubectl("auth", "can-i", "list", "nodes", code=1)
    await kubectl("delete", "namespace", "serving")
    assert "serving" not in await kubectl("get", "namespaces")


async def test_create_from_a_file_and_delete_pods(kubectl: Kubectl, kube_server: KubeServer) -> None:
    """`create -f` and `delete` with grace and by force."""
    fill(kube_server)
    await kubectl("create", "-f", "-", given=CONFIG_MAP)
    await kubectl("delete", "pod", "head", "--wait=false")
    assert "Terminating" in await kubectl("get", "pods")
    await kubectl("delete", "pod", "head", "--force", "--grace-period", "0")
    assert kube_server.store.list("pods") == []


async def test_get_watches(kubectl: Kubectl, kube_server: KubeServer) -> None:
    """`get -w` prints a row for each change until the server ends the watch."""
    fill(kube_server)
    watching = asyncio.create_task(kubectl("get", "configmaps", "-w", "--request-timeout", "3s"))
    await asyncio.sleep(1.5)
    kube_server.store.create("configmaps", {"metadata": {"name": "late"}}, manager="test")
    assert (await watching).splitlines()[-1].split()[:2] == ["late", "0"]


async def test_logs_and_raw_proxy(kubectl: Kubectl, kube_server: KubeServer) -> None:
    """Logs whole, tailed, stamped and followed to the end; the proxy by --raw."""
    fill(kube_server)
    kube_server.proxy = Logs()
    assert await kubectl("logs", "head", "-c", "ray") == "line 0\nline 1\nline 2\n"
    stamped = await kubectl("logs", "head", "--tail", "1", "--timestamps")
    assert stamped == "2026-11-22T08:00:02.000000000Z line 2\n"
    following = asyncio.create_task(kubectl("logs", "-f", "head"))
    await asyncio.sleep(0.3)

    def end(item: dict[str, Any]) -> None:
        item["status"]["containerStatuses"][0]["state"] = {"terminated": {"exitCode": 0}}

    kube_server.store.mutate("pods", "head", "default", end, subresource="status", manager="kubelet")
    assert await following == "line 0\nline 1\nline 2\n"
    raw = await kubectl("get", "--raw", "/api/v1/namespaces/default/pods/head:8265/proxy/api/version")
    assert json.loads(raw) == {"path": "/api/version"}


async def test_discovery_and_version(kubectl: Kubectl) -> None:
    """`api-resources` lists the custom kinds, `version` carries the label."""
    resources = await kubectl("api-resources")
    for name in ("rayservices", "nodeclaims", "endpointslices", "leases"):
        assert name in resources
    assert json.loads(await kubectl("version", "-o", "json"))["serverVersion"]["gitVersion"] == "v1.34.9+simulated"


async def test_the_real_definition_installs(kubectl: Kubectl, kube_server: KubeServer, shared_folder: Path) -> None:
    """KubeRay's whole CRD goes in by server-side apply; client-side apply of it is too long, as everywhere."""
    path = str(shared_folder / "crds" / "ray.io_rayservices.yaml")
    assert "metadata.annotations: Too long" in await kubectl("apply", "-f", path, code=1)
    await kubectl("apply", "--server-side", "--force-conflicts", "-f", path)
    await kubectl("apply", "--server-side", "-f", "-", given=RAY_SERVICE)
    group = kube_server.store.list("rayservices")[0]["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]
    assert group["numOfHosts"] == 1
