"""The sentences by which clouds and node autoscalers refuse capacity, their kind, and the zones that they name.

Sources: the EC2 API's error codes; Karpenter's providers (aws and azure, `pkg/errors` and `instance`), which take the
same codes as insufficient capacity; Compute Engine's and GKE's troubleshooting pages ("Resource availability errors",
"GCE out of resources"); Azure's pages on allocation failures and on SKU errors; kubernetes/autoscaler
(`clusterstate.go`, `skipped_reasons.go`, `eventing_scale_up_processor.go`).
"""

import re
from typing import Final

STOCK: Final = "stock-out"
QUOTA: Final = "quota"
SPOT: Final = "spot"
LIMIT: Final = "limit"
REFUSED: Final = "refused"
KINDS: Final = {
    STOCK: "the cloud has no such machine at this moment",
    QUOTA: "a quota of the account, the subscription, the project or the namespace is used up",
    SPOT: "the cloud has no spot capacity, or took it back",
    LIMIT: "a limit of the cluster's own is reached: the size of a node pool, the addresses of a subnet",
    REFUSED: "the autoscaler says that the cloud refused it, and not why",
}

# Limits on requests to an API pass within moments, and refuse no machine.
_THROTTLED: Final = re.compile(
    r"request ?limit ?exceeded|rate ?limit|rate exceeded|requests? per |quota metric|throttl|too ?many ?requests",
    re.IGNORECASE,
)
_SPOT: Final = (
    r"spot ?interrupt|spotinterruption|no spot capacity|spotmaxpricetoolow|overconstrained\w*spot|spotvmevicted"
    r"|preemptscheduled|spot (?:instance|vm|node)s? (?:was |were |is |has been )?(?:evicted|reclaimed|preempted)"
    r"|spot (?:instances?|vms?|capacity) (?:is |are )?(?:not|un)\s?available"
    r"|(?:vm|instance) \S{1,80} (?:was|has been) preempted"
)
_QUOTA: Final = (
    r"quota[ _]?exceeded|exceed\w*\b.{0,80}\bquota|quota\b.{0,80}(?:exceed|exhaust|reached|insufficient|used up)"
    r"|insufficient\b.{0,20}\bquota|insufficientquota|vcpu ?limit ?exceeded|instance ?limit ?exceeded"
    r"|vcpu capacity than your current|max ?spot ?instance ?count ?exceeded|notavailableforsubscription"
    r"|lowpriority\w*quota|limit exceeded for (?:vcpu|gpu|instance)|out of quota"
    r"|volume ?limit ?exceeded|not allowed in your subscription"
)
_STOCK: Final = (
    r"insufficient ?capacity|insufficient\w*capacity|insufficient \S+ capacity|unfulfillable ?capacity"
    r"|unable to fulfill capacity|capacity ?exceeded|capacity\w*notavailable|capacityisnotfound|capacity not found"
    r"|not have sufficient .{0,60}capacity|out[ .]of[ .](?:capacity|resources|stock|host capacity)|stock-?_?out"
    r"|resource_?pool_?exhausted|zone_resource_pool|vm_min_count_not_reached|outofresource"
    r"|does not have enough resources available to fulfill|not enough (?:capacity|resources available)"
    r"|sku ?not ?available|sku\b.{0,60}\b(?:not|un) ?available|allocation ?failed|allocation failure"
    r"|over ?constrained\w*allocation|overconstrained|unable to allocate resources"
    r"|no (?:available|sufficient|remaining) (?:capacity|instances?)|no capacity|lack of capacity|capacity shortage"
    r"|(?:is|are) currently (?:unavailable|sold out)|partial capacity|only \d+ of \d+ (?:instances?|nodes?|vms?)"
    r"|instance type \(?\S*\)? is not supported in your requested availability zone"
)
_LIMIT: Final = (
    r"exceeds? limits? for nodepool|max(?:imum)? node group size reached|max cluster .{0,60}limit reached"
    r"|max(?:imum)? (?:total )?(?:number of )?nodes .{0,40}reached|max total nodes"
    r"|insufficientfreeaddressesinsubnet|not have enough free addresses|ip[_. ]space[_. ]exhausted|subnet ?is ?full"
)
_KINDS: Final = tuple(
    (kind, re.compile(pattern, re.IGNORECASE | re.DOTALL))
    for kind, pattern in ((SPOT, _SPOT), (QUOTA, _QUOTA), (LIMIT, _LIMIT), (STOCK, _STOCK))
)
# A part of a pod's NotTriggerScaleUp: so many node groups, and why they did not grow.
_GROUPS: Final = re.compile(r"(?:^|[:,]\s*)(\d+) (.+?)(?=,\s*\d+ |$)")
_BACKOFF: Final = "in backoff after failed scale-up"
_ALTERNATIVES: Final = re.compile(
    r"you can currently get\b|you could (?:also )?(?:try|use)\b|retry your request by\b|consider trying\b",
    re.IGNORECASE,
)
_ZONES: Final = (
    # us-west-2a, us-gov-west-1b, us-west-2-lax-1a
    re.compile(
        r"\b(?:us|eu|ap|sa|ca|me|af|il|mx|cn)(?:-gov|-iso[a-z]?)?-(?:north|south|east|west|central)(?:east|west)?-\d"
        r"(?:-[a-z]{3}-\d)?[a-z]\b"
    ),
    # us-central1-a
    re.compile(r"\b(?:us|europe|asia|australia|northamerica|southamerica|me|africa)-[a-z]+\d+-[a-z]\b"),
)
# Azure's as nodes' labels have them, behind the word.
_AZURE_LABEL: Final = re.compile(r"\bzones? \(?([a-z]{4,30}\d?-[1-3])\b", re.IGNORECASE)
_AZURE_ZONE: Final = re.compile(r"\bzones?\W{1,3}([1-3])\b", re.IGNORECASE)
_AZURE_REGION: Final = re.compile(r"\b(?:location|region)\W{1,3}([a-z]+[a-z0-9]*)\b", re.IGNORECASE)


