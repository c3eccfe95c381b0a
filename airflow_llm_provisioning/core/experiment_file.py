"""The experiment file: its keys, their types, and the JSON schema that editors complete it by.

Pydantic (which Airflow brings) checks the shape and writes the schema. What is wrong is told with file, key, what was
found and what is allowed. Reading a manifest's file is the caller's.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from airflow_llm_provisioning.core.builtin_profiles import PROFILES
from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.core.manifests import check_ray_service, parse_documents
from airflow_llm_provisioning.core.model import Model
from airflow_llm_provisioning.core.names import nearest
from airflow_llm_provisioning.core.target import DEFAULT_GPU_SKUS, NodeProfile, Target
from airflow_llm_provisioning.core.variants import BUILTIN_VARIANTS
from airflow_llm_provisioning.core.workload import (
    DEFAULT_PROFILE,
    FastDownload,
    ScalingSetup,
    Workload,
    builtin_workload,
)
from airflow_llm_provisioning.core.yaml_text import load_yaml
from airflow_llm_provisioning.exceptions import ConfigurationError, ManifestError

ReadText = Callable[[str], str]
"""Returns the text of a file whose path stands in the experiment file, relative to it."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ModelSection(_Section):
    """The model that a manifest serves. Without `revision` the hub is asked when a run is planned."""

    id: str = Field(min_length=1, description="Model id on the hub, as microsoft/Phi-3-mini-4k-instruct.")
    revision: str | None = Field(default=None, description="Commit, tag or branch; a commit keeps trials comparable.")
    weight_bytes: int | None = Field(default=None, ge=1, description="Size of the weight files, where no hub knows it.")


class CompletionSection(_Section):
    """The request whose valid answer is waited for after the ready endpoint."""

    path: str = Field(default="/v1/chat/completions", pattern=r"^/")
    body: dict[str, Any] | None = Field(default=None, description="JSON body; the default asks the model for one word.")
    expect_model: str | None = Field(default=None, description="The model that the answer must name.")
    replicas: int = Field(default=1, ge=1, description="Replicas of the deployment: more of them are asked more often.")


class FastDownloadSection(_Section):
    """What `fast_download` installs and switches on in this workload's image."""

    pip: list[str] = []
    env: dict[str, str] = {}


class WorkloadSection(_Section):
    """What is served: a built-in profile, or any RayService manifest."""

    profile: str | None = Field(default=None, description=f"A built-in workload: {', '.join(PROFILES)}.")
    manifest: Any = Field(
        default=None, description="A RayService: the path of a file beside the experiment, YAML text, or a mapping."
    )
    model: ModelSection | None = None
    image: str | None = Field(
        default=None, min_length=1, description="Image of all Ray containers, in place of the manifest's."
    )
    completion: CompletionSection | None = Field(
        default=None,
        description="Without one the ready endpoint ends a manifest's trial; a built-in profile has its own.",
    )
    setups: list[Literal["static", "dynamic"]] | None = Field(
        default=None, description="Set-ups to try; the manifest is changed for the one that is not its own."
    )
    fast_download: FastDownloadSection | None = None


class NodesSection(_Section):
    """The nodes of a target, as its node autoscaler is told to make them."""

    cloud: str = Field(description="eks, gke, aks, generic, or a cloud that another package adds.")
    autoscaler: Literal["luna", "karpenter", "native"]
    kubernetes_minor: str = Field(pattern=r"^1\.\d{1,3}$", description='In quotes: "1.34".')
    gpu_skus: list[str] = list(DEFAULT_GPU_SKUS)
    gpu_instance_type: str | None = None
    cpu_instance_type: str | None = None
    data_volume_gib: int = Field(default=80, ge=1, le=65536)
    snapshot_id: str | None = None
    volume_initialization_rate_mib_s: int | None = Field(default=None, ge=1)
    options: dict[str, Any] = Field(default={}, description="What only this cloud or node autoscaler knows.")


