"""Weights on shared storage: a claim that many nodes mount, filled once by a Job of the preparation.

The original experiment's authors named it and did not try it. The claim's class decides what it is: EFS or FSx for
Lustre on EKS, Filestore or Hyperdisk ML on GKE, Azure Files or Blob on AKS; a claim that exists (Mountpoint for S3,
Cloud Storage FUSE: static volumes) can be named instead. The Job runs huggingface_hub at the pinned revision, reads
what lies on the volume back, and prints bytes and a digest of the weight files. A trial believes the volume only if it
is the very claim that was prepared, filled with the pinned revision and bytes.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from airflow_llm_provisioning.core.effects import Between, Effect, EffectFacts, becomes, gone, seconds_for
from airflow_llm_provisioning.core.fields import dig, items, mapping, number, text
from airflow_llm_provisioning.core.manifests import (
    engine_args,
    images,
    pod_template,
    ray_container,
    ray_groups,
    with_volume,
    with_weights_from,
)
from airflow_llm_provisioning.core.names import fingerprint
from airflow_llm_provisioning.core.planned import PlannedFacts
from airflow_llm_provisioning.core.target import NodeProfile, Target
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.trace.objects import History, containers
from airflow_llm_provisioning.core.treatments.base import BaseTreatment, DeploymentPlan, Found, Step, StepContext
from airflow_llm_provisioning.core.treatments.shared_claims import (
    QUANTITY,
    ServedImages,
    claim_problems,
    class_problems,
)
from airflow_llm_provisioning.core.verdicts import Verdict, all_of
from airflow_llm_provisioning.core.weight_loading import downloads, engine_configs, load_rate
from airflow_llm_provisioning.core.weight_sources import weight_path_of
from airflow_llm_provisioning.core.workload import Workload
from airflow_llm_provisioning.exceptions import ManifestError

NAME: Final = "shared_weights"
VERB: Final = f"prepare_{NAME}"
MOUNT: Final = "/mnt/llm-shared-weights"
VOLUME: Final = "llm-shared-weights"
# Of the head's pod: where the Job may run and how it gets its image.
_PLACE: Final = ("nodeSelector", "affinity", "tolerations", "serviceAccountName", "imagePullSecrets")
# Downloads are resumed and files that are there are kept (huggingface_hub, snapshot_download with local_dir).
FILL: Final = """
import hashlib, json, pathlib, sys
from huggingface_hub import snapshot_download
model, revision, folder = sys.argv[1:4]
snapshot_download(model, revision=revision or None, local_dir=folder)
kinds = [sorted(pathlib.Path(folder).glob("*" + kind)) for kind in (".safetensors", ".bin", ".pt")]
names = next(filter(None, kinds), [])
digest, size = hashlib.sha256(), 0
for name in names:
    with name.open("rb") as file:
        while chunk := file.read(1 << 24):
            digest.update(chunk)
            size += len(chunk)
