"""Kubernetes objects that a preparation leaves in a target's cluster: how they are named, when they are ready, and
whether they are still what was prepared.

A treatment gives them without our names and labels (`PreparedObjects`). The name follows from the content, so that the
same content is found again, and another one replaces it.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from airflow_llm_provisioning.core.buffer_status import KIND, buffer_waits
from airflow_llm_provisioning.core.fields import dig, items, mapping, number, text
from airflow_llm_provisioning.core.names import LABEL_CONTENT, LABEL_EXPIRES, fingerprint, label_value, preparation_tags
from airflow_llm_provisioning.exceptions import ConfigurationError

LABEL_PREPARES: Final = "llm-provisioning/prepares"
VERB: Final = "prepare_"
# Annotation of a pod: which of its log's lines the recording of a trial keeps, as texts of which a line holds one,
# separated by "|".
EVIDENCE: Final = "llm-provisioning/evidence"
# What a Job's container prints, followed by one JSON object, to tell what it made.
FACTS_MARK: Final = "LLM-PREPARED "
# Annotation of a DaemonSet: on how many nodes it must run, `least-most`; without it on all that are there, be it none.
NODES: Final = "llm-provisioning/nodes"
# Label of a DaemonSet's pod whose node counts as prepared once the pod is ready.
MARKS_NODE: Final = "llm-provisioning/marks-node"
NAME: Final = "{name}"
# What stands for the reference of a built image; of several, for the first one (`image_mark`).
IMAGE: Final = "{image}"
_TEMPLATES: Final = (("spec", "template"), ("spec", "jobTemplate", "spec", "template"))
_CLUSTER_SCOPED: Final = frozenset(
    {
        *("Namespace", "Node", "PersistentVolume", "PriorityClass", "StorageClass", "CSIDriver", "ClusterRole"),
        *("ClusterRoleBinding", "CustomResourceDefinition", "NodePool", "EC2NodeClass", "AKSNodeClass"),
        *("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"),
    }
)
_LONGEST_NAME: Final = 63


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedObjects:
    """What a treatment wants in a cluster, JSON throughout.

    `treatment`: its name. `objects`: manifests; those without `metadata.name` get one, and `{name}` in any text stands
    for it. `ready`: kind -> type of the condition that must be true, for kinds other than those that `not_ready` knows.
    `idle`: [{what, name, amount}], what it costs while no trial runs (`core.prices`); of nodes that its pods hold the
    name is found when they run, so `{"what": "node", "amount": 1}` has none.
    """

    treatment: str
    objects: tuple[Mapping[str, Any], ...]
    ready: Mapping[str, str]
    idle: tuple[Mapping[str, Any], ...] = ()

    @property
    def verb(self) -> str:
        """The preparation's verb."""
        return f"{VERB}{self.treatment}"

    @property
    def content(self) -> str:
        """Fingerprint of the objects: the same content is the same preparation."""
        return fingerprint({"objects": [dict(item) for item in self.objects]})

    def placed(self, target: str, namespace: str, expires_at: datetime) -> list[dict[str, Any]]:
        """Return the manifests as they are applied: named, labelled, in the target's namespace."""
        base = f"llm-{self.treatment.replace('_', '-')}"[: _LONGEST_NAME - 18].rstrip("-") + f"-{self.content}"
        tags = {**preparation_tags(self.content, expires_at, target), LABEL_PREPARES: label_value(self.treatment)}
        # The expiry is renewed; in a pod template that would roll a Deployment, and a Job refuses it.
        of_pods = {key: value for key, value in tags.items() if key != LABEL_EXPIRES}
        seen: dict[str, int] = {}
        found = []
        for given in self.objects:
            obj = filled(deepcopy(dict(given)), NAME, base)
            kind = text(obj.get("kind"))
            seen[kind] = seen.get(kind, 0) + 1
            metadata = {"name": base if seen[kind] == 1 else f"{base}-{seen[kind]}", **mapping(obj.get("metadata"))}
            if kind not in _CLUSTER_SCOPED:
                metadata.setdefault("namespace", namespace)
            metadata["labels"] = {**mapping(metadata.get("labels")), **tags}
            obj["metadata"] = metadata
            for path in _TEMPLATES:
                _label_pods(obj, path, of_pods)
            found.append(obj)
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "treatment": self.treatment,
            "objects": [dict(item) for item in self.objects],
            "ready": dict(self.ready),
            "idle": [dict(item) for item in self.idle],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "PreparedObjects":
        """Read it from JSON, as an operator is given it. A ConfigurationError says what is wrong."""
        treatment, objects = text(data.get("treatment")), tuple(map(mapping, items(data.get("objects"))))
        problems = [f"object {i} has no {key}" for i, obj in enumerate(objects) for key in _NEEDED if not obj.get(key)]
        problems += [] if objects else ["there are no objects"]
        problems += [] if re.fullmatch(r"[a-z][a-z0-9_]*", treatment) else [f"{treatment!r} names no treatment"]
        if problems:
            raise ConfigurationError(
                f"The objects of treatment {treatment!r} cannot be prepared: {'; '.join(problems)}."
            )
        idle = tuple(map(mapping, items(data.get("idle"))))
        return cls(treatment=treatment, objects=objects, ready=dict(mapping(data.get("ready"))), idle=idle)


