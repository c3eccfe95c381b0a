"""Phases inside the pods, and the ways a path can go that the recordings do not show."""

import copy
from datetime import timedelta
from typing import Any

import pytest
from deployment_generator import CLUSTER, Deployment, generate

from airflow_llm_provisioning.core.timing.analysis import Analysis, analyse
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.verdicts import runtime_pip_seen

V1 = (
    (1, "[core.py:58] Initializing a V1 LLM engine (v0.33.0) with config: model='m'"),
    (3, "[gpu_model_runner.py:1] Starting to load model m..."),
    (43, "[weight_utils.py:308] Time spent downloading weights for m: 39.5 seconds"),
    (53, "[gpu_model_runner.py:2] Model loading took 7.1 GiB and 49.5 seconds"),
    (73, "[monitor.py:34] torch.compile took 19.4 s in total"),
    (80, "[gpu_model_runner.py:3] Graph capturing finished in 7 secs, took 0.5 GiB"),
    (82, "[core.py:218] init engine (profile, create kv cache, warmup model) took 29 s"),
)
V0 = (
    (1, "llm_engine.py:174] Initializing an LLM engine (v0.5.4) with config: model='m'"),
    (3, "model_runner.py:720] Starting to load model m..."),
    (53, "model_runner.py:732] Loading model weights took 7.1183 GB"),
    (80, "model_runner.py:1225] Graph capturing finished in 20 secs."),
)


def with_engine(deployment: Deployment, told: tuple[tuple[int, str], ...], *, finished: bool = False) -> Analysis:
    """Return the analysis with an engine's output, in the worker's pod, instead of the application's own lines.

    `finished`: the replica's log was read to its end.
    """
    begun = deployment.truth["replica_initialising"]
    moved = timedelta(seconds=100) + begun - deployment.truth["replica_started"]
    text = "".join(f"INFO {(begun + timedelta(seconds=s)).strftime('%m-%d %H:%M:%S')} {said}\n" for s, said in told)
    lines = copy.deepcopy(deployment.lines)
    for line in lines:
        if str(line.get("filename", "")).startswith("serve/replica"):
            wanted = ("Started init", "Finished init") if finished else ("Started init",)
            entries = line["object"].splitlines(keepends=True)
            line["object"] = "".join(entry for entry in entries if any(word in entry for word in wanted))
            output = {**line, "filename": "worker-1-01-77.out", "object": text}
    assert moved > timedelta(), "the deployment is long enough for the engine"
    return analyse([*(line for line in lines if not late(line)), output])


def late(line: dict[str, Any]) -> bool:
    """Say whether a line tells of the application's own end, which the engine's lines do not know."""
    return line["resource"] == "serve-rest" and "RUNNING" in str(line["object"])


def long_enough() -> Deployment:
    """Return a deployment whose replica took between 90 and 100 seconds."""
    for seed in range(2000):
        deployment = generate(seed)
        took = deployment.truth["replica_started"] - deployment.truth["replica_initialising"]
        if timedelta(seconds=90) < took < timedelta(seconds=99):
            return deployment
    raise AssertionError("no seed gives such a deployment")


@pytest.fixture(scope="module")
def deployment() -> Deployment:
    return long_enough()


def test_a_v1_engine_shows_every_phase(deployment: Deployment) -> None:
    """The current lines of vLLM give download, load, compile, graphs and the rest of the engine's start."""
    phases = {phase.name: phase for phase in with_engine(deployment, V1).phases}
    expected = {
        "engine_start": 3,
        "weight_download": 40,
        "model_load": 10,
        "compile": 20,
        "graph_capture": 7,
        "engine_init": 2,
    }
    for name, seconds in expected.items():
        assert phases[name].duration_s == pytest.approx(seconds, abs=1.1)
        assert phases[name].shortest_s <= seconds <= phases[name].longest_s