told = {"model": model, "revision": revision, "bytes": size, "files": len(names)}
print("LLM-PREPARED " + json.dumps({**told, "digest": "sha256:" + digest.hexdigest()}), flush=True)
""".strip()


def _arguments(context: StepContext) -> Mapping[str, Any]:
    told, served = context.target.told_of(NAME), ServedImages()
    objects: list[dict[str, Any]] = []
    folders: set[str] = set()
    for image, manifest in context.served() or ((context.image, context.manifest()),):
        for model, revision, folder in _models(manifest):
            if folder in folders:
                continue
            folders.add(folder)
            claim = claim_name(told, model, revision)
            if not told.get("claim"):
                objects.append(_claim(claim, told))
            named = served.named(image, manifest, images(manifest)[0])
            objects.append(_job(manifest, claim, model, revision, folder, named))
    size = text(told.get("size")) or _SIZE
    disks = max(1, sum(item["kind"] == "PersistentVolumeClaim" for item in objects))
    return {
        "target": context.target.as_dict(),
        "treatment": NAME,
        "objects": objects,
        "image": served.given(),
        "idle": [{"what": "disk", "name": text(told.get("storage_class")), "amount": _gib(size) * disks}],
    }


class SharedWeights(BaseTreatment):
    """Read the weights from a claim that a Job has filled."""

    name = NAME
    order = 10
    keeps_warm: tuple[str, ...] = ("weights",)
    looks_at: tuple[str, ...] = ("storageclasses", "csidrivers")
    steps = (
        Step(
            VERB, "airflow_llm_provisioning.operators:PrepareObjects", _arguments, before_nodes=False, per_image=False
        ),
    )

    def requires(self, profile: NodeProfile, workload: Workload) -> tuple[str, ...]:
        """Return why the engine cannot be led to a volume."""
        if workload.model is None:
            return (f"{self.name} needs to know the model: give workload {workload.name!r} a `model`.",)
        try:
            _mounted(DeploymentPlan.of(workload), workload, {})
        except ManifestError as error:
            return (str(error),)
        return ()

    def requires_of(self, target: Target, workload: Workload) -> tuple[str, ...]:
        """Return what the target does not say of its shared storage, or says otherwise."""
        return tuple(claim_problems(self.name, target, _SIZE))

    def on_cluster(self, found: Found, *, declared: bool) -> tuple[str, ...]:
        """Say that the cluster has no storage class at all, so that no driver would make a volume."""
        if declared and not found.get("storageclasses"):
            return (f"{self.name}: the cluster has no StorageClass: install the CSI driver of a shared file system.",)
        return ()

    def on_cluster_of(self, target: Target, found: Found) -> tuple[str, ...]:
        """Say that the class which the target names is not there, or its driver."""
        return tuple(class_problems(self.name, target, found))

    def change(self, plan: DeploymentPlan, workload: Workload) -> DeploymentPlan:
        """Mount the claim in every Ray container and lead the engine to the model on it."""
        if workload.model is None:
            return plan
        return _mounted(plan, workload, plan.target.told_of(self.name) if plan.target else {})

    def verify(self, view: TraceView) -> Verdict:
        """Say whether every pod of the engine mounted the prepared claim with the pinned weights, and the engine read
        them there.
        """
        if not view.engine_pods:
            return Verdict(self.name, "unknown", ("The engine's pod was not seen.",))
        against = tuple(_read_elsewhere(view))
        if against:
            return Verdict(self.name, "no", against)
        took = load_rate(view)
        loaded = Verdict(self.name, "yes" if took else "unknown", (took or "No engine logged that it loaded weights.",))
        return all_of(self.name, [*self._volume(view, self.name), loaded])

    def kept(self, view: TraceView) -> Verdict:
        """Say whether what was found on the volume is what the preparation's Job has put there."""
        claim = f"{self.name}_kept"
        return all_of(claim, self._volume(view, claim))

    def undeclared(self, view: TraceView) -> str | None:
        """Return what says that an engine of a trial without it read its weights from a claim, or None."""
        path = weight_path_of(view)
        for pod in view.engine_pods if path else ():
            if name := _claim_at(pod, path or ""):
                return f"Pod {pod.name} mounts the claim {name} where the engine reads its weights."
        return None

    def effect(self, facts: EffectFacts) -> Effect | None:
        """Return that nothing is downloaded, and that loading reads the bytes over the network."""
        if facts.weight_bytes is None:
            return None
        return Effect(
            (
                gone("weight_download", "the weights are on a volume"),
                becomes("model_load", seconds_for(facts.weight_bytes, _RATE)),
            ),
            assumptions=("the volume is of the nodes' zone or region",),
        )

    def _volume(self, view: TraceView, claim: str) -> list[Verdict]:
        """Return what says that the engine's pods have the prepared claim, and what lies on it."""
        planned = PlannedFacts.of(view.trial)
        made = mapping(planned.prepared_steps.get(VERB))
        if not made:
            return [Verdict(claim, "no", ("No volume was prepared for the target before the trial was opened.",))]
        problems = tuple(text(item) for item in items(made.get("problems")))
        found = [Verdict(claim, "no", problems)] if problems else []
        names = {text(mapping(item).get("name")) for item in items(made.get("objects"))}
        facts = mapping(made.get("facts"))
        for pod in view.engine_pods:
            name = _claim_at(pod, MOUNT)
            same = bool(name) and (name in names or name == planned_claim(view))
            told = f"Pod {pod.name} mounts {f'the claim {name}' if name else 'no claim'} at {MOUNT}"
            found.append(
                Verdict(claim, "yes" if same else "no", (f"{told}{'' if same else ', not the prepared one'}.",))
            )
        return [*found, _filled(claim, facts, planned)]


_RATE: Final = Between(0.1e9, 2.5e9, "assumed: a share of 100 MB/s to Hyperdisk ML and Lustre at a node's link")
_SIZE: Final = "100Gi"


def claim_name(told: Mapping[str, Any], model: str, revision: str) -> str:
    """Return the claim of a model: the one that the target names, or one that follows from the model."""
    return text(told.get("claim")) or f"{VOLUME}-{fingerprint({'model': model, 'revision': revision}, 8)}"


def planned_claim(view: TraceView) -> str:
    """Return the name of the claim that follows from the model that the engine reads; empty where it is not told."""
    path = weight_path_of(view) or ""
    model, _, revision = path.removeprefix(f"{MOUNT}/").partition("@")
    return claim_name({}, model, revision) if path.startswith(f"{MOUNT}/") else ""


