"""Which of a pod's extended resources are devices that an engine computes on, and how many.

Pods of engines ask for more than that: network cards (`vpc.amazonaws.com/efa`, `rdma/ib`, `networking.gke.io.networks/
rdma-0`), file systems (`smarter-devices/fuse`), and sizes of a shared device (HAMi's `nvidia.com/gpumem` in MiB and
`nvidia.com/gpucores` in percent, Aliyun's `gpu-mem`, Tencent's `vcuda-core`). This module knows names only.
"""

import re
from collections.abc import Mapping
from typing import Final

CLAIM: Final = "resourceclaim/"
"""Begins the name that stands for a device of a dynamic resource claim, which has no resource name."""

_COMPUTE: Final = re.compile(
    r"gpu|/mig-|tpu|neuron|gaudi|npu|hpu|xpu|dcu|mlu|i915|/xe\b|vcuda|ascend|accelerator", re.IGNORECASE
)
_SIZE: Final = re.compile(
    r"mem(?:ory)?\b|gpu[-_.]?mem|gpu[-_.]?cores?\b|vcuda-core|vcore|millicores|percentage|/priority|monitoring|/tiles",
    re.IGNORECASE,
)
_BESIDE: Final = re.compile(r"/efa\b|rdma|\bhca|/ib\b|infiniband|sriov|pod-eni|nics?\b|networks?/|/fuse|/kvm|/tun\b")
# A device has two to eight cores, each of which holds a rank (AWS Neuron documentation, trn1, inf2, trn2).
_SEVERAL_RANKS: Final = re.compile(r"/neuron(?:device)?$")


def devices(resources: Mapping[str, int]) -> dict[str, int]:
    """Return what an engine computes on, of extended resources with their amounts: name -> count.

    Names of known kinds of devices count; without any, every name does that is not known as something else. Of a device
    that is asked for by its size alone there is one.
    """
    sizes = {name for name in resources if is_size(name)}
    known = {name: count for name, count in resources.items() if name not in sizes and _is_compute(name)}
    other = {name: count for name, count in resources.items() if name not in sizes and not _BESIDE.search(name)}
    return known or other or dict.fromkeys(sorted(sizes)[:1], 1)


def is_size(name: str) -> bool:
    """Return whether an extended resource is the size of a device. HAMi's scheduler knows its sizes; no node does."""
    return "/" in name and _SIZE.search(name) is not None


def ranks(resources: Mapping[str, int]) -> int | None:
    """Return how many ranks of an engine fit on the devices of a pod; None where the names do not tell: a claim may
    hold several devices, and a Neuron device has several cores.
    """
    found = devices(resources)
    if any(name.startswith(CLAIM) or _SEVERAL_RANKS.search(name) for name in found):
        return None
    return sum(found.values())


def _is_compute(name: str) -> bool:
    return name.startswith(CLAIM) or _COMPUTE.search(name) is not None
