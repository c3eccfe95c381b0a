"""An experiment file -> the experiment. What is wrong is told with file, key, what was found and what is allowed.

Reading the files of manifests is the caller's.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from airflow_llm_provisioning.core.arm import BASELINE
from airflow_llm_provisioning.core.blockers import grace_periods
from airflow_llm_provisioning.core.budget import Budget
from airflow_llm_provisioning.core.design_targets import place_design
from airflow_llm_provisioning.core.expected import expected_from
from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.core.experiment_refusals import found_text, problems_of
from airflow_llm_provisioning.core.experiment_schema import (
    CompletionSection,
    DirectLoaderSection,
    ExperimentFile,
    Section,
    TargetSection,
    WorkloadSection,
)
from airflow_llm_provisioning.core.factorial import Design, DesignKind
from airflow_llm_provisioning.core.fallbacks import fallback_targets
from airflow_llm_provisioning.core.gate_limit import limit_from
from airflow_llm_provisioning.core.manifests import check_ray_service, parse_documents
from airflow_llm_provisioning.core.manifests.tree import shown
from airflow_llm_provisioning.core.model import Model
from airflow_llm_provisioning.core.prices import PriceBook, read_prices
from airflow_llm_provisioning.core.refusals import refuse
from airflow_llm_provisioning.core.stopping import StoppingRule
from airflow_llm_provisioning.core.target import NodeProfile, Target, with_role_options
from airflow_llm_provisioning.core.variants import BUILTIN_VARIANTS
from airflow_llm_provisioning.core.workload import (
    DEFAULT_PROFILE,
    DirectLoading,
    FastDownload,
    ScalingSetup,
    WeightStreaming,
    Workload,
    builtin_workload,
    completion_request,
)
from airflow_llm_provisioning.core.yaml_text import load_yaml
from airflow_llm_provisioning.exceptions import ConfigurationError, ManifestError

__all__ = ["ReadText", "read_experiment", "read_experiment_text"]

Made = TypeVar("Made")

_FASTSAFETENSORS: Final = ("fastsafetensors==0.5.0",)

ReadText = Callable[[str], str]
"""Returns the text of a file whose path stands in the experiment file, relative to it."""


def read_experiment(data: object, *, where: str, read_text: ReadText) -> Experiment:
    """Return the experiment that parsed YAML or JSON describes. Raises ConfigurationError with file and key.

    `where`: the file's name, for refusals. Every problem that is found at once is a line of its own.
    """
    if not isinstance(data, Mapping):
        told = f"an experiment is a mapping with `name` and `targets`; found {found_text(data)}."
        raise ConfigurationError(f"{where}: {told}")
    section = _section(data, where)
    targets = tuple(made for target in section.targets for made in _targets(target, where))
    workloads = _workloads(section, where, read_text)
    variants = dict(BUILTIN_VARIANTS) if section.variants is None else _variants(section.variants)
    notes: tuple[str, ...] = ()
    if (design := _design(section, where)) is not None:
        variants = _with_generated(variants, design, where)
        targets, notes = _placed(design, targets, workloads, where)
    return Experiment(
        name=section.name,
        targets=targets,
        workloads=workloads,
        variants=variants,
        design_notes=notes,
        setups=tuple(ScalingSetup(setup) for setup in dict.fromkeys(section.setups)),
        replicates=section.replicates,
        stop_early=_stop_early(section, where),
        gates=_each("gates", section.gates, limit_from, where),
        expected_changes=_each("expected_changes", section.expected_changes, expected_from, where),
        grace_s=_grace_s(section, where),
        evidence_s=section.evidence_s,
        no_capacity_fails=section.no_capacity == "fails_run",
        prices=_prices(section.prices, where, read_text),
        budget=Budget.from_dict(section.budget.model_dump()) if section.budget else None,
        where=where,
    )


def read_experiment_text(text: str, *, where: str, read_text: ReadText) -> Experiment:
    """Return the experiment of YAML or JSON text; see `read_experiment`. Aliases, depth and size are limited."""
    try:
        data = load_yaml(text, where=where)
    except ManifestError as error:
        raise ConfigurationError(str(error)) from error
    return read_experiment(data, where=where, read_text=read_text)


def _section(data: Mapping[str, Any], where: str) -> ExperimentFile:
    try:
        return ExperimentFile.model_validate(dict(data))
    except ValidationError as error:
        refuse(where, problems_of(error, data))
        raise


def _design(section: ExperimentFile, where: str) -> Design | None:
    if (section.design is None) != (section.factors is None):
        missing = "design" if section.design is None else "factors"
        refuse(where, [f"`{missing}` is missing: a factorial plan needs both `design` and `factors`."])
    if section.design is None or section.factors is None:
        return None
    try:
        return Design(DesignKind(section.design), tuple(section.factors))
    except ValueError as error:
        refuse(where, [f"`factors`: {error}."])
        raise


def _with_generated(variants: Mapping[str, tuple[str, ...]], design: Design, where: str) -> dict[str, tuple[str, ...]]:
    """Return the variants with those of a plan. A name that the file gives other treatments is refused."""
    made = design.variants()
    taken = [name for name in made if name in variants and set(variants[name]) != set(made[name])]
    refuse(where, [f"`variants.{name}` is a name of the design, which gives it other treatments." for name in taken])
    return {**variants, **{name: own for name, own in made.items() if name not in variants}}


def _placed(
    design: Design, targets: tuple[Target, ...], workloads: tuple[Workload, ...], where: str
) -> tuple[tuple[Target, ...], tuple[str, ...]]:
    try:
        found = place_design(design, targets, workloads)
    except ConfigurationError as error:
        refuse(where, [f"`design`: {error}"])
        raise
    return found.targets, found.notes


def _stop_early(section: ExperimentFile, where: str) -> StoppingRule | None:
    if section.stop_early is None:
        return None
    fewest, most = section.stop_early.min_replicates, section.replicates
    if fewest >= most:
        told = f"`stop_early.min_replicates` is {fewest} and must be less than `replicates`, which is {most}."
        refuse(where, [told])
    return StoppingRule(fewest, most, section.stop_early.half_width_pct)


def _each(key: str, items: Sequence[Section], read: Callable[[dict[str, Any]], Made], where: str) -> tuple[Made, ...]:
    """Return what a list of the file makes, or refuse with a line for every entry that is wrong."""
    made: list[Made] = []
    problems: list[str] = []
    for at, item in enumerate(items):
        try:
            made.append(read(item.model_dump()))
        except ValueError as error:
            problems.append(f"`{key}.{at}`: {error}")
    refuse(where, problems)
    return tuple(made)


def _prices(source: object, where: str, read_text: ReadText) -> PriceBook | None:
    """Return the experiment's own prices; a text is the path of a file beside it."""
    if source is None:
        return None
    if not isinstance(source, str):
        return read_prices(source, where=where)
    try:
        data = load_yaml(read_text(source), where=source)
    except ManifestError as error:
        raise ConfigurationError(f"{where}: `prices`: {error}") from error
    return read_prices(data, where=f"{where}: {source}")