def _mounted(plan: DeploymentPlan, workload: Workload, told: Mapping[str, Any]) -> DeploymentPlan:
    model = workload.model
    assert model is not None, "asked before"  # noqa: S101 - a programming error, not input
    claim = claim_name(told, model.model_id, model.revision or "")
    volume = {"name": VOLUME, "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
    mount = {"name": VOLUME, "mountPath": MOUNT, "readOnly": True}
    manifest = with_volume(plan.manifest, ray_groups(plan.manifest), volume, mount)
    source = f"{MOUNT}/{model.model_id}@{model.revision or ''}"
    return plan.with_manifest(with_weights_from(manifest, model.model_id, source))


def _models(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield model, revision and folder of every engine that reads the volume, each once. Of a variant beside it, whose
    engine reads the hub's model, the volume is that model's.
    """
    found = {}
    for item in engine_args(manifest):
        if "://" in item.source or (item.source.startswith("/") and not item.source.startswith(f"{MOUNT}/")):
            continue
        named = item.source.removeprefix(f"{MOUNT}/")
        model, at, revision = named.partition("@")
        revision = revision if at else text(item.values.get("revision"))
        found[f"{MOUNT}/{model}@{revision}"] = (model, revision)
    for folder, (model, revision) in found.items():
        yield model, revision, folder


def _claim(name: str, told: Mapping[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "accessModes": ["ReadWriteMany"],
        "storageClassName": text(told.get("storage_class")),
        "resources": {"requests": {"storage": text(told.get("size")) or _SIZE}},
    }
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def _job(manifest: Mapping[str, Any], claim: str, model: str, revision: str, folder: str, image: str) -> dict[str, Any]:
    head, *others = ray_groups(manifest)
    template, worker = pod_template(manifest, head), ray_container(manifest, (others or [head])[0])
    of_head, metadata = mapping(template["spec"]), mapping(template.get("metadata"))
    container = {
        "name": "fill",
        "image": image,
        "command": ["python", "-c", FILL],
        "args": [model, revision, folder],
        "resources": {"requests": {"cpu": "1", "memory": "2Gi"}},
        "volumeMounts": [{"name": VOLUME, "mountPath": MOUNT}],
        # The token of a gated model comes as the engine gets it.
        **{key: worker[key] for key in ("env", "envFrom") if worker.get(key)},
    }
    pod = {
        **{key: of_head[key] for key in _PLACE if key in of_head},
        "restartPolicy": "Never",
        "containers": [container],
        "volumes": [{"name": VOLUME, "persistentVolumeClaim": {"claimName": claim}}],
    }
    # A node autoscaler may look at labels and annotations of a pod.
    kept = {key: dict(metadata[key]) for key in ("labels", "annotations") if metadata.get(key)}
    of_pod = {"metadata": kept, "spec": pod}
    return {"apiVersion": "batch/v1", "kind": "Job", "spec": {"backoffLimit": 2, "template": of_pod}}


def _gib(size: str) -> int:
    return int(size[:-2]) * (1024 if size.endswith("Ti") else 1) if QUANTITY.fullmatch(size) else 0


def _read_elsewhere(view: TraceView) -> Iterator[str]:
    path = weight_path_of(view)
    if view.applications and not (path or "").startswith(f"{MOUNT}/"):
        yield f"Serve's configuration does not read the weights from {MOUNT}{f', but from {path}' if path else ''}."
    yield from (f"The weights were downloaded: {line}" for line in downloads(view))
    if any(item.load_format == "dummy" for item in engine_configs(view)):
        yield "The engine's load_format is dummy: it generates random weights and reads none."


def _filled(claim: str, facts: Mapping[str, Any], planned: PlannedFacts) -> Verdict:
    """Say whether the Job filled the volume with the pinned revision and bytes."""
    size, revision, digest = number(facts.get("bytes")), text(facts.get("revision")), text(facts.get("digest"))
    if size is None or not digest:
        return Verdict(claim, "unknown", ("The Job that filled the volume did not tell what it put there.",))
    told = f"The Job put {size / 1e9:.2f} GB of revision {revision or '(default)'} there ({digest})."
    if planned.model_revision and revision and revision != planned.model_revision:
        return Verdict(claim, "no", (told, f"The trial serves revision {planned.model_revision}."))
    if planned.weight_bytes is not None and size != planned.weight_bytes:
        return Verdict(claim, "no", (told, f"The pinned weights have {planned.weight_bytes / 1e9:.2f} GB."))
    return Verdict(claim, "yes" if planned.weight_bytes is not None else "unknown", (told,))


def _claim_at(pod: History, path: str) -> str:
    """Return the claim that a pod mounts at a path, or above it; empty for none."""
    volumes: dict[str, Mapping[str, Any]] = {
        text(volume.get("name")): volume for volume in map(mapping, items(dig(pod.last, "spec", "volumes")))
    }
    for spec in containers(pod.last):
        for mount in map(mapping, items(spec.get("volumeMounts"))):
            where = text(mount.get("mountPath")).rstrip("/")
            if where and (path == where or path.startswith(f"{where}/")):
                return text(dig(volumes.get(text(mount.get("name"))), "persistentVolumeClaim", "claimName"))
    return ""
