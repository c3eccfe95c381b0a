"""The GPUs that node profiles name, and how each cloud spells them.

Sources: Karpenter's reference of instance types (label instance-gpu-name) and EC2's GpuInfo of p4de (memory in MiB),
cloud.google.com/compute/docs/gpus (accelerator types and the machine family each comes with). Azure spells its GPUs as
the profile does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU. None: that cloud does not offer it, or its name there is not known here.

    `aws`: name in Karpenter's labels; `aws_memory_mib`: only where a smaller GPU has the same name there.
    `google`: accelerator type; `google_machines`: how its machine types begin.
    """

    aws: str | None = None
    aws_memory_mib: int | None = None
    google: str | None = None
    google_machines: str | None = None


GPUS: Final[Mapping[str, Gpu]] = {
    "L4": Gpu(aws="l4", google="nvidia-l4", google_machines="g2-"),
    "T4": Gpu(aws="t4", google="nvidia-tesla-t4", google_machines="n1-"),
    "A10G": Gpu(aws="a10g"),
    "L40S": Gpu(aws="l40s"),
    "V100": Gpu(aws="v100"),
    "A100": Gpu(aws="a100", google="nvidia-tesla-a100", google_machines="a2-highgpu"),
    "A100-80GB": Gpu(aws="a100", aws_memory_mib=81920, google="nvidia-a100-80gb", google_machines="a2-ultragpu"),
    "H100": Gpu(aws="h100", google="nvidia-h100-80gb", google_machines="a3-highgpu"),
}


def google_accelerators() -> dict[str, tuple[str, str]]:
    """Return sku -> (accelerator type, how its machine types begin) of the GPUs that GKE offers."""
    return {sku: (gpu.google, gpu.google_machines) for sku, gpu in GPUS.items() if gpu.google and gpu.google_machines}


def aws_name(sku: str) -> str:
    """Return a GPU's name in Karpenter's labels: lower case where the table does not know it."""
    gpu = GPUS.get(sku)
    return gpu.aws if gpu and gpu.aws else sku.lower()
