"""Of the extended resources of a pod only some are devices that an engine computes on."""

import pytest

from airflow_llm_provisioning.core.devices import devices, ranks
from airflow_llm_provisioning.core.quantity import quantity, whole_count


@pytest.mark.parametrize(
    ("resources", "count"),
    [
        ({"nvidia.com/gpu": 8, "vpc.amazonaws.com/efa": 32}, 8),
        ({"nvidia.com/gpu": 8, "rdma/ib": 1}, 8),
        ({"nvidia.com/gpu": 8, "rdma/hca_shared_devices_a": 1}, 8),
        ({"nvidia.com/gpu": 4, **{f"networking.gke.io.networks/rdma-{n}": 1 for n in range(4)}}, 4),
        ({"nvidia.com/gpu": 8, "openshift.io/mlnxnics": 8}, 8),
        ({"nvidia.com/gpu": 1, "nvidia.com/gpumem": 30000, "nvidia.com/gpucores": 50}, 1),
        ({"nvidia.com/gpu": 2, "nvidia.com/gpumem-percentage": 50, "nvidia.com/priority": 1}, 2),
        ({"volcano.sh/vgpu-number": 2, "volcano.sh/vgpu-memory": 8000}, 2),
        ({"aliyun.com/gpu-mem": 24}, 1),
        ({"tencent.com/vcuda-core": 200, "tencent.com/vcuda-memory": 64}, 1),
        ({"gpu.intel.com/i915": 1, "gpu.intel.com/millicores": 500, "gpu.intel.com/memory.max": 4000}, 1),
        ({"nvidia.com/mig-3g.40gb": 2, "smarter-devices/fuse": 1}, 2),
        ({"nvidia.com/gpu.shared": 1}, 1),
        ({"huawei.com/Ascend910": 8}, 8),
        ({"cambricon.com/vmlu": 1, "cambricon.com/mlu.smlu.vmemory": 20}, 1),
        ({"google.com/tpu": 4}, 4),
        ({"aws.amazon.com/neuroncore": 2}, 2),
        ({"qualcomm.com/qaic": 4}, 4),
        ({"smarter-devices/fuse": 1}, 0),
        ({}, 0),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else str(value),
)
def test_what_an_engine_computes_on_is_counted(resources: dict[str, int], count: int) -> None:
    """Network cards, file systems and sizes of a shared device are asked for beside it and hold no rank."""
    assert sum(devices(resources).values()) == count
    assert ranks(resources) == count


@pytest.mark.parametrize("name", ["resourceclaim/gpu", "aws.amazon.com/neuron", "aws.amazon.com/neurondevice"])
def test_the_ranks_of_some_devices_are_not_known(name: str) -> None:
    """A claim may hold several devices; a Neuron device has several cores."""
    assert sum(devices({name: 1, "vpc.amazonaws.com/efa": 8}).values()) == 1
    assert ranks({name: 1, "vpc.amazonaws.com/efa": 8}) is None


@pytest.mark.parametrize(
    ("amount", "count"),
    [
        (1, 1), ("1", 1), ("1000m", 1), ("1.0", 1), (1.0, 1), ("2k", 2000), ("1e0", 1), ("+1", 1), ("0", 0),
        ("4000m", 4),
        ("500m", None), ("1.5", None), (0.5, None), ("1500m", None), ("-1", None), ("one", None), (True, None),
        ("1e400", None), ("1.2.3", None), ("", None), (None, None),
    ],
)  # fmt: skip
def test_whole_numbers_of_devices_in_any_writing(amount: object, count: int | None) -> None:
    """The API server takes `1000m` as 1, and refuses parts of a device."""
    assert whole_count(amount) == count


def test_a_quantity_may_have_a_sign() -> None:
    """As the schema of quantities allows."""
    assert quantity("+1.5Gi") == 1.5 * 1024**3
