"""Layers of the serving image from peers of the cluster: Dragonfly, with a seed peer that had them before the trial.

The original experiment's authors tried it, tuned it, and saw no gain. Three things decide, and all of them are silent.
On a new node the peer starts while the serving image is already being pulled from its registry; so the pods wait for it
first. A seed peer without the content fetches it during the trial, from that same registry. And the peer writes every
layer to the node's disk before the container runtime unpacks it there, so that a slow disk eats the gain. A trial
believes it only where each layer is told, by the peer of the very node, to have come from another peer, which had it
before the submission.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from airflow_llm_provisioning.core.dragonfly import (
    CLIENT_TAG,
    LISTENS,
    dragonfly_objects,
    pulling_job,
    waiting_container,
)
from airflow_llm_provisioning.core.effects import Between, Effect, EffectFacts, adds, becomes, seconds_for
from airflow_llm_provisioning.core.fields import items, mapping, text
from airflow_llm_provisioning.core.image_arrival import ImageArrival, kubelet_pulls
from airflow_llm_provisioning.core.image_reference import ImageReference
from airflow_llm_provisioning.core.instants import parse_instant
from airflow_llm_provisioning.core.manifests import images, ray_groups, with_first_init_container
from airflow_llm_provisioning.core.planned import PlannedFacts
from airflow_llm_provisioning.core.prepared_objects import IMAGE
from airflow_llm_provisioning.core.target import NodeProfile, Target
from airflow_llm_provisioning.core.trace import AgentLog, TraceView
from airflow_llm_provisioning.core.trace.objects import History
from airflow_llm_provisioning.core.treatments.base import BaseTreatment, DeploymentPlan, Found, Step, StepContext
from airflow_llm_provisioning.core.treatments.delivered import arrivals
from airflow_llm_provisioning.core.treatments.kept_nodes import FORMS
from airflow_llm_provisioning.core.verdicts import Verdict, all_of
from airflow_llm_provisioning.core.workload import Workload
from airflow_llm_provisioning.exceptions import ManifestError

NAME: Final = "peer_to_peer"
VERB: Final = f"prepare_{NAME}"
# A pull from the registry is better than none: after this the pods go on without the peer.
WAIT_S: Final = 180
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_SCHEDULER, _CLIENT = "scheduler_tag", "client_tag"
# The kubelet's events have whole seconds.
_SECOND: Final = timedelta(seconds=1)
_PROBED: Final = timedelta(seconds=10)
_WAITS_S: Final = Between(
    2.0,
    40.0,
    "assumed: the peer's images (about 100 MB) are pulled and it starts on the new node before the pull begins",
)
_RATE: Final = Between(
    40e6,
    84e6,
    "unpacking, one core: 72 to 98 MB/s of whole pulls on fast disks (aws-samples/karpenter-blueprints @529b88c, AI on "
    "EKS); less on a disk that also takes the peer's copy: 131 MB/s (gp3) for 3.15 bytes a compressed byte",
)


def _arguments(context: StepContext) -> Mapping[str, Any]:
    manifest, told = context.manifest(), context.target.told_of(NAME)
    named = images(manifest)
    client = text(told.get(_CLIENT)) or CLIENT_TAG
    objects = dragonfly_objects(manifest, scheduler_tag=text(told.get(_SCHEDULER)), client_tag=client)
    jobs = [pulling_job(manifest, IMAGE if len(named) == 1 else image, WAIT_S) for image in named]
    return {
        "target": context.target.as_dict(),
        "treatment": NAME,
        "objects": [*objects, *jobs],
        "image": context.image if len(named) == 1 else None,
        "idle": [{"what": "node", "amount": 1}],
    }


class PeerToPeer(BaseTreatment):
    """Pull the layers of the serving image from a seed peer of the cluster."""

    name = NAME
    order = 35
    looks_at: tuple[str, ...] = ("daemonsets",)
    steps = (
        Step(
            VERB,
            "airflow_llm_provisioning.operators:PrepareObjects",
            _arguments,
            before_nodes=False,
            per_image=False,
            one_image=True,
        ),
    )

    def requires(self, profile: NodeProfile, workload: Workload) -> tuple[str, ...]:
        """Return why these nodes cannot be led to a peer, or would not ask it."""
        return (*_node_problems(profile), *_manifest_problems(workload))

    def requires_of(self, target: Target, workload: Workload) -> tuple[str, ...]:
        """Return what the target does not say of Dragonfly's version, or says otherwise."""
        return tuple(_target_problems(target))

    def on_cluster(self, found: Found, *, declared: bool) -> tuple[str, ...]:
        """Say that the cluster has peers already: two proxies cannot listen on a node's port 4001, and for a variant
        without the treatment its pulls may go through them.
        """
        there = [item for item in found.get("daemonsets") or () if _runs_dfdaemon(item) and not _is_ours(item)]
        if not there:
            return ()
        names = ", ".join(_name_of(item) for item in there)
        if declared:
            return (f"{NAME}: Dragonfly is on the cluster already ({names}), and its peers have the port 4001.",)
        return (f"Pulls may go through Dragonfly's peers, which are on the cluster ({names}).",)

    def change(self, plan: DeploymentPlan, workload: Workload) -> DeploymentPlan:
        """Let every pod wait for its node's peer before the serving image is pulled."""
        groups = ray_groups(plan.manifest)
        return plan.with_manifest(with_first_init_container(plan.manifest, groups, waiting_container(WAIT_S)))

    def nodes(self, profile: NodeProfile) -> NodeProfile:
        """Mark the nodes: a variant without it would pull through the peers too."""
        return profile.with_feature(self.name)

    def effect(self, facts: EffectFacts) -> Effect | None:
        """Return that the layers come as fast as they are unpacked, and that the pods wait for the peer first."""
        if not facts.image_bytes:
            return None
        pulled = becomes("image_pull", seconds_for(facts.image_bytes, _RATE))
        waited = adds("scheduling", _WAITS_S)
        return Effect((pulled, waited), ("the seed peer holds every layer", "the authors of the origin saw no gain"))

    def verify(self, view: TraceView) -> Verdict:
        """Say whether every layer of the images of head and engine came from a peer that had it before."""
        if view.head is None or not view.engine_pods:
            return Verdict(NAME, "unknown", ("The head's pod or the engine's pod was not seen.",))
        made = PlannedFacts.of(view.trial).prepared_steps.get(VERB)
        if made is None:
            return Verdict(NAME, "no", ("No peers were prepared for the target before the trial was opened.",))
        problems = tuple(text(item) for item in items(mapping(made).get("problems")))
        parts = [Verdict(NAME, "no", problems)] if problems else []
        return all_of(NAME, [*parts, *(_of_pod(view, pod, how) for pod, how in arrivals(view))])

    def undeclared(self, view: TraceView) -> str | None:
        """Return what says that a layer of a trial without it came through a peer, or None."""
        for pod, how in arrivals(view):
            peer = next(iter(_peers(view, view.node_name_of(pod))), None)
            if peer and (tasks := _tasks(peer, how.image or "")):
                return f"The peer {peer.pod} on node {peer.node} served {len(tasks)} layers of pod {pod.name}'s image."
        return None


