"""Roles that the API server enforces where some are given; without any, every request is allowed.

A role is what RBAC says of it: API groups, resources (`services/proxy` for a subresource) and verbs, in one namespace
or in all. Names of resources, wildcards of URLs and aggregation are not enforced.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from llm_provisioning_simulator.kube.calls import Call
from llm_provisioning_simulator.kube.statuses import forbidden

USER = "simulated-user"


@dataclass(frozen=True, slots=True)
class Access:
    """One thing that a client does. `namespace`: None for the whole cluster."""

    verb: str
    group: str
    resource: str
    namespace: str | None


class Roles:
    """What the client may do. `used` and `refused` are what it asked for, for tests."""

    def __init__(self, objects: Iterable[Mapping[str, Any]]) -> None:
        """Take Roles and ClusterRoles; their bindings are taken to name the client."""
        self._rules = [
            (role["metadata"].get("namespace") if role["kind"] == "Role" else None, rule)
            for role in objects
            if role["kind"] in ("Role", "ClusterRole")
            for rule in role["rules"]
        ]
        self.used: set[Access] = set()
        self.refused: set[Access] = set()

    def allow(self, asked: Access) -> bool:
        """Return whether one of the rules allows it."""
        return any(namespace in (None, asked.namespace) and _grants(rule, asked) for namespace, rule in self._rules)

    def check(self, call: Call, verb: str | None = None) -> None:
        """Raise a 403 for a request that no rule allows. `verb`: what it does beside what its method says."""
        kind = call.place.resource
        if kind.review:
            return
        named = _named(kind.plural, call.place.subresource)
        asked = Access(verb or call.verb, kind.group, named, call.place.namespace)
        if self.allow(asked):
            self.used.add(asked)
            return
        self.refused.add(asked)
        where = f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope"
        words = f'cannot {asked.verb} resource "{asked.resource}" in API group "{asked.group}" {where}'
        raise forbidden(kind, call.place.name, f'User "{USER}" {words}')

    def review(self, attributes: Mapping[str, Any]) -> bool:
        """Answer a SelfSubjectAccessReview's `resourceAttributes`."""
        resource = _named(attributes.get("resource", ""), attributes.get("subresource", ""))
        group, namespace = attributes.get("group", ""), attributes.get("namespace") or None
        return self.allow(Access(attributes.get("verb", ""), group, resource, namespace))


def _named(plural: str, subresource: str) -> str:
    return f"{plural}/{subresource}" if subresource else plural


def _grants(rule: Mapping[str, Any], asked: Access) -> bool:
    wanted = (("apiGroups", asked.group), ("resources", asked.resource), ("verbs", asked.verb))
    return all(value in rule[key] or "*" in rule[key] for key, value in wanted)
