"""Admission webhooks that refuse Ray's pods: a policy that says no, and a webhook that does not answer."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from llm_provisioning_simulator.faults import CHOICES, Faults
from llm_provisioning_simulator.kube.statuses import StatusError

Object = dict[str, Any]

_CALLING: Final = (
    'Internal error occurred: failed calling webhook "mutate.policy.svc": failed to call webhook: '
    'Post "https://mutate.policy.svc:443/mutate?timeout=10s": '
)
_DENIED: Final = (
    'admission webhook "validate.kyverno.svc-fail" denied the request: \n\nresource Pod was blocked due to the '
    "following policies \n\nrequire-team-label:\n  check-team: 'validation error: label ''team'' is required.'"
)
ANSWERS: Final[Mapping[str, tuple[int, str, str]]] = {
    "denies": (400, "BadRequest", _DENIED),
    "unreachable": (500, "InternalError", f"{_CALLING}dial tcp 10.96.12.8:443: connect: connection refused"),
    "times_out": (500, "InternalError", f"{_CALLING}context deadline exceeded"),
}
"""Name -> code, reason and message of the answer (k8s.io/apiserver, pkg/admission/plugin/webhook)."""


CHOICES["webhook"] = frozenset(ANSWERS)


def pod_gate(faults: Faults) -> Callable[[Object], None]:
    """Return what asks the webhooks about a new pod."""

    def ask(pod: Object) -> None:
        labels = pod["metadata"].get("labels") or {}
        if faults.webhook and labels.get("ray.io/is-ray-node") == "yes":
            code, reason, message = ANSWERS[faults.webhook]
            raise StatusError(code, reason, message, {})

    return ask