_NEEDED: Final = ("apiVersion", "kind")


def image_mark(number: int) -> str:
    """Return what stands in objects for the image of this number, counted from 0."""
    return IMAGE if number == 0 else f"{{image-{number}}}"


def pod_selector(content: str, treatment: str) -> str:
    """Return the label selector of the pods of prepared objects."""
    return f"{LABEL_CONTENT}={label_value(content)},{LABEL_PREPARES}={label_value(treatment)}"


def not_ready(obj: Mapping[str, Any], ready: Mapping[str, str]) -> str | None:
    """Return what an object still waits for, in words; None when it is ready. As `kubectl rollout status` and
    `kubectl wait` judge (kubectl 1.34, polymorphichelpers/rollout_status.go).
    """
    kind = text(obj.get("kind"))
    if kind in ready:
        return _condition(obj, ready[kind])
    status, spec = mapping(obj.get("status")), mapping(obj.get("spec"))
    if kind == KIND:
        return buffer_waits(obj)
    if kind in ("Deployment", "DaemonSet", "StatefulSet"):
        if (number(status.get("observedGeneration")) or 0) < (number(dig(obj, "metadata", "generation")) or 0):
            return "its controller has not seen it yet"
        wanted = status.get("desiredNumberScheduled", 0) if kind == "DaemonSet" else spec.get("replicas", 1)
        have = status.get(_READY_COUNT[kind]) or 0
        waits = None if have >= wanted else f"{have} of {wanted} pods are ready"
        return _nodes_missing(obj, wanted) or waits if kind == "DaemonSet" else waits
    if kind == "Job":
        return None if _true(obj, "Complete") else f"{status.get('succeeded') or 0} of its pods succeeded"
    if kind == "PersistentVolumeClaim":
        phase = text(status.get("phase"))
        return None if phase == "Bound" else f"it is {phase or 'not bound'}"
    return None


def _nodes_missing(obj: Mapping[str, Any], nodes: int) -> str | None:
    """Return how many nodes a DaemonSet lacks, or which number is left of earlier ones; None where it names none."""
    least, _, most = text(dig(obj, "metadata", "annotations", NODES)).partition("-")
    if not (least.isdigit() and most.isdigit()):
        return None
    if nodes < int(least):
        return f"{nodes} nodes are there for it, and {least} are to be kept"
    if nodes > int(most):
        return f"{nodes} nodes are there for it, and {most} are kept: the others, left of earlier trials, are not gone"
    return None


_READY_COUNT: Final[Mapping[str, str]] = {
    "Deployment": "availableReplicas",
    "DaemonSet": "numberReady",
    "StatefulSet": "readyReplicas",
}


def failed(obj: Mapping[str, Any]) -> str | None:
    """Return why an object will never be ready, in the cluster's words; None while it may."""
    if text(obj.get("kind")) == "Job" and (condition := _true(obj, "Failed")):
        return f"{text(condition.get('reason'))}: {text(condition.get('message'))}".strip(": ")
    if text(obj.get("kind")) == "PersistentVolumeClaim" and dig(obj, "status", "phase") == "Lost":
        return "its volume is lost"
    return None


