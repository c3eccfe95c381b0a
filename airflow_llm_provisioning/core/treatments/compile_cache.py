"""vLLM's compiled graphs of an earlier start: a Job starts the very engine once, and every trial unpacks what it left.

The cache lies as one archive on a claim that many nodes mount, and is unpacked into an emptyDir of each engine pod by
an init container, which tells its digest in the pod's status. Two simpler forms fail. Mounted read-only at the engine's
cache root, the cache breaks the engine: inductor renames temporary files there even when it only reads (`[Errno 30]
Read-only file system`, then `Compiling model again due to a load failure`). Mounted writable, every trial that misses
would fill it for the next one. An image needs a build with a GPU.

The key of a cache covers vLLM, torch, the GPU's name, the engine's configuration with the model's path, and most of
vLLM's variables (envs.compile_factors; VLLM_CACHE_ROOT is left out; torch/_inductor/codecache.py, CacheBase.get_system;
torch/_dynamo/package.py, SystemInfo). So the Job starts the applications as KubeRay does, by Serve's REST interface, in
the worker's own pod. Paths inside the cache are absolute, so its root is the same everywhere. CUDA graphs are captured
at every start: no cache holds them.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, Final

from airflow_llm_provisioning.core.compiled_graphs import compiles_nothing, graph_lines
from airflow_llm_provisioning.core.effects import Between, Effect, EffectFacts, adds, seconds_for, times
from airflow_llm_provisioning.core.fields import dig, items, mapping, number, text
from airflow_llm_provisioning.core.manifests import engine_groups, with_env, with_init_container, with_volume
from airflow_llm_provisioning.core.planned import PlannedFacts
from airflow_llm_provisioning.core.target import NodeProfile, Target
from airflow_llm_provisioning.core.timing.environment import accelerator_of
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.trace.objects import History, container_statuses
from airflow_llm_provisioning.core.treatments.base import BaseTreatment, DeploymentPlan, Found, Step
from airflow_llm_provisioning.core.treatments.cache_job import KEY_FILE, SIZE, archive_key, cache_objects
from airflow_llm_provisioning.core.treatments.cache_programs import UNPACK
from airflow_llm_provisioning.core.treatments.cache_refusals import refuse
from airflow_llm_provisioning.core.treatments.releases import installs_older
from airflow_llm_provisioning.core.treatments.shared_claims import claim_problems, class_problems
from airflow_llm_provisioning.core.verdicts import Verdict, all_of
from airflow_llm_provisioning.core.workload import Workload
from airflow_llm_provisioning.exceptions import ManifestError

NAME: Final = "compile_cache"
VERB: Final = f"prepare_{NAME}"
# Where the engine's cache is, in the Job and in every trial.
ROOT: Final = "/var/llm-compile-cache"
MOUNT: Final = "/mnt/llm-compile-cache"
INIT: Final = "llm-compile-cache"
COPY: Final = "llm-compile-cache"
SOURCE: Final = "llm-compile-cache-source"
SINCE: Final = (0, 8)
_CAPTURED: Final = "CUDA graphs were captured anew: no cache holds them."


class CompileCache(BaseTreatment):
    """Start with the graphs that a Job has compiled."""

    name = NAME
    # After everything that changes the engine's configuration or its image.
    order = 90
    keeps_warm: tuple[str, ...] = ("compile_cache",)
    looks_at: tuple[str, ...] = ("storageclasses", "csidrivers")
    steps = (
        Step(
            VERB,
            "airflow_llm_provisioning.operators:PrepareObjects",
            cache_objects,
            before_nodes=False,
            per_image=False,
        ),
    )

    def requires(self, profile: NodeProfile, workload: Workload) -> tuple[str, ...]:
        """Return why no cache can be made or used: nodes of several GPUs, an old vLLM, an engine that compiles nothing
        or keeps its cache elsewhere.
        """
        found = [*installs_older(workload, SINCE, self.name), *_several_gpus(profile)]
        try:
            self.change(DeploymentPlan.of(workload), workload)
        except ManifestError as error:
            found.append(f"{self.name}: {error}")
        return tuple(found)

    def requires_of(self, target: Target, workload: Workload) -> tuple[str, ...]:
        """Return what the target does not say of its shared storage, or says otherwise."""
        return tuple(claim_problems(self.name, target, SIZE))

    def on_cluster(self, found: Found, *, declared: bool) -> tuple[str, ...]:
        """Say that the cluster has no storage class at all, so that no driver would make a volume."""
        if declared and not found.get("storageclasses"):
            return (f"{self.name}: the cluster has no StorageClass: install the CSI driver of a shared file system.",)
        return ()

    def on_cluster_of(self, target: Target, found: Found) -> tuple[str, ...]:
        """Say that the class which the target names is not there, or its driver."""
        return tuple(class_problems(self.name, target, found))

    def change(self, plan: DeploymentPlan, workload: Workload) -> DeploymentPlan:
        """Unpack the cache in every pod of the engine and lead the engine to it. Raises ManifestError for what keeps an
        engine from using it.
        """
        refuse(plan.manifest)
        told = plan.target.told_of(self.name) if plan.target else {}
        groups = engine_groups(plan.manifest)
        manifest = with_env(plan.manifest, {"VLLM_CACHE_ROOT": ROOT}, groups)
        manifest = with_volume(manifest, groups, {"name": COPY, "emptyDir": {}}, {"name": COPY, "mountPath": ROOT})
        for group in groups:
            key = archive_key(plan.manifest, group, plan.recipe.content)
            claim = text(told.get("claim")) or f"{INIT}-{key}"
            source = {"name": SOURCE, "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
            manifest = with_init_container(manifest, (group,), _unpacking(key), source)
        return plan.with_manifest(manifest)

    def verify(self, view: TraceView) -> Verdict:
        """Say whether every pod of the engine unpacked the prepared cache, and every engine found its graphs in it and
        compiled none.
        """
        if not view.engine_pods:
            return Verdict(self.name, "unknown", ("The engine's pod was not seen.",))
        parts = [part for pod in view.engine_pods for part in _used(view, pod, self.name)]
        return all_of(self.name, [*_prepared(view, self.name), *parts])

    def kept(self, view: TraceView) -> Verdict:
        """Say whether the graphs that were found are those that the preparation's Job has left: every pod unpacked an
        archive of its digest, and the keys are among those in it.
        """
        claim = f"{self.name}_kept"
        return all_of(claim, [*_prepared(view, claim), *_known_keys(view, claim)])

    def undeclared(self, view: TraceView) -> str | None:
        """Return what says that a pod of a trial without it unpacks such a cache, or None. That an engine found graphs
        anywhere makes the start warm by itself (`core.engine_caches`).
        """
        for pod in view.engine_pods:
            if _init_of(pod):
                return f"Pod {pod.name} has the init container {INIT}, which unpacks compiled graphs."
        return None

    def effect(self, facts: EffectFacts) -> Effect | None:
        """Return that graphs are loaded instead of compiled, and that the archive is read before."""
        changes = (times("compile", _LOADED), adds("worker_init_start", seconds_for(_BYTES, _RATE)))
        return Effect(changes, assumptions=("the cache's key is the same: image, GPU, configuration and variables",))


_LOADED: Final = Between(
    0.08, 0.5, "50-61 s to 4-6 s (Anyscale, vLLM); Dynamo runs again: 16 of about 40 s (arXiv 2606.07362, vLLM 0.10)"
)
_BYTES: Final = Between(30e6, 700e6, "assumed: one public cache of 612 MB (vLLM 0.27, a 4B model) is a large one")
_RATE: Final = Between(0.1e9, 1.0e9, "assumed: a share of 100 MB/s to what one core hashes and writes")


def _unpacking(key: str) -> dict[str, Any]:
    return {
        "name": INIT,
        "command": ["python", "-c", UNPACK],
        "args": [f"{MOUNT}/{key}/{KEY_FILE}", ROOT],
        "resources": {"requests": {"cpu": "500m", "memory": "512Mi"}},
        "volumeMounts": [
            {"name": SOURCE, "mountPath": MOUNT, "readOnly": True},
            {"name": COPY, "mountPath": ROOT},
        ],
    }


def _several_gpus(profile: NodeProfile) -> Iterator[str]:
    """Yield that a node autoscaler chooses among GPUs: trials that got another one than the Job would be paid for and
    left out, and the comparison would be of those that got the same one. A node pool has one machine type, which
    `gpu_skus` does not choose.
    """
    if len(profile.gpu_skus) > 1 and not profile.gpu_instance_type and profile.autoscaler != "native":
        named = ", ".join(profile.gpu_skus)
        yield (
            f"{NAME} is for one kind of GPU, and {profile.autoscaler} may choose among {named}: name one of them in "
            "`gpu_skus`, or an instance type in `gpu_instance_type`; another kind has a target of its own."
        )


def _prepared(view: TraceView, claim: str) -> list[Verdict]:
    """Return what says that every pod of the engine unpacked the archive that the Job has left."""
    made = mapping(PlannedFacts.of(view.trial).prepared_steps.get(VERB))
    if not made:
        return [Verdict(claim, "no", ("No cache was prepared for the target before the trial was opened.",))]
    problems = tuple(text(item) for item in items(made.get("problems")))
    found = [Verdict(claim, "no", problems)] if problems else []
    return [*found, *(_unpacked(pod, mapping(made.get("facts")), claim) for pod in view.engine_pods)]


def _unpacked(pod: History, facts: Mapping[str, Any], claim: str) -> Verdict:
    """Say whether a pod's init container read the prepared archive, by what it told in the pod's status."""
    init = _init_of(pod)
    if not init:
        return Verdict(claim, "no", (f"Pod {pod.name} has no init container {INIT}: nothing brings the cache to it.",))
    prepared = mapping(facts.get(_key_of(init)))
    told = _told(pod)
    if told is None:
        return Verdict(claim, "unknown", (f"The end of pod {pod.name}'s init container {INIT} was not recorded.",))
    if error := text(told.get("error")):
        return Verdict(claim, "no", (f"Pod {pod.name} unpacked no cache: {error}.",))
    digest, size = text(told.get("digest")), number(told.get("bytes")) or 0.0
    sentence = f"Pod {pod.name} unpacked {size / 1e6:.1f} MB of compiled graphs ({digest})"
    if not digest or not prepared.get("digest"):
        return Verdict(claim, "unknown", (f"{sentence}; what the Job prepared is not known.",))
    if digest != prepared["digest"]:
        return Verdict(claim, "no", (f"{sentence}, which is not what the Job prepared ({prepared['digest']}).",))
    made = ", ".join(f"{name} {prepared[name]}" for name in ("vllm", "torch", "gpu") if prepared.get(name))
    return Verdict(claim, "yes", (f"{sentence}, which the Job prepared{f' with {made}' if made else ''}.",))


def _used(view: TraceView, pod: History, claim: str) -> Iterator[Verdict]:
    """Yield what the engine on a pod says of its graphs."""
    lines = graph_lines(view, pod)
    anew = tuple(f"Pod {pod.name}, engine: {line.text}" for line in lines if line.found is False)
    found = tuple(f"Pod {pod.name}, engine: {line.text}" for line in lines if line.found)
    outside = tuple(line.path for line in lines if line.path and not line.path.startswith(f"{ROOT}/"))
    if outside:
        yield Verdict(claim, "no", (f"Pod {pod.name}: the engine's cache is at {outside[0]}, not below {ROOT}.",))
    if anew:
        yield Verdict(claim, "no", (*anew[:3], *_of_another_gpu(view, pod)))
    elif found:
        yield Verdict(claim, "yes", (*found[:2], _CAPTURED))
    elif nothing := compiles_nothing(view, pod):
        yield Verdict(claim, "no", (f"Pod {pod.name}: the engine compiles nothing: {nothing}",))
    else:
        yield Verdict(claim, "unknown", (f"No engine on pod {pod.name} logged whether it found compiled graphs.",))


def _of_another_gpu(view: TraceView, pod: History) -> Iterator[str]:
    """Yield that the pod's node has another GPU than the Job's, where both are told: the cache's key names it."""
    facts = mapping(mapping(PlannedFacts.of(view.trial).prepared_steps.get(VERB)).get("facts"))
    made, node = text(mapping(facts.get(_key_of(_init_of(pod)))).get("gpu")), view.node_of(pod)
    found = accelerator_of(node) if node is not None else None
    if made and found and not _alike(made, found):
        yield f"The cache was made on {made}, and the node of pod {pod.name} has {found} (node label)."


