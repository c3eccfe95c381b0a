"""What a CapacityBuffer says of itself (autoscaling.x-k8s.io).

Sources: kubernetes/autoscaler, cluster-autoscaler/apis/capacitybuffer v1beta1 and capacitybuffer/constants.go;
kubernetes-sigs/karpenter PR 3028. `Provisioning` of the cluster autoscaler says that its virtual pods take part
(FakePodsInjected), of Karpenter that they fit (FitsExistingCapacity): neither shows a node with the image. The cluster
autoscaler wrote one condition over the other at first (until kubernetes/autoscaler PR 9128, in 1.35 PR 9252), and it
provisions only what is ready for it: a missing ReadyForProvisioning beside Provisioning is no objection.
"""

from collections.abc import Mapping
from typing import Any, Final

from airflow_llm_provisioning.core.fields import dig, items, mapping, number, text

KIND: Final = "CapacityBuffer"
API: Final = "autoscaling.x-k8s.io/v1beta1"
ACTIVE: Final = "buffer.x-k8s.io/active-capacity"


def buffer_waits(obj: Mapping[str, Any]) -> str | None:
    """Return what a CapacityBuffer still waits for, in words; None where its autoscaler has taken all of it up."""
    conditions = {text(mapping(item).get("type")): mapping(item) for item in items(dig(obj, "status", "conditions"))}
    limited = conditions.get("LimitedByQuotas")
    if limited and limited.get("status") == "True":
        return f"quotas limit it ({text(limited.get('message'))})"
    for wanted in ("ReadyForProvisioning", "Provisioning"):
        found = conditions.get(wanted)
        if found is None and wanted == "ReadyForProvisioning" and "Provisioning" in conditions:
            continue
        if found is None:
            return f"no autoscaler has set its condition {wanted}"
        if found.get("status") != "True":
            why = ": ".join(filter(None, (text(found.get("reason")), text(found.get("message")))))
            return f"its condition {wanted} is {text(found.get('status'))} ({why})"
    have, wanted_pods = number(dig(obj, "status", "replicas")), number(dig(obj, "spec", "replicas"))
    if wanted_pods is not None and (have or 0) < wanted_pods:
        return f"it has {have or 0:g} of {wanted_pods:g} chunks"
    return None