def refusal_kind(sentence: str, reason: str = "") -> str | None:
    """Return how a sentence of a cloud or a node autoscaler refuses capacity, a key of `KINDS`; None if it does not.

    `reason`: the event's or condition's reason. A scheduler's `Insufficient nvidia.com/gpu` is not asked about here: it
    describes the nodes that exist.
    """
    if reason == "NotTriggerScaleUp":
        return _of_node_groups(sentence)
    said = f"{reason}: {sentence}"
    if _THROTTLED.search(said):
        return None
    return next((kind for kind, pattern in _KINDS if pattern.search(said)), None)


def zones_in(sentence: str, region: str | None = None) -> tuple[str, ...]:
    """Return the zones that a refusal names, as nodes' labels spell them. `region`: of the cluster, for Azure, whose
    sentences number the zones.
    """
    told = _ALTERNATIVES.split(sentence, maxsplit=1)[0]
    found = [zone for pattern in (*_ZONES, _AZURE_LABEL) for zone in pattern.findall(told)]
    if not found:
        named = _AZURE_REGION.search(told)
        where = named.group(1).lower() if named else region
        found = [f"{where}-{number}" if where else number for number in _AZURE_ZONE.findall(told)]
    return tuple(dict.fromkeys(found))


def as_no_capacity(sentence: str) -> str | None:
    """Return a failure as one of capacity, with kind and zones; None where the sentence refuses none."""
    kind, zones = refusal_kind(sentence), zones_in(sentence)
    if kind is None:
        return None
    return f"No capacity ({' in '.join([kind, *([', '.join(zones)] if zones else [])])}): {sentence}"


def _of_node_groups(sentence: str) -> str | None:
    """Return what a pod's NotTriggerScaleUp says: a node group that failed to grow before is refused capacity; groups
    at their limit are it only if no other group has another reason, because the autoscaler looks at the limit first.
    """
    reasons = [reason for _, reason in _GROUPS.findall(sentence)]
    if any(_BACKOFF in reason for reason in reasons):
        return REFUSED
    limit = re.compile(_LIMIT, re.IGNORECASE)
    return LIMIT if reasons and all(limit.search(reason) for reason in reasons) else None
