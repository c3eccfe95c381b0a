"""What machines cannot exceed: network links, PCIe, GPU memory, cores, by instance type. Each number has its source.

A type that is not in the list has no limits, so a phase that needs them has no floor. Sources: network of EC2, the
baseline from aws/karpenter-provider-aws@01a436f0 pkg/providers/instancetype/zz_generated.bandwidth.go, the burst and
vCPUs from the EC2 instance type specifications (accelerated computing, general purpose); of Compute Engine, the
maximum bandwidth of the machine family pages (accelerator-optimized G2, general-purpose E2 and N1); of Azure, "Max
Bandwidth" in MicrosoftDocs/azure-compute-docs articles/virtual-machines/sizes. GPU memory bandwidth: NVIDIA's data
sheets. PCIe: 31.5 GB/s is what 16 lanes of generation 4 carry one way; 12 to 25 GB/s are reached.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from airflow_llm_provisioning.core.effects import Between

GIGABIT: Final = 1e9 / 8
_EC2: Final = (
    "EC2 instance type specifications; baseline: aws/karpenter-provider-aws@01a436f0 zz_generated.bandwidth.go"
)
_GCE: Final = "Compute Engine machine families, maximum bandwidth"
_AZURE: Final = "MicrosoftDocs/azure-compute-docs sizes, Max Bandwidth"
_PCIE_4: Final = Between(12e9, 31.5e9, "PCIe generation 4: 16 lanes carry 31.5 GB/s one way, 12 GB/s are reached on 8")
_PCIE_3: Final = Between(6e9, 15.75e9, "PCIe generation 3: 16 lanes carry 15.75 GB/s one way, 6 GB/s are reached on 8")


@dataclass(frozen=True, slots=True)
class Gpu:
    """One accelerator. Rates in bytes per second."""

    name: str
    memory_bytes_s: float
    pcie: Between


@dataclass(frozen=True, slots=True)
class Machine:
    """One instance type. `link`: bytes per second of its network, from what it sustains to what it bursts to."""

    name: str
    cores: int
    link: Between
    gpu: Gpu | None = None


def machine(instance_type: str | None) -> Machine | None:
    """Return the limits of an instance type, or None where it is not in the list."""
    return _MACHINES.get(instance_type or "")


_L4: Final = Gpu("L4", 300e9, _PCIE_4)
_A10G: Final = Gpu("A10G", 600e9, _PCIE_4)
_A10: Final = Gpu("A10", 600e9, _PCIE_4)
_L40S: Final = Gpu("L40S", 864e9, _PCIE_4)
_A100: Final = Gpu("A100 80 GB", 1935e9, _PCIE_4)
_T4: Final = Gpu("T4", 320e9, _PCIE_3)

# name, vCPUs, sustained and burst Gbit/s, GPU.
_ROWS: Final[Mapping[str, tuple[tuple[str, int, float, float, Gpu | None], ...]]] = {
    _EC2: (
        ("m5.large", 2, 0.75, 10, None),
        ("m5.xlarge", 4, 1.25, 10, None),
        ("m5.2xlarge", 8, 2.5, 10, None),
        ("m5.4xlarge", 16, 5, 10, None),
        ("g4dn.xlarge", 4, 5, 25, _T4),
        ("g4dn.2xlarge", 8, 10, 25, _T4),
        ("g4dn.4xlarge", 16, 20, 25, _T4),
        ("g5.xlarge", 4, 2.5, 10, _A10G),
        ("g5.2xlarge", 8, 5, 10, _A10G),
        ("g5.4xlarge", 16, 10, 25, _A10G),
        ("g6.xlarge", 4, 2.5, 10, _L4),
        ("g6.2xlarge", 8, 5, 10, _L4),
        ("g6.4xlarge", 16, 10, 25, _L4),
        ("g6e.xlarge", 4, 2.5, 20, _L40S),
        ("g6e.2xlarge", 8, 5, 20, _L40S),
        ("g6e.4xlarge", 16, 20, 20, _L40S),
    ),
    _GCE: (
        ("e2-standard-2", 2, 4, 4, None),
        ("e2-standard-4", 4, 8, 8, None),
        ("e2-standard-8", 8, 16, 16, None),
        ("n1-standard-4", 4, 10, 10, None),
        ("g2-standard-4", 4, 10, 10, _L4),
        ("g2-standard-8", 8, 16, 16, _L4),
        ("g2-standard-12", 12, 16, 16, _L4),
        ("g2-standard-16", 16, 32, 32, _L4),
        ("g2-standard-24", 24, 32, 32, _L4),
        ("g2-standard-32", 32, 32, 32, _L4),
    ),
    _AZURE: (
        ("Standard_D2s_v5", 2, 12.5, 12.5, None),
        ("Standard_D4s_v5", 4, 12.5, 12.5, None),
        ("Standard_D8s_v5", 8, 12.5, 12.5, None),
        ("Standard_NC4as_T4_v3", 4, 8, 8, _T4),
        ("Standard_NV36ads_A10_v5", 36, 40, 40, _A10),
        ("Standard_NC24ads_A100_v4", 24, 20, 20, _A100),
    ),
}
_MACHINES: Final[Mapping[str, Machine]] = MappingProxyType(
    {
        name: Machine(name, cores, Between(low * GIGABIT, high * GIGABIT, f"{name}: {source}"), gpu)
        for source, rows in _ROWS.items()
        for name, cores, low, high, gpu in rows
    }
)
