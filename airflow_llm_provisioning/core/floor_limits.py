"""The limits of each step of a start: bytes over rates, the shortest times on record, or that nothing needs the step.

A step is some phases of one thing. Three kinds of limit: `physical` follows from bytes and rates; `record` is the
shortest that was published or recorded, where no bytes decide; `avoidable` needs no time at all, because a way to leave
it out is known. A step about which nothing is known has no floor.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from airflow_llm_provisioning.core.effects import Between, roles_of, seconds_for
from airflow_llm_provisioning.core.machine_limits import machine
from airflow_llm_provisioning.core.start_facts import StartFacts

Kind = Literal["physical", "record", "avoidable"]

NODE: Final = "node"
IMAGE: Final = "image pull"
WEIGHTS: Final = "weights"
ENGINE: Final = "engine"
WORKER_RAY: Final = "worker's Ray"
# Step -> its phases, in the order in which the steps are shown.
STEPS: Final[Mapping[str, tuple[str, ...]]] = {
    "operator": ("operator_start", "pod_creation", "replacement"),
    NODE: ("node_request", "node_boot", "node_setup", "gpu_setup", "scheduling"),
    IMAGE: ("pull_wait", "image_pull"),
    "wait for the head": ("init_start", "wait_gcs"),
    "container": ("container_start",),
    "head's Ray": ("head_ray_start", "head_readiness"),
    WORKER_RAY: ("worker_ray_start", "worker_readiness"),
    "runtime environment": ("head_runtime_env", "worker_runtime_env"),
    "Serve": ("serve_start", "app_build", "replica_request", "ray_autoscaling", "replica_start"),
    WEIGHTS: ("weight_download", "model_load"),
    ENGINE: ("engine_start", "compile", "engine_profile", "graph_capture", "engine_init"),
    "publishing": ("replica_finish", "app_start", "service_creation", "endpoint_publish"),
}
STEP_OF: Final[Mapping[str, str]] = {
    phase: step for step, phases in STEPS.items() for named in phases for phase in roles_of(named)
}

# aws-ia/terraform-aws-eks-blueprints, ml-container-cache: 9.5 GB compressed, 20.4 GB on the disk.
UNPACKED_RATIO: Final = 2.15
# Whole pulls that were bound by it: 9.354 GB in 130.8 s (aws-samples/karpenter-blueprints@529b88c soci-snapshotter),
# about 9.3 GB in 95 s (AI on EKS start-up workshop, Bottlerocket). Layers can be unpacked beside each other.
UNPACK_BYTES_S: Final = Between(
    72e6, 98e6, "one core unpacks 72 to 98 MB/s of compressed layers (karpenter-blueprints)"
)
_DISK_BYTES_S: Final[Mapping[str, Between]] = {
    "eks": Between(
        131e6, 2.1e9, "gp3: 125 MiB/s unless more is asked for, at most 2,000 MiB/s (Amazon EBS user guide)"
    ),
    "gke": Between(
        140e6, 2.4e9, "balanced disk of 100 GB, 140 MB/s, to Hyperdisk Balanced, 2,400 MB/s (Compute Engine)"
    ),
    "aks": Between(100e6, 1.2e9, "P10 disk, 100 MB/s, to Premium SSD v2, 1,200 MB/s (Azure managed disk types)"),
}
# The shortest known from the request to a node that takes a pod. Any cloud's: 29 s, g6.4xlarge with Karpenter and
# Bottlerocket (AI on EKS start-up workshop).
_BOOT_S: Final[Mapping[str, Between]] = {
    "eks": Between(29, 29, "record: g6.4xlarge, Karpenter, Bottlerocket, 29 s (AI on EKS start-up workshop)"),
    "gke": Between(29, 120, "record of any cloud 29 s (AI on EKS start-up workshop); an L4 node of GKE in about 120 s"),
    "aks": Between(
        29, 229, "record of any cloud 29 s (AI on EKS start-up workshop); a T4 pool of AKS in 229 s (azure-cli)"
    ),
}
_RECORDS: Final[Mapping[str, Between]] = {
    "head's Ray": Between(5.3, 9.7, "recordings of KubeRay 1.7.0: container to a dashboard that answers, 2 CPUs"),
    WORKER_RAY: Between(3.3, 4.5, "recordings of KubeRay 1.7.0: container to a raylet that joined"),
    ENGINE: Between(
        2.9, 8.0, "an initialised engine restored from a snapshot in 2.9 to 8 s (vllm-project/vllm pull 51360)"
    ),
}
_AVOIDABLE: Final[Mapping[str, str]] = {
    "wait for the head": "a worker that tries again by itself",
    "runtime environment": "packages in the image",
}


@dataclass(frozen=True, slots=True)
class Limit:
    """What one step cannot fall below. `seconds`: from the fastest to the slowest that the source allows; None where it
    is avoidable. `by`: the resource that decides, at its fastest.
    """

    kind: Kind
    seconds: Between | None
    by: str

    @property
    def source(self) -> str:
        """Where its number was read."""
        return self.seconds.source if self.seconds else self.by


def limit_of(step: str, facts: StartFacts, *, head: bool = False) -> Limit | None:
    """Return the limit of a step of an arm, or None where facts for it are missing. `head`: on the head's node."""
    if step in _AVOIDABLE:
        return Limit("avoidable", None, _AVOIDABLE[step])
    if step == NODE:
        return _record(_BOOT_S.get(facts.arm.stratum.cloud))
    if step == IMAGE:
        return _image(facts, facts.head_instance_type if head else facts.worker_instance_type)
    return _weights(facts) if step == WEIGHTS else _record(_RECORDS.get(step))


def _record(seconds: Between | None) -> Limit | None:
    return Limit("record", seconds, "record") if seconds else None


def _image(facts: StartFacts, instance_type: str | None) -> Limit | None:
    """The slowest of link, cores and disk: they work beside each other."""
    on, size, disk = machine(instance_type), facts.image_bytes, _DISK_BYTES_S.get(facts.arm.stratum.cloud)
    if on is None or not size or disk is None:
        return None
    unpack = Between(UNPACK_BYTES_S.low * on.cores, UNPACK_BYTES_S.high * on.cores, UNPACK_BYTES_S.source)
    return _slowest(
        {
            "network link": seconds_for(size, on.link),
            "decompression": seconds_for(size, unpack),
            "disk": seconds_for(size * UNPACKED_RATIO, disk),
        }
    )


def _weights(facts: StartFacts) -> Limit | None:
    """The slowest of link, PCIe and GPU memory: tensors can be streamed through all three."""
    on, size = machine(facts.worker_instance_type), facts.weight_bytes
    if on is None or on.gpu is None or not size:
        return None
    memory = Between(on.gpu.memory_bytes_s, on.gpu.memory_bytes_s, f"{on.gpu.name}: NVIDIA data sheet")
    return _slowest(
        {
            "network link": seconds_for(size, on.link),
            "PCIe": seconds_for(size, on.gpu.pcie),
            "GPU memory": seconds_for(size, memory),
        }
    )


def _slowest(resources: Mapping[str, Between]) -> Limit:
    decides = max(resources, key=lambda name: resources[name].low)
    low, high = resources[decides].low, max(item.high for item in resources.values())
    slow = max(resources, key=lambda name: resources[name].high)
    told = dict.fromkeys((resources[decides].source, resources[slow].source))
    return Limit("physical", Between(low, high, "; ".join(told)), decides)
