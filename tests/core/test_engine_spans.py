"""Whether an engine takes more pods than that of its replica: by its devices, its own sizes and its own application."""

import copy
import json
from typing import Any

import pytest
from recording_changes import OTHER, Lines, applications, changed, is_worker, recorded, replica_on, second_worker

from airflow_llm_provisioning.core.trace import TraceView

GPU_WORKER = "llm-model-serve-n9mkr-gpu-group-worker-crzq5"
BOTH = [GPU_WORKER, OTHER]


def submitted(lines: Lines, *configs: dict[str, Any]) -> Lines:
    """Let Serve's configuration hold these applications, the first of which is the recorded one."""
    text = json.dumps({"applications": [{"name": "llm", **configs[0]}, *configs[1:]]})

    def change(line: dict[str, Any]) -> None:
        line["object"]["spec"]["serveConfigV2"] = text

    return changed(lines, "rayservices", change)


def beside(lines: Lines, **resources: int) -> Lines:
    """Let every worker ask for more extended resources."""

    def change(line: dict[str, Any]) -> None:
        if is_worker(line["object"]):
            for container in line["object"]["spec"]["containers"][:1]:
                for kind in ("limits", "requests"):
                    container["resources"][kind] |= {name: str(count) for name, count in resources.items()}

    return changed(lines, "pods", change)


def engine_pods(lines: Lines) -> list[str]:
    return [pod.name for pod in TraceView(lines).engine_pods]


SIZES = {"args": {"llm_configs": [{"engine_kwargs": {"tensor_parallel_size": 1, "pipeline_parallel_size": 2}}]}}


@pytest.mark.parametrize(
    "resources",
    [
        {},
        {"vpc.amazonaws.com/efa": 32},
        {"rdma/ib": 1},
        {"networking.gke.io.networks/rdma-0": 1, "networking.gke.io.networks/rdma-1": 1},
        {"nvidia.com/gpumem": 30000, "nvidia.com/gpucores": 50},
        {"smarter-devices/fuse": 1},
    ],
    ids=lambda resources: "+".join(resources) or "gpu",
)
def test_network_cards_and_sizes_hold_no_rank(resources: dict[str, int]) -> None:
    """A pipeline over two pods of one GPU is one for pods that ask for more, with and without Serve's answers."""
    lines = submitted(beside(second_worker(recorded("node-late")), **resources), SIZES)
    assert engine_pods(lines) == BOTH
    unplaced = [line for line in lines if line["resource"] not in ("serve-rest", "ray-log-file")]
    assert engine_pods(unplaced) == BOTH


def told(lines: Lines, **config: Any) -> Lines:
    """Change what Serve says of the recorded deployment."""

    def change(line: dict[str, Any]) -> None:
        for application in applications(line).values():
            for deployment in application["deployments"].values():
                deployment["deployment_config"] |= config

    return changed(lines, "serve-rest", change)


@pytest.mark.parametrize(
    "resources", [{"gpu_pool": 0.001}, {"worker_group_a": 1}, {"accelerator_type:L4": 0.001}], ids=str
)
def test_a_custom_resource_beside_a_gpu_is_a_place(resources: dict[str, float]) -> None:
    """It says on which nodes a replica may be, and not that the engine needs another pod."""
    lines = told(
        second_worker(recorded("node-late")), ray_actor_options={"num_cpus": 1, "num_gpus": 1, "resources": resources}
    )
    assert engine_pods(lines) == [GPU_WORKER]


def test_prefill_and_decode_have_sizes_of_their_own() -> None:
    """The sizes of two engines are not multiplied with each other."""
    one, two = {"tensor_parallel_size": 1, "pipeline_parallel_size": 1}, {"tensor_parallel_size": 1}
    disaggregated = {"args": {"prefill_config": {"engine_kwargs": one}, "decode_config": {"engine_kwargs": two}}}
    assert engine_pods(submitted(second_worker(recorded("node-late")), disaggregated)) == [GPU_WORKER]
    two = {"tensor_parallel_size": 2}
    disaggregated = {"args": {"prefill_config": {"engine_kwargs": one}, "decode_config": {"engine_kwargs": two}}}
    assert engine_pods(submitted(second_worker(recorded("node-late")), disaggregated)) == BOTH


def test_the_sizes_of_another_application_do_not_count() -> None:
    """A large model beside the small one does not make the small one span pods."""
    small = {"args": {"model": "m"}}
    large = {"name": "large", "args": {"llm_configs": [{"engine_kwargs": {"tensor_parallel_size": 2}}]}}
    assert engine_pods(submitted(second_worker(recorded("node-late")), small, large)) == [GPU_WORKER]


def test_bundles_tell_all_that_an_engine_needs() -> None:
    """With a placement group of one GPU, arguments of another model in the application change nothing."""
    args = {"args": {"llm_configs": [{"engine_kwargs": {}}, {"engine_kwargs": {"tensor_parallel_size": 2}}]}}
    lines = submitted(second_worker(recorded("node-late"), bundles=1), args)
    assert engine_pods(lines) == [GPU_WORKER]


def test_the_cores_of_a_neuron_device_are_no_pods() -> None:
    """Two ranks fit on one device: the idle second worker is not on the path."""
    lines = json.loads(
        json.dumps(second_worker(recorded("node-late"))).replace("nvidia.com/gpu", "aws.amazon.com/neuron")
    )
    lines = submitted(lines, {"args": {"llm_configs": [{"engine_kwargs": {"tensor_parallel_size": 2}}]}})
    assert engine_pods(lines) == [GPU_WORKER]


def test_ranks_of_data_parallelism_are_replicas() -> None:
    """Each has a pod of its own, and the one that started last decides."""

    def ranks(line: dict[str, Any]) -> None:
        for application in applications(line).values():
            for deployment in application["deployments"].values():
                for replica in copy.deepcopy(deployment["replicas"][:1]):
                    deployment["replicas"].append(
                        replica_on(replica, OTHER, "10.244.0.77", replica_id="second", pid=105, state="RUNNING")
                    )

    lines = changed(second_worker(recorded("node-late"), bundles=1), "serve-rest", ranks)
    args = {"args": {"llm_configs": [{"engine_kwargs": {"data_parallel_size": 2}}]}}
    assert sorted(engine_pods(submitted(lines, args))) == sorted(BOTH)
    assert not TraceView(submitted(lines, args)).engine.together
