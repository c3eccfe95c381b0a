"""What the simulated clouds hold between their APIs and their clusters: images, snapshots, caches, pools.

The cloud stand-ins write here what real calls left behind; the simulated nodes read it when they boot and pull. Nothing
here knows variants, treatments or trials: a gain exists only where the calls that earn it were made.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Literal

from airflow_llm_provisioning.core.target import Target
from airflow_llm_provisioning.core.workload import Workload
from llm_provisioning_simulator.buckets import Bucket, artifact_of, fill_bucket
from llm_provisioning_simulator.hub_models import MODELS, HubModel

UNLISTED: Final = "0"
"""Version of a package that an image holds in a version that is not known."""
GP3_BASELINE_MIB_S: Final = 125
"""Amazon EBS user guide: what a gp3 volume delivers unless more is asked for."""


@dataclass(frozen=True, slots=True)
class Image:
    """A container image in some registry. `layer_bytes`: compressed, by layer; `packages`: name -> version; `shell`:
    whether it holds one; `architecture`: of its only platform.
    """

    reference: str
    digest: str
    layer_bytes: tuple[int, ...]
    packages: Mapping[str, str]
    env: Mapping[str, str]
    region: str | None
    pushed_at: datetime
    shell: bool = True
    architecture: str = "amd64"
    bytecode: bool = False
    """Whether the build compiled Python's packages; of a public base it is not known."""

    @property
    def compressed_bytes(self) -> int:
        """Bytes a full pull moves."""
        return sum(self.layer_bytes)

    @property
    def repository(self) -> str:
        """The reference without tag or digest."""
        if "@" in self.reference:
            return self.reference.partition("@")[0]
        head, _, tail = self.reference.rpartition(":")
        return head if head and "/" not in tail else self.reference


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A data volume's snapshot and the images on it: reference as pulled -> digest."""

    snapshot_id: str
    images: Mapping[str, str]
    size_gib: int
    kubernetes_minor: str | None = None


@dataclass(frozen=True, slots=True)
class DiskImage:
    """GKE: an image of a disk. `path`: projects/P/global/images/NAME; `digests`: of the container images whose layers
    it holds as GKE's nodes read them.
    """

    path: str
    digests: frozenset[str]
    size_gib: int


@dataclass(frozen=True, slots=True)
class NodePool:
    """A node pool of a simulated GKE or AKS cluster, as the cloud's API last left it."""

    name: str
    instance_type: str
    min_nodes: int
    max_nodes: int
    labels: Mapping[str, str]
    taints: tuple[Mapping[str, str], ...]
    gpu: Mapping[str, int]
    """SKU -> count; empty for a CPU pool."""
    streaming: bool = False
    driver_installed: bool = True
    image_type: str = ""
    service_account: str = ""
    """GKE: the account its nodes run as; empty or `default` is the project's own, which may do everything."""
    auto_provisioned: bool = False
    """GKE: made by node auto-provisioning; it has no streaming setting of its own."""
    disk_image: str = ""
    """GKE: of the nodes' secondary boot disk (mode CONTAINER_IMAGE_CACHE)."""


@dataclass(slots=True)
class CloudCluster:
    """A simulated cluster as its cloud knows it. `server`: URL of its Kubernetes API once that runs."""

    name: str
    cloud: str
    region: str
    kubernetes_version: str
    autoscaler: str
    streaming: bool = False
    """GKE: the cluster-level gcfsConfig."""
    auto_provisioning: bool = False
    """GKE: whether node pools are made for pods that none fits."""
    pools: dict[str, NodePool] = field(default_factory=dict)
    server: str | None = None
    feature_gates: frozenset[str] = frozenset()
    """Gates that were switched on in API server, kubelets and node autoscaler beside the defaults of its version."""

    @property
    def keeps_buffers(self) -> bool:
        """Whether its autoscaler knows CapacityBuffers: GKE's since 1.35.2-gke.1842000, others where it is switched on
        (Karpenter's gate CapacityBuffer, the cluster autoscaler's two flags); Luna's does not.
        """
        if self.autoscaler == "luna":
            return False
        of_gke = self.cloud == "gke" and self.autoscaler == "native"
        return self.has_gate("CapacityBuffer", default_since=35) if of_gke else "CapacityBuffer" in self.feature_gates

    def has_gate(self, gate: str, *, default_since: int) -> bool:
        """Return whether a gate is on; by default since 1.`default_since`."""
        minor = self.kubernetes_version.removeprefix("v").split(".")[1:2]
        return gate in self.feature_gates or int(minor[0] if minor else 0) >= default_since


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """What a node autoscaler asks of the cloud for one node: everything image delivery can depend on."""

    cluster: str
    name: str
    cloud: str
    region: str
    zone: str
    instance_type: str
    gpu: Mapping[str, int]
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Mapping[str, str], ...] = ()
    provider_id: str = ""
    snapshot_id: str | None = None
    data_volume_gib: int | None = None
    data_volume_throughput_mib_s: int | None = None
    """EKS: what the volume was asked for; None is gp3's own."""
    volume_initialization_rate_mib_s: int | None = None
    parallel_unpacks: int | None = None
    """EKS: how many layers of an image SOCI's parallel pull unpacks at once; None is containerd's own pull."""
    user_data: str = ""
    """EKS: what the instance was launched with, as text."""
    ami_alias: str = ""
    """EKS: the system and version it booted (`bottlerocket@v1.53.0`); empty is the newest Bottlerocket."""
    instance_store_raid: bool = False
    streaming: bool = False
    service_account: str = ""
    """GKE: as in NodePool."""
    disk_image: str = ""
    """GKE: as in NodePool."""

    @property
    def disk_speed(self) -> float:
        """The node's container disk against one of gp3's baseline, which is what the profile's rate is of."""
        return (self.data_volume_throughput_mib_s or GP3_BASELINE_MIB_S) / GP3_BASELINE_MIB_S


