"""The simulator is held to real KubeRay, kubelet and Serve: the same orders, texts and shapes as in the recordings."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from recorded_traces import (
    appearances,
    application_states,
    operator_events,
    pod_events,
    read_recording,
    shapes,
    transitions,
)
from trial_rig import Seen, TrialRig, tiny_profile

from llm_provisioning_simulator.virtual_time import run_at_once

SCENARIOS = ("static", "dynamic", "node-late", "failed")

# The recorded orders must not be luck: the application is ready half-way between two readiness probes of the worker,
# wherever these fall; it is built well before the operator looks again; the dynamic replica is not called late, and the
# autoscaler's look falls, as recorded, after the operator's.
TIMES: dict[str, dict[str, float]] = {
    "static": {"worker_process_start_s": 0.6, "replica_plain_init_s": 10.5},
    "dynamic": {
        "worker_process_start_s": 0.6,
        "replica_plain_init_s": 9.1,
        "gcs_check_s": 4.0,
        "serve_proxy_start_s": 3.0,
    },
    "node-late": {"worker_process_start_s": 0.6, "replica_plain_init_s": 9.1},
    "failed": {},
}


class Trial:
    """One simulated scenario beside its recording."""

    def __init__(self, name: str, recorded: list[Seen], asked: dict[str, list[Any]]) -> None:
        self.name = name
        self.recorded = recorded
        self.asked = asked
        self.simulated: list[Seen] = []
        self.polls: list[Any] = []
        self.dumps: dict[str, Any] = {}


async def _run(trial: Trial, manifest: dict[str, Any]) -> None:
    late, failing = trial.name == "node-late", trial.name == "failed"
    profile = tiny_profile(**TIMES[trial.name])
    async with TrialRig(profile, cached=trial.name != "static", gpu_node=not late) as rig:
        if failing:
            rig.faults.switch("deploy_failed", True)
        rig.apply(manifest)
        poll = asyncio.get_running_loop().create_task(_poll(rig, trial.polls))
        if late:
            await rig.clock.sleep(50)
            rig.join("gpu-node-2", "gpu", gpus=1, cold=True)
        await rig.until(lambda: _finished(rig, failing=failing))
        await rig.clock.sleep(3)
        poll.cancel()
        trial.dumps = await _dumps(rig)
        rig.store.delete("rayservices", "llm-model-serve", "serving")
        await rig.until(lambda: not rig.store.peek_all("pods", "serving"))
        await rig.clock.sleep(1)
        trial.simulated = [seen for seen in rig.trace if seen.resource != "nodes"]


def _finished(rig: TrialRig, *, failing: bool) -> bool:
    if failing:
        return bool(rig.applications().get("llm", {}).get("status") == "DEPLOY_FAILED")
    return bool((rig.service().get("status") or {}).get("numServeEndpoints") == 2)


async def _poll(rig: TrialRig, polls: list[Any]) -> None:
    while True:
        await rig.clock.sleep(0.5)
        if rig.store.list("pods", "serving", labels={"ray.io/node-type": "head"}):
            try:
                polls.append(json.loads((await rig.get("/api/serve/applications/"))[1]))
            except ConnectionRefusedError:
                continue


async def _dumps(rig: TrialRig) -> dict[str, Any]:
    paths = {
        "ray-nodes": "/api/v0/nodes",
        "ray-runtime-envs": "/api/v0/runtime_envs",
        "ray-actors": "/api/v0/actors",
        "ray-version": "/api/version",
        "ray-cluster-status": "/api/cluster_status",
    }
    return {name: json.loads((await rig.get(path))[1]) for name, path in paths.items()}


@pytest.fixture(scope="module")
def trials(recordings_folder: Path) -> dict[str, Trial]:
    """Run every scenario once for all questions."""
    found = {}
    for name in SCENARIOS:
        recorded, asked = read_recording(recordings_folder / f"{name}.jsonl.gz")
        manifest = yaml.safe_load((recordings_folder / f"{name}.yaml").read_text())
        # What `kubectl apply` adds: it travels on into the RayCluster.
        manifest["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(manifest)}
        found[name] = Trial(name, recorded, asked)
        run_at_once(_run(found[name], manifest))

    return found


@pytest.fixture(params=SCENARIOS)
def trial(request: pytest.FixtureRequest, trials: dict[str, Trial]) -> Trial:
    """One scenario beside its recording."""
    return trials[request.param]


def test_operator_events_come_in_the_recorded_order(trial: Trial) -> None:
    """Created, updated and deleted: the same events about the same kinds, the aggregated one included."""
    assert operator_events(trial.simulated) == operator_events(trial.recorded)


def test_operator_events_read_as_recorded(trial: Trial) -> None:
    """Messages differ in generated names only."""
    assert _messages(trial.simulated) == _messages(trial.recorded)


def test_pods_go_through_the_recorded_events(trial: Trial) -> None:
    """Per pod: scheduling, the pull charged to the init container, starts, the harmless Unhealthy, the end."""
    simulated, recorded = pod_events(trial.simulated), pod_events(trial.recorded)
    assert simulated.keys() == recorded.keys()
    for pod, events in recorded.items():
        assert _comparable(simulated[pod]) == _comparable(events)


def test_services_and_pods_appear_in_the_recorded_order(trial: Trial) -> None:
    """The cluster's head service before the head; the RayService's two services only when the application runs."""
    for resources in (("services", "pods", "rayclusters"), ("endpointslices",)):
        assert appearances(trial.simulated, "ADDED", *resources) == appearances(trial.recorded, "ADDED", *resources)


def test_what_is_deleted_goes_before_the_pods(trial: Trial) -> None:
    """RayCluster, services and RayService vanish at once; pods stay until their grace ends."""
    kinds = ("rayservices", "rayclusters", "services", "pods")
    simulated = appearances(trial.simulated, "DELETED", *kinds)
    recorded = appearances(trial.recorded, "DELETED", *kinds)
    assert sorted(simulated) == sorted(recorded)
    pods = ("head", "worker")
    assert not any(item in pods for item in simulated[: len(simulated) - sum(item in pods for item in simulated)])


@pytest.mark.parametrize("resource", ["rayservices", "rayclusters"])
def test_conditions_move_as_recorded(trial: Trial, resource: str) -> None:
    """Every condition takes the same values for the same reasons, in the same order."""
    assert transitions(trial.simulated, resource) == transitions(trial.recorded, resource)


def test_the_application_is_shown_where_it_was_recorded(trial: Trial) -> None:
    """Everything of a first deployment stands under `pending` until the application runs."""
    assert application_states(trial.simulated) == application_states(trial.recorded)


def test_ready_comes_with_the_heads_endpoint_before_the_worker_is_ready(trial: Trial) -> None:
    """The endpoints are 1 and then 2; a failed application has neither that nor the services."""
    assert _endpoint_counts(trial.simulated) == _endpoint_counts(trial.recorded)


@pytest.mark.parametrize("resource", ["rayservices", "rayclusters", "services"])
def test_objects_have_the_recorded_shape(trial: Trial, resource: str) -> None:
    """Every key path of the recorded objects is there with the same kinds of values, and no other."""
    # The default of a port's protocol stands in KubeRay's whole CRD; the simulator's schema holds what clients meet.
    besides = r"ports\[\]\.protocol" if resource != "services" else r"$^"
    assert _difference(_objects(trial.simulated, resource), _objects(trial.recorded, resource), besides) == {}


def test_pods_have_the_recorded_spec(trial: Trial) -> None:
    """KubeRay's pods: labels, annotations, init container, probes, environment and volumes."""
    simulated = {name: _pod_as_created(trial.simulated, name) for name in ("head", "worker")}
    recorded = {name: _pod_as_created(trial.recorded, name) for name in ("head", "worker")}
    assert simulated == recorded