def _grace_s(section: ExperimentFile, where: str) -> dict[str, float | None]:
    try:
        grace_periods(section.grace_s)
    except ConfigurationError as error:
        refuse(where, [f"`grace_s`: {error}"])
    return dict(section.grace_s)


def _targets(section: TargetSection, where: str) -> tuple[Target, ...]:
    """Return a target, and its fallbacks behind it."""
    first = _target(section, where)
    listed = [one if isinstance(one, str) else one.model_dump(exclude_unset=True) for one in section.fallbacks]
    try:
        return (first, *fallback_targets(first, listed))
    except ConfigurationError as error:
        refuse(where, [f"targets.{section.name}.fallbacks: {error}"])
        raise


def _target(section: TargetSection, where: str) -> Target:
    told = section.model_dump(exclude={"nodes", "variants", "workloads", "fallbacks"})
    try:
        nodes = with_role_options(section.nodes.model_dump())
    except ConfigurationError as error:
        refuse(where, [f"targets.{section.name}: {error}"])
        raise
    return Target(
        **told,
        variants=tuple(dict.fromkeys(section.variants)),
        workloads=tuple(dict.fromkeys(section.workloads or ())),
        nodes=NodeProfile(name=section.name, **nodes | {"gpu_skus": tuple(section.nodes.gpu_skus)}),
    )


def _variants(variants: Mapping[str, list[str]]) -> dict[str, tuple[str, ...]]:
    """Return the file's variants; the baseline need not be written down, because it is always the empty one."""
    return {BASELINE: ()} | {name: tuple(dict.fromkeys(names)) for name, names in variants.items()}


