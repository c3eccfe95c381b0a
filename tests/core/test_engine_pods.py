"""The deciding path and the verdicts follow the pods that host the engine's replicas."""

import copy
import json
from typing import Any

import pytest
from recording_changes import (
    OTHER,
    Lines,
    applications,
    changed,
    in_order,
    instant,
    is_head,
    is_worker,
    recorded,
    replica_on,
    second_worker,
    twin,
    worker_lines,
)

from airflow_llm_provisioning.core.timing.analysis import Analysis, analyse
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.verdicts import cold_start

GPU_WORKER = "llm-model-serve-n9mkr-gpu-group-worker-crzq5"
OTHER_IP = "10.244.0.77"


def phases(analysis: Analysis) -> dict[str, float]:
    return {phase.name: round(phase.duration_s, 3) for phase in analysis.phases}


def without_gpu(line: dict[str, Any]) -> None:
    for container in line["object"]["spec"].get("containers", []) + line["object"]["spec"].get("initContainers", []):
        for kind in ("limits", "requests"):
            container.get("resources", {}).get(kind, {}).pop("nvidia.com/gpu", None)


def with_ingress(lines: Lines, *, last: bool) -> Lines:
    """A second worker group on the CPU node holds the replica of an ingress, which starts first or last."""
    name = "llm-model-serve-n9mkr-cpu-group-worker-ccccc"
    born = worker_lines(lines)[0]["object"]["metadata"]["creationTimestamp"]
    own = [line for line in twin(lines, name, node="cpu-node-1") if line["resource"] == "pods"]
    pods = [line for line in own if line["received_at"] < instant(lines, 3.0)]
    pods += [line for line in twin(lines, name, node="cpu-node-1", later_s=-25.0) if line["resource"] == "pods"]
    pods = [line for line in pods if instant(lines, 2.0) < line["received_at"] < instant(lines, 60.0)]
    for line in pods:
        line["object"]["metadata"]["labels"]["ray.io/group"] = "cpu-group"
        line["object"]["metadata"]["creationTimestamp"] = born
        without_gpu(line)

    def second_deployment(line: dict[str, Any]) -> None:
        for application in applications(line).values():
            engine = application["deployments"].get("LLM")
            if engine is None or not engine["replicas"]:
                continue
            ingress = copy.deepcopy(engine)
            state = engine["replicas"][0]["state"] if last else "RUNNING"
            ingress["replicas"] = [
                replica_on(engine["replicas"][0], name, OTHER_IP, replica_id="ingress1", pid=99, state=state)
            ]
            ingress["required_resources"] = {"CPU": 1.0}
            ingress["deployment_config"]["ray_actor_options"] = {"num_cpus": 1.0}
            application["deployments"]["OpenAiIngress"] = ingress

    def started_last(line: dict[str, Any]) -> None:
        """Ray's LLM ingress becomes healthy only after the engine answers it (ray 2.60, llm/_internal/serve)."""
        told = [text for text in line["object"].splitlines(keepends=True) if "started successfully" in text]
        if "serve/controller_" in line["filename"] and told:
            line["object"] += told[0].replace("fevr1xdq", "ingress1").replace("'LLM'", "'OpenAiIngress'")

    lines = changed(lines, "serve-rest", second_deployment)
    return in_order([*(changed(lines, "ray-log-file", started_last) if last else lines), *pods])


@pytest.mark.parametrize("last", [False, True])
def test_an_ingress_on_a_cpu_worker_does_not_decide(last: bool) -> None:
    """The ingress is a replica too, and becomes healthy before or after the engine that it waits for. The path and the
    cold verdict are those of the engine's worker: the same as without the ingress.
    """
    lines = recorded("node-late")
    plain, both = analyse(lines), analyse(with_ingress(lines, last=last))
    engine_phases = {name: s for name, s in phases(plain).items() if name.startswith("worker_")}
    assert {name: s for name, s in phases(both).items() if name.startswith("worker_")} == engine_phases
    assert both.environment["worker"] == plain.environment["worker"]
    assert both.environment["worker"]["node"] == "gpu-node-2"
    view = TraceView(with_ingress(lines, last=last))
    assert [pod.name for pod in view.engine_pods] == [GPU_WORKER]
    assert cold_start(view).evidence == cold_start(TraceView(lines)).evidence


