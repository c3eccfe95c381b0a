"""Phases inside the pods, dialects of all components, and paths that the recordings do not contain."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from proof.generated import Deployment, Scenario, generate

from airflow_llm_provisioning.core.timing.analysis import analyse
from airflow_llm_provisioning.core.timing.clocks import Clocks
from airflow_llm_provisioning.core.timing.engine_logs import read_logs
from airflow_llm_provisioning.core.timing.phases import Phase
from airflow_llm_provisioning.core.timing.sources import read_observations
from airflow_llm_provisioning.core.timing.timeline import Milestone, milestone
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.verdicts import runtime_pip_seen

Lines = list[dict[str, Any]]


def deployed(**told: Any) -> Deployment:
    """Return a deployment; dynamic by default, so that everything is on its path."""
    return generate(7, scenario=Scenario(**{"dynamic": True, "fresh": True, **told}))


def phases_of(lines: Lines) -> dict[str, Phase]:
    return {phase.name: phase for phase in analyse(lines).phases}


def took_s(deployment: Deployment, start: str, end: str) -> float:
    return (deployment.truth[end] - deployment.truth[start]).total_seconds()


def changed(lines: Lines, resource: str, change: Callable[[dict[str, Any]], object]) -> Lines:
    """Return the lines with `change(line)` applied to a copy of every line of a resource."""
    copied = copy.deepcopy(lines)
    for line in copied:
        if line["resource"] == resource:
            change(line)
    return copied


def without_entries(lines: Lines, filename: str, *words: str) -> Lines:
    """Return the lines without the entries of one log that contain one of these words."""

    def leave_out(line: dict[str, Any]) -> None:
        if line["filename"].endswith(filename):
            kept = [e for e in line["object"].splitlines(keepends=True) if not any(word in e for word in words)]
            line["object"] = "".join(kept)

    return changed(lines, "ray-log-file", leave_out)


def test_a_v1_engine_shows_every_phase() -> None:
    """The current lines of vLLM give download, load, compile, graphs and the rest of the engine's start."""
    deployment = deployed(engine="vllm-0.33")
    phases = phases_of(deployment.lines)
    for name, start, end in (
        ("engine_start", "replica_initialising", "load_started"),
        ("weight_download", "load_started", "weights_downloaded"),
        ("model_load", "weights_downloaded", "model_loaded"),
        ("compile", "model_loaded", "compiled"),
        ("graph_capture", "compiled", "graphs_captured"),
        ("engine_init", "graphs_captured", "engine_ready"),
    ):
        truth = took_s(deployment, start, end)
        assert phases[name].duration_s == pytest.approx(truth, abs=1.1)
        assert phases[name].shortest_s <= truth <= phases[name].longest_s
        assert phases[name].longest_s - phases[name].shortest_s <= 2.1, "lines of one clock are compared directly"


def test_vllm_054_separates_download_and_load_by_its_progress_bar() -> None:
    """VLLM 0.5.4 writes no line at the end of the download, but the loading time. Steps that it does not have give no
    phase.
    """
    deployment = deployed(engine="vllm-0.5.4")
    phases = phases_of(deployment.lines)
    truth = took_s(deployment, "load_started", "weights_downloaded")
    assert phases["weight_download"].shortest_s <= truth <= phases["weight_download"].longest_s
    assert phases["weight_download"].duration_s == pytest.approx(truth, abs=2.5)
    assert "graph_capture" in phases
    assert not any("compile" in name or "engine_init" in name for name in phases)


def test_vllm_054_without_its_progress_bar_joins_download_and_load() -> None:
    """Loaders of other formats print no bar, so both phases are joined."""
    deployment = deployed(engine="vllm-0.5.4")
    lines = [line for line in deployment.lines if not str(line.get("filename", "")).endswith(".err")]
    assert "weight_download+model_load" in phases_of(lines)


def test_a_download_without_a_line_is_computed_from_the_load() -> None:
    """An engine logs no download below half a second; the loader's duration still separates the two."""
    deployment = deployed(engine="vllm-0.33")
    lines = without_entries(deployment.lines, ".out", "Time spent downloading")
    assert "weight_download+model_load" in phases_of(lines)
    loaded = took_s(deployment, "weights_downloaded", "model_loaded")

    def tell(line: dict[str, Any]) -> None:
        line["object"] = line["object"].replace("Model loading took", f"Loading weights took {loaded:.2f} seconds x", 1)

    phases = phases_of(changed(lines, "ray-log-file", tell))
    assert phases["weight_download"].longest_s >= took_s(deployment, "load_started", "weights_downloaded")


def test_an_eager_engine_has_no_compile_and_no_graphs() -> None:
    """Absence counts if a later line of the same engine was read: `enforce_eager` compiles and captures nothing."""
    lines = without_entries(deployed(engine="vllm-0.33").lines, ".out", "compile", "Graph")
    names = phases_of(lines)
    assert "engine_init" in names
    assert not any("compile" in name or "graph" in name for name in names)