@dataclass(slots=True)
class _Layer:
    """What a peer tells of one layer: when it was there, from which peer its first piece came, whether a piece came
    from the registry.
    """

    done_at: datetime | None = None
    parent: str = ""
    from_registry: bool = False


# dragonflyoss/client, grpc/dfdaemon_download.rs and resource/task.rs (0.1 to 1.x). The id of a layer's task is its
# digest (enableTaskIDBasedBlobDigest), and of a piece that id and its number.
_STARTED: Final = re.compile(r"download task started: .*?url: \"([^\"]*?/v2/([^\"]+?)/blobs/sha256:([0-9a-f]{64}))")
_SUCCEEDED: Final = re.compile(r"download task succeeded.*?task_id=\"?([0-9a-f]{64})")
_FROM_PEER: Final = re.compile(r"finished piece ([0-9a-f]{64})-\d+ from parent (?:Some\()?\"([^\"]+)\"")
_FROM_REGISTRY: Final = re.compile(r"finished piece ([0-9a-f]{64})-\d+ from source")


def _tasks(log: AgentLog, image: str) -> dict[str, _Layer]:
    """Return what a peer tells of the layers of an image's repository: digest -> layer."""
    repository = ImageReference.parse(image).full_repository if image else ""
    lines = log.text.splitlines()
    started = [match for line in lines if (match := _STARTED.search(line))]
    found = {match[3]: _Layer() for match in started if match[2] == repository}
    for line in lines:
        if (match := _SUCCEEDED.search(line)) and (layer := found.get(match[1])):
            layer.done_at = _at(line)
        elif (match := _FROM_PEER.search(line)) and (layer := found.get(match[1])):
            layer.parent = match[2]
        elif (match := _FROM_REGISTRY.search(line)) and (layer := found.get(match[1])):
            layer.from_registry = True
    return found


