"""EnableStreaming on Azure: the artifact is there before anything can pull, and a gain must be earned."""

import random
from dataclasses import replace
from typing import Any

import pytest
from aks_stand import HOST, POOL, Stand, azure

from airflow_llm_provisioning.exceptions import CloudError, ConfigurationError
from llm_provisioning_simulator.clouds.aks.roles import kubelet_identity
from llm_provisioning_simulator.clouds.aks.tasks import Registry
from llm_provisioning_simulator.infra.delivery import deliver
from llm_provisioning_simulator.profiles import load_profile
from llm_provisioning_simulator.world import NodePool, NodeSpec

pytestmark = pytest.mark.aks

PLAIN = NodePool("plain", "Standard_NV36ads_A10_v5", 0, 4, {}, (), {"A10": 1}, image_type="Ubuntu2204")


def streaming_of(result: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"image": result["image"], "digest": result["digest"], "cluster": "c1", "target": "aks", **more}


async def test_success_means_succeeded_and_the_referrer_is_listed() -> None:
    """The race: between Succeeded and the referrer, and before Succeeded, the operation is still running."""
    async with azure() as stand:
        built = await stand.built()
        stand.durations["referrer_lag"] = 1e9
        cloud = stand.cloud()
        operation = await stand.start("enable_streaming", streaming_of(built), cloud)
        steps: list[str] = []
        while "not listed yet" not in operation.step:
            operation = await stand.poll(operation, cloud)
            steps.append(operation.step)
            assert operation.state == "running"
            assert stand.world.aks_converted == {}
        assert "conversion Succeeded" in steps, "Succeeded alone was not the end"
        stand.durations["referrer_lag"] = 0.0
        await stand.sim.data_plane._list_artifact((HOST, "ray-serving", built["digest"]))
        operation = await stand.end(operation, cloud)
        assert operation.state == "succeeded", operation.error
        assert operation.result is not None
        assert operation.result["enabled"] == [built["image"]]
        assert operation.result["phases"]["conversion"] > 0
        assert operation.result["price_usd"] is None
        assert "no price" in operation.result["price_basis"]


async def test_succeeded_without_a_referrer_is_not_success() -> None:
    """An artifact that never gets listed ends the operation failed, after that step's own limit."""
    async with azure() as stand:
        built = await stand.built()
        stand.durations["referrer_lag"] = 1e9
        cloud = stand.cloud()
        operation = await stand.start("enable_streaming", streaming_of(built), cloud)
        operation = await stand.until(operation, lambda op: op.progress.get("current") == "artifact", cloud)
        operation = await stand.poll(operation, cloud)
        assert operation.state == "running"
        stand.jump_s(601)
        done = await stand.end(operation, cloud)
        assert done.state == "failed"
        assert done.error is not None
        assert "the conversion had Succeeded" in done.error
        assert "600 s" in done.error


async def test_a_second_call_finds_the_artifact_and_converts_nothing() -> None:
    """Idempotent: nothing is converted twice, and it says that it was found."""
    async with azure() as stand:
        built = await stand.built()
        await stand.run("enable_streaming", streaming_of(built))
        again = await stand.run("enable_streaming", streaming_of(built))
        assert again.result is not None
        assert (again.result["reused"], again.result["seconds"], again.result["price_usd"]) == (True, 0.0, 0.0)
        assert stand.count("streaming.post") == 1


@pytest.mark.parametrize("stage", ["converting", "artifact", "pools"])
async def test_a_killed_process_begins_again_and_converts_once(stage: str) -> None:
    """From the first operation the conversion is found, going on or ended, and its seconds are not lost."""
    async with azure() as stand:
        stand.world.clusters["c1"].pools["plain"] = PLAIN
        built = await stand.built()
        first = await stand.start("enable_streaming", streaming_of(built, pools=["plain"]))
        await stand.until(first, lambda op: op.progress.get("current") == stage)
        done = await stand.end(first, stand.cloud())
        assert done.state == "succeeded", done.error
        assert done.result is not None
        assert not done.result["reused"]
        assert done.result["phases"]["conversion"] > 0
        assert stand.count("streaming.post") == 1
        assert stand.count("agentPools.put") == 1


async def test_a_lost_reply_to_the_conversion_begins_no_second_one() -> None:
    """The registry remembers the conversion by the image's digest."""
    async with azure() as stand:
        built = await stand.built()
        stand.sim.faults["streaming.post"] = {"kind": "lost_reply"}
        done = await stand.run("enable_streaming", streaming_of(built))
        assert done.state == "succeeded", done.error
        assert stand.count("streaming.post") == 1