def test_an_eager_engine_of_054_captures_nothing() -> None:
    """The old engine writes no line at its end; the replica does."""
    names = phases_of(without_entries(deployed(engine="vllm-0.5.4").lines, ".out", "Graph"))
    assert not any("graph" in name or "compile" in name for name in names)


def test_a_truncated_engine_log_joins_the_missing_phases() -> None:
    """A log that ends early does not prove that nothing followed."""
    lines = without_entries(deployed(engine="vllm-0.33").lines, ".out", "compile", "Graph", "init engine")
    lines = without_entries(lines, ".log", "Finished initializing")
    assert any("compile+graph_capture+engine_init+replica_finish" in name for name in phases_of(lines))


def test_pip_is_seen_on_head_and_worker() -> None:
    """Ray installs twice in sequence; with Ray's durations both are phases of the path."""
    deployment = deployed(pip=True)
    phases = phases_of(deployment.lines)
    for role, start in (("head", "serve_config_sent"), ("worker", "worker.ray_started")):
        truth = took_s(deployment, start, f"{role}.runtime_env_ready")
        phase = phases[f"{role}_runtime_env"]
        assert phase.shortest_s <= truth <= phase.longest_s
        # Ray reports the duration of a build, not its start: it begins within moments of its causes.
        assert phase.duration_s == pytest.approx(truth, abs=2.5)
    assert runtime_pip_seen(TraceView(deployment.lines)).value == "yes"


def test_pip_without_figures_joins_its_neighbours() -> None:
    """A requested step without a time stays in the name of the phase that contains it."""
    lines = [line for line in deployed(pip=True).lines if line["resource"] != "ray-runtime-envs"]
    names = phases_of(lines)
    assert "head_runtime_env+app_build" in names
    assert any("worker_runtime_env+replica_start" in name for name in names)


def test_an_endpoint_of_the_worker_waits_for_the_worker() -> None:
    """With the head excluded from the Service, the path ends with the worker's readiness."""
    deployment = deployed(exclude_head=True)
    analysis = analyse(deployment.lines)
    assert [phase.end for phase in analysis.phases][-2:] == ["worker.ready", "endpoint_ready"]
    assert [phase.name for phase in analysis.phases][-2:] == ["worker_readiness", "endpoint_publish"]
    assert analysis.environment["exclude_head_pod"] is True


@pytest.mark.parametrize("autoscaler", ["karpenter", "cluster-autoscaler"])
def test_a_nodeclaim_or_a_scale_up_event_announces_the_node(autoscaler: str) -> None:
    """Karpenter's NodeClaim, or the cluster autoscaler's event, separates the request from the boot."""
    deployment = deployed(autoscaler=autoscaler)
    phases = phases_of(deployment.lines)
    truth = took_s(deployment, "worker.node_requested", "worker.node_created")
    assert phases["worker_node_boot"].shortest_s <= truth <= phases["worker_node_boot"].longest_s
    assert "worker_node_request" in phases


def test_luna_leaves_no_object_so_request_and_boot_are_joined() -> None:
    """The Node is the first object: the request is not guessed."""
    assert "worker_node_request+worker_node_boot" in phases_of(deployed(autoscaler="luna").lines)


def gpu_in(line: dict[str, Any]) -> bool:
    return "nvidia.com/gpu" in line["object"]["status"]["allocatable"]


def test_karpenters_conditions_are_milestones_and_bound_the_gpu() -> None:
    """Launched, Registered and Initialized are milestones; after an interrupted watch of the node, Initialized is still
    an upper bound for the GPU.
    """
    deployment = deployed(autoscaler="karpenter")
    told = ("worker.node_launched", "worker.node_registered", "worker.node_initialised")
    blind = [line for line in deployment.lines if line["resource"] != "nodes" or not gpu_in(line)]
    last = copy.deepcopy([line for line in deployment.lines if line["resource"] == "nodes" and gpu_in(line)][-1])
    last |= {"type": "LISTED", "received_at": deployment.lines[-1]["received_at"]}
    last["object"]["metadata"]["managedFields"] = []
    for lines in (deployment.lines, [*blind, last]):
        analysis = analyse(lines)
        for name in told:
            milestone = analysis.milestone(name)
            assert milestone is not None
            assert milestone.earliest_at <= deployment.truth[name] <= milestone.latest_at
        gpu, initialised = (analysis.milestone(f"worker.{n}") for n in ("gpu_allocatable", "node_initialised"))
        assert gpu is not None
        assert initialised is not None
        assert gpu.earliest_at <= deployment.truth["worker.gpu_allocatable"] <= gpu.latest_at
        assert gpu.latest_at <= initialised.latest_at