def _peers(view: TraceView, node: str) -> Iterator[AgentLog]:
    """Yield the peers on a node."""
    return (log for log in view.agent_logs if log.treatment == NAME and log.on_every_node and log.node == node)


def _seeded(view: TraceView, image: str) -> dict[str, datetime]:
    """Return the layers of an image's repository that the seed peers have: digest -> since when."""
    seeds = [log for log in view.agent_logs if log.treatment == NAME and not log.on_every_node]
    held = [(digest, layer.done_at) for log in seeds for digest, layer in _tasks(log, image).items()]
    return {digest: at for digest, at in sorted(held, key=lambda pair: str(pair[1]), reverse=True) if at is not None}


def _of_pod(view: TraceView, pod: History, how: ImageArrival) -> Verdict:
    node = view.node_name_of(pod)
    if how.delivered in ("present", "streamed"):
        return Verdict(NAME, "no", (f"The image of pod {pod.name} was not pulled layer by layer.", *how.evidence))
    if how.delivered != "pulled":
        told = f"How the image of pod {pod.name} arrived is not known."
        return Verdict(NAME, "unknown", (told, *how.evidence))
    logs = list(_peers(view, node))
    if not logs:
        return _without_peer(view, pod, node)
    (peer, *_), image = logs, how.image or ""
    if late := _late(view, node, image, peer):
        return Verdict(NAME, "no", (late, *how.evidence))
    if not peer.text:
        told = f"The log of the peer {peer.pod} on node {node} is empty: it does not tell what it fetched."
        return Verdict(NAME, "unknown", (told, *how.evidence))
    return _layers(view, pod, how, peer)


def _without_peer(view: TraceView, pod: History, node: str) -> Verdict:
    """Return what it means that no peer's log of a node is there."""
    unread = [mark for mark in view.marks("not_collected") if mark.detail.get("what") == "agent-log"]
    if unread or not any(log.treatment == NAME for log in view.agent_logs):
        return Verdict(NAME, "unknown", ("What the peers and the seed peer told was not recorded.",))
    return Verdict(NAME, "no", (f"There was no peer on node {node} of pod {pod.name}.",))


def _late(view: TraceView, node: str, image: str, peer: AgentLog) -> str:
    """Return that a peer did not listen when the image's pull began on its node; empty if it did, or if it is open."""
    listened_at = next((_at(line) for line in peer.text.splitlines() if LISTENS in line), None)
    if listened_at is None and peer.ready_at is None:
        return f"The peer {peer.pod} on node {node} was not ready."
    begun = [
        event.last.at
        for other in view.pods
        if view.node_name_of(other) == node
        for event in kubelet_pulls(view, other)
        if event.reason == "Pulling" and event.last and f'"{image}"' in event.message
    ]
    # Readiness is seen by a probe, some seconds later.
    since, slack = (listened_at, _SECOND) if listened_at else (peer.ready_at, _PROBED)
    if begun and since is not None and since >= min(begun) + slack:
        late_s = (since - min(begun)).total_seconds()
        return f"The peer {peer.pod} on node {node} was ready {late_s:.0f} s after the image's pull had begun."
    return ""


def _at(line: str) -> datetime | None:
    """Return when a line was written, by the kubelet's stamp before it."""
    return parse_instant(line.partition(" ")[0])