def facts_of(log: str) -> dict[str, Any]:
    """Return what a Job's pod told of what it made: the last line with `FACTS_MARK` that holds a JSON object."""
    found: dict[str, Any] = {}
    for line in log.splitlines():
        _, mark, told = line.partition(FACTS_MARK)
        if not mark:
            continue
        try:
            found = dict(mapping(json.loads(told)))
        except ValueError:
            continue
    return found


_NOT_READY: Final = " is not ready: "


def as_it_is(prepared: Mapping[str, Any], objects: Sequence[Mapping[str, Any] | None], nodes: Any) -> dict[str, Any]:
    """Return a preparation's result with what is there now, for a trial that is opened: {content, objects, facts,
    nodes, ready, problems, waiting}.

    `objects`: what is found for each of the result's, None where it is gone. `nodes`: [{name, uid, created_at,
    instance_type, pulls}] that host pods of them now. `problems`: sentences; empty means that all of it is what was
    prepared and ready. `waiting`: those of them that pass by waiting, where no other one is left.
    """
    recorded = [mapping(item) for item in items(prepared.get("objects"))]
    ready = {text(key): text(value) for key, value in mapping(prepared.get("ready")).items()}
    pairs = list(zip(recorded, objects, strict=True))
    problems = [told for item, found in pairs for told in _changed(item, found, ready)]
    waiting = [told for told in problems if _NOT_READY in told]
    return {
        "content": prepared.get("content"),
        "objects": [dict(item) for item in recorded],
        "facts": dict(mapping(prepared.get("facts"))),
        "nodes": [dict(mapping(node)) for node in items(nodes)],
        "ready": ready,
        "problems": problems,
        "waiting": waiting if len(waiting) == len(problems) else [],
    }


def _changed(recorded: Mapping[str, Any], found: Mapping[str, Any] | None, ready: Mapping[str, str]) -> Iterator[str]:
    named = f"{recorded.get('kind')} {recorded.get('name')}"
    if found is None:
        # A finished Job may be removed by its own time to live; what it made is looked at by itself.
        if recorded.get("kind") != "Job":
            yield f"{named} is gone."
    elif recorded.get("uid") and dig(found, "metadata", "uid") != recorded["uid"]:
        yield f"{named} is another one than was prepared (uid {dig(found, 'metadata', 'uid')})."
    elif told := not_ready(found, ready):
        yield f"{named}{_NOT_READY}{told}."


def _condition(obj: Mapping[str, Any], wanted: str) -> str | None:
    conditions = [mapping(item) for item in items(dig(obj, "status", "conditions"))]
    found = next((item for item in conditions if item.get("type") == wanted), None)
    if found is None:
        return f"it has no condition {wanted} yet"
    if found.get("status") == "True":
        return None
    told = ": ".join(filter(None, (text(found.get("reason")), text(found.get("message")))))
    return f"its condition {wanted} is {found.get('status')}{f' ({told})' if told else ''}"


def _true(obj: Mapping[str, Any], wanted: str) -> Mapping[str, Any] | None:
    conditions: Iterable[Mapping[str, Any]] = map(mapping, items(dig(obj, "status", "conditions")))
    return next((item for item in conditions if item.get("type") == wanted and item.get("status") == "True"), None)


def filled(value: Any, mark: str, by: str) -> Any:
    """Return JSON with a mark in any of its texts replaced."""
    if isinstance(value, str):
        return value.replace(mark, by)
    if isinstance(value, Mapping):
        return {key: filled(item, mark, by) for key, item in value.items()}
    return [filled(item, mark, by) for item in value] if isinstance(value, list) else value


def _label_pods(obj: dict[str, Any], path: Sequence[str], labels: Mapping[str, str]) -> None:
    template: Any = obj
    for key in path:
        template = template.get(key) if isinstance(template, dict) else None
    if isinstance(template, dict):
        metadata = {**mapping(template.get("metadata"))}
        template["metadata"] = {**metadata, "labels": {**mapping(metadata.get("labels")), **labels}}
