"""Images that are pulled in full, or are other images, although a snapshot or a streaming service was prepared."""

from typing import Any, Final

from airflow_llm_provisioning.core.workload import ScalingSetup
from llm_provisioning_simulator.prepared import Prepared
from proof.catalogue.edits import with_images, with_pull_secret
from proof.catalogue.entry import NoOp
from proof.catalogue.preparations import (
    converted_at,
    older_image_in_the_snapshot,
    other_repository_converted,
    registry_in_another_region,
    snapshot_of,
    tag_moved,
    ubuntu_pools,
    without_the_streaming_role,
    world,
)
from proof.recorded_trial import Scenario
from proof.targets import target, with_other_nodes
from proof.workloads import SERVED_2025


def by_digest(prepared: Prepared) -> str:
    """Name the prepared image by its digest."""
    return f"{str(prepared.image).rpartition(':')[0]}@{prepared.digest}"


def _delivery(name: str, cloud: str, claim: str, **fields: Any) -> NoOp:
    fields = {"target": target(cloud, "fast"), "declared": SERVED_2025, "variant": "improved", **fields}
    return NoOp(name=name, scenario=Scenario(**fields), claim=claim)


def _snapshot(name: str, **fields: Any) -> NoOp:
    return _delivery(name, "eks", **{"claim": "bottlerocket_snapshot", **fields})


def _gke(name: str, **fields: Any) -> NoOp:
    return _delivery(name, "gke", "gke_image_streaming", **fields)


def _aks(name: str, **fields: Any) -> NoOp:
    return _delivery(name, "aks", "aks_artifact_streaming", **fields)


_KARPENTER: Final = target("eks", "fast", "karpenter")
_GKE_POOLS: Final = target("gke", "fast", "native")
_AKS_POOLS: Final = target("aks", "fast", "native")
_RATED: Final = target("eks", "fast", volume_initialization_rate_mib_s=300)

DELIVERIES: Final = (
    _snapshot(
        "the instance store holds the containers, not the snapshot's volume",
        target=_KARPENTER,
        nodes=with_other_nodes(_KARPENTER, options={**_KARPENTER.nodes.options, "instance_store_policy": "RAID0"}),
    ),
    _snapshot(
        "the nodes were set up without the snapshot",
        nodes=with_other_nodes(target("eks", "fast"), without="image_snapshot"),
    ),
    _snapshot("the pods use another name for the image in the snapshot", image=by_digest, setup=ScalingSetup.DYNAMIC),
    _snapshot(
        "the snapshot is of another Kubernetes minor",
        after_preparation=snapshot_of(lambda _on, _prepared: {"kubernetes_minor": "1.33"}),
    ),
    _snapshot("the snapshot holds no image", after_preparation=snapshot_of(lambda _on, _prepared: {"images": {}})),
    _snapshot(
        "the snapshot holds an older image of the tag",
        variant="image_delivery",
        claim="variant_image",
        after_preparation=older_image_in_the_snapshot,
    ),
    _snapshot(
        "the volume's initialization rate was not applied",
        target=_RATED,
        nodes=with_other_nodes(_RATED, volume_initialization_rate_mib_s=None),
    ),
    _snapshot(
        "the tag moved after the snapshot, and the pull policy is Always",
        claim="bake_packages",
        after_preparation=tag_moved,
        manifest=with_images(imagePullPolicy="Always"),
    ),
    _gke(
        "the image was never pulled in the region",
        after_preparation=world(lambda on: on.world.gke_warm_cache.clear()),
    ),
    _gke("the registry is in another region", after_preparation=registry_in_another_region),
    _gke(
        "the streaming API is off",
        after_preparation=world(lambda on: setattr(on.world, "gke_streaming_api_enabled", False)),
        setup=ScalingSetup.DYNAMIC,
    ),
    _gke(
        "streaming is off on the cluster",
        after_preparation=world(lambda on: setattr(on.description, "streaming", False)),
    ),
    _gke(
        "streaming is off on the node pools",
        target=_GKE_POOLS,
        nodes=with_other_nodes(_GKE_POOLS, without="image_streaming"),
        after_preparation=world(lambda on: setattr(on.description, "streaming", False)),
    ),
    _gke("the pools do not run Container-Optimized OS", target=_GKE_POOLS, after_preparation=world(ubuntu_pools)),
    _gke(
        "the nodes' account may not use the streaming service",
        after_preparation=without_the_streaming_role,
    ),
    _aks("the pods name the image by digest", image=by_digest),
    _aks("the image was never converted", after_preparation=converted_at(None)),
    _aks("the conversion ended after the pull", after_preparation=converted_at(500.0)),
    _aks("another repository's image was converted", after_preparation=other_repository_converted),
    _aks("the registry is not Premium", after_preparation=world(lambda on: on.world.aks_premium_registries.clear())),
    _aks(
        "the node pools are not switched on",
        target=_AKS_POOLS,
        nodes=with_other_nodes(_AKS_POOLS, without="image_streaming"),
    ),
    _aks(
        "streaming is off in Luna's configuration",
        nodes=with_other_nodes(target("aks", "fast"), without="image_streaming"),
        setup=ScalingSetup.DYNAMIC,
    ),
    _aks("the pods have their own pull secrets", manifest=with_pull_secret),
    _aks("the tag moved after the conversion", after_preparation=tag_moved),
)