def _layers(view: TraceView, pod: History, how: ImageArrival, peer: AgentLog) -> Verdict:
    """Say whether every layer came from another peer, which had it before the submission."""
    image = how.image or ""
    got, seeded = _tasks(peer, image), _seeded(view, image)
    submitted = view.rayservice.created.at if view.rayservice and view.rayservice.created else None
    where = f"node {peer.node} of pod {pod.name}"
    if not got:
        return Verdict(
            NAME, "no", (f"The peer {peer.pod} names no layer of the image of pod {pod.name}.", *how.evidence)
        )
    if direct := [digest for digest, layer in got.items() if layer.from_registry]:
        told = f"{len(direct)} of {len(got)} layers came to {where} from the registry (sha256:{direct[0][:12]}...)."
        return Verdict(NAME, "no", (told, *how.evidence))
    if beside := [digest for digest in seeded if digest not in got]:
        told = f"{len(beside)} layers of the seed peer did not come to {where} through its peer."
        return Verdict(NAME, "no", (told, *how.evidence))
    if submitted is None:
        return Verdict(NAME, "unknown", ("When the RayService was submitted is not known.",))
    if new := [digest for digest in got if digest not in seeded or seeded[digest] >= submitted]:
        told = f"{len(new)} of {len(got)} layers were on no seed peer before the submission (sha256:{new[0][:12]}...)."
        return Verdict(NAME, "no", (told, *how.evidence))
    if any(not layer.parent or layer.done_at is None for layer in got.values()):
        return Verdict(NAME, "unknown", (f"Where all layers on {where} came from is not told.", *how.evidence))
    parents = sorted({layer.parent for layer in got.values()})
    told = f"{len(got)} layers came to {where} from {', '.join(parents)}, which had them before the submission."
    return Verdict(NAME, "yes", (told, *how.evidence))


def _node_problems(profile: NodeProfile) -> Iterator[str]:
    if profile.cloud == "eks" and profile.autoscaler == "karpenter":
        alias = str(profile.options.get("ami_alias", "bottlerocket@latest"))
        if alias.startswith("bottlerocket"):
            yield (
                f"{NAME} writes the container runtime's configuration on the node, and Bottlerocket's is read-only: "
                "set the option ami_alias to al2023@latest."
            )
    if profile.options.get("auto_mode"):
        yield f"{NAME}: nodes of EKS Auto Mode are Bottlerocket's, whose container runtime cannot be configured."
    for feature, other in _EXCLUDED.items():
        if profile.has(feature):
            yield f"{NAME} and {other} exclude each other: the layers are not pulled then."


_EXCLUDED: Final[Mapping[str, str]] = {
    "image_snapshot": "bottlerocket_snapshot",
    "image_streaming": "the streaming of images",
    "soci_parallel_pull": "soci_parallel_pull",
    **{form: form for form in FORMS},
    "preloaded_disk": "preloaded_disk",
}


def _manifest_problems(workload: Workload) -> Iterator[str]:
    try:
        with_first_init_container(workload.manifest, ray_groups(workload.manifest), waiting_container(WAIT_S))
    except ManifestError as error:
        yield str(error)


def _target_problems(target: Target) -> Iterator[str]:
    told, where = target.told_of(NAME), f"options.treatments.{NAME}"
    if not told.get(_SCHEDULER):
        yield (
            f"{NAME} needs {where}.{_SCHEDULER} on target {target.name!r}: the tag of a dragonflyoss/scheduler that "
            "runs without a manager (since 2026-07)."
        )
    for key in (_SCHEDULER, _CLIENT):
        if told.get(key) and not _TAG.fullmatch(str(told[key])):
            yield f"{NAME}: {where}.{key} is no image tag on target {target.name!r}."


def _runs_dfdaemon(item: Mapping[str, Any]) -> bool:
    spec = mapping(mapping(mapping(item.get("spec")).get("template")).get("spec"))
    return any("dragonflyoss/" in text(mapping(one).get("image")) for one in _containers(spec))


def _containers(spec: Mapping[str, Any]) -> Iterable[Any]:
    return (*items(spec.get("containers")), *items(spec.get("initContainers")))


def _is_ours(item: Mapping[str, Any]) -> bool:
    labels = mapping(mapping(item.get("metadata")).get("labels"))
    return text(labels.get("llm-provisioning/prepares")) == NAME


def _name_of(item: Mapping[str, Any]) -> str:
    metadata = mapping(item.get("metadata"))
    return f"{text(metadata.get('namespace'))}/{text(metadata.get('name'))}"
