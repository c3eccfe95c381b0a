"""What a preparation's pods tell of a trial: the wanted lines, of agents on the trial's nodes and of all others."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from kube_fake_api import FakeApi, fake_api
from recorder_builders import deploy

from airflow_llm_provisioning.core.prepared_objects import EVIDENCE, LABEL_PREPARES
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.gateways.kubernetes import Cluster
from airflow_llm_provisioning.gateways.recording import agent_logs
from airflow_llm_provisioning.gateways.recording.agent_logs import collect_agent_logs

READY = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:05Z"}
STARTED = {"name": "peer", "state": {"running": {"startedAt": "2026-01-01T00:00:01Z"}}}
LOG = "2026-01-01T00:00:02.0Z got a layer hf_abcdefghijklmnopqrstuvwxyz\n2026-01-01T00:00:03.0Z noise\n"


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    async with fake_api() as server:
        await deploy(server)
        await server.put(
            "pods", "llm-abc-w", "ml", metadata={"labels": {"ray.io/cluster": "llm-abc"}}, spec={"nodeName": "near"}
        )
        yield server


async def agent(api: FakeApi, name: str, node: str, owner: str = "DaemonSet", **status: Any) -> None:
    await api.put(
        "pods",
        name,
        "ml",
        metadata={
            "labels": {LABEL_PREPARES: "peers"},
            "annotations": {EVIDENCE: "got a|lost a"},
            "ownerReferences": [{"kind": owner, "name": "d", "uid": "d"}],
        },
        spec={"nodeName": node, "containers": [{"name": "peer"}]},
        status={"conditions": [READY], "containerStatuses": [STARTED], **status},
    )
    api.handlers[f"/api/v1/namespaces/ml/pods/{name}/log"] = _log


async def _log(_: web.Request) -> web.Response:
    return web.Response(text=LOG)


async def collected(api: FakeApi) -> list[Any]:
    lines: list[Any] = []
    async with Cluster.from_access(api.access(), name="test") as cluster:
        await collect_agent_logs(cluster, "ml", "llm", lines.append)
    return lines


async def test_agents_on_the_trials_nodes_and_every_other_pod_tell(api: FakeApi) -> None:
    """A DaemonSet's pod elsewhere served another deployment. Of a log only the wanted lines are kept."""
    await agent(api, "near-agent", "near")
    await agent(api, "far-agent", "far")
    await agent(api, "seed", "far", owner="ReplicaSet")
    view = TraceView(await collected(api))
    told = {log.pod: log for log in view.agent_logs}
    assert set(told) == {"near-agent", "seed"}
    assert (told["near-agent"].node, told["near-agent"].on_every_node) == ("near", True)
    assert (told["seed"].node, told["seed"].on_every_node) == ("far", False)
    assert told["seed"].text == LOG.splitlines(keepends=True)[0]
    assert str(told["seed"].ready_at) == "2026-01-01 00:00:05+00:00"
    assert {log.treatment for log in view.agent_logs} == {"peers"}
    assert view.logs == []


async def test_an_agent_that_has_not_started_is_told_without_a_log(api: FakeApi) -> None:
    """Its log would be an error; that it is there, and not ready, is what counts."""
    waiting = {"name": "peer", "state": {"waiting": {"reason": "ImagePullBackOff"}}}
    await agent(api, "near-agent", "near", conditions=[], containerStatuses=[waiting])
    (log,) = TraceView(await collected(api)).agent_logs
    assert (log.text, log.ready_at) == ("", None)


async def test_a_cluster_without_agents_is_asked_once(api: FakeApi) -> None:
    """Pods of a preparation that ask for nothing are none."""
    await api.put("pods", "placeholder", "ml", metadata={"labels": {LABEL_PREPARES: "capacity_buffer"}})
    assert await collected(api) == []


async def test_logs_that_may_not_be_read_are_marked(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """A verdict must not take silence for a log without the lines."""
    await agent(api, "near-agent", "near")

    async def forbidden(_: web.Request) -> web.Response:
        return web.json_response({"kind": "Status", "code": 403, "message": "no logs"}, status=403)

    api.handlers["/api/v1/namespaces/ml/pods/near-agent/log"] = forbidden
    (mark,) = await collected(api)
    assert (mark["object"]["mark"], mark["object"]["what"]) == ("not_collected", "agent-log")
    monkeypatch.setattr(agent_logs, "KEPT_BYTES", 10)
    api.handlers["/api/v1/namespaces/ml/pods/near-agent/log"] = _log
    (line,) = await collected(api)
    assert len(line["object"]) == 10
