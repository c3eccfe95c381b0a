"""Image volumes: the weights are an OCI artifact that the kubelet pulls and mounts (`volumes[].image`, KEP-4639).

Kubernetes has the field since 1.31 behind the gate `ImageVolume`, which is on by default since 1.35. An API server
without the gate drops the volume and its mounts from a pod without a word (pkg/api/pod/util.go, dropImageVolumes), and
a CRD of KubeRay that does not know the field prunes it. The artifact is named by its digest, so its content cannot
change; the volume's name carries a fingerprint of that reference, so a recording shows whether the planned one was
mounted. A node that has pulled the artifact once mounts it at once; a new node pulls it as it would download the model.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from airflow_llm_provisioning.core.effects import Between, Effect, EffectFacts, adds, gone, seconds_for
from airflow_llm_provisioning.core.fields import dig, items, mapping, text
from airflow_llm_provisioning.core.image_arrival import pulled_figures, volume_pulls
from airflow_llm_provisioning.core.manifests import pod_template, ray_groups, with_volume, with_weights_from
from airflow_llm_provisioning.core.manifests.tree import copied
from airflow_llm_provisioning.core.names import fingerprint
from airflow_llm_provisioning.core.planned import PlannedFacts
from airflow_llm_provisioning.core.target import NodeProfile, Target
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.trace.objects import History, containers
from airflow_llm_provisioning.core.treatments.base import BaseTreatment, DeploymentPlan
from airflow_llm_provisioning.core.verdicts import Value, Verdict
from airflow_llm_provisioning.core.weight_loading import downloads, engine_configs, load_rate
from airflow_llm_provisioning.core.weight_sources import weight_path_of
from airflow_llm_provisioning.core.workload import Workload
from airflow_llm_provisioning.exceptions import ManifestError

MOUNT: Final = "/mnt/llm-weights"
PREFIX: Final = "llm-weights-"
FIRST_MINOR, DEFAULT_MINOR = 31, 35
# Weights in bfloat16 hardly compress: an artifact of less than half their bytes does not hold them.
LEAST_SHARE: Final = 0.5
# Name of what preflight tries; it is never stored.
_TRIED: Final = "llm-provisioning-tried"
_BY_DIGEST: Final = re.compile(r"[^\s@]{1,400}@sha256:[0-9a-f]{64}")


class ImageVolume(BaseTreatment):
    """Mount the weights as an image."""

    name = "image_volume"
    order = 10

    def requires(self, profile: NodeProfile, workload: Workload) -> tuple[str, ...]:
        """Return why the cluster has no image volumes, or the engine cannot be led to one."""
        found = []
        if _minor(profile) < FIRST_MINOR:
            found.append(
                f"{self.name} needs Kubernetes 1.{FIRST_MINOR} or later; these nodes run {profile.kubernetes_minor}."
            )
        if workload.model is None:
            found.append(f"{self.name} needs to know the model: give workload {workload.name!r} a `model`.")
        try:
            _mounted(DeploymentPlan.of(workload), workload, "registry.example/weights", "")
        except ManifestError as error:
            found.append(str(error))
        return tuple(found)

    def requires_of(self, target: Target, workload: Workload) -> tuple[str, ...]:
        """Return why this target's artifact cannot be mounted: none is named by digest, or the gate is not on."""
        return tuple(_problems(target, self.name))

    def change(self, plan: DeploymentPlan, workload: Workload) -> DeploymentPlan:
        """Mount the target's artifact in every Ray container and lead the engine to it."""
        told = plan.target.told_of(self.name) if plan.target else {}
        reference, folder = text(told.get("reference")), text(told.get("folder")).strip("/")
        return _mounted(plan, workload, reference, folder) if reference and workload.model else plan

    def dry_runs(self, target: Target, workload: Workload) -> tuple[Mapping[str, Any], ...]:
        """Return a RayService and a pod with the volume: a CRD of KubeRay may not know it, the gate may be off."""
        manifest: dict[str, Any] = copied(self.change(DeploymentPlan.of(workload, target=target), workload).manifest)
        template = pod_template(manifest, ray_groups(manifest)[0])
        pod = {"apiVersion": "v1", "kind": "Pod", "spec": template["spec"]}
        return tuple({**item, "metadata": {"name": _TRIED}} for item in (manifest, pod))

    def verify(self, view: TraceView) -> Verdict:
        """Say whether every pod of the engine mounted the planned artifact, the engine read its weights there, and
        nothing was downloaded.
        """
        if not view.engine_pods:
            return Verdict(self.name, "unknown", ("The engine's pod was not seen.",))
        against = [*_read_elsewhere(view), *(told for pod in view.engine_pods for told in _not_mounted(view, pod))]
        if against:
            return Verdict(self.name, "no", tuple(against))
        evidence: list[str] = []
        value: Value = "yes"
        for pod in view.engine_pods:
            pulled = [event.message for event in volume_pulls(view, pod) if event.reason == "Pulled"]
            evidence += [f"Pod {pod.name}: {message} (event Pulled)" for message in pulled[:1]]
            if not pulled:
                value = "unknown"
                evidence.append(f"Pod {pod.name}: no Pulled event of its weights was recorded.")
        took = load_rate(view)
        if took is None:
            value = "unknown"
        return Verdict(self.name, value, (*evidence, took or "No engine logged that it loaded its weights."))

    def undeclared(self, view: TraceView) -> str | None:
        """Return what says that an engine of a trial without it read its weights from an image volume, or None."""
        path = weight_path_of(view)
        for pod in view.engine_pods if path else ():
            if (found := _reference_at(pod, path or "")) is not None:
                return f"Pod {pod.name} mounts the image {found} where the engine reads its weights."
        return None

    def effect(self, facts: EffectFacts) -> Effect | None:
        """Return that nothing is downloaded by the engine, and that the kubelet pulls the bytes instead."""
        if facts.weight_bytes is None:
            return None
        return Effect(
            (
                gone("weight_download", "the weights are a volume"),
                adds("image_pull", seconds_for(facts.weight_bytes, _RATE)),
            ),
            assumptions=("the node is new, and the layers of the artifact are not compressed",),
        )


