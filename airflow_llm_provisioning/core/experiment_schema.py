"""The keys of an experiment file and their types, as Pydantic models, and the JSON schema that editors complete it by.

Pydantic comes with Airflow. Knows the shape only: which names exist and what is possible together is checked later.
"""

import json
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from airflow_llm_provisioning.core.blockers import GRACE_S
from airflow_llm_provisioning.core.builtin_profiles import PROFILES
from airflow_llm_provisioning.core.target import DEFAULT_GPU_SKUS
from airflow_llm_provisioning.core.workload import DEFAULT_PROFILE

# More of anything than there may be trials in a run is a mistake.
MAX_ENTRIES: Final = 1000
MAX_WORKLOADS: Final = 100
MAX_TREATMENTS: Final = 50
# Each is tried for as long as a trial waits for capacity.
MAX_FALLBACKS: Final = 5
EXPERIMENT_NAME: Final = r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$"

NAME: Final = r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"

# What only an account or another program knows. Files are not rendered, so a template would be taken literally.
GIVEN: Final = r"^[^\s{}\x00-\x1f](?:[^{}\x00-\x1f]*[^\s{}\x00-\x1f])?$"
ZONE: Final = r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$"

Name = Annotated[str, Field(pattern=NAME)]
Given = Annotated[str, Field(min_length=1, pattern=GIVEN)]
Zone = Annotated[str, Field(pattern=ZONE)]


class Section(BaseModel):
    """A mapping whose keys are all known, and whose values are not converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ModelSection(Section):
    """The model that a manifest serves. Without `revision` the hub is asked when a run is planned."""

    id: str = Field(min_length=1, description="Model id on the hub, as microsoft/Phi-3-mini-4k-instruct.")
    revision: str | None = Field(default=None, description="Commit, tag or branch; a commit keeps trials comparable.")
    weight_bytes: int | None = Field(default=None, ge=1, description="Size of the weight files, where no hub knows it.")


class CompletionSection(Section):
    """The request whose valid answer is waited for after the ready endpoint."""

    path: str = Field(default="/v1/chat/completions", pattern=r"^/")
    body: dict[str, Any] | None = Field(default=None, description="JSON body; the default asks the model for one word.")
    expect_model: str | None = Field(default=None, description="The model that the answer must name.")
    replicas: int = Field(default=1, ge=1, description="Replicas of the deployment: more of them are asked more often.")


class FastDownloadSection(Section):
    """What `fast_download` installs and switches on in this workload's image."""

    pip: list[str] = []
    env: dict[str, str] = {}


class DirectLoaderSection(Section):
    """Which loader `direct_loader` uses in this workload's image, what it installs and which variables it sets."""

    format: Literal["instanttensor", "fastsafetensors"] = "instanttensor"
    pip: list[str] | None = Field(default=None, description="Default: the format's own package.")
    env: dict[str, str] | None = Field(default=None, description="Default: what the format needs.")


class WeightsStreamSection(Section):
    """How `weights_stream` streams in this workload's image."""

    pip: list[str] = Field(default=[], description="What is installed at start; nothing where the image brings it.")
    concurrency: int = Field(default=16, ge=1, le=256, description="Reads at once.")


_GIVEN_MANIFEST: Final[JsonDict] = {
    "required": ["manifest"],
    "properties": {"manifest": {"type": ["string", "object"]}},
}