def test_an_engine_over_several_pods_waits_for_the_last_of_them() -> None:
    """A pipeline of two GPUs over two workers with one GPU each has one replica, and no engine before both joined."""
    lines = second_worker(recorded("node-late"), bundles=2)
    view = TraceView(lines)
    assert [pod.name for pod in view.engine_pods] == [GPU_WORKER, OTHER]
    analysis = analyse(lines)
    asked = analysis.milestone("worker.container_started")
    first = analyse(recorded("node-late")).milestone("worker.container_started")
    assert asked is not None
    assert first is not None
    assert (asked.at - first.at).total_seconds() == pytest.approx(2.0, abs=0.1)
    assert not [flag for flag in analysis.flags if flag.kind == "contradiction"]


@pytest.mark.parametrize("argument", ["pipeline_parallel_size", "tensor-parallel-size"])
def test_the_engines_arguments_say_that_it_spans_pods(argument: str) -> None:
    """Serve's answers may name the replica's own resources only; the submitted arguments name the parallel sizes."""

    def tell(line: dict[str, Any]) -> None:
        config = line["object"].get("spec", {}).get("serveConfigV2", "")
        told = json.dumps({"llm_configs": [{"engine_kwargs": {argument: 2}}]})
        line["object"]["spec"]["serveConfigV2"] = config.replace("import_path:", f"args: {told}\n  import_path:", 1)

    lines = changed(second_worker(recorded("node-late")), "rayservices", tell)
    assert TraceView(lines).worker is not None
    assert [pod.name for pod in TraceView(lines).engine_pods] == [GPU_WORKER, OTHER]


def test_the_log_of_a_rank_says_that_its_pod_is_the_engines() -> None:
    """Neither answers nor arguments may name the parallel sizes; a rank writes that it loaded its part of the model."""
    lines = second_worker(recorded("node-late"))
    log = next(line for line in lines if line["resource"] == "ray-log-file")
    text = "(RayWorkerWrapper pid=9) INFO 11-22 07:32:52 [g.py:1] Model loading took 7.5 GiB memory and 3.0 seconds\n"
    rank = {**log, "filename": "worker-abc-01000000-9.out", "node_ip": OTHER_IP, "object": text}
    view = TraceView([*lines, rank])
    assert [pod.name for pod in view.engine_pods] == [GPU_WORKER, OTHER]
    assert view.engine.together
    assert analyse([*lines, rank]).environment["worker"]["node"] == "gpu-node-2"


def test_an_idle_gpu_worker_does_not_decide() -> None:
    """A second worker that hosts no replica, of an engine that fits into one pod, is not on the path."""
    lines = second_worker(recorded("node-late"))
    assert phases(analyse(lines)) == phases(analyse(recorded("node-late")))
    assert [pod.name for pod in TraceView(lines).engine_pods] == [GPU_WORKER]


def second_replica(lines: Lines, *, first: bool) -> Lines:
    """Two replicas of the engine, the second on a pod of its own; `first`: it runs before the other."""

    def told(line: dict[str, Any]) -> None:
        for application in applications(line).values():
            for deployment in application["deployments"].values():
                for replica in deployment["replicas"][:1]:
                    state = "RUNNING" if first else replica["state"]
                    deployment["replicas"].append(
                        replica_on(replica, OTHER, OTHER_IP, replica_id="second", pid=105, state=state)
                    )

    def started(line: dict[str, Any]) -> None:
        told = [text for text in line["object"].splitlines(keepends=True) if "started successfully" in text]
        if "serve/controller_" in line["filename"] and told:
            other = told[0].replace("fevr1xdq", "second")
            line["object"] = line["object"].replace(told[0], other + told[0] if first else told[0] + other)

    lines = changed(changed(lines, "serve-rest", told), "ray-log-file", started)
    return in_order([*lines, *twin(recorded("node-late"), OTHER, node="cpu-node-1", later_s=-0.5)])