def _workloads(section: ExperimentFile, where: str, read_text: ReadText) -> tuple[Workload, ...]:
    sections = section.workloads or {DEFAULT_PROFILE: WorkloadSection(profile=DEFAULT_PROFILE)}
    made: list[Workload] = []
    problems: list[str] = []
    for name, item in sections.items():
        try:
            made.append(_workload(name, item, read_text))
        except (ConfigurationError, ManifestError) as error:
            problems.append(f"workloads.{name}{error}")
    refuse(where, problems)
    return tuple(made)


def _workload(name: str, section: WorkloadSection, read_text: ReadText) -> Workload:
    """Return a workload. The message of every error begins with the rest of the key."""
    if (section.profile is None) == (section.manifest is None):
        both = "neither" if section.profile is None else "both"
        raise ConfigurationError(f": either `profile` or `manifest` is needed; found {both}.")
    with _at(".profile: "):
        found = builtin_workload(name, section.profile) if section.profile is not None else None
    workload = found or _from_manifest(name, section.manifest, read_text)
    with _at(": "):
        return _adjusted(workload, section)


@contextmanager
def _at(key: str) -> Iterator[None]:
    """Put the rest of a key before the message of an error."""
    try:
        yield
    except (ConfigurationError, ManifestError) as error:
        raise ConfigurationError(f"{key}{error}") from error


def _from_manifest(name: str, source: object, read_text: ReadText) -> Workload:
    if not isinstance(source, (str, Mapping)):
        raise ManifestError(f".manifest: a file's path, YAML text or a mapping is needed; found {found_text(source)}.")
    text, where = source, ".manifest"
    if isinstance(source, str) and "\n" not in source.strip() and not source.lstrip().startswith("{"):
        path = source.strip()
        where = f".manifest ({shown(path)})"
        with _at(".manifest: "):
            text = read_text(path)
    parsed = parse_documents(text, where=where)
    with _at(f"{where}: "):
        check_ray_service(parsed.ray_service)
    return Workload(name=name, manifest=parsed.ray_service, others=parsed.others)


def _adjusted(workload: Workload, section: WorkloadSection) -> Workload:
    if section.model is not None:
        model = Model(section.model.id, section.model.revision, section.model.weight_bytes, None, "declared")
        workload = workload.with_model(_completed(model, workload))
    if section.image is not None:
        workload = workload.with_image(section.image)
    if section.setups is not None:
        workload = replace(workload, setups=tuple(ScalingSetup(setup) for setup in dict.fromkeys(section.setups)))
    if section.fast_download is not None:
        pip, env = tuple(section.fast_download.pip), dict(section.fast_download.env)
        workload = replace(workload, fast_download=FastDownload(pip, env))
    if section.direct_loader is not None:
        workload = replace(workload, direct_loader=_direct_loading(section.direct_loader))
    if section.weights_stream is not None:
        stream = WeightStreaming(tuple(section.weights_stream.pip), section.weights_stream.concurrency)
        workload = replace(workload, weights_stream=stream)
    if "completion" in section.model_fields_set:
        workload = replace(workload, completion=_completion(section.completion, workload))
    return workload


def _direct_loading(section: DirectLoaderSection) -> DirectLoading:
    """Return the loader with its own package and variables where the file names none."""
    own = DirectLoading() if section.format == "instanttensor" else DirectLoading(section.format, _FASTSAFETENSORS, {})
    pip = own.pip if section.pip is None else tuple(section.pip)
    return DirectLoading(section.format, pip, own.env if section.env is None else dict(section.env))


def _completed(model: Model, workload: Workload) -> Model:
    """Return the built-in profile's own model with its sizes where the file names just that one again."""
    own = workload.model
    same = own is not None and own.model_id == model.model_id and model.revision in (None, own.revision)
    return own if same and own is not None else model


def _completion(section: CompletionSection | None, workload: Workload) -> Mapping[str, Any] | None:
    if section is None:
        return None
    body = section.body
    if body is None:
        if workload.model is None:
            raise ConfigurationError(
                "`completion` has no `body`, and without `model` there is no default: write the request's JSON body."
            )
        body = completion_request(workload.model.model_id)["body"]
    found = {"path": section.path, "body": body, "replicas": section.replicas}
    return found | ({"expect_model": section.expect_model} if section.expect_model else {})
