"""Which sentences refuse capacity, as which kind, and in which zones. Sentences as clouds and autoscalers word them."""

import pytest

from airflow_llm_provisioning.core.capacity import KINDS, refusal_kind, zones_in

REFUSED = [
    # EC2, as an event or a condition of Karpenter and Luna has it
    (
        "InsufficientCapacityError",
        (
            "NodeClaim gpu-x event: creating instance, insufficient capacity, with fleet error(s), "
            "InsufficientInstanceCapacity: We currently do not have sufficient g6.xlarge capacity in the Availability Zone "  # noqa: E501 - a sentence as it comes
            "you requested (us-west-2a). Our system will be working on provisioning additional capacity. You can currently "  # noqa: E501 - a sentence as it comes
            "get g6.xlarge capacity by not specifying an Availability Zone in your request or choosing us-west-2b."
        ),
        "stock-out",
        ("us-west-2a",),
    ),
    (
        "LaunchFailed",
        "UnfulfillableCapacity: Unable to fulfill capacity due to your request configuration.",
        "stock-out",
        (),
    ),
    ("NodeCreationFailed", "There is no Spot capacity available that matches your request.", "spot", ()),
    ("LaunchFailed", "SpotMaxPriceTooLow: Your Spot request price of 0.1 is lower than the minimum", "spot", ()),
    ("SpotInterrupted", "Spot interruption warning was triggered", "spot", ()),
    (
        "NodeCreationFailed",
        (
            "VcpuLimitExceeded: You have requested more vCPU capacity than your current vCPU limit of 0 allows for the "
            "instance bucket that the specified instance type belongs to."
        ),
        "quota",
        (),
    ),
    ("LaunchFailed", "MaxSpotInstanceCountExceeded: Max spot instance count exceeded", "quota", ()),
    ("LaunchFailed", "InsufficientFreeAddressesInSubnet: not enough free addresses in subnet subnet-1", "limit", ()),
    (
        "LaunchFailed",
        "ReservationCapacityExceeded: the requested reservation does not have sufficient capacity",
        "stock-out",
        (),
    ),
    # GKE and Compute Engine
    (
        "FailedScaleUp",
        (
            "Node scale up in zones us-central1-a, us-central1-b associated with this pod failed: GCE out of resources. "  # noqa: E501 - a sentence as it comes
            "Pod is at risk of not being scheduled."
        ),
        "stock-out",
        ("us-central1-a", "us-central1-b"),
    ),
    (
        "FailedScaleUp",
        "Node scale up in zones us-central1-c associated with this pod failed: GCE quota exceeded. Pod is at risk.",
        "quota",
        ("us-central1-c",),
    ),
    (
        "ScaleUpFailed",
        (
            "Failed adding 1 nodes to group https://www.googleapis.com/compute/v1/projects/p/zones/europe-west4-b/"
            "instanceGroups/gke-c-gpu-grp due to OutOfResource.RESOURCE_POOL_EXHAUSTED; source errors: Instance "
            "'gke-c-gpu-1' creation failed: The zone 'projects/p/zones/europe-west4-b' does not have enough resources "
            "available to fulfill the request."
        ),
        "stock-out",
        ("europe-west4-b",),
    ),
    (
        "ScaleUpFailed",
        "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS: The zone 'projects/p/zones/us-east1-d' ...",
        "stock-out",
        ("us-east1-d",),
    ),
    ("ScaleUpFailed", "QUOTA_EXCEEDED: Quota 'GPUS_ALL_REGIONS' exceeded.  Limit: 0.0 globally.", "quota", ()),
    ("ScaleUpFailed", "IP_SPACE_EXHAUSTED: IP space of 'projects/p/subnetworks/s' is exhausted.", "limit", ()),
    ("ScaleUpFailed", "GCE_STOCKOUT", "stock-out", ()),
    # Azure
    (
        "FailedToScaleUpGroup",
        (
            'Code="AllocationFailed" Message="Allocation failed. We do not have sufficient capacity for the requested VM '  # noqa: E501 - a sentence as it comes
            'size in this region."'
        ),
        "stock-out",
        (),
    ),
    (
        "FailedToScaleUpGroup",
        (
            "ZonalAllocationFailed: Allocation failed. We do not have sufficient capacity for the requested VM size in this "  # noqa: E501 - a sentence as it comes
            "zone. Zone '2', location 'westeurope'."
        ),
        "stock-out",
        ("westeurope-2",),
    ),
    (
        "LaunchFailed",
        (
            "SkuNotAvailable: The requested VM size for resource 'x' is currently not available in location 'eastus' zones "  # noqa: E501 - a sentence as it comes
            "'1' for subscription 's'."
        ),
        "stock-out",
        ("eastus-1",),
    ),
    (
        "LaunchFailed",
        "OverconstrainedAllocationRequest: Create or update VM failed: too many constraints.",
        "stock-out",
        (),
    ),
    ("LaunchFailed", "OverconstrainedZonalAllocationRequest: no zone satisfies it", "stock-out", ()),
    (
        "InsufficientCapacityError",
        (
            "OperationNotAllowed: Operation could not be completed as it results in exceeding approved "
            "standardNVADSA10v5Family Cores quota."
        ),
        "quota",
        (),
    ),
    ("ScaleUpFailed", "LowPriorityCores: exceeding approved LowPriorityCores quota. Current Limit: 0", "quota", ()),
    ("PreemptScheduled", "Scheduled for preemption", "spot", ()),
    # Autoscalers' and Kubernetes' own limits
    (
        "FailedScheduling",
        'Failed to schedule pod, all available instance types exceed limits for nodepool: "gpu"',
        "limit",
        (),
    ),
    ("NotTriggerScaleUp", "pod didn't trigger scale-up: 2 max node group size reached", "limit", ()),
    ("NotTriggerScaleUp", "pod didn't trigger scale-up: 1 max cluster cpu, memory limit reached", "limit", ()),
    (
        "NotTriggerScaleUp",
        (
            "pod didn't trigger scale-up (it wouldn't fit if a new node is added): 1 in backoff after failed scale-up, "
            "2 node(s) had untolerated taint {sku: gpu}"
        ),
        "refused",
        (),
    ),
    (
        "FailedToCreateWorkerPod",
        'pods "w" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=1, used: 8',
        "quota",
        (),
    ),
    ("ScaleUpFailed", "partial capacity: only 1 of 4 instances were created", "stock-out", ()),
    # Zones that are offered instead, and zones as labels of Azure's nodes
    (
        "LaunchFailed",
        (
            "Unsupported: Your requested instance type (p5.48xlarge) is not supported in your requested Availability "
            "Zone (us-east-1f). Please retry your request by not specifying a zone or choosing us-east-1a."
        ),
        "stock-out",
        ("us-east-1f",),
    ),
    (
        "ScaleUpFailed",
        (
            "A g2-standard-8 VM instance with 1 nvidia-l4 accelerator(s) is currently unavailable in the us-central1-a "
            "zone. Consider trying your request in the us-central1-b, us-central1-c zone(s)."
        ),
        "stock-out",
        ("us-central1-a",),
    ),
    ("LaunchFailed", "unable to allocate resources in the selected zone (westus2-3).", "stock-out", ("westus2-3",)),
    (
        "LaunchFailed",
        "the requested SKU is unavailable for instance type Standard_NC24ads_A100_v4 in zone eastus-1 with",
        "stock-out",
        ("eastus-1",),
    ),
    ("noScaleUp", "scale.up.error.out.of.resources", "stock-out", ()),
    ("noScaleUp", "scale.up.error.ip.space.exhausted", "limit", ()),
    ("LaunchFailed", "VolumeLimitExceeded: You have exceeded your maximum gp3 storage limit.", "quota", ()),
    (
        "FailedCreate",
        "The VM size of Standard_NC6s_v3 is not allowed in your subscription in location 'x'.",
        "quota",
        (),
    ),
    ("SpotPreempted", "Instance gke-c-gpu-1 was preempted by Compute Engine", "spot", ()),
]
NOT_REFUSED = [
    ("TriggeredScaleUp", "pod triggered scale-up: [{gpu 0->1 (max: 4)}]"),
    ("Nominated", "Pod should schedule on: nodeclaim/gpu-x"),
    ("FailedScheduling", 'incompatible with nodepool "gpu", no instance type has enough resources'),
    (
        "NotTriggerScaleUp",
        "pod didn't trigger scale-up: 1 max node group size reached, 1 node(s) had untolerated taint(s)",
    ),
    ("NotTriggerScaleUp", "pod didn't trigger scale-up: "),
    ("NotTriggerScaleUp", "pod didn't trigger scale-up: 3 Insufficient nvidia.com/gpu"),
    ("LaunchFailed", "RequestLimitExceeded: Request limit exceeded."),
    ("LaunchFailed", "Quota exceeded for quota metric 'Read requests' and limit 'Read requests per minute'"),
    ("LaunchFailed", "InvalidSnapshot.NotFound: The snapshot 'snap-1' does not exist."),
    ("LaunchFailed", "UnauthorizedOperation: You are not authorized to perform this operation."),
    ("NodeNotReady", "Node n status is now: NodeNotReady"),
    ("NodeHasSufficientMemory", "Node n status is now: NodeHasSufficientMemory"),
    ("FailedMount", "MountVolume.SetUp failed: timed out"),
    ("Preempted", "Preempted by pod 5d1f on node gpu-node-1"),
    ("ScaleUpFailed", "TooManyRequests: the limit has been reached for operation type - HighCostGet"),
    ("FailedToCreateHeadPod", "pods is forbidden: User cannot create resource"),
]


@pytest.mark.parametrize(("reason", "sentence", "kind", "zones"), REFUSED)
def test_a_refusal_is_known_by_its_kind_and_its_zone(
    reason: str, sentence: str, kind: str, zones: tuple[str, ...]
) -> None:
    """Stock-outs, quotas, spot, limits and partial capacity; the zones that are offered instead are no refusals."""
    assert refusal_kind(sentence, reason) == kind
    assert kind in KINDS
    assert zones_in(sentence) == zones


@pytest.mark.parametrize(("reason", "sentence"), NOT_REFUSED)
def test_other_troubles_are_no_refusal(reason: str, sentence: str) -> None:
    """Requests that are not fulfilled yet, misfits, throttled calls, rights and kubelets refuse no capacity."""
    assert refusal_kind(sentence, reason) is None


def test_a_numbered_zone_is_named_with_the_region_of_the_cluster() -> None:
    """Azure's sentences number zones; nodes' labels have the region before the number."""
    told = "Allocation failed in zone 3"
    assert zones_in(told, "eastus") == ("eastus-3",)
    assert zones_in(told) == ("3",)
