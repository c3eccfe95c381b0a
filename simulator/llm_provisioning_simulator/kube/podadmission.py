"""Why the API server refuses a pod: admission plug-ins and validation, as far as they can meet a Ray pod.

ServiceAccount, Priority, RuntimeClass, LimitRanger, ResourceQuota and PodSecurity of Kubernetes 1.34 in their words,
and the checks of a pod's own fields that a RayService's schema does not make. What the objects in the cluster do not
cause (webhooks) comes through `ObjectStore.gates`.
"""

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from llm_provisioning_simulator.kube.quantities import quantity
from llm_provisioning_simulator.kube.schemas import Cause

if TYPE_CHECKING:
    from llm_provisioning_simulator.kube.store import ObjectStore

Object = dict[str, Any]

_ENFORCE: Final = "pod-security.kubernetes.io/enforce"
_BUILT_IN_PRIORITIES: Final = frozenset({"system-cluster-critical", "system-node-critical"})


def invalid_fields(pod: Object) -> Iterator[Cause]:
    """Yield what is wrong with a pod's own fields (pkg/apis/core/validation, v1.34)."""
    spec = pod["spec"]
    volumes = {volume["name"] for volume in spec.get("volumes") or ()}
    for kind in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(kind) or ()):
            path = f"spec.{kind}[{index}]"
            yield from _amounts(container, path)
            for number, mount in enumerate(container.get("volumeMounts") or ()):
                if mount["name"] not in volumes:
                    where = f"{path}.volumeMounts[{number}].name"
                    yield "FieldValueNotFound", where, f'Not found: "{mount["name"]}"'


def refusal(pod: Object, store: "ObjectStore") -> str | None:
    """Return why an admission plug-in refuses a pod, or None; the first one decides, as on a real server."""
    return next((why for plugin in _PLUGINS for why in plugin(pod, store)), None)


def _amounts(container: Object, path: str) -> Iterator[Cause]:
    resources = container.get("resources") or {}
    limits = resources.get("limits") or {}
    for name, asked in (resources.get("requests") or {}).items():
        if name not in limits:
            continue
        if quantity(asked) > quantity(limits[name]):
            message = f'Invalid value: "{asked}": must be less than or equal to {name} limit of {limits[name]}'
            yield "FieldValueInvalid", f"{path}.resources.requests", message
        elif "/" in name and quantity(asked) != quantity(limits[name]):
            message = f'Invalid value: "{asked}": must be equal to {name} limit of {limits[name]}'
            yield "FieldValueInvalid", f"{path}.resources.requests", message


def _service_account(pod: Object, store: "ObjectStore") -> Iterator[str]:
    name, namespace = pod["spec"].get("serviceAccountName", "default"), pod["metadata"]["namespace"]
    if name != "default" and store.peek("serviceaccounts", name, namespace) is None:
        yield f'error looking up service account {namespace}/{name}: serviceaccount "{name}" not found'


def _priority(pod: Object, store: "ObjectStore") -> Iterator[str]:
    name = pod["spec"].get("priorityClassName")
    if name and name not in _BUILT_IN_PRIORITIES and store.peek("priorityclasses", name) is None:
        yield f"no PriorityClass with name {name} was found"


def _runtime_class(pod: Object, store: "ObjectStore") -> Iterator[str]:
    del store  # no cluster here has a RuntimeClass
    if name := pod["spec"].get("runtimeClassName"):
        yield f'pod rejected: RuntimeClass "{name}" not found'


def _limit_range(pod: Object, store: "ObjectStore") -> Iterator[str]:
    for item in store.peek_all("limitranges", pod["metadata"]["namespace"]):
        for rule in (item.get("spec") or {}).get("limits") or ():
            if rule.get("type") != "Container":
                continue
            for name, most in (rule.get("max") or {}).items():
                for container in pod["spec"]["containers"]:
                    limit = ((container.get("resources") or {}).get("limits") or {}).get(name)
                    if limit is not None and quantity(limit) > quantity(most):
                        yield f"maximum {name} usage per Container is {most}, but limit is {limit}"