def test_the_gpu_is_observed_not_assumed() -> None:
    """Allocatable has no stamp: it changed between the last version without it and the first with it."""
    deployment = deployed()
    milestone = analyse(deployment.lines).milestone("worker.gpu_allocatable")
    assert milestone is not None
    assert "allocatable nvidia.com/gpu" in milestone.source
    assert milestone.earliest_at <= deployment.truth["worker.gpu_allocatable"] <= milestone.latest_at
    assert milestone.width_s < 1.6


@pytest.mark.parametrize("pulled", ["plain", "waiting", "sized"])
def test_every_wording_of_pulled_is_a_pull_of_the_init_container(pulled: str) -> None:
    """The large pull is that of `wait-gcs-ready`; the main container's image is then present, in both wordings."""
    deployment = deployed(pulled=pulled)
    phases = phases_of(deployment.lines)
    truth = took_s(deployment, "worker.pull_started", "worker.pull_finished")
    assert phases["worker_image_pull"].shortest_s <= truth <= phases["worker_image_pull"].longest_s
    order = list(phases)
    assert order.index("worker_image_pull") < order.index("worker_wait_gcs") < order.index("worker_container_start")


@pytest.mark.parametrize("pulled", ["plain", "sized"])
def test_an_image_that_was_present_has_no_pull(pulled: str) -> None:
    """A present image gives neither a phase of zero nor a joined one, in both wordings."""
    deployment = deployed(worker_image="present", head_image="present", pulled=pulled)
    assert not any("pull" in name for name in phases_of(deployment.lines))


def test_kuberay_1_1_is_read_by_its_legacy_events_and_status() -> None:
    """The origin's operator has events in whole seconds with other reasons, no conditions, `serviceStatus: Running` and
    a longer cluster name. The phases are the same.
    """
    old, new = deployed(kuberay="1.1"), deployed(kuberay="1.7")
    analysis = analyse(old.lines)
    assert list(phases_of(old.lines)) == list(phases_of(new.lines))
    ready = analysis.milestone("rayservice_ready")
    assert ready is not None
    assert ready.source.endswith("serviceStatus Running")
    assert ready.earliest_at <= old.truth["rayservice_ready"] <= ready.latest_at
    silent = [line for line in old.lines if line["resource"] not in ("serve-rest", "ray-log-file")]
    sent = analyse(silent).milestone("serve_config_sent")
    assert sent is not None
    assert "SubmittedServeDeployment" in sent.source
    assert sent.earliest_at <= old.truth["serve_config_sent"] <= sent.latest_at


@pytest.mark.parametrize("api", ["events", "events.events.k8s.io"])
def test_either_event_api_is_enough(api: str) -> None:
    """Both APIs contain the same: a trace with one of them gives the same phases."""
    deployment = deployed()
    other = {"events": "events.events.k8s.io", "events.events.k8s.io": "events"}[api]
    lines = [line for line in deployment.lines if line["resource"] != other]
    assert list(phases_of(lines)) == list(phases_of(deployment.lines))


def _endpoint(deployment: Deployment, *, managed: bool, annotated: bool) -> Milestone:
    """Return the endpoint's milestone from its slice alone, received two hours late, with or without its stamps."""

    def late(line: dict[str, Any]) -> None:
        line["received_at"] = line["received_at"].replace("T12:", "T14:")
        metadata = line["object"]["metadata"]
        metadata |= {"managedFields": metadata["managedFields"] if managed else []}
        metadata |= {"annotations": metadata.get("annotations", {}) if annotated else {}}

    view = TraceView(changed(deployment.lines, "endpointslices", late))
    observation = read_observations(view, read_logs((), None))["endpoint_ready"][0]
    placed = milestone("endpoint_ready", observation, Clocks(view))
    assert placed is not None
    return placed


def test_stamps_of_managed_fields_and_of_the_trigger_bound_what_has_none() -> None:
    """An endpoint received hours late is bounded on both sides by the write that brought it. Without that stamp its
    lower bound is the trigger of the change, the worker's Ready; without both it is the slice's creation.
    """
    deployment = deployed(exclude_head=True)
    truth = deployment.truth["endpoint_ready"]
    written = _endpoint(deployment, managed=True, annotated=True)
    assert written.earliest_at <= truth <= written.latest_at
    assert written.width_s < 3
    triggered = _endpoint(deployment, managed=False, annotated=True)
    created = _endpoint(deployment, managed=False, annotated=False)
    assert created.earliest_at < triggered.earliest_at <= truth <= triggered.latest_at
    assert (truth - triggered.earliest_at).total_seconds() < 3


def test_a_trigger_that_is_no_pods_ready_bounds_nothing() -> None:
    """A Service's creation also triggers a slice, by another clock: it is not read as a kubelet's stamp."""
    deployment = deployed(exclude_head=True)
    lines = [line for line in deployment.lines if line["resource"] != "pods"]
    other = Deployment(lines, deployment.truth, deployment.skews, deployment.scenario, deployment.distortion)
    told, untold = (_endpoint(other, managed=False, annotated=annotated) for annotated in (True, False))
    assert told.earliest_at == untold.earliest_at
