"""What is ours on Azure is found and deleted by its own marks alone; what stands beside it survives."""

import asyncio

import pytest
from aks_stand import HOST, POOL, RecordingLedger, Stand, azure

from airflow_llm_provisioning.core.names import LABEL_EXPIRES, LABEL_MANAGED_BY, OWNER, read_expiry
from airflow_llm_provisioning.exceptions import CloudError, ConfigurationError
from airflow_llm_provisioning.gateways.clouds.base import Owned
from llm_provisioning_simulator.world import Image, NodePool

pytestmark = pytest.mark.aks


async def one_of_each(stand: Stand) -> Image:
    """Create an image, an artifact and a pool, and foreign ones beside them; return the foreign image."""
    built = await stand.built()
    foreign = stand.push(f"{HOST}/ray-serving:somebody")
    stand.world.clusters["c1"].pools["theirs"] = NodePool("theirs", "Standard_D4s_v5", 0, 1, {}, (), {})
    for image in (built["image"], foreign.reference):
        done = await stand.run("enable_streaming", {"image": image, "cluster": "c1"})
        assert done.state == "succeeded", done.error
    assert (await stand.run("set_up_node_pool", {"cluster": "c1", "pool": POOL})).state == "succeeded"
    return foreign


async def test_a_new_process_without_ledger_lists_and_deletes_ours_and_nothing_else() -> None:
    """Image, streaming artifact and pool go, by tags and labels; a foreign one of each kind stays."""
    async with azure() as stand:
        foreign = await one_of_each(stand)
        cloud = stand.cloud(ledger=RecordingLedger(stand.now))
        owned = await asyncio.to_thread(cloud.list_owned)
        assert [item.kind for item in owned] == ["agent_pool", "streaming_artifact", "image"]
        assert {item.tags[LABEL_MANAGED_BY] for item in owned} == {OWNER}
        assert all(read_expiry(item.tags[LABEL_EXPIRES]) for item in owned)
        for item in owned:
            await asyncio.to_thread(cloud.delete_owned, item)
        await stand.until_nothing_is_owned(cloud)
        assert list(stand.world.clusters["c1"].pools) == ["theirs"]
        assert [image.reference for image in stand.world.images.values() if image.reference.startswith(HOST)] == [
            foreign.reference
        ]
        assert list(stand.world.aks_converted) == [(foreign.repository, foreign.digest)]


async def test_deleting_twice_is_success_and_closes_the_ledgers_entries() -> None:
    """Gone already is gone; the ledger of the deleting process records it."""
    async with azure() as stand:
        await one_of_each(stand)
        cloud = stand.cloud()
        owned = await asyncio.to_thread(cloud.list_owned)
        for item in owned:
            await asyncio.to_thread(cloud.delete_owned, item)
        await stand.until_nothing_is_owned(cloud)
        for item in owned:
            await asyncio.to_thread(cloud.delete_owned, item)
        left = [entry.name for entry in stand.ledger.open_entries()]
        # The artifact on another owner's image cannot be marked as ours: only the ledger knows it.
        assert len(left) == 1
        assert left[0].startswith(f"{HOST}/ray-serving@")


@pytest.mark.parametrize("kind", ["agent_pool", "image", "streaming_artifact"])
async def test_a_foreign_thing_is_refused_even_when_somebody_claims_it_is_ours(kind: str) -> None:
    """The marks are read again at the moment of deleting; what the caller says about tags is not believed."""
    async with azure() as stand:
        foreign = await one_of_each(stand)
        artifact = stand.sim.data_plane.artifacts[HOST, "ray-serving", foreign.digest][0]
        identity = {
            "agent_pool": "c1/theirs",
            "image": f"{HOST}/ray-serving@{foreign.digest}",
            "streaming_artifact": f"{HOST}/ray-serving@{artifact}",
        }[kind]
        with pytest.raises(CloudError, match="is not deleted"):
            await asyncio.to_thread(stand.cloud().delete_owned, Owned(kind, identity, {LABEL_MANAGED_BY: OWNER}))
        assert "theirs" in stand.world.clusters["c1"].pools
        assert foreign.reference in stand.world.images
        assert (foreign.repository, foreign.digest) in stand.world.aks_converted


async def test_a_kind_that_azure_does_not_have_is_refused() -> None:
    """A snapshot of EKS was handed to the wrong cloud."""
    async with azure() as stand:
        with pytest.raises(ConfigurationError, match="snapshot"):
            await asyncio.to_thread(stand.cloud().delete_owned, Owned("snapshot", "snap-1", {}))


async def test_listing_raises_rather_than_return_part() -> None:
    """A registry that cannot be asked must not look like an empty one."""
    async with azure() as stand:
        await one_of_each(stand)
        stand.sim.faults["catalog.list"] = {"kind": "http", "status": 403, "code": "DENIED", "message": "no"}
        with pytest.raises(CloudError, match="403 DENIED"):
            await asyncio.to_thread(stand.cloud().list_owned)


async def test_a_list_longer_than_a_page_is_read_to_its_end() -> None:
    """Registries answer a hundred at a time."""
    async with azure() as stand:
        for number in range(230):
            stand.push(f"{HOST}/r{number:03d}:1", (1,))
        built = await stand.built()
        account = stand.cloud()._account
        names = await asyncio.to_thread(lambda: list(account.data_plane(HOST).repositories()))
        assert len(names) == 231
        assert built["image"].partition("/")[2].partition(":")[0] in names


async def test_an_image_is_in_the_ledger_until_the_registry_no_longer_has_it() -> None:
    """A registry answers a deletion with 202: until the manifest is not found any more, it is not gone."""
    async with azure() as stand:
        await stand.built()
        cloud = stand.cloud()
        (image,) = await asyncio.to_thread(cloud.list_owned)
        stand.sim.faults["manifest.delete"] = {"kind": "accepted_only"}
        await asyncio.to_thread(cloud.delete_owned, image)
        assert [entry.kind for entry in stand.ledger.open_entries()] == ["image"]
        await asyncio.to_thread(cloud.delete_owned, image)
        assert stand.ledger.open_entries() == []