def test_vllm_054_joins_download_and_load_and_compiles_nothing(deployment: Deployment) -> None:
    """It writes no line when the download ends: both phases share a name. What it does not do has no phase."""
    names = [phase.name for phase in with_engine(deployment, V0).phases]
    assert "weight_download+model_load" in names
    assert "graph_capture" in names
    assert not any("compile" in name or "engine_init" in name for name in names)


def test_an_eager_engine_has_no_compile_and_no_graphs(deployment: Deployment) -> None:
    """Absence counts where a later line of the same engine was read: `enforce_eager` compiles and captures nothing."""
    eager = tuple(entry for entry in V1 if "compile" not in entry[1] and "Graph" not in entry[1])
    names = [phase.name for phase in with_engine(deployment, eager).phases]
    assert "engine_init" in names
    assert not any("compile" in name or "graph" in name for name in names)


def test_an_eager_engine_of_054_captures_nothing(deployment: Deployment) -> None:
    """The old engine writes no line at its end; the replica's own does."""
    names = [phase.name for phase in with_engine(deployment, V0[:3], finished=True).phases]
    assert not any("graph" in name or "compile" in name for name in names)


def test_an_engine_cut_off_joins_what_it_did_not_tell(deployment: Deployment) -> None:
    """A log that ends early is no evidence that nothing followed."""
    names = [phase.name for phase in with_engine(deployment, V1[:4]).phases]
    assert any("compile+graph_capture+engine_init+replica_finish" in name for name in names)


def environments(deployment: Deployment, took_s: dict[str, float]) -> list[dict[str, Any]]:
    """Return the lines of a deployment whose application needs packages, with Ray's figures for building them."""
    lines = copy.deepcopy(deployment.lines)
    for line in lines:
        if line["resource"] == "rayservices":
            line["object"]["spec"]["serveConfigV2"] += "  runtime_env: {pip: [vllm==0.5.4]}\n"
        if str(line.get("filename", "")).startswith("serve/controller"):
            first = line["object"].splitlines(keepends=True)[0]
            line["object"] = first.replace("Deploying new", "Importing and building") + line["object"]
    built = [{"node_id": role, "success": True, "creation_time_ms": 1000 * s} for role, s in took_s.items()]
    answer = {"resource": "ray-runtime-envs", "status_code": 200, "object": {"data": {"result": {"result": built}}}}
    return [*lines, {**answer, "received_at": lines[-1]["received_at"]}] if took_s else lines


def needs_both() -> Deployment:
    """Return a dynamic deployment with room for pip on the head and on the worker."""
    for seed in range(2000):
        found = generate(seed)
        built = found.truth["app_built"] - found.truth["serve_config_sent"]
        placed = found.truth["replica_initialising"] - found.truth["worker.ray_started"]
        if found.dynamic and built > timedelta(seconds=30) and placed > timedelta(seconds=15):
            return found
    raise AssertionError("no seed gives such a deployment")


def test_pip_is_seen_on_head_and_worker() -> None:
    """Ray installs twice in series; with its own figures both are phases of the path, in their places."""
    analysis = analyse(environments(needs_both(), {"head": 20.0, "worker": 10.0}))
    phases = {phase.name: phase for phase in analysis.phases}
    assert phases["head_runtime_env"].duration_s == pytest.approx(20, abs=0.1)
    assert phases["worker_runtime_env"].duration_s == pytest.approx(10, abs=0.1)
    assert sum(phase.duration_us for phase in analysis.phases) == analysis.total_us
    assert runtime_pip_seen(TraceView(environments(needs_both(), {}))).value == "yes"


def test_pip_without_figures_joins_its_neighbours() -> None:
    """What was asked for and cannot be timed stays in the name of the phase it is part of."""
    names = [phase.name for phase in analyse(environments(needs_both(), {})).phases]
    assert "head_runtime_env+app_build" in names
    assert any("worker_runtime_env+replica_start" in name for name in names)