async def test_an_artifact_that_was_deleted_is_made_again() -> None:
    """A registry may remember an old conversion as Succeeded; only a listed artifact counts."""
    async with azure() as stand:
        built = await stand.built()
        await stand.run("enable_streaming", streaming_of(built))
        stand.sim.data_plane.artifacts.clear()
        cloud = stand.cloud()
        operation = await stand.start("enable_streaming", streaming_of(built), cloud)
        operation = await stand.until(operation, lambda op: op.step == "Succeeded once", cloud)
        stand.jump_s(121)
        done = await stand.end(operation, cloud)
        assert done.state == "succeeded", done.error
        assert done.result is not None
        assert not done.result["reused"]
        assert stand.count("streaming.post") == 2


async def test_a_cancelled_conversion_is_no_success() -> None:
    """Canceled is an end too."""
    async with azure() as stand:
        built = await stand.built()
        stand.sim.faults["streaming.post"] = {"kind": "operation", "status": "Canceled", "code": "CANCELED"}
        done = await stand.run("enable_streaming", streaming_of(built))
        assert done.error is not None
        assert "ended Canceled" in done.error


async def test_a_conversion_that_never_ends_is_cancelled_at_its_deadline() -> None:
    """Nothing goes on in the registry after the operation gave up."""
    async with azure() as stand:
        built = await stand.built()
        stand.sim.faults["streaming.post"] = {"kind": "never_ends"}
        cloud = stand.cloud()
        operation = await stand.start("enable_streaming", streaming_of(built), cloud)
        operation = await stand.until(operation, lambda op: op.progress.get("current") == "converting", cloud)
        stand.jump_s(3601)
        done = await stand.end(operation, cloud)
        assert done.error is not None
        assert "did not end within 3600 s" in done.error
        assert stand.count("conversions.cancel") == 1
        running = stand.sim.operations.get(str(operation.progress["operation_id"]))
        assert running is not None
        assert running.status == "Canceled"


async def test_every_obstacle_is_named_at_once_before_anything_is_created() -> None:
    """Registry tier, encryption, platform, full pool, wrong system: one CloudError, no intent, no conversion."""
    registry = Registry("llmprovisioning", sku="Standard", encrypted=True)
    async with azure(registries=[registry], nodes=lambda _cluster, _pool: 2) as stand:
        image = stand.push(f"{HOST}/foreign:1")
        stand.sim.data_plane.platforms[image.digest] = "arm64"
        stand.world.clusters["c1"].pools["linux"] = NodePool(
            "linux", "Standard_D4ps_v5", 0, 2, {}, (), {}, image_type="AzureLinux"
        )
        request = {"image": f"{HOST}/foreign:1", "digest": None, "cluster": "c1", "pools": ["linux", "absent"]}
        with pytest.raises(CloudError) as refused:
            await stand.start("enable_streaming", request)
        said = str(refused.value)
        for clause in (
            "is Standard, and artifact streaming needs Premium",
            "customer-managed key",
            "is for linux/arm64",
            "runs AzureLinux",
            "ARM machines (Standard_D4ps_v5)",
            "has 2 nodes",
            "no pool 'absent'",
        ):
            assert clause in said
        assert stand.ledger.events == []
        assert stand.count("streaming.post") == 0


@pytest.mark.parametrize(
    "change, said",
    [
        ({"image": f"{HOST}/ray-serving@sha256:{'a' * 64}"}, "must be named by tag"),
        ({"image": "ray-serving:1"}, "names no registry"),
        ({"image_pull_secrets": ["acr"]}, "imagePullSecrets"),
        ({"pools": ["x"], "cluster": None}, "no `cluster`"),
        ({"image": ""}, "`image` is missing"),
    ],
)
async def test_a_request_that_can_never_stream_costs_no_call(change: dict[str, Any], said: str) -> None:
    """By digest, with pull secrets, from elsewhere: all of them quietly pull the plain image on a real node."""
    async with azure() as stand:
        with pytest.raises(ConfigurationError, match=said):
            await stand.start("enable_streaming", {"image": f"{HOST}/a:1", "cluster": "c1", **change})
        assert stand.sim.calls == []


