"""Direct loading: vLLM's weights go from their files to the GPU by a loader that keeps many reads in flight.

vLLM's own loader maps the files and copies one tensor after the other. InstantTensor (vllm 0.18, PR 36139) loaded 61 GB
from memory in 1.26 s instead of 12.7 s, fastsafetensors (vllm 0.8.5, PR 10647) in 16.7 s (scitix/InstantTensor,
docs/benchmark.md, one H200). InstantTensor reads around the page cache unless it is told otherwise (0.2.2, _impl.py):
weights that were downloaded a moment ago would be read again, from the node's disk. `INSTANTTENSOR_BACKEND=BUFFERED`
reads what is in memory; of a list of backends it takes the first that the system has, and says which for debugging
only. fastsafetensors falls back to copies through the host's memory where a node has no GPUDirect Storage, with a
warning only, and vLLM makes it do so without a word where several GPUs share the model (weight_utils.py, "Use
nogds=True for TP > 1").
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from airflow_llm_provisioning.core.effects import Between, Effect, EffectFacts, adds, becomes, seconds_for
from airflow_llm_provisioning.core.fields import dig, mapping
from airflow_llm_provisioning.core.manifests import runtime_pip, with_added_pip, with_engine_args, with_env
from airflow_llm_provisioning.core.target import NodeProfile
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.trace.objects import History
from airflow_llm_provisioning.core.treatments.base import BaseTreatment, DeploymentPlan
from airflow_llm_provisioning.core.treatments.effect_ranges import installed_at_start
from airflow_llm_provisioning.core.verdicts import Verdict, runtime_variables
from airflow_llm_provisioning.core.weight_loading import (
    direct_backends,
    engine_configs,
    load_rate,
    without_gpu_direct,
)
from airflow_llm_provisioning.core.workload import Workload, package_name
from airflow_llm_provisioning.exceptions import ManifestError

# The first releases of vLLM that know each format.
SINCE: Final[Mapping[str, tuple[int, ...]]] = {"instanttensor": (0, 18), "fastsafetensors": (0, 8, 5)}
BACKEND: Final = "INSTANTTENSOR_BACKEND"


class DirectLoader(BaseTreatment):
    """Load weights with InstantTensor, or with what the workload names."""

    name = "direct_loader"
    order = 10

    def requires(self, profile: NodeProfile, workload: Workload) -> tuple[str, ...]:
        """Return why the loader cannot be used: the engine's release, the model's files, or the manifest."""
        loader = workload.direct_loader
        found = [*too_old(workload, self.name, loader.format, SINCE[loader.format]), *unreadable(workload, self.name)]
        try:
            self.change(DeploymentPlan.of(workload), workload)
        except ManifestError as error:
            found.append(str(error))
        return tuple(found)

    def change(self, plan: DeploymentPlan, workload: Workload) -> DeploymentPlan:
        """Add the loader's package, name it to every engine, and set its variables in every Ray container."""
        loader = workload.direct_loader
        manifest = with_engine_args(with_added_pip(plan.manifest, loader.pip), {"load_format": loader.format})
        return replace(plan, manifest=with_env(manifest, loader.env), env={**plan.env, **loader.env})

    def verify(self, view: TraceView) -> Verdict:
        """Say whether every engine was configured with a direct loader that read as it was told to, and loaded."""
        told = configured_with(view, self.name, *SINCE)
        if told.value != "yes":
            return told
        against = (*_around_the_cache(view), *filter(None, (without_gpu_direct(view),)))
        if against:
            return Verdict(self.name, "no", (*told.evidence, *against))
        if doubts := (*_any_backend(view), *_several_ranks(view)):
            return Verdict(self.name, "unknown", (*told.evidence, *doubts))
        took = load_rate(view)
        if took is None:
            return Verdict(self.name, "unknown", (*told.evidence, "No engine logged that it loaded its weights."))
        return Verdict(self.name, "yes", (*told.evidence, took))

    def undeclared(self, view: TraceView) -> str | None:
        """Return what says that an engine of a trial without it used such a loader, or None."""
        found = next((item for item in engine_configs(view) if item.load_format in SINCE), None)
        return f"The engine's load_format is {found.load_format} ({found.filename})." if found else None

    def effect(self, facts: EffectFacts) -> Effect | None:
        """Return that loading takes the weights' bytes at the loader's rate, and what installing its package at start
        adds.
        """
        if facts.weight_bytes is None:
            return None
        load = becomes("model_load", seconds_for(facts.weight_bytes, _RATE))
        baked = "bake_packages" in facts.treatments
        return Effect(
            (load,) if baked else (load, adds("runtime_env", installed_at_start(self.name, facts))),
            assumptions=("the weights are in the node's memory, as after a download",),
        )


