"""Questions a client asks about itself: may I do this, who am I. Answered from the faults, never stored."""

from typing import Any

from llm_provisioning_simulator.faults import Faults
from llm_provisioning_simulator.kube.authorization import USER, Roles
from llm_provisioning_simulator.kube.calls import Call
from llm_provisioning_simulator.kube.resources import Resource
from llm_provisioning_simulator.kube.statuses import StatusError, forbidden

Object = dict[str, Any]


def review(call: Call, faults: Faults, roles: Roles | None = None) -> Object:
    """Answer a SelfSubjectAccessReview, SelfSubjectRulesReview or SelfSubjectReview."""
    document = call.mapping()
    kind = call.place.resource
    answer: Object = {
        "kind": kind.kind,
        "apiVersion": kind.api_version,
        "metadata": {},
        "spec": document.get("spec") or {},
    }
    if kind.plural == "selfsubjectaccessreviews":
        answer["status"] = _access(answer["spec"], faults, roles)
    elif kind.plural == "selfsubjectrulesreviews":
        everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
        answer["status"] = {"resourceRules": [everything], "nonResourceRules": [], "incomplete": bool(faults.forbidden)}
    else:
        del answer["spec"]
        answer["status"] = {"userInfo": {"username": USER, "groups": ["system:authenticated"]}}
    return answer


def check_allowed(call: Call, faults: Faults) -> None:
    """Raise a 403 for what the `forbidden` fault takes away."""
    kind, verb = call.place.resource, call.verb
    if faults.forbidden and faults.forbids(verb, kind.plural):
        raise forbidden(kind, call.place.name, _refusal(call, kind, verb))


def _access(spec: Object, faults: Faults, roles: Roles | None) -> Object:
    asked = spec.get("resourceAttributes") or {}
    if roles is not None and not roles.review(asked):
        return {"allowed": False}
    refused = any(faults.forbids(verb, asked.get("resource", "")) for verb in (asked.get("verb", ""),))
    return {"allowed": not refused}


def _refusal(call: Call, kind: Resource, verb: str) -> str:
    namespace = call.place.namespace
    where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
    subject = f"{kind.plural}/{call.place.subresource}" if call.place.subresource else kind.plural
    return f'User "{USER}" cannot {verb} resource "{subject}" in API group "{kind.group}" {where}'


def refused_reply() -> StatusError:
    """Return the 429 of a busy API server."""
    message = "The server has received too many requests and has asked us to try again later"
    return StatusError(429, "TooManyRequests", message, {"retryAfterSeconds": 1})