def _quota(pod: Object, store: "ObjectStore") -> Iterator[str]:
    namespace = pod["metadata"]["namespace"]
    others = [
        item
        for item in store.peek_all("pods", namespace)
        if (item.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
    ]
    for quota in store.peek_all("resourcequotas", namespace):
        hard = (quota.get("spec") or {}).get("hard") or {}
        asked = {name: _usage(pod, name) for name in hard}
        missing = [name for name, amount in asked.items() if amount is None]
        if missing:
            names = " ".join(item["name"] for item in pod["spec"]["containers"])
            yield f"failed quota: {quota['metadata']['name']}: must specify {missing[0]} for: {names}"
        used = {name: sum((_usage(item, name) or Decimal(0) for item in others), Decimal(0)) for name in hard}
        over = sorted(name for name in hard if (asked[name] or 0) + used[name] > quantity(hard[name]) and asked[name])
        if over:
            requested = ",".join(f"{name}={_plain(asked[name])}" for name in over)
            taken = ",".join(f"{name}={_plain(used[name])}" for name in over)
            limited = ",".join(f"{name}={hard[name]}" for name in over)
            name = quota["metadata"]["name"]
            yield f"exceeded quota: {name}, requested: {requested}, used: {taken}, limited: {limited}"


def _usage(pod: Object, name: str) -> Decimal | None:
    """Return what a pod takes of a quota's resource; None where a container leaves out what the quota demands."""
    if name in ("pods", "count/pods"):
        return Decimal(1)
    part, _, resource = name.partition(".")
    if part not in ("requests", "limits"):
        part, resource = "requests", name
    total = Decimal(0)
    for container in pod["spec"]["containers"]:
        amount = ((container.get("resources") or {}).get(part) or {}).get(resource)
        if amount is None and resource in ("cpu", "memory"):
            return None
        total += quantity(amount or 0)
    return total


def _plain(amount: Decimal | None) -> str:
    return f"{(amount or Decimal(0)).normalize():f}"


def _pod_security(pod: Object, store: "ObjectStore") -> Iterator[str]:
    namespace = store.peek("namespaces", pod["metadata"]["namespace"]) or {"metadata": {}}
    level = (namespace["metadata"].get("labels") or {}).get(_ENFORCE, "privileged")
    found = [text for text in _violations(pod, restricted=level == "restricted") if level != "privileged"]
    if found:
        yield f'violates PodSecurity "{level}:latest": {", ".join(found)}'


def _violations(pod: Object, *, restricted: bool) -> Iterator[str]:
    spec = pod["spec"]
    hosts = [volume["name"] for volume in spec.get("volumes") or () if "hostPath" in volume]
    if hosts:
        yield f"hostPath volumes ({_listed('volume', hosts)})"
    if spec.get("hostNetwork"):
        yield "host namespaces (hostNetwork=true)"
    containers = [*(spec.get("initContainers") or ()), *spec["containers"]]
    privileged = [item["name"] for item in containers if (item.get("securityContext") or {}).get("privileged")]
    if privileged:
        yield f"privileged ({_listed('container', privileged)} must not set securityContext.privileged=true)"
    if restricted:
        yield from _restricted(spec, containers)


def _restricted(spec: Object, containers: list[Object]) -> Iterator[str]:
    def lacking(holds: Callable[[Mapping[str, Any]], bool]) -> list[str]:
        return [item["name"] for item in containers if not holds(item.get("securityContext") or {})]

    whole = spec.get("securityContext") or {}
    if names := lacking(lambda own: own.get("allowPrivilegeEscalation") is False):
        yield (
            f"allowPrivilegeEscalation != false ({_listed('container', names)} must set "
            "securityContext.allowPrivilegeEscalation=false)"
        )
    if names := lacking(lambda own: "ALL" in ((own.get("capabilities") or {}).get("drop") or ())):
        yield (
            f"unrestricted capabilities ({_listed('container', names)} must set "
            'securityContext.capabilities.drop=["ALL"])'
        )
    if names := lacking(lambda own: bool({**whole, **own}.get("runAsNonRoot"))):
        yield (
            f"runAsNonRoot != true (pod or {_listed('container', names)} must set securityContext.runAsNonRoot=true)"
        )
    if names := lacking(lambda own: "seccompProfile" in {**whole, **own}):
        yield (
            f"seccompProfile (pod or {_listed('container', names)} must set securityContext.seccompProfile.type to "
            '"RuntimeDefault" or "Localhost")'
        )


def _listed(noun: str, names: list[str]) -> str:
    return f"{noun}{'s' if len(names) > 1 else ''} " + ", ".join(f'"{name}"' for name in names)


_PLUGINS: Final[tuple[Callable[[Object, "ObjectStore"], Iterator[str]], ...]] = (
    _service_account,
    _priority,
    _runtime_class,
    _limit_range,
    _pod_security,
    _quota,
)