_RATE: Final = Between(
    2.75e9,
    25e9,
    "fastsafetensors from storage to PCIe Gen4 x16; scitix/InstantTensor, docs/benchmark.md; vllm PR 10647",
)


def configured_with(view: TraceView, claim: str, *formats: str) -> Verdict:
    """Say whether the configuration line of every engine names one of these load formats."""
    configs = engine_configs(view)
    told = {item.load_format for item in configs}
    if not configs or None in told:
        return Verdict(claim, "unknown", ("No configuration line of the engine with its load_format was recorded.",))
    sentences = tuple(
        dict.fromkeys(
            f"vLLM {item.version} ran with load_format={item.load_format} ({item.filename})." for item in configs
        )
    )
    return Verdict(claim, "yes" if told <= set(formats) else "no", sentences)


def too_old(workload: Workload, name: str, wanted: str, since: tuple[int, ...]) -> Iterator[str]:
    """Yield why the vLLM that the manifest installs does not know a load format; one of the image is not known."""
    try:
        named = [item for item in runtime_pip(workload.manifest) if package_name(item) == "vllm"]
    except ManifestError:
        return
    for requirement in named:
        version = requirement.partition("==")[2].strip()
        parts = tuple(int(part) for part in version.split(".") if part.isdigit())
        if parts and parts < since:
            least = ".".join(map(str, since))
            yield (
                f"{name} needs load_format {wanted}, which vLLM knows since {least}; workload {workload.name!r} "
                f"installs {requirement}."
            )


def unreadable(workload: Workload, name: str) -> Iterator[str]:
    """Yield why no such loader can read the model: its files on the hub are not safetensors."""
    model = workload.model
    if model is not None and model.weight_format not in (None, "safetensors"):
        yield (
            f"{name} reads safetensors files only, and {model.model_id} has {model.weight_format} files: convert the "
            "model, or leave the treatment out."
        )


def _around_the_cache(view: TraceView) -> Iterator[str]:
    """Yield where InstantTensor read around the page cache: it says so, or the pod's backends are direct ones."""
    taken = direct_backends(view) if _is_used(view, "instanttensor") else ()
    yield from (f"InstantTensor took the backend {name}: it read {_AROUND}." for name in taken if not _buffers(name))
    for pod, names in () if taken else _backends(view):
        if not names:
            yield f"Pod {pod.name} has no {BACKEND}=BUFFERED in its environment: InstantTensor read {_AROUND}."
        elif names[0] == _EVERYWHERE or not any(map(_buffers, names)):
            yield f"Pod {pod.name} has {BACKEND}={','.join(names)}: InstantTensor read {_AROUND}."


def _any_backend(view: TraceView) -> Iterator[str]:
    """Yield where InstantTensor may have taken either kind of backend, and does not say which."""
    for pod, names in () if direct_backends(view) else _backends(view):
        if any(map(_buffers, names)) and not _buffers(names[0]):
            told = f"Pod {pod.name} has {BACKEND}={','.join(names)}, of which InstantTensor takes the first that it can"
            yield f"{told}: whether it read {_AROUND} is not known."


def _several_ranks(view: TraceView) -> Iterator[str]:
    """Yield that vLLM may have told fastsafetensors to copy through the host's memory."""
    for item in engine_configs(view):
        if item.load_format == "fastsafetensors" and item.ranks > 1:
            told = f"vLLM {item.version} loads for {item.ranks} GPUs ({item.filename})"
            yield f"{told}, and does not say whether fastsafetensors may use GPUDirect Storage then."


def _backends(view: TraceView) -> Iterator[tuple[History, tuple[str, ...]]]:
    """Yield each pod of an engine that uses InstantTensor, with the backends that its environment names, in order."""
    if not _is_used(view, "instanttensor"):
        return
    over, in_image = runtime_variables(view), mapping(dig(view.trial, "served", "recipe", "env"))
    for pod in view.engine_pods:
        told = over.get(BACKEND, view.env_of(pod).get(BACKEND, in_image.get(BACKEND)))
        yield pod, tuple(name for name in (part.strip().upper() for part in str(told or "").split(",")) if name)


def _is_used(view: TraceView, load_format: str) -> bool:
    return any(item.load_format == load_format for item in engine_configs(view))


def _buffers(backend: str) -> bool:
    """Return whether a backend reads through the page cache: BUFFERED, *_BUFFERED or MMAP."""
    return backend.endswith("BUFFERED") or backend == "MMAP"


_AROUND: Final = "around the page cache, from the disk"
# Linux has this one everywhere (instanttensor/_impl.py: "AIO has the broadest compatibility").
_EVERYWHERE: Final = "AIO"