def _alike(*names: str) -> bool:
    """Return whether names may mean one GPU: `NVIDIA L4`, `nvidia-l4` and `l4`; labels leave out memory and form."""
    short, long = sorted((re.sub(r"nvidia|tesla|[^a-z0-9]", "", name.lower()) for name in names), key=len)
    return long.startswith(short)


def _known_keys(view: TraceView, claim: str) -> Iterator[Verdict]:
    """Yield whether the keys under which engines found graphs are among those of the prepared archives."""
    facts = mapping(mapping(PlannedFacts.of(view.trial).prepared_steps.get(VERB)).get("facts"))
    known = {text(key) for told in facts.values() for key in items(mapping(told).get("keys"))}
    for key in dict.fromkeys(line.key for line in graph_lines(view) if line.found and line.key):
        if key in known:
            yield Verdict(claim, "yes", (f"The graphs of key {key} are in the prepared archive.",))
        else:
            yield Verdict(claim, "no", (f"The graphs of key {key} are in no prepared archive.",))


def _init_of(pod: History) -> Mapping[str, Any]:
    specs = map(mapping, items(dig(pod.last, "spec", "initContainers")))
    return next((spec for spec in specs if spec.get("name") == INIT), {})


def _key_of(init: Mapping[str, Any]) -> str:
    """Return the key of the archive that an init container reads."""
    return PurePosixPath(text(next(iter(items(init.get("args"))), ""))).parent.name


def _told(pod: History) -> Mapping[str, Any] | None:
    """Return what the init container told when it ended; None where its end, or any word, was not recorded."""
    for version in reversed(pod.versions):
        for status in container_statuses(version.object):
            message = text(dig(status, "state", "terminated", "message"))
            if status.get("name") == INIT and message:
                try:
                    return mapping(json.loads(message))
                except ValueError:
                    return None
    return None