class TargetSection(_Section):
    """A prepared cluster and its nodes. Targets on one cluster take turns."""

    name: Name
    cluster: Name = Field(description="The cluster's name: the scope of the lock.")
    conn_id: str = Field(min_length=1, description="Airflow connection that reaches the cluster.")
    variants: list[str] = Field(min_length=1)
    workloads: list[str] | None = Field(default=None, min_length=1, description="Default: all of the experiment.")
    cloud_conn_id: str | None = Field(default=None, description="Airflow connection of the cloud, for preparations.")
    cluster_name: str | None = None
    region: str | None = None
    registry: str | None = None
    namespace: str = Field(default="default", pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
    options: dict[str, Any] = {}
    nodes: NodesSection


class ExperimentFile(_Section):
    """An experiment: which workloads are deployed with which accelerations on which clusters, and how often."""

    name: str = Field(description="At most 40 lower-case letters, digits and inner hyphens.")
    description: str | None = None
    workloads: dict[Name, WorkloadSection] | None = Field(
        default=None, min_length=1, description=f"Name -> workload. Default: the built-in profile {DEFAULT_PROFILE}."
    )
    variants: dict[Name, list[str]] | None = Field(
        default=None,
        description="Name -> treatments (or groups of them, as image_delivery). Default: the built-in variants.",
    )
    targets: list[TargetSection] = Field(min_length=1)
    setups: list[Literal["static", "dynamic"]] = Field(default=["static", "dynamic"], min_length=1)
    replicates: int = Field(default=3, ge=1, le=1000, description="How often every cell is tried in a run.")


# Where each section stands: `*` is any name or number.
_PLACES: Final[Mapping[tuple[str, ...], type[_Section]]] = {
    (): ExperimentFile,
    ("targets", "*"): TargetSection,
    ("targets", "*", "nodes"): NodesSection,
    ("workloads", "*"): WorkloadSection,
    ("workloads", "*", "model"): ModelSection,
    ("workloads", "*", "completion"): CompletionSection,
    ("workloads", "*", "fast_download"): FastDownloadSection,
}
# Keys of version 0.1, and what replaced them.
_REPLACED: Final[Mapping[str, str]] = {
    "profile": "write `workloads: {NAME: {profile: ...}}` instead",
    "snapshot": "leave it out: the variant's treatments decide it",
    "streaming": "leave it out: the variant's treatments decide it",
}


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of an experiment file (draft 2020-12)."""
    schema = ExperimentFile.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Experiment of airflow-llm-provisioning",
        **{key: value for key, value in schema.items() if key != "title"},
    }


def read_experiment(data: object, *, where: str, read_text: ReadText) -> Experiment:
    """Return the experiment that parsed YAML or JSON describes. Raises ConfigurationError with file and key.

    `where`: the file's name, for refusals.
    """
    if not isinstance(data, Mapping):
        raise ConfigurationError(f"{where}: an experiment is a mapping with `name` and `targets`; found {_told(data)}.")
    try:
        section = ExperimentFile.model_validate(dict(data))
    except ValidationError as error:
        raise ConfigurationError(" ".join(f"{where}: {sentence}" for sentence in _sentences(error))) from None
    workloads = section.workloads or {DEFAULT_PROFILE: WorkloadSection(profile=DEFAULT_PROFILE)}
    variants = dict(BUILTIN_VARIANTS) if section.variants is None else _tuples(section.variants)
    return Experiment(
        name=section.name,
        targets=tuple(_target(target) for target in section.targets),
        workloads=tuple(_workload(name, item, where, read_text) for name, item in workloads.items()),
        variants=variants,
        setups=tuple(ScalingSetup(setup) for setup in dict.fromkeys(section.setups)),
        replicates=section.replicates,
        where=where,
    )


def read_experiment_text(text: str, *, where: str, read_text: ReadText) -> Experiment:
    """Return the experiment of YAML or JSON text; see `read_experiment`. Aliases, depth and size are limited."""
    try:
        data = load_yaml(text, where=where)
    except ManifestError as error:
        raise ConfigurationError(str(error)) from error
    return read_experiment(data, where=where, read_text=read_text)


def _tuples(variants: Mapping[str, list[str]]) -> Mapping[str, tuple[str, ...]]:
    return {name: tuple(dict.fromkeys(names)) for name, names in variants.items()}


def _target(section: TargetSection) -> Target:
    told = section.model_dump(exclude={"nodes", "variants", "workloads"})
    nodes = section.nodes.model_dump() | {"gpu_skus": tuple(section.nodes.gpu_skus)}
    return Target(
        **told,
        variants=tuple(dict.fromkeys(section.variants)),
        workloads=tuple(dict.fromkeys(section.workloads or ())),
        nodes=NodeProfile(name=section.name, **nodes),
    )


def _workload(name: str, section: WorkloadSection, where: str, read_text: ReadText) -> Workload:
    key = f"{where}: workloads.{name}"
    if (section.profile is None) == (section.manifest is None):
        both = "neither" if section.profile is None else "both"
        raise ConfigurationError(f"{key} needs either `profile` or `manifest`; found {both}.")
    try:
        found = (
            builtin_workload(name, section.profile)
            if section.profile is not None
            else _from_manifest(name, section.manifest, key, read_text)
        )
        return _adjusted(found, section)
    except (ConfigurationError, ManifestError) as error:
        told = str(error)
        raise ConfigurationError(told if told.startswith(where) else f"{key}: {told}") from error


def _from_manifest(name: str, source: object, key: str, read_text: ReadText) -> Workload:
    is_path = isinstance(source, str) and "\n" not in source.strip() and not source.lstrip().startswith("{")
    text = read_text(source.strip()) if isinstance(source, str) and is_path else source
    if not isinstance(text, (str, Mapping)):
        raise ManifestError(f"`manifest` is a file's path, YAML text or a mapping; found {_told(source)}.")
    parsed = parse_documents(text, where=f"{key}.manifest" + (f" ({source})" if is_path else ""))
    check_ray_service(parsed.ray_service)
    return Workload(name=name, manifest=parsed.ray_service, others=parsed.others)


def _adjusted(workload: Workload, section: WorkloadSection) -> Workload:
    from dataclasses import replace

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
    if "completion" in section.model_fields_set:
        workload = replace(workload, completion=_completion(section.completion, workload))
    return workload


def _completed(model: Model, workload: Workload) -> Model:
    """Return the built-in profile's own model with its sizes where the file names just that one again."""
    own = workload.model
    same = own is not None and own.model_id == model.model_id and model.revision in (None, own.revision)
    return own if same and own is not None else model


def _completion(section: CompletionSection | None, workload: Workload) -> Mapping[str, Any] | None:
    from airflow_llm_provisioning.core.workload import completion_request

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


def _sentences(error: ValidationError) -> Iterator[str]:
    for item in error.errors(include_url=False, include_context=True):
        loc = tuple(str(part) for part in item["loc"])
        key, found = ".".join(loc), item.get("input")
        if item["type"] == "extra_forbidden":
            yield _unknown_key(loc)
        elif item["type"] == "missing":
            yield f"`{key}` is missing{_meaning(loc)}."
        else:
            hint = ", in quotes" if item["type"] == "string_type" and isinstance(found, (int, float)) else ""
            yield f"`{key}`: {item['msg'][:1].lower()}{item['msg'][1:]}{hint}; found {_told(found)}."


def _unknown_key(loc: tuple[str, ...]) -> str:
    key, name = ".".join(loc), loc[-1]
    section = _section_at(loc[:-1])
    if name in _REPLACED and (section is ExperimentFile or section is NodesSection):
        return f"`{key}` is a key of version 0.1: {_REPLACED[name]}."
    known = section.model_fields if section is not None else {}
    return f"`{key}` is no key of an experiment file{nearest(name, known)}."


def _meaning(loc: tuple[str, ...]) -> str:
    section = _section_at(loc[:-1])
    info = section.model_fields.get(loc[-1]) if section is not None else None
    return f" ({info.description.rstrip('.')})" if info is not None and info.description else ""


def _section_at(loc: tuple[str, ...]) -> type[_Section] | None:
    for place, section in _PLACES.items():
        if len(place) == len(loc) and all(want in ("*", got) for want, got in zip(place, loc, strict=True)):
            return section
    return None


def _told(value: object) -> str:
    """Return what was found, short; of a mapping or list only that it is one, because it may hold anything."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    return "nothing" if value is None else f"{value!r:.80}"
