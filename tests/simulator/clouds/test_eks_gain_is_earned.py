"""From the gateway's calls to a simulated node's disk: an image is present only if every step was really taken."""

import json
import random
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.eks
sys.path.insert(0, str(Path(__file__).parents[2] / "gateways" / "clouds"))

from eks_stand import REGION, Stand, stand_in  # noqa: E402 - the builders live beside the gateway's tests

from airflow_llm_provisioning.core.experiment import NodeProfile  # noqa: E402 - the same
from airflow_llm_provisioning.gateways.autoscalers.karpenter import Karpenter  # noqa: E402 - the same
from airflow_llm_provisioning.gateways.autoscalers.luna import Luna  # noqa: E402 - the same
from llm_provisioning_simulator.infra.autoscalers import ec2  # noqa: E402 - the same
from llm_provisioning_simulator.infra.delivery import deliver  # noqa: E402 - the same
from llm_provisioning_simulator.profiles import load_profile  # noqa: E402 - the same
from llm_provisioning_simulator.world import NodeSpec  # noqa: E402 - the same

OPTIONS = {"api_server": "https://x", "role": "node-role", "discovery": "eks-1"}


@pytest.fixture(scope="module")
def prepared() -> Iterator[tuple[Stand, Mapping[str, Any]]]:
    """A built image and its snapshot, by the gateway's own calls."""
    with stand_in() as stand:
        image = stand.build()
        request = {**stand.snapshot_request(), **{key: image[key] for key in ("image", "digest", "size_bytes")}}
        ended = stand.drive(stand.cloud().start("snapshot_image", request))
        assert ended.result is not None, ended.error
        yield stand, ended.result


def disks(autoscaler: str, profile: NodeProfile) -> dict[str, Any]:
    """Return the data volume as the simulated autoscaler reads it from what the gateway rendered."""
    if autoscaler == "luna":
        (config_map,) = Luna().setup(profile).manifests
        return ec2.data_volume(json.loads(config_map["data"]["aws.blockDeviceMappings"]))
    node_class = Karpenter().setup(profile).manifests[0]
    return ec2.data_volume(node_class["spec"]["blockDeviceMappings"])


def arrival(stand: Stand, reference: str, volume: Mapping[str, Any]) -> tuple[str, str]:
    """Return how the image reaches such a node, and why."""
    spec = NodeSpec("eks-1", "n", "eks", REGION, f"{REGION}a", "g6.2xlarge", {"L4": 1}, **volume)
    image = stand.world.find_image(reference)
    assert image is not None
    profile = load_profile("eks", "luna")
    found = deliver(stand.world, spec, reference, image, profile, random.Random(1), stand.clock.now())
    return found.kind, found.why


def profile_of(result: Mapping[str, Any], autoscaler: str, **fields: Any) -> NodeProfile:
    given = {"snapshot_id": result["snapshot_id"], "data_volume_gib": 80, **fields}
    return NodeProfile("eks-fast", "eks", autoscaler, "1.31", options=OPTIONS, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("autoscaler", ["luna", "karpenter"])
def test_every_step_taken_the_image_is_present(prepared: tuple[Stand, Mapping[str, Any]], autoscaler: str) -> None:
    """Build, snapshot, nodes described: the node finds the image on its disk, by the pods' own reference."""
    stand, result = prepared
    volume = disks(autoscaler, profile_of(result, autoscaler))
    assert arrival(stand, result["image"], volume)[0] == "present"


@pytest.mark.parametrize("autoscaler", ["luna", "karpenter"])
def test_nodes_without_the_snapshot_pull(prepared: tuple[Stand, Mapping[str, Any]], autoscaler: str) -> None:
    """The snapshot exists, but the nodes were not told: no gain."""
    stand, result = prepared
    volume = disks(autoscaler, profile_of(result, autoscaler, snapshot_id=None))
    assert arrival(stand, result["image"], volume) == ("pull", "no data volume from a snapshot")


def test_another_reference_of_the_same_image_is_pulled(prepared: tuple[Stand, Mapping[str, Any]]) -> None:
    """The pods' reference must be the one that was pulled into the snapshot: by digest it is another."""
    stand, result = prepared
    by_digest = f"{result['image'].rpartition(':')[0]}@{result['digest']}"
    kind, why = arrival(stand, by_digest, disks("luna", profile_of(result, "luna")))
    assert kind == "pull"
    assert "does not hold this reference" in why


def test_a_cluster_of_another_minor_pulls(prepared: tuple[Stand, Mapping[str, Any]]) -> None:
    """The snapshot was made for the minor version that was named."""
    stand, result = prepared
    cluster = stand.world.clusters["eks-1"]
    before, cluster.kubernetes_version = cluster.kubernetes_version, "v1.32.0"
    try:
        kind, why = arrival(stand, result["image"], disks("luna", profile_of(result, "luna")))
    finally:
        cluster.kubernetes_version = before
    assert kind == "pull"
    assert "1.31" in why


def test_a_deleted_snapshot_gives_nothing(prepared: tuple[Stand, Mapping[str, Any]]) -> None:
    """Deleted through AWS, it is gone for the nodes too."""
    stand, result = prepared
    kept = stand.world.snapshots[result["snapshot_id"]]
    stand.client("ec2").delete_snapshot(SnapshotId=result["snapshot_id"])
    try:
        assert arrival(stand, result["image"], disks("luna", profile_of(result, "luna")))[0] == "pull"
    finally:
        stand.world.snapshots[result["snapshot_id"]] = kept