@dataclass(frozen=True, slots=True)
class Delivery:
    """How an image reaches a node. `pull`: layers are downloaded and unpacked. `present`: the node's disk holds it.
    `streamed`: mounted at once, read lazily. `mounted`: the layers are on another disk of the node.

    `mount_s`: seconds until the container can be created when not pulled. `first_touch_bytes_s`: rate of first reads of
    content that is present or streamed but not yet local; None when it is local. `why`: one sentence, kept in the log.
    """

    kind: Literal["pull", "present", "streamed", "mounted"]
    mount_s: float = 0.0
    first_touch_bytes_s: float | None = None
    why: str = ""


class World:
    """Everything the simulated clouds remember. One process, one loop; the AWS stand-in's thread goes through plain
    dict writes.
    """

    def __init__(self) -> None:
        self.images: dict[str, Image] = {}
        self.contents: dict[str, Image] = {}
        """digest -> every image that was ever pushed: volumes hold one also after its tag has moved or is gone."""
        self.models: dict[str, HubModel] = dict(MODELS)
        """model id -> what the hub has of it."""
        self.weight_images: dict[str, HubModel] = {}
        """digest -> the model whose files an OCI artifact holds, in layers that are not compressed."""
        self.buckets: dict[str, Bucket] = {}
        """scheme and name (`s3://weights`) -> the bucket."""
        self.snapshots: dict[str, Snapshot] = {}
        self.disk_images: dict[str, DiskImage] = {}
        """GKE: path -> image of a disk."""
        self.clusters: dict[str, CloudCluster] = {}
        self.nodes: dict[str, NodeSpec] = {}
        """provider id -> every machine that runs now, as its node autoscaler asked for it."""
        self.gke_streaming_api_enabled = False
        self.gke_warm_cache: set[tuple[str, str]] = set()
        """(region, digest) of images pulled once by a streaming node of that region. Google publishes no lifetime of
        such a cache, so here it stays; the one it does publish is that of prewarmed images.
        """
        self.gke_prewarmed_until: dict[tuple[str, str], datetime] = {}
        """(region, digest) of images that Artifact Registry was asked to prewarm -> when it may forget them."""
        self.gke_policy: dict[str, Any] = {"bindings": []}
        """The project's IAM policy, as Resource Manager returns it."""
        self.aks_converted: dict[tuple[str, str], datetime] = {}
        """(repository with its registry, digest) -> when its streaming artifact was complete: it refers to the image
        from within one repository, and another that holds the same image has none.
        """
        self.aks_premium_registries: set[str] = set()
        self.aks_attached: set[tuple[str, str]] = set()
        """(cluster, registry's host): the cluster's kubelet identity may pull there (`az aks update --attach-acr`)."""
        self.aks_abac_registries: set[str] = set()
        """Hosts of registries that honour the roles of repositories alone."""
        self.aks_repository_readers: set[tuple[str, str]] = set()
        """(cluster, registry's host): the kubelet identity has the role Container Registry Repository Reader there."""

    def find_image(self, reference: str) -> Image | None:
        """Return the image a reference (by tag or by digest) names, or None as a registry would say."""
        found = self.images.get(normalise(reference))
        if found or "@" not in reference:
            return found
        repository, _, digest = normalise(reference).partition("@")
        return next(
            (image for image in self.images.values() if image.digest == digest and _same_repository(image, repository)),
            None,
        )

    def keep_copies(self, target: Target, workloads: Iterable[Workload], now: datetime) -> None:
        """Put what a target's owner has copied where the target names it: a bucket with the model's files, an OCI
        artifact of them.
        """
        chosen = tuple(workloads)
        fill_bucket(self.buckets, self.models, target, chosen)
        if (found := artifact_of(target, self.models, chosen)) is not None:
            reference, model = found
            digest = reference.partition("@")[2]
            layers = tuple(model.files.values())
            self.push(Image(reference, digest, layers, {}, {}, target.region, now, shell=False))
            self.weight_images[digest] = model

    def grant(self, account: str, *roles: str) -> None:
        """Give a Google service account roles in the project."""
        members = [f"serviceAccount:{account}"]
        self.gke_policy["bindings"] += [{"role": role, "members": members} for role in roles]

    def roles_of(self, account: str) -> set[str]:
        """Return the roles that the project's policy gives a Google service account."""
        member = f"serviceAccount:{account}"
        return {binding["role"] for binding in self.gke_policy["bindings"] if member in binding["members"]}

    def push(self, image: Image) -> Image:
        """Put an image into its registry; a tag that exists moves to the new digest."""
        stored = replace(image, reference=normalise(image.reference))
        self.images[stored.reference] = stored
        self.contents[stored.digest] = stored
        return stored


def normalise(reference: str) -> str:
    """Return a reference as registries know it: Docker Hub's host and `latest` spelled out."""
    first, slash, _ = reference.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        reference = f"docker.io/{reference}" if slash else f"docker.io/library/{reference}"
    if "@" in reference or ":" in reference.rsplit("/", 1)[1]:
        return reference
    return f"{reference}:latest"


def digest_of(*parts: object) -> str:
    """Return a made-up but stable image digest."""
    return "sha256:" + hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()


def streaming_artifact(digest: str) -> str:
    """Return the digest of the streaming artifact that Azure's registries make of an image."""
    return digest_of("streaming", digest)


def _same_repository(image: Image, repository: str) -> bool:
    head, _, tail = repository.rpartition(":")
    bare = head if head and "/" not in tail else repository
    return image.repository == bare
