"""Experiment -> cells -> trials in a drawn order. A trial is one deployment of one cell on one target.

The order is drawn per DAG run from a stored seed: replicate by replicate (so that drift hits every cell alike),
shuffled
within each replicate, cluster by cluster.
"""

import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal

from airflow_llm_provisioning.core.workload import ScalingSetup
from airflow_llm_provisioning.exceptions import ConfigurationError

CloudName = Literal["eks", "gke", "aks", "generic"]
AutoscalerName = Literal["luna", "karpenter", "native"]
Delivery = Literal["pull", "snapshot", "streaming"]
CLOUDS: Final = ("eks", "gke", "aks", "generic")
AUTOSCALERS: Final = ("luna", "karpenter", "native")


@dataclass(frozen=True, slots=True)
class NodeProfile:
    """The nodes of a target, as its node autoscaler is told to make them.

    `gpu_skus`: what the worker may run on. `snapshot`: the data volume is restored from a snapshot that holds the
    serving image (EKS; `snapshot_id` comes from the preparation); `streaming`: images are streamed (GKE, AKS).
    `options`: what only one cloud or autoscaler knows (`node_service_account`, `role`, `driver_version`, ...), by name,
    passed to nobody else.
    """

    name: str
    cloud: CloudName
    autoscaler: AutoscalerName
    kubernetes_minor: str
    gpu_skus: tuple[str, ...] = ("L4", "A10G", "A10", "L40S")
    gpu_instance_type: str | None = None
    cpu_instance_type: str | None = None
    data_volume_gib: int = 80
    snapshot: bool = False
    snapshot_id: str | None = None
    volume_initialization_rate_mib_s: int | None = None
    streaming: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a variant's trials run: a cluster and a node profile, prepared beforehand, never reconfigured between
    trials.

    `cluster`: the lock's scope; several targets may share one. `conn_id`: Airflow connection that reaches the cluster
    (`kubernetes`, or the cloud's own with `cluster_name`). `cloud_conn_id`: the cloud's connection for preparations and
    verification. `region`, `registry`: where images are built to.
    """

    name: str
    cluster: str
    conn_id: str
    nodes: NodeProfile
    variants: tuple[str, ...]
    cloud_conn_id: str | None = None
    cluster_name: str | None = None
    region: str | None = None
    registry: str | None = None
    namespace: str = "default"
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def cloud(self) -> CloudName:
        """The cloud its nodes come from."""
        return self.nodes.cloud

    @property
    def delivery(self) -> Delivery:
        """How images reach its nodes."""
        if self.nodes.snapshot:
            return "snapshot"
        return "streaming" if self.nodes.streaming else "pull"

    def cluster_reference(self) -> dict[str, Any]:
        """Return how its cluster is opened: {conn_id, namespace, cluster_name?, region?}."""
        named = {"conn_id": self.conn_id, "cluster_name": self.cluster_name, "region": self.region}
        return {key: value for key, value in named.items() if value is not None} | {"namespace": self.namespace}

    def cloud_reference(self) -> dict[str, Any] | None:
        """Return how its cloud is opened, or None where it has no connection of its own.

        {cloud, conn_id, cluster, region?, registry?, cluster_name?, ...options}; `cluster` names the cluster whose
        clock
        counts.
        """
        if self.cloud == "generic" or self.cloud_conn_id is None:
            return None
        named = {
            "cloud": self.cloud,
            "conn_id": self.cloud_conn_id,
            "region": self.region,
            "registry": self.registry,
            "cluster_name": self.cluster_name,
            **self.options,
        }
        known = {key: value for key, value in named.items() if value is not None}
        return known | {"cluster": self.cluster_reference()}

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: object) -> "Target":
        """Read a target from JSON or YAML; what is wrong with it is one sentence."""
        if not isinstance(data, Mapping) or not isinstance(data.get("nodes"), Mapping):
            raise ConfigurationError(f"A target is a mapping with `name`, `nodes`, ...; found {data!r:.80}.")
        _check_types(data, data["nodes"])
        try:
            nodes = NodeProfile(**_tuples({"name": data.get("name"), **data["nodes"]}, "gpu_skus"))
            target = cls(**{**_tuples(dict(data), "variants"), "nodes": nodes})
        except TypeError as error:
            told = str(error).partition("__init__() ")[2] or str(error)
            raise ConfigurationError(f"Target {data.get('name', '?')!r} cannot be read: {told}.") from error
        if target.cloud not in CLOUDS:
            raise ConfigurationError(
                f"Target {target.name!r}: cloud {target.cloud!r} is unknown; one of {', '.join(CLOUDS)}."
            )
        if nodes.autoscaler not in AUTOSCALERS:
            raise ConfigurationError(
                f"Target {target.name!r}: node autoscaler {nodes.autoscaler!r} is unknown; "
                f"one of {', '.join(AUTOSCALERS)}."
            )
        return target


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination that is compared: target, set-up and variant of one workload."""

    target: str
    cloud: str
    setup: ScalingSetup
    variant: str
    profile: str

    @property
    def key(self) -> str:
        """A short name, unique within an experiment."""
        return f"{self.target}/{self.setup}/{self.variant}"


@dataclass(frozen=True, slots=True)
class PlannedTrial:
    """A cell's replicate in its slot of a cluster. `slot` counts from 0 per cluster; `seed` drew the order."""

    cell: Cell
    cluster: str
    replicate: int
    slot: int
    seed: int

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON: {target, cloud, setup, variant, profile, cluster, replicate, slot, seed}."""
        return {
            **asdict(self.cell),
            "setup": str(self.cell.setup),
            "cluster": self.cluster,
            "replicate": self.replicate,
            "slot": self.slot,
            "seed": self.seed,
        }


@dataclass(frozen=True, slots=True)
class Experiment:
    """The cells and how often each is repeated. Checked when it is built, which is when the DAG is parsed."""

    name: str
    targets: tuple[Target, ...]
    profile: str = "phi3-2025"
    setups: tuple[ScalingSetup, ...] = (ScalingSetup.STATIC, ScalingSetup.DYNAMIC)
    replicates: int = 3

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", self.name):
            raise ConfigurationError(
                f"Experiment name {self.name!r} cannot be part of a Kubernetes name: "
                "use at most 40 lower-case letters, digits and inner hyphens."
            )
        if self.replicates < 1:
            raise ConfigurationError(
                f"Experiment {self.name!r} repeats its cells {self.replicates} times; at least 1 is needed."
            )
        names = [target.name for target in self.targets]
        if not names or len(set(names)) != len(names):
            raise ConfigurationError(f"Experiment {self.name!r} needs targets with names of their own; found {names}.")
        for cluster in sorted({target.cluster for target in self.targets}):
            # The lock is a Lease, and a Lease lives in a namespace.
            namespaces = sorted({target.namespace for target in self.targets if target.cluster == cluster})
            if len(namespaces) > 1:
                raise ConfigurationError(
                    f"The targets on cluster {cluster!r} use the namespaces {', '.join(namespaces)}: give them one, "
                    "or their trials would not see each other's lock."
                )

    def target(self, name: str) -> Target:
        """Return a target by name."""
        for target in self.targets:
            if target.name == name:
                return target
        raise ConfigurationError(
            f"Target {name!r} is unknown: choose one of {', '.join(t.name for t in self.targets)}."
        )

    def on_clouds(self, clouds: Iterable[str]) -> "Experiment":
        """Return the experiment with only the targets on these clouds; a cloud that it does not have is an error."""
        wanted = {cloud.strip() for cloud in clouds if cloud.strip()}
        unknown = wanted - {target.cloud for target in self.targets}
        if unknown or not wanted:
            raise ConfigurationError(
                f"Experiment {self.name!r} has no targets on {', '.join(sorted(unknown)) or 'no cloud'}: "
                f"choose of {', '.join(sorted({target.cloud for target in self.targets}))}."
            )
        return replace(self, targets=tuple(target for target in self.targets if target.cloud in wanted))

    def narrowed(self, *, target: str, setup: str, variant: str, profile: str) -> "Experiment":
        """Return the experiment with one cell, once; a variant the target was not prepared for is an error."""
        chosen = self.target(target)
        if setup not in tuple(ScalingSetup):
            raise ConfigurationError(f"Scaling set-up {setup!r} is unknown: choose static or dynamic.")
        if variant not in chosen.variants:
            raise ConfigurationError(
                f"Target {target!r} was prepared for {', '.join(chosen.variants)}, not for variant {variant!r}: "
                "choose another target, or add the variant to it and prepare it again."
            )
        return replace(
            self,
            targets=(replace(chosen, variants=(variant,)),),
            setups=(ScalingSetup(setup),),
            profile=profile,
            replicates=1,
        )

    def cells(self) -> Iterator[Cell]:
        """Yield every cell, in the order of targets, set-ups and variants."""
        for target in self.targets:
            for setup in self.setups:
                for variant in target.variants:
                    yield Cell(target.name, target.cloud, setup, variant, self.profile)

    def slots(self) -> dict[str, int]:
        """Return how many trials each cluster runs: known when the DAG is parsed."""
        clusters = {target.name: target.cluster for target in self.targets}
        counts: dict[str, int] = {}
        for cell in self.cells():
            counts[clusters[cell.target]] = counts.get(clusters[cell.target], 0) + self.replicates
        return counts

    def plan(self, seed: int) -> list[PlannedTrial]:
        """Draw which trial runs in which slot of which cluster. The same seed draws the same plan."""
        rng = random.Random(seed)
        clusters = {target.name: target.cluster for target in self.targets}
        next_slot: dict[str, int] = {}
        planned: list[PlannedTrial] = []
        for replicate in range(self.replicates):
            cells = list(self.cells())
            rng.shuffle(cells)
            for cell in cells:
                cluster = clusters[cell.target]
                slot = next_slot.get(cluster, 0)
                next_slot[cluster] = slot + 1
                planned.append(PlannedTrial(cell, cluster, replicate, slot, seed))
        return planned


def experiment_from(data: object) -> Experiment:
    """Read an experiment from JSON or YAML: {name, targets: [..]} and optionally {profile, setups, replicates}."""
    known = {"name", "targets", "profile", "setups", "replicates"}
    if not isinstance(data, Mapping) or set(data) - known or not isinstance(data.get("name"), str):
        found = sorted(map(str, data)) if isinstance(data, Mapping) else type(data).__name__
        raise ConfigurationError(
            f"An experiment has `name`, `targets`, `profile`, `setups` and `replicates`; found {found}."
        )
    name, replicates = data["name"], data.get("replicates", 3)
    if not isinstance(replicates, int) or isinstance(replicates, bool):
        raise ConfigurationError(f"Experiment {name!r}: `replicates` is {replicates!r}, not a whole number.")
    try:
        setups = tuple(ScalingSetup(setup) for setup in _listed(data, "setups") or ScalingSetup)
    except ValueError as error:
        raise ConfigurationError(f"Experiment {name!r}: {error}; choose static or dynamic.") from error
    return Experiment(
        name=name,
        targets=tuple(Target.from_dict(target) for target in _listed(data, "targets")),
        profile=data.get("profile") or "phi3-2025",
        setups=setups,
        replicates=replicates,
    )


def _listed(data: Mapping[str, Any], key: str) -> Sequence[Any]:
    value = data.get(key) or ()
    if isinstance(value, (str, Mapping)) or not isinstance(value, Sequence):
        raise ConfigurationError(f"Of {data.get('name', '?')!r}, `{key}` must be a list; found {value!r:.80}.")
    return value


def _check_types(data: Mapping[str, Any], nodes: Mapping[str, Any]) -> None:
    """Refuse what YAML reads otherwise than it was meant: a bare word for a list, 1.30 as the number 1.3."""
    _listed(data, "variants")
    _listed({**nodes, "name": data.get("name")}, "gpu_skus")
    texts = {"name": data.get("name"), "cluster": data.get("cluster"), "conn_id": data.get("conn_id")}
    for key, value in {**texts, "kubernetes_minor": nodes.get("kubernetes_minor")}.items():
        if not isinstance(value, str) or not value:
            raise ConfigurationError(
                f"Target {data.get('name', '?')!r}: `{key}` must be text, in quotes where it looks like a number; "
                f"found {value!r}."
            )


def _tuples(data: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: tuple(value) if key in keys and isinstance(value, Sequence) else value for key, value in data.items()}
