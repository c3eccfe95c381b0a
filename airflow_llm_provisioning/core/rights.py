"""What the identity of a connection must be allowed to do in a cluster: the one table that code and docs share.

Preflight asks the cluster for it, `docs/iam/kubernetes.yaml` is written from it, and a whole trial runs with it in the
tests. A right that no task uses is not in it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

# Events about nodes are in this namespace, wherever the pods are (kubernetes, client-go tools/record: objects without a
# namespace).
NODE_EVENTS_NAMESPACE: Final = "default"

Scope = Literal["namespace", "node events", "cluster"]


@dataclass(frozen=True, slots=True)
class Rule:
    """Verbs on one resource. `resource`: plural, with a subresource where one is meant. `scope`: the target's
    namespace, the namespace of node events, or the whole cluster.
    """

    scope: Scope
    group: str
    resource: str
    verbs: tuple[str, ...]


_WATCHED: Final = ("list", "watch")

TRIAL: Final = (
    Rule("namespace", "ray.io", "rayservices", ("get", "list", "watch", "create", "delete")),
    Rule("namespace", "ray.io", "rayclusters", _WATCHED),
    Rule("namespace", "", "pods", ("get", *_WATCHED)),
    Rule("namespace", "", "services", _WATCHED),
    Rule("namespace", "discovery.k8s.io", "endpointslices", _WATCHED),
    Rule("namespace", "", "events", _WATCHED),
    # Ray's state and the first completion: a GET and a POST through the API server's proxy.
    Rule("namespace", "", "services/proxy", ("get", "create")),
    Rule("namespace", "", "pods/log", ("get",)),
    # The lock.
    Rule("namespace", "coordination.k8s.io", "leases", ("get", "create", "update", "delete")),
    Rule("node events", "", "events", _WATCHED),
    Rule("cluster", "", "nodes", ("get", *_WATCHED)),
)
# Karpenter says in its claims which instance was asked for, and when.
KARPENTER_TRIAL: Final = (Rule("cluster", "karpenter.sh", "nodeclaims", _WATCHED),)
# `ApplyRayService` without a trial applies server-side.
APPLY_ALONE: Final = (Rule("namespace", "ray.io", "rayservices", ("patch",)),)
# What preflight looks at, and what explains why something was not deleted. Without it they say that they do not know.
LOOKED_AT: Final = (Rule("cluster", "apps", "deployments", ("list",)), Rule("cluster", "apps", "daemonsets", ("list",)))
LUNA_LOOKED_AT: Final = (Rule("cluster", "apps", "deployments", ("get",)),)
KARPENTER_LOOKED_AT: Final = (Rule("cluster", "apiextensions.k8s.io", "customresourcedefinitions", ("get",)),)

# What `owned` lists and `reap` deletes. A kind that may not be listed is said to be unknown. Listing Secrets would show
# their content; ours is only asked for their names and labels, which is no smaller right.
OWNED: Final = (
    *(Rule("namespace", "ray.io", name, ("get", "list")) for name in ("rayservices", "rayclusters")),
    *(Rule("namespace", "", name, ("get", "list")) for name in ("pods", "services")),
    *(
        Rule("namespace", "", name, ("list",))
        for name in ("secrets", "configmaps", "persistentvolumeclaims", "podtemplates")
    ),
    *(Rule("namespace", "apps", name, ("list",)) for name in ("daemonsets", "deployments")),
    Rule("namespace", "batch", "jobs", ("list",)),
    Rule("namespace", "coordination.k8s.io", "leases", ("get", "list")),
    Rule("cluster", "", "nodes", ("get", "list")),
    Rule("cluster", "scheduling.k8s.io", "priorityclasses", ("list",)),
)
# Where the cluster serves CapacityBuffers.
BUFFERS_OWNED: Final = (Rule("namespace", "autoscaling.x-k8s.io", "capacitybuffers", ("list",)),)
KARPENTER_OWNED: Final = (
    *(Rule("cluster", "karpenter.sh", name, ("list",)) for name in ("nodeclaims", "nodepools")),
    Rule("cluster", "karpenter.k8s.aws", "ec2nodeclasses", ("list",)),
    Rule("cluster", "karpenter.azure.com", "aksnodeclasses", ("list",)),
)
REAPED: Final = (
    *(Rule("namespace", "ray.io", name, ("delete",)) for name in ("rayservices", "rayclusters")),
    Rule("namespace", "", "pods", ("delete",)),
    Rule("namespace", "coordination.k8s.io", "leases", ("delete",)),
    # They explain why something is still there.
    Rule("cluster", "apps", "deployments", ("list",)),
    Rule("cluster", "", "namespaces", ("get",)),
)


# A server-side apply that creates needs `create` beside `patch` (kubernetes, apiserver endpoints/handlers/patch.go).
_OBJECT: Final = ("get", "create", "patch", "delete")
# What `PrepareObjects` applies for a treatment, looks at and replaces, and what the reaper deletes of it. A treatment
# needs only the kinds that its page names.
PREPARED: Final = (
    *(Rule("namespace", "apps", name, _OBJECT) for name in ("daemonsets", "deployments")),
    Rule("namespace", "batch", "jobs", _OBJECT),
    *(
        Rule("namespace", "", name, _OBJECT)
        for name in ("configmaps", "persistentvolumeclaims", "services", "podtemplates")
    ),
    Rule("namespace", "autoscaling.x-k8s.io", "capacitybuffers", _OBJECT),
    # Created: the pods beside a RayService (`core.companions`).
    Rule("namespace", "", "pods", ("list", "create")),
    Rule("namespace", "", "pods/log", ("get",)),
    Rule("cluster", "", "nodes", ("get",)),
    Rule("cluster", "scheduling.k8s.io", "priorityclasses", _OBJECT),
    Rule("cluster", "karpenter.sh", "nodepools", _OBJECT),
    # Whether a claim's class is there, and its driver.
    *(Rule("cluster", "storage.k8s.io", name, ("list",)) for name in ("storageclasses", "csidrivers")),
)


def trial_rules(autoscaler: str) -> tuple[Rule, ...]:
    """Return what a trial on a target with this node autoscaler uses."""
    return (*TRIAL, *(KARPENTER_TRIAL if autoscaler == "karpenter" else ()))


def looked_at_rules(autoscaler: str) -> tuple[Rule, ...]:
    """Return what preflight looks at on such a target, beyond what its trials use."""
    more = {"luna": LUNA_LOOKED_AT, "karpenter": KARPENTER_LOOKED_AT}.get(autoscaler, ())
    return (*LOOKED_AT, *more)


def namespace_of(rule: Rule, namespace: str) -> str | None:
    """Return where a rule is needed by a target in `namespace`; None: cluster-wide."""
    return {"namespace": namespace, "node events": NODE_EVENTS_NAMESPACE, "cluster": None}[rule.scope]


def rbac(namespace: str, rules: Sequence[Rule], *, name: str = "llm-provisioning") -> list[dict[str, Any]]:
    """Return the Roles, the ClusterRole and their bindings that grant these rules to the group `name`."""
    found: list[dict[str, Any]] = []
    for place in dict.fromkeys(namespace_of(rule, namespace) for rule in rules):
        granted = [rule for rule in rules if namespace_of(rule, namespace) == place]
        kind = "ClusterRole" if place is None else "Role"
        suffix = {None: "cluster", namespace: "trials"}.get(place, "node-events")
        metadata = {"name": f"{name}-{suffix}", **({"namespace": place} if place else {})}
        found += [
            {"apiVersion": _RBAC, "kind": kind, "metadata": metadata, "rules": list(_merged(granted))},
            {
                "apiVersion": _RBAC,
                "kind": f"{kind}Binding",
                "metadata": metadata,
                "roleRef": {"apiGroup": _RBAC.partition("/")[0], "kind": kind, "name": metadata["name"]},
                "subjects": [{"apiGroup": _RBAC.partition("/")[0], "kind": "Group", "name": name}],
            },
        ]
    return found


_RBAC: Final = "rbac.authorization.k8s.io/v1"


def _merged(rules: Sequence[Rule]) -> Iterator[dict[str, Any]]:
    """Yield one rule of RBAC for each resource, with every verb once."""
    for group, resource in dict.fromkeys((rule.group, rule.resource) for rule in rules):
        verbs = dict.fromkeys(
            verb for rule in rules if (rule.group, rule.resource) == (group, resource) for verb in rule.verbs
        )
        yield {"apiGroups": [group], "resources": [resource], "verbs": list(verbs)}