class WorkloadSection(Section):
    """What is served: a built-in profile, or any RayService manifest."""

    # Exactly one of two keys: the loader says so in a sentence, editors read it from the schema.
    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["profile"], "properties": {"profile": {"type": "string"}}, "not": _GIVEN_MANIFEST},
                {**_GIVEN_MANIFEST, "not": {"required": ["profile"], "properties": {"profile": {"type": "string"}}}},
            ]
        }
    )

    profile: str | None = Field(
        default=None,
        description=f"A built-in workload: {', '.join(PROFILES)}.",
        json_schema_extra={"enum": [*PROFILES, None]},
    )
    manifest: Any = Field(
        default=None,
        description="A RayService: the path of a file beside the experiment, YAML text, or a mapping.",
        json_schema_extra={"type": ["string", "object", "null"]},
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
    direct_loader: DirectLoaderSection | None = None
    weights_stream: WeightsStreamSection | None = None


class NodesSection(Section):
    """The nodes of a target, as its node autoscaler is told to make them."""

    cloud: str = Field(description="eks, gke, aks, generic, or a cloud that another package adds.")
    autoscaler: Literal["luna", "karpenter", "native"]
    kubernetes_minor: str = Field(pattern=r"^1\.\d{1,3}$", description='In quotes: "1.34".')
    gpu_skus: list[Given] = list(DEFAULT_GPU_SKUS)
    gpu_instance_type: Given | None = None
    cpu_instance_type: Given | None = None
    data_volume_gib: int = Field(default=80, ge=1, le=65536)
    snapshot_id: Given | None = None
    volume_initialization_rate_mib_s: int | None = Field(default=None, ge=1)
    node_selector: dict[str, Any] | None = Field(
        default=None,
        description="autoscaler: native. Labels of the nodes, per role: {head: {..}, workers: {..}}.",
    )
    tolerations: dict[str, Any] | list[Any] | None = Field(
        default=None,
        description="autoscaler: native. Tolerations per role: {head: [..], workers: [..]}. "
        "That of GPU nodes is added by itself.",
    )
    zone: Zone | None = Field(default=None, description="Its nodes are in this zone only. Default: any. Not with Luna.")
    options: dict[str, Any] = Field(default={}, description="What only this cloud or node autoscaler knows.")


class FallbackNodesSection(Section):
    """What is different about the nodes of a fallback; `options` are added to the target's."""

    gpu_skus: list[Given] = []
    gpu_instance_type: Given | None = None
    cpu_instance_type: Given | None = None
    data_volume_gib: int = Field(default=80, ge=1, le=65536)
    snapshot_id: Given | None = None
    volume_initialization_rate_mib_s: int | None = Field(default=None, ge=1)
    node_selector: dict[str, Any] | None = None
    tolerations: dict[str, Any] | list[Any] | None = None
    zone: Zone | None = None
    options: dict[str, Any] = {}


class FallbackSection(Section):
    """A place where a trial is tried that got no capacity before: the target `TARGET-NAME`, on the same cluster."""

    name: Name
    nodes: FallbackNodesSection


class TargetSection(Section):
    """A prepared cluster and its nodes. Targets on one cluster take turns."""

    name: Name
    cluster: Name = Field(description="The cluster's name: the scope of the lock.")
    conn_id: Given = Field(description="Airflow connection that reaches the cluster.")
    variants: list[str] = Field(min_length=1, max_length=MAX_ENTRIES)
    workloads: list[str] | None = Field(
        default=None, min_length=1, max_length=MAX_ENTRIES, description="Default: all of the experiment."
    )
    cloud_conn_id: Given | None = Field(default=None, description="Airflow connection of the cloud, for preparations.")
    cluster_name: Given | None = None
    region: Given | None = None
    registry: Given | None = None
    namespace: str = Field(default="default", pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
    nodes_gone_s: float | None = Field(
        default=None,
        ge=0,
        le=86400,
        description="How long the nodes are waited for after a trial. Default: 1800; 0 without a node autoscaler.",
    )
    options: dict[str, Any] = {}
    nodes: NodesSection
    fallbacks: list[Zone | FallbackSection] = Field(
        default=[],
        max_length=MAX_FALLBACKS,
        description="Where a trial without capacity is tried in turn, as a stratum of its own: zones, or other nodes.",
    )


class StopEarlySection(Section):
    """When an arm of a run has enough trials before all its replicates ran."""

    min_replicates: int = Field(default=5, ge=5, le=1000, description="Never before so many trials of each arm.")
    half_width_pct: float = Field(
        gt=0, le=100, description="When the reduction's interval is at most so many points wide to each side."
    )


class GateSection(Section):
    """What one arm of every run must keep, or the run fails: a limit of its time, of how fast it serves, or of both."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": ["max_seconds"], "properties": {"max_seconds": {"type": "number"}}},
                {"required": ["against"], "properties": {"against": {"type": "string"}}},
                {"required": ["max_serving_slower"], "properties": {"max_serving_slower": {"type": "number"}}},
            ],
            "not": {
                "required": ["max_seconds", "against"],
                "properties": {"max_seconds": {"type": "number"}, "against": {"type": "string"}},
            },
        }
    )

    arm: str = Field(min_length=1, description="TARGET/WORKLOAD/SETUP/VARIANT.")
    max_seconds: float | None = Field(default=None, gt=0, description="The median total may be at most this.")
    against: str | None = Field(
        default=None, min_length=1, description="The id of another run of the same DAG, or `previous` for the last."
    )
    max_slower: float | None = Field(default=None, ge=0, description="Per cent slower than that run. Default: 5.")
    max_serving_slower: float | None = Field(
        default=None,
        ge=0,
        lt=100,
        description="Per cent that it may serve slower than the baseline of its run. Default: it is told, and passes.",
    )


class ExpectedChangeSection(Section):
    """A change of level that is wanted: from here on a new baseline holds, and no alarm is given."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": [key], "properties": {key: {"type": "string"}}} for key in ("since", "run", "digest")
            ]
        }
    )

    since: str | None = Field(
        default=None, min_length=1, description='From the first night on or after a date in quotes: "2026-12-01".'
    )
    run: str | None = Field(default=None, min_length=1, description="From this DAG run on, by its id.")
    digest: str | None = Field(
        default=None, min_length=1, description="From the first night on whose workers ran the image of this digest."
    )
    arm: str | None = Field(default=None, min_length=1, description="TARGET/WORKLOAD/SETUP/VARIANT. Default: all.")
    why: str = Field(min_length=1, description="The reason, for readers of the history.")