@pytest.mark.parametrize("taint", ["sku=gpu:NoSchedule", "nvidia.com/gpu=present:NoExecute"])
async def test_a_pool_whose_taint_the_worker_does_not_tolerate_is_refused_before_the_conversion(taint: str) -> None:
    """AKS's examples taint with sku=gpu, and the worker tolerates nvidia.com/gpu:NoSchedule; another key or effect and
    no trial would ever get a node. The caller who knows its own manifest may say so.
    """
    key, _, rest = taint.partition("=")
    value, _, effect = rest.partition(":")
    tainted = replace(PLAIN, taints=({"key": key, "value": value, "effect": effect},))
    async with azure() as stand:
        stand.world.clusters["c1"].pools["plain"] = tainted
        built = await stand.built()
        with pytest.raises(CloudError, match=f"pool 'plain' serves no trial: its taint '{taint}' is not tolerated"):
            await stand.start("enable_streaming", streaming_of(built, pools=["plain"]))
        assert stand.count("streaming.post") == 0
        known = [{"key": key, "operator": "Equal", "value": value, "effect": effect}]
        done = await stand.run("enable_streaming", streaming_of(built, pools=["plain"], tolerations=known))
        assert done.state == "succeeded", done.error


async def test_a_registry_that_is_not_attached_is_refused_with_the_command_that_attaches_it() -> None:
    """Nodes stream only as the kubelet's own identity; without a role there they pull nothing at all."""
    async with azure() as stand:
        built = await stand.built()
        stand.world.aks_attached.clear()
        with pytest.raises(
            CloudError, match=r"az aks update --name c1 --resource-group .* --attach-acr llmprovisioning"
        ):
            await stand.start("enable_streaming", streaming_of(built))
        assert stand.count("streaming.post") == 0
        done = await stand.run("enable_streaming", streaming_of(built, assume=["registry_attached"]))
        assert done.state == "succeeded", done.error


async def test_an_abac_registry_honours_the_roles_of_repositories_alone() -> None:
    """AcrPull counts for nothing there, so --attach-acr is no advice: the role assignment that works is."""
    async with azure(registries=[Registry("llmprovisioning", abac=True)]) as stand:
        built = await stand.built()
        assert stand.world.aks_attached == {("c1", HOST)}
        with pytest.raises(CloudError) as refused:
            await stand.start("enable_streaming", streaming_of(built))
        said = str(refused.value)
        assert 'az role assignment create --role "Container Registry Repository Reader" --assignee-object-id' in said
        assert f"--assignee-object-id {kubelet_identity('c1')}" in said
        assert "az aks update" not in said
        assert stand.count("streaming.post") == 0
        stand.world.aks_repository_readers.add(("c1", HOST))
        done = await stand.run("enable_streaming", streaming_of(built))
        assert done.state == "succeeded", done.error


async def test_who_may_not_read_role_assignments_is_not_refused_for_it() -> None:
    """Reading them needs a role of its own; not knowing is no reason to stop."""
    async with azure() as stand:
        built = await stand.built()
        stand.world.aks_attached.clear()
        stand.sim.faults["roleAssignments.list"] = {"kind": "http", "status": 403, "code": "AuthorizationFailed"}
        done = await stand.run("enable_streaming", streaming_of(built))
        assert done.state == "succeeded", done.error


async def test_a_tag_that_was_moved_since_the_build_is_refused() -> None:
    """What is converted must be what was built and measured."""
    async with azure() as stand:
        built = await stand.built()
        with pytest.raises(CloudError, match="it was moved"):
            await stand.start("enable_streaming", streaming_of(built, digest="sha256:" + "0" * 64))


async def test_a_pool_without_nodes_is_switched_on() -> None:
    """The pool's other settings stay as they were."""
    async with azure() as stand:
        stand.world.clusters["c1"].pools["plain"] = PLAIN
        built = await stand.built()
        done = await stand.run("enable_streaming", streaming_of(built, pools=["plain"]))
        assert done.result is not None, done.error
        assert done.result["enabled"] == [built["image"], "c1/plain"]
        assert set(done.result["phases"]) == {"conversion", "pools"}
        pool = stand.world.clusters["c1"].pools["plain"]
        assert pool.streaming
        assert (pool.instance_type, pool.max_nodes, pool.gpu) == ("Standard_NV36ads_A10_v5", 4, {"A10": 1})