def test_events_have_the_recorded_shape(trial: Trial) -> None:
    """Controllers write eventTime and series; kubelets write timestamps in seconds and a count."""
    for component in ("rayservice-controller", "raycluster-controller"):
        simulated, recorded = (
            [s.object for s in trace if s.resource == "events" and s.object["reportingComponent"] == component]
            for trace in (trial.simulated, trial.recorded)
        )
        assert _difference(simulated, recorded) == {}


def test_serve_answers_in_the_recorded_shape(trial: Trial) -> None:
    """The REST document of every state, health metrics included."""
    recorded = [item["object"] for item in trial.asked["serve-rest"] if item["status_code"] == 200]
    assert _difference(trial.polls, recorded) == {}


def test_the_state_api_answers_in_the_recorded_shape(trial: Trial) -> None:
    """Nodes, runtime environments, actors, version."""
    for name, document in trial.dumps.items():
        recorded = [item["object"] for item in trial.asked[name] if item["status_code"] == 200]
        # Labels Ray added to its own actors for placing proxies are of no use to anybody outside.
        assert _difference([document], recorded, besides=r"label_selector|resources_total") == {}


def _objects(trace: list[Seen], resource: str) -> list[Any]:
    found = []
    for seen in trace:
        if seen.resource == resource:
            metadata = {key: item for key, item in seen.object["metadata"].items() if key != "managedFields"}
            found.append({**seen.object, "metadata": metadata})
    return found