def test_an_endpoint_of_the_worker_waits_for_the_worker() -> None:
    """With the head kept out of the Service, the path ends with the worker's readiness."""
    deployment = generate(3)
    ready_at = deployment.truth["endpoint_ready"] + timedelta(seconds=20)
    lines = copy.deepcopy(deployment.lines)
    stamp = ready_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    worker = [line for line in lines if line["resource"] == "pods" and "worker" in line["object"]["metadata"]["uid"]][
        -1
    ]
    ready = copy.deepcopy(worker)
    ready["received_at"] = ready_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    ready["object"]["metadata"] |= {"resourceVersion": "5000", "managedFields": []}
    ready["object"]["status"]["conditions"].append({"type": "Ready", "status": "True", "lastTransitionTime": stamp})
    later = copy.deepcopy(next(line for line in lines if line["resource"] == "endpointslices"))
    later["type"], later["received_at"] = (
        "MODIFIED",
        (ready_at + timedelta(seconds=0.05)).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    )
    later["object"]["metadata"] |= {"resourceVersion": "5001", "managedFields": []}
    later["object"]["endpoints"][0]["targetRef"] = {"uid": "pod-worker"}
    for line in lines:
        if line["resource"] == "endpointslices":
            line["object"]["endpoints"] = [{"addresses": ["10.0.0.2"], "conditions": {"ready": False}}]
    analysis = analyse([*lines, ready, later])
    assert [phase.end for phase in analysis.phases][-2:] == ["worker.ready", "endpoint_ready"]
    assert analysis.phases[-1].name == "endpoint_publish"
    assert analysis.phases[-2].name == "worker_readiness"


@pytest.mark.parametrize("named", [True, False])
def test_a_nodeclaim_or_a_scale_up_event_announces_the_node(named: bool) -> None:
    """Karpenter's NodeClaim, or the cluster autoscaler's event, separates asking from booting."""
    seed = next(s for s in range(50) if "worker.node_created" in generate(s).truth)
    deployment = generate(seed)
    lines = [line for line in deployment.lines if "TriggeredScaleUp" not in str(line["object"])]
    asked = deployment.truth["worker.node_requested"]
    if named:
        stamp = asked.strftime("%Y-%m-%dT%H:%M:%SZ")
        claim = {
            "metadata": {"uid": "nc", "name": "nc", "creationTimestamp": stamp},
            "status": {"nodeName": "node-gpu"},
        }
        received = (asked + timedelta(seconds=0.01)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        lines.append({"received_at": received, "type": "ADDED", "resource": "nodeclaims", "object": claim})
    milestone = analyse(lines).milestone("worker.node_requested")
    assert (milestone is not None) == named
    if milestone:
        assert milestone.earliest_at <= asked <= milestone.latest_at


def test_kuberay_1_1_is_read_by_its_legacy_events_and_status() -> None:
    """The origin's operator: events in whole seconds, no conditions, `serviceStatus: Running`, a longer cluster
    name.
    """
    deployment = generate(4)
    lines = []
    for line in copy.deepcopy(deployment.lines):
        obj = line["object"]
        if isinstance(obj, dict) and obj.get("eventTime") and "ray" in str(obj.get("reportingComponent")):
            second = obj["eventTime"][:19] + "Z"
            obj |= {"eventTime": None, "firstTimestamp": second, "lastTimestamp": second, "count": 1}
            obj["source"] = {"component": "rayservice-controller"}
        lines.append(line)
    service = copy.deepcopy(next(line for line in lines if line["resource"] == "rayservices"))
    service["type"] = "MODIFIED"
    service["object"]["metadata"] |= {"resourceVersion": "7000", "managedFields": []}
    service["object"]["status"] = {"serviceStatus": "Running", "activeServiceStatus": {"rayClusterName": CLUSTER}}
    running_at = deployment.truth["endpoint_ready"] + timedelta(seconds=2)
    service["received_at"] = running_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    analysis = analyse([*lines, service])
    milestone = analysis.milestone("rayservice_ready")
    assert milestone is not None
    assert milestone.latest_at == running_at
    assert analysis.total_us == analyse(deployment.lines).total_us
