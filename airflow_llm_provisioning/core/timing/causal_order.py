"""Which milestones a trial must have passed, from its deployment and its trace. The others did not occur in it.

An existing node has no boot, an image that is present has no pull, and the engine of vLLM 0.5.4 compiles nothing. If a
trace does not decide this, the milestone is expected, so that its phase is named although it cannot be measured.
"""

from collections.abc import Collection, Iterator

from airflow_llm_provisioning.core.fields import mapping
from airflow_llm_provisioning.core.image_arrival import kubelet_pulls
from airflow_llm_provisioning.core.timing.engine_lines import gaps_of
from airflow_llm_provisioning.core.timing.engine_logs import LogReading
from airflow_llm_provisioning.core.timing.milestones import PHASE_OF, CausalOrder
from airflow_llm_provisioning.core.timing.pod_sources import asked_for_before, fresh_for, init_container
from airflow_llm_provisioning.core.timing.sources import ready_role
from airflow_llm_provisioning.core.trace.objects import History, condition
from airflow_llm_provisioning.core.trace.placement import accelerators_of
from airflow_llm_provisioning.core.trace.view import TraceView
from airflow_llm_provisioning.core.weight_loading import downloads, streams
from airflow_llm_provisioning.core.weight_sources import bucket_of, weight_path_of

_POD_NODE = ("node_requested", "node_created", "node_ready")
_ENGINE = ("load_started", "compiled", "graphs_captured", "engine_ready")
_INSTALLED = ("pip", "uv", "conda", "working_dir", "py_modules")


def causal_order_of(view: TraceView, logs: LogReading, seen: Collection[str]) -> CausalOrder:
    """Return the causal order of a trial. `seen`: the milestones with at least one observation."""
    absent = set(_absent(view, logs, seen)) - set(seen)
    return CausalOrder((name for name in PHASE_OF if name not in absent), ready_pod=ready_role(view))


def _absent(view: TraceView, logs: LogReading, seen: Collection[str]) -> Iterator[str]:
    yield from ("head.replaced", "worker.replaced")
    if not view.dynamic:
        yield "worker_asked"
    if view.worker is None and view.raycluster is not None and (view.engine_pods or not view.workers):
        yield from (name for name in PHASE_OF if name.startswith("worker."))
    for role, pod in (("head", view.head), ("worker", view.worker)):
        if pod is not None:
            yield from (f"{role}.{name}" for name in _absent_of_pod(view, pod))
    if view.applications and not any(_installs(app) for app in view.applications):
        yield from ("head.runtime_env_ready", "worker.runtime_env_ready")
    if ready_role(view) != "worker":
        yield "worker.ready"
    if weight_path_of(view) or (bucket_of(view) and streams(view) and not downloads(view)):
        yield "weights_downloaded"
    unclear = {step for gap in gaps_of(view, logs) for step in gap.steps}
    yield from (name for name in _absent_of_engine(logs, seen) if name not in unclear)


def _absent_of_pod(view: TraceView, pod: History) -> Iterator[str]:
    node = view.node_of(pod)
    unbound = condition(pod.first, "PodScheduled").get("status") == "False"
    waited = unbound or bool(view.events_of(pod, "FailedScheduling"))
    if (node is not None and not fresh_for(pod, node)) or (node is None and not waited):
        yield from _POD_NODE
        yield "gpu_allocatable"
    if node is not None and asked_for_before(view, pod, node):
        yield "node_requested"
    if not accelerators_of(pod):
        yield "gpu_allocatable"
    if not init_container(pod):
        yield from ("init_started", "init_finished")
    pulled = [event.message for event in kubelet_pulls(view, pod) if event.reason == "Pulled"]
    if pulled and "already present on machine" in pulled[0]:
        yield from ("pull_started", "pull_finished")


def _absent_of_engine(logs: LogReading, seen: Collection[str]) -> Iterator[str]:
    """Yield the engine milestones that did not occur.

    Absence counts only in a log that was read to its end; a later line of the same engine proves that.
    """
    # The first run is a step of its own only in the logs of some versions; otherwise it is a part of its neighbours.
    yield "profiled"
    vllm = bool(logs.all("load_started") or logs.all("engine_starting") or logs.all("engine_ready"))
    old = any("Initializing an LLM engine" in entry.text for entry in logs.all("engine_starting"))
    complete = "engine_ready" in seen or bool(logs.all("replica_initialised") and (old or not vllm))
    if complete and not vllm:
        yield from _ENGINE
    if complete and vllm:
        yield from ("compiled", "graphs_captured")
    if old:
        yield from ("compiled", "engine_ready")


def _installs(application: object) -> bool:
    environment = mapping(mapping(application).get("runtime_env"))
    return any(environment.get(key) for key in _INSTALLED)