_RATE: Final = Between(0.1e9, 0.9e9, "assumed: a node's disk of 125 MiB/s to a registry at 0.9 GB/s")


def _mounted(plan: DeploymentPlan, workload: Workload, reference: str, folder: str) -> DeploymentPlan:
    name = _volume_name(reference)
    volume = {"name": name, "image": {"reference": reference, "pullPolicy": "IfNotPresent"}}
    mount = {"name": name, "mountPath": MOUNT, "readOnly": True}
    # The head too: ray.serve.llm reads the model's configuration there.
    manifest = with_volume(plan.manifest, ray_groups(plan.manifest), volume, mount)
    model = workload.model.model_id if workload.model else ""
    return plan.with_manifest(with_weights_from(manifest, model, f"{MOUNT}/{folder}" if folder else MOUNT))


def _volume_name(reference: str) -> str:
    return f"{PREFIX}{fingerprint({'reference': reference}, 8)}"


def _problems(target: Target, name: str) -> Iterator[str]:
    told, where = target.told_of(name), f"options.treatments.{name}"
    if not _BY_DIGEST.fullmatch(text(told.get("reference"))):
        yield f"{name} needs {where}.reference on target {target.name!r}: the artifact with its digest (@sha256:...)."
    if FIRST_MINOR <= _minor(target.nodes) < DEFAULT_MINOR and told.get("feature_gate") is not True:
        yield (
            f"{name}: the gate ImageVolume is off by default before Kubernetes 1.{DEFAULT_MINOR}, and an API server "
            f"without it drops the volume silently. Switch it on in API server and kubelets, and say so: "
            f"{where}.feature_gate: true on target {target.name!r}."
        )


def _minor(profile: NodeProfile) -> int:
    _, _, minor = profile.kubernetes_minor.partition(".")
    return int(minor) if minor.isdigit() else 0


def _read_elsewhere(view: TraceView) -> Iterator[str]:
    """Yield what says that the engine did not read the volume."""
    path = weight_path_of(view)
    if view.applications and not (path or "").startswith(MOUNT):
        yield f"Serve's configuration does not read the weights from {MOUNT}{f', but from {path}' if path else ''}."
    yield from (f"The weights were downloaded: {line}" for line in downloads(view))
    if any(item.load_format == "dummy" for item in engine_configs(view)):
        yield "The engine's load_format is dummy: it generates random weights and reads none."


def _not_mounted(view: TraceView, pod: History) -> Iterator[str]:
    """Yield why a pod has not the planned artifact mounted. Its volume's name was made from the planned reference."""
    planned = [text(mount.get("name")) for mount in _mounts(pod) if text(mount.get("mountPath")) == MOUNT]
    found = _reference_at(pod, MOUNT)
    if not planned:
        yield f"Pod {pod.name} has no mount at {MOUNT}: an API server without the gate ImageVolume drops it silently."
    elif found is None:
        yield f"Pod {pod.name} has no image in its volume at {MOUNT}: the field was dropped."
    elif planned[0] != _volume_name(found):
        yield f"Pod {pod.name} mounts {found} at {MOUNT}, which is not the planned artifact."
    size = next(
        (pulled_figures(event.message)[1] for event in volume_pulls(view, pod) if event.reason == "Pulled"), None
    )
    wanted = PlannedFacts.of(view.trial).weight_bytes
    if size is not None and wanted is not None and size < LEAST_SHARE * wanted:
        yield f"The artifact of pod {pod.name} has {size / 1e9:.1f} GB, and the weights have {wanted / 1e9:.1f} GB."


def _reference_at(pod: History, path: str) -> str | None:
    """Return the image that a pod mounts at a path, or above it."""
    volumes: dict[str, Mapping[str, Any]] = {
        text(volume.get("name")): volume for volume in map(mapping, items(dig(pod.last, "spec", "volumes")))
    }
    for mount in _mounts(pod):
        where = text(mount.get("mountPath")).rstrip("/")
        if where and (path == where or path.startswith(f"{where}/")):
            return text(dig(volumes.get(text(mount.get("name"))), "image", "reference")) or None
    return None


def _mounts(pod: History) -> list[Mapping[str, Any]]:
    return [mapping(mount) for spec in containers(pod.last) for mount in items(spec.get("volumeMounts"))]