@pytest.mark.parametrize(("first", "deciding"), [(True, GPU_WORKER), (False, OTHER)])
def test_of_several_replicas_the_last_one_decides(first: bool, deciding: str) -> None:
    """The order in which Serve's controller saw them start counts, not the age of their pods."""
    view = TraceView(second_replica(recorded("node-late"), first=first))
    assert view.worker is not None
    assert view.worker.name == deciding
    assert {pod.name for pod in view.engine_pods} == {GPU_WORKER, OTHER}


def young_nodes(lines: Lines, *names: str) -> Lines:
    """Let nodes be created after the submission."""

    def change(line: dict[str, Any]) -> None:
        if line["object"]["metadata"].get("name") in names:
            line["object"]["metadata"]["creationTimestamp"] = instant(lines, 5.0)[:19] + "Z"

    return changed(lines, "nodes", change)


def test_a_start_is_cold_only_on_all_pods_of_the_engine() -> None:
    """One replica on a new node and one on an old node are a warm start, whichever of them came last."""
    for first in (True, False):
        lines = second_replica(recorded("node-late"), first=first)
        standing = next(line for line in lines if line["resource"] == "nodes" and line["type"] == "LISTED")
        node = json.loads(json.dumps(standing).replace(standing["object"]["metadata"]["uid"], "uid-of-a-node"))
        node["object"]["metadata"]["name"] = "gpu-node-0"
        lines = young_nodes([node, *lines], "cpu-node-1")
        lines = changed(lines, "pods", lambda line: moved_pod(line, OTHER, "gpu-node-0"))
        assert cold_start(TraceView(lines)).value == "no", first
        assert cold_start(TraceView(young_nodes(lines, "gpu-node-0"))).value == "yes", first


def moved_pod(line: dict[str, Any], pod: str, node: str) -> None:
    if line["object"]["metadata"].get("name") == pod and line["object"]["spec"].get("nodeName"):
        line["object"]["spec"]["nodeName"] = node


def head_only(lines: Lines) -> Lines:
    """The service has no worker group: its replica is on the head."""
    head = next(line["object"] for line in reversed(lines) if line["resource"] == "pods" and is_head(line["object"]))
    name, ip = head["metadata"]["name"], head["status"]["podIP"]

    def moved(line: dict[str, Any]) -> None:
        for application in applications(line).values():
            for deployment in application["deployments"].values():
                deployment["replicas"] = [
                    replica_on(replica, name, ip) if replica.get("node_ip") else replica
                    for replica in deployment["replicas"]
                ]

    def no_groups(line: dict[str, Any]) -> None:
        line["object"]["spec"].get("rayClusterConfig", {}).pop("workerGroupSpecs", None)

    lines = [line for line in lines if line["resource"] != "pods" or not is_worker(line["object"])]
    return changed(changed(lines, "serve-rest", moved), "rayservices", no_groups)


def test_a_service_without_workers_is_judged_by_its_head() -> None:
    """Path and cold verdict are the head's; no phase names a worker."""
    lines = head_only(recorded("node-late"))
    view, analysis = TraceView(lines), analyse(lines)
    assert view.worker is None
    assert view.engine_pods == (view.head,)
    assert not [name for name in phases(analysis) if "worker" in name]
    assert sum(phase.duration_us for phase in analysis.phases) == analysis.total_us
    assert analysis.start == "warm"
    assert analyse(young_nodes(lines, "cpu-node-1")).start == "cold"


def test_where_no_placement_is_known_the_pod_that_asks_for_the_accelerator_decides() -> None:
    """Without answers and logs of Serve, the worker of the CPU group is not taken for the engine's."""
    lines = with_ingress(recorded("node-late"), last=False)
    lines = [line for line in lines if line["resource"] not in ("serve-rest", "ray-log-file")]
    assert [pod.name for pod in TraceView(lines).engine_pods] == [GPU_WORKER]


def test_the_controllers_log_alone_places_the_replicas() -> None:
    """Answers of Serve may be missing; its controller names the node, and Ray's list of nodes the address."""
    lines = second_replica(recorded("node-late"), first=False)
    lines = [line for line in lines if line["resource"] != "serve-rest"]
    view = TraceView(lines)
    assert view.worker is not None
    assert view.worker.name == GPU_WORKER