Limit = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]


class AmountSection(Section):
    """At most so much, of either kind."""

    money: Limit | None = Field(default=None, description="In the currency of the experiment's prices.")
    gpu_hours: Limit | None = None


class BudgetSection(Section):
    """What trials may cost: refused by the plan, checked before each trial, and enforced while one waits."""

    trial: AmountSection | None = None
    run: AmountSection | None = None
    month: AmountSection | None = Field(
        default=None, description="All runs of the experiment in a calendar month, UTC."
    )
    node_hour_at_most: Limit | None = Field(
        default=None, description="What an hour of a node counts whose price is not known. Without it, it is refused."
    )


class ExperimentFile(Section):
    """An experiment: which workloads are deployed with which accelerations on which clusters, and how often."""

    name: str = Field(pattern=EXPERIMENT_NAME, description="At most 40 lower-case letters, digits and inner hyphens.")
    description: str | None = None
    workloads: dict[Name, WorkloadSection] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_WORKLOADS,
        description=f"Name -> workload. Default: the built-in profile {DEFAULT_PROFILE}.",
    )
    variants: dict[Name, Annotated[list[str], Field(max_length=MAX_TREATMENTS)]] | None = Field(
        default=None,
        max_length=MAX_ENTRIES,
        description="Name -> treatments (or groups of them, as image_delivery). Default: the built-in variants.",
    )
    design: Literal["full", "fraction", "one-at-a-time"] | None = Field(
        default=None, description="Try combinations of `factors`; targets list them as `design` or `design with ...`."
    )
    factors: list[str] | None = Field(
        default=None, min_length=2, max_length=7, description="With `design`: the treatments (or groups) to combine."
    )
    targets: list[TargetSection] = Field(min_length=1, max_length=MAX_ENTRIES)
    setups: list[Literal["static", "dynamic"]] = Field(default=["static", "dynamic"], min_length=1)
    replicates: int = Field(default=3, ge=1, le=1000, description="How often every cell is tried in a run.")
    stop_early: StopEarlySection | None = Field(
        default=None, description="Skip an arm's remaining trials of a run once its reduction is known well enough."
    )
    gates: list[GateSection] = Field(
        default=[], max_length=MAX_ENTRIES, description="A run fails when the median time of an arm is beyond its gate."
    )
    expected_changes: list[ExpectedChangeSection] = Field(
        default=[],
        max_length=MAX_ENTRIES,
        description="Changes of level that are wanted, so no alarm is given for them.",
    )
    grace_s: dict[str, Annotated[float, Field(ge=0)] | None] = Field(
        default={},
        description="Kind of blocker -> seconds after which a wait ends early for it; null: wait until the time limit.",
        json_schema_extra={"propertyNames": {"enum": list(GRACE_S)}},
    )
    budget: BudgetSection | None = None
    prices: Any = Field(
        default=None,
        description="Own prices, before the shipped list: a mapping, or the path of a file beside the experiment.",
        json_schema_extra={"type": ["string", "object", "null"]},
    )
    no_capacity: Literal["reported", "fails_run"] = Field(
        default="reported", description="What a trial without capacity does to its run: it is told, or it fails it."
    )
    evidence_s: float = Field(
        default=5.0,
        ge=0,
        le=600,
        description="Real seconds after a wait's end for reading Ray's state and the logs, while GPU nodes run on.",
    )


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of an experiment file (draft 2020-12)."""
    schema = ExperimentFile.model_json_schema()
    for named in ("workloads", "variants"):
        # Pydantic writes the pattern of names, and leaves other names open.
        schema["properties"][named]["anyOf"][0]["additionalProperties"] = False
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Experiment of airflow-llm-provisioning",
        **{key: value for key, value in schema.items() if key != "title"},
    }


def schema_text() -> str:
    """Return the JSON schema as it is shipped."""
    return json.dumps(json_schema(), indent=1) + "\n"
