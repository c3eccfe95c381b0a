"""Why a cloud makes no machine, in its own words: a used-up quota, no stock, no spot capacity.

EC2: error codes of the API reference; Compute Engine: "Troubleshooting resource availability errors"; Azure: the pages
on allocation failures and on SKU errors. Knows no autoscaler; each of them passes the words on in its own way.
"""

from collections.abc import Mapping
from typing import Final

from llm_provisioning_simulator.faults import CHOICES, Faults
from llm_provisioning_simulator.world import NodeSpec

QUOTA: Final = "quota"
_OF_ZONE: Final = (
    "ZONE_RESOURCE_POOL_EXHAUSTED: The zone 'projects/simulated/zones/{zone}' does not have enough resources available "
    "to fulfill the request"
)
WORDS: Final[Mapping[str, Mapping[str, str]]] = {
    QUOTA: {
        "eks": "VcpuLimitExceeded: You have requested more vCPU capacity than your current vCPU limit allows for the "
        "instance bucket that {type} belongs to",
        "gke": "QUOTA_EXCEEDED: Quota 'GPUS_ALL_REGIONS' exceeded for an instance of type {type}",
        "aks": "QuotaExceeded: Operation could not be completed as it results in exceeding approved Cores quota for "
        "{type}",
    },
    "stock_out": {
        "eks": "InsufficientInstanceCapacity: We currently do not have sufficient {type} capacity in the Availability "
        "Zone you requested ({zone}). Our system will be working on provisioning additional capacity",
        "gke": _OF_ZONE,
        "aks": "SkuNotAvailable: The requested VM size {type} is currently not available in location '{region}' zones "
        "'{number}'",
    },
    "spot": {
        "eks": "InsufficientInstanceCapacity: There is no Spot capacity available that matches your request in {zone}",
        # Compute Engine's sentence does not tell spot VMs from others.
        "gke": _OF_ZONE,
        "aks": "OverconstrainedZonalAllocationRequest: Spot capacity is not available in location '{region}' zones "
        "'{number}'",
    },
}
CHOICES["no_stock"] = frozenset(WORDS) - {QUOTA}


def refused(faults: Faults, spec: NodeSpec) -> str | None:
    """Return why the cloud refuses a machine, or None where it makes it."""
    elsewhere = bool(faults.no_stock_in) and spec.zone not in faults.no_stock_in
    reason = QUOTA if faults.quota_refused else "" if elsewhere else faults.no_stock
    if not reason or (reason != QUOTA and faults.use_up("machines_left")):
        return None
    number = spec.zone.rpartition("-")[2]
    return WORDS[reason][spec.cloud].format(type=spec.instance_type, zone=spec.zone, region=spec.region, number=number)