def _difference(simulated: list[Any], recorded: list[Any], besides: str = r"$^") -> dict[str, Any]:
    ours, theirs = shapes(simulated), shapes(recorded)
    paths = {path for path in ours.keys() | theirs.keys() if not re.search(besides + r"|managedFields", path)}
    return {
        path: {"simulated": ours.get(path), "recorded": theirs.get(path)}
        for path in sorted(paths)
        if ours.get(path) != theirs.get(path)
    }


def _messages(trace: list[Seen]) -> list[str]:
    messages = (
        seen.object["message"]
        for seen in trace
        if seen.resource == "events" and str(seen.object["reportingComponent"]).startswith("ray")
    )
    return [_nameless(message) for message in messages]


def _nameless(text: str) -> str:
    cluster = re.sub(r"llm-model-serve-(?!head|serve)[a-z0-9]{5}", "<cluster>", text)
    return re.sub(r"(-head|-worker)-(?!svc)[a-z0-9]{5}\b", r"\1-<pod>", cluster)


def _comparable(events: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Scheduling is the scheduler's business; a head's last probe falls before or after its end by chance."""
    return [
        event for event in events if event[1] != "FailedScheduling" and "ray-head}Unhealthy" not in event[2] + event[1]
    ]


def _endpoint_counts(trace: list[Seen]) -> list[int]:
    counts: list[int] = []
    for seen in trace:
        count = (seen.object.get("status") or {}).get("numServeEndpoints") if seen.resource == "rayservices" else None
        if count is not None and (not counts or counts[-1] != count):
            counts.append(count)
    return counts


def _drop_admission(volumes: list[dict[str, Any]]) -> None:
    """The recorded API server filled these in; they are not the operator's."""
    for volume in volumes:
        volume.get("hostPath", {}).pop("type", None)
        sources = volume.get("projected", {}).get("sources", [])
        sources[:] = [item for item in sources if item.get("configMap", {}).get("name") != "openshift-service-ca.crt"]


def _pod_as_created(trace: list[Seen], node_type: str) -> Any:
    for seen in trace:
        metadata = seen.object["metadata"]
        if seen.resource == "pods" and seen.type == "ADDED" and metadata["labels"]["ray.io/node-type"] == node_type:
            spec = {key: item for key, item in seen.object["spec"].items() if key != "nodeName"}
            text = json.dumps({"spec": spec, "labels": metadata["labels"], "annotations": metadata.get("annotations")})
            # The script of the init container is described, not copied; generated names and hashes differ.
            text = re.sub(r"kube-api-access-\w{5}", "kube-api-access", _nameless(text))
            pod = json.loads(re.sub(r'"[0-9A-V]{32}"', '"<hash>"', text))
            _drop_admission(pod["spec"]["volumes"])
            for container in pod["spec"].get("initContainers") or ():
                container["args"] = ["<script>"]
            return pod
    return None
