"""Where trials run: a prepared cluster and the profile of its nodes. Never reconfigured between trials."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Final

from airflow_llm_provisioning.core.names import fingerprint
from airflow_llm_provisioning.exceptions import ConfigurationError

AUTOSCALERS: Final = ("luna", "karpenter", "native")
DEFAULT_GPU_SKUS: Final = ("L4", "A10G", "A10", "L40S")

# Key of a target's options: treatment -> what it needs to know of this target (a bucket, a storage class).
TREATMENTS: Final = "treatments"
# What a target says of its nodes per role: an option, and also a key of `nodes`.
_ROLE_OPTIONS: Final = ("node_selector", "tolerations")
# Options of a node profile that name an account, a cluster or a pool. They say which nodes, not which kind of nodes, so
# two targets that differ only in them are comparable.
IDENTITY_OPTIONS: Final = frozenset(
    {
        "api_server",
        "cluster_certificate",
        "cluster_name",
        "discovery",
        "disk_image",
        "node_selector",
        "node_service_account",
        "pool_name",
        "role",
        "snapshot_volume_gib",
        "tolerations",
    }
)


@dataclass(frozen=True, slots=True)
class NodeProfile:
    """The nodes of a target, as its node autoscaler is told to make them.

    `gpu_skus`: what the worker may run on. `options`: what only one cloud or node autoscaler knows
    (`node_service_account`, `role`, `driver_version`, ...), by name. `features`: what treatments switched on
    (`image_snapshot`, `image_streaming`, ...); an experiment file never sets it. `snapshot_id` and
    `volume_initialization_rate_mib_s` belong to the feature `image_snapshot` (EKS). `zone`: the only one in which its
    nodes may be, as their label `topology.kubernetes.io/zone` names it; None: any.
    """

    name: str
    cloud: str
    autoscaler: str
    kubernetes_minor: str
    gpu_skus: tuple[str, ...] = DEFAULT_GPU_SKUS
    gpu_instance_type: str | None = None
    cpu_instance_type: str | None = None
    data_volume_gib: int = 80
    snapshot_id: str | None = None
    volume_initialization_rate_mib_s: int | None = None
    features: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    zone: str | None = None

    def has(self, feature: str) -> bool:
        """Return whether a treatment switched a feature on."""
        return bool(self.features.get(feature))

    def with_feature(self, feature: str, value: Any = True) -> "NodeProfile":
        """Return the profile with a feature switched on; `value` is what the feature needs to know, JSON."""
        return replace(self, features={**self.features, feature: value})

    def with_options(self, **options: Any) -> "NodeProfile":
        """Return the profile with more options."""
        return replace(self, options={**self.options, **options})

    @property
    def content(self) -> str:
        """Fingerprint of the kind of nodes: everything but names, and what belongs to treatments."""
        options = {key: value for key, value in self.options.items() if key not in IDENTITY_OPTIONS}
        left_out = {"name", "features", "snapshot_id", "volume_initialization_rate_mib_s", "options"}
        told = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in left_out}
        if self.zone is None:
            # Rows that were written before there was a zone keep their fingerprint.
            del told["zone"]
        return fingerprint({**told, "options": options})


@dataclass(frozen=True, slots=True)
class Target:
    """A cluster and a node profile, prepared for some variants.

    `cluster`: the lock's scope; several targets may share one. `conn_id`: Airflow connection that reaches the cluster
    (`kubernetes`, or the cloud's own with `cluster_name`). `cloud_conn_id`: the cloud's connection for preparations and
    verification. `region`, `registry`: where images are built to. `workloads`: names of the workloads that run here;
    empty: all of the experiment. `nodes`: with what the treatments of its variants change; `nodes_content`:
    fingerprint of the profile without that. `nodes_gone_s`: how long its nodes are waited for after a trial, in the
    cluster's clock; 0: not at all; None: as its node autoscaler needs. `fallback_of`: the target whose trials come here
    after they got no capacity, and only these (`core.fallbacks`); None: its trials are planned for themselves.
    """

    name: str
    cluster: str
    conn_id: str
    nodes: NodeProfile
    variants: tuple[str, ...]
    workloads: tuple[str, ...] = ()
    cloud_conn_id: str | None = None
    cluster_name: str | None = None
    region: str | None = None
    registry: str | None = None
    namespace: str = "default"
    options: Mapping[str, Any] = field(default_factory=dict)
    nodes_content: str | None = None
    nodes_gone_s: float | None = None
    fallback_of: str | None = None

    @property
    def cloud(self) -> str:
        """The cloud its nodes come from."""
        return self.nodes.cloud

    def told_of(self, treatment: str) -> Mapping[str, Any]:
        """Return what the target says of a treatment (`options.treatments.NAME`); empty where it says nothing."""
        listed = self.options.get(TREATMENTS)
        told = listed.get(treatment) if isinstance(listed, Mapping) else None
        return told if isinstance(told, Mapping) else {}

    def serves(self, workload: str) -> bool:
        """Return whether a workload runs here."""
        return not self.workloads or workload in self.workloads

    def treated(self, nodes: NodeProfile) -> "Target":
        """Return the target with nodes that treatments changed; what they were before stays known."""
        return replace(self, nodes=nodes, nodes_content=self.nodes_content or self.nodes.content)

    def cluster_reference(self) -> dict[str, Any]:
        """Return how its cluster is opened: {conn_id, namespace, cluster_name?, region?}."""
        named = {"conn_id": self.conn_id, "cluster_name": self.cluster_name, "region": self.region}
        return {key: value for key, value in named.items() if value is not None} | {"namespace": self.namespace}

    def cloud_reference(self) -> dict[str, Any] | None:
        """Return how its cloud is opened, or None where it has no connection of its own.

        {cloud, conn_id, cluster, region?, registry?, cluster_name?, ...options}; `cluster` names the cluster whose
        clock counts.
        """
        if self.cloud_conn_id is None:
            return None
        named = {
            "cloud": self.cloud,
            "conn_id": self.cloud_conn_id,
            "region": self.region,
            "registry": self.registry,
            "cluster_name": self.cluster_name,
            **{key: value for key, value in self.options.items() if key != TREATMENTS},
        }
        known = {key: value for key, value in named.items() if value is not None}
        return known | {"cluster": self.cluster_reference()}

    def required_cloud_reference(self) -> dict[str, Any]:
        """Return how its cloud is opened, or say that preparations need it."""
        reference = self.cloud_reference()
        if reference is None:
            raise ConfigurationError(
                f"Target {self.name!r} needs preparations on {self.cloud}: give it `cloud_conn_id`, its cloud's "
                "connection."
            )
        return reference

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: object) -> "Target":
        """Read what `as_dict` wrote, or the same keys as an experiment file's target has; what is wrong with it is one
        sentence.
        """
        if not isinstance(data, Mapping) or not isinstance(data.get("nodes"), Mapping):
            raise ConfigurationError(f"A target is a mapping with `name`, `nodes`, ...; found {data!r:.80}.")
        try:
            nodes = NodeProfile(**_tuples({"name": data.get("name"), **with_role_options(data["nodes"])}, "gpu_skus"))
            return cls(**{**_tuples({"variants": (), **data}, "variants", "workloads"), "nodes": nodes})
        except TypeError as error:
            told = str(error).partition("__init__() ")[2] or str(error)
            raise ConfigurationError(f"Target {data.get('name', '?')!r} cannot be read: {told}.") from error


def with_role_options(nodes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a node profile's keys, its `node_selector` and `tolerations` among its options, where they are read."""
    given = {name: nodes[name] for name in _ROLE_OPTIONS if nodes.get(name) is not None}
    options = dict(nodes.get("options") or {})
    if twice := sorted(given.keys() & options.keys()):
        raise ConfigurationError(f"`nodes.{twice[0]}` is given twice, beside `options` and in it: give it once.")
    kept = {key: value for key, value in nodes.items() if key not in _ROLE_OPTIONS}
    return {**kept, "options": {**options, **given}} if given else kept


def _tuples(data: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: tuple(value) if key in keys and isinstance(value, Sequence) else value for key, value in data.items()}