async def test_a_pool_that_grew_meanwhile_is_not_reimaged() -> None:
    """Switching on while nodes run would take the nodes from their users."""
    nodes = {"plain": 0}
    async with azure(nodes=lambda _cluster, pool: nodes[pool]) as stand:
        stand.world.clusters["c1"].pools["plain"] = PLAIN
        built = await stand.built()
        operation = await stand.start("enable_streaming", streaming_of(built, pools=["plain"]))
        nodes["plain"] = 1
        done = await stand.end(operation)
        assert done.error is not None
        assert "has grown to 1 nodes" in done.error
        assert stand.count("agentPools.put") == 0


async def test_a_pool_that_somebody_changes_in_between_is_read_again_before_it_is_written() -> None:
    """An autoscaler may act between our look and our write: Azure answers 412, and nothing is overwritten."""
    changes = ["a node came and went"]
    stands: list[Stand] = []

    def nodes(_cluster: str, _pool: str) -> int:
        return 1 if stands[0].sim.calls[-1] == "agentPools.put" and changes and changes.pop() else 0

    async with azure(nodes=nodes) as stand:
        stands.append(stand)
        stand.world.clusters["c1"].pools["plain"] = PLAIN
        built = await stand.built()
        done = await stand.run("enable_streaming", streaming_of(built, pools=["plain"]))
        assert done.state == "succeeded", done.error
        assert stand.count("agentPools.put") == 2


async def test_a_pool_whose_update_fails_ends_the_operation_with_azures_reason() -> None:
    """Azure's own code and message are in the sentence."""
    async with azure() as stand:
        stand.world.clusters["c1"].pools["plain"] = PLAIN
        built = await stand.built()
        fault = {"kind": "operation", "status": "Failed", "code": "ReconcileError", "message": "no capacity"}
        stand.sim.faults["agentPools.put"] = fault
        done = await stand.run("enable_streaming", streaming_of(built, pools=["plain"]))
        assert done.error == (
            "Writing agent pool 'plain' of cluster 'c1' ended Failed: ReconcileError: no capacity. The pool stays as "
            "AKS left it: enable streaming again once the cause is gone."
        )
        again = await stand.run("enable_streaming", streaming_of(built, pools=["plain"]))
        assert again.state == "succeeded", again.error
        assert stand.world.clusters["c1"].pools["plain"].streaming


async def test_the_preview_feature_is_registered_only_when_asked_for() -> None:
    """Artifact streaming is generally available: the switch is for old regions."""
    async with azure() as stand:
        built = await stand.built()
        done = await stand.run("enable_streaming", streaming_of(built, register_feature=True))
        assert done.state == "succeeded", done.error
        assert stand.sim.features == {"Microsoft.ContainerService/ArtifactStreamingPreview": "Registered"}
        before = stand.count("features.get")
        await stand.run("enable_streaming", streaming_of(built))
        assert stand.count("features.get") == before


async def delivered(stand: Stand, reference: str, *, pool: str = "aksgpu") -> str:
    """Return how an image reaches a node of a pool as the calls left things."""
    found = stand.world.clusters["c1"].pools[pool]
    node = NodeSpec("c1", "n", "aks", "eastus", "1", found.instance_type, dict(found.gpu), streaming=found.streaming)
    image = stand.world.find_image(reference)
    assert image is not None
    return deliver(
        stand.world, node, reference, image, load_profile("aks", "native"), random.Random(1), stand.now()
    ).kind


@pytest.mark.parametrize("left_out", [None, "conversion", "pool", "tag", "premium"])
async def test_leave_any_one_preparation_out_and_the_gain_vanishes(left_out: str | None) -> None:
    """A simulated node streams only if converted, switched on, named by tag and in a Premium registry."""
    registries = [Registry("llmprovisioning", sku="Standard" if left_out == "premium" else "Premium")]
    async with azure(registries=registries) as stand:
        built = await stand.built()
        await stand.run("set_up_node_pool", {"cluster": "c1", "pool": {**POOL, "streaming": left_out != "pool"}})
        if left_out == "premium":
            with pytest.raises(CloudError, match="needs Premium"):
                await stand.start("enable_streaming", streaming_of(built))
        elif left_out != "conversion":
            await stand.run("enable_streaming", streaming_of(built))
        by_digest = f"{HOST}/ray-serving@{built['digest']}"
        kind = await delivered(stand, by_digest if left_out == "tag" else built["image"])
        assert kind == ("streamed" if left_out is None else "pull")
