"""One deletion, judged again right before: from the thing as it is now, the locks as they are now, and the ledger."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from airflow_llm_provisioning.core.owned import Listing, OwnedThing, Records, Thing, may_delete
from airflow_llm_provisioning.core.owned_judgement import LOCK
from airflow_llm_provisioning.exceptions import ConflictError, ProvisioningError
from airflow_llm_provisioning.reaping.look import held_locks, opened
from airflow_llm_provisioning.reaping.owned import judged
from airflow_llm_provisioning.reaping.places import Place

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.clouds.base import Cloud

Key = tuple[str, str, str, str | None]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a deletion was refused, in the words of who refused it."""

    sentence: str


async def delete_thing(
    item: OwnedThing, place: Place, listing: Listing, store_url: str | None, *, everything: bool
) -> bool:
    """Ask for the deletion of one thing; False where it is gone already. Raises what refuses it: the cluster or the
    cloud, or a ConflictError where the thing may not be deleted any more.
    """
    from airflow_llm_provisioning.gateways.store.owned import read_records

    records = await asyncio.to_thread(read_records, store_url)
    if place["kind"] == "cloud":
        return await _delete_in_cloud(item, place, listing, records, everything=everything)
    return await _delete_in_cluster(item, place, listing, records, everything=everything)


async def _delete_in_cluster(
    item: OwnedThing, place: Place, listing: Listing, records: Records, *, everything: bool
) -> bool:
    from airflow_llm_provisioning.connections import open_cluster
    from airflow_llm_provisioning.gateways.owned import delete_object, earlier_clock, live_holder

    assert item.thing is not None  # noqa: S101 - an entry without a thing is never deleted
    listed = item.thing
    async with open_cluster(place["cluster"]) as cluster:
        now, _ = earlier_clock(cluster)
        namespaces = [place["namespace"]] if place["kind"] == "namespace" else place["namespaces"]
        holders = [await live_holder(cluster, namespace, now) for namespace in namespaces]
        fresh = replace(listing, now=now, holders=tuple(filter(None, holders)))

        def still(found: Thing) -> bool:
            if found.kind == LOCK and found.version != listed.version:
                return False
            return _may_still(found, listed, place, fresh, records, everything=everything)

        return await delete_object(cluster, listed, place.get("namespace"), still)


def _may_still(
    found: Thing, listed: Thing, place: Place, fresh: Listing, records: Records, *, everything: bool
) -> bool:
    things = tuple(found if thing is listed else thing for thing in fresh.things)
    lines = judged(place, replace(fresh, things=things), records)
    return any(line.thing is found and may_delete(line, everything=everything) for line in lines)


async def _delete_in_cloud(
    item: OwnedThing, place: Place, listing: Listing, records: Records, *, everything: bool
) -> bool:
    assert item.thing is not None  # noqa: S101 - an entry without a thing is never deleted
    locks = await held_locks(place)
    fresh = replace(listing, now=locks.now, holders=locks.holders)
    if not _may_still(item.thing, item.thing, place, fresh, records, everything=everything):
        raise ConflictError(f"{item.kind} {item.name} is in use since it was listed, so it was not deleted.")
    return await asyncio.to_thread(_ask_cloud, item.thing, place)


def _ask_cloud(thing: Thing, place: Place) -> bool:
    """Ask the account that lists the thing; a cloud's gateway reads the marks again before it deletes."""
    from airflow_llm_provisioning.gateways.clouds.base import Owned

    for reference in place["clouds"]:
        with opened(reference) as cloud:
            if cloud.place == thing.place and (len(place["clouds"]) == 1 or _lists(cloud, thing)):
                cloud.delete_owned(Owned(thing.kind, thing.name, thing.labels, thing.created_at))
                return True
    return False


def _lists(cloud: "Cloud", thing: Thing) -> bool:
    """Return whether this account has the thing: of two, the other one would say that it is gone."""
    return any((owned.kind, owned.identity) == (thing.kind, thing.name) for owned in cloud.list_owned())


async def reasons(left: Sequence[OwnedThing], looked: Sequence[tuple[Place, Listing]]) -> dict[Key, str]:
    """Return, for what is left in clusters, what each object waits for; where that cannot be read, nothing."""
    found: dict[Key, str] = {}
    for place, listing in looked:
        items = [item for item in left if item.place == listing.place]
        if items and place["kind"] in ("namespace", "cluster"):
            found |= await _reasons_in_cluster(place, items)
    return found


async def _reasons_in_cluster(place: Place, items: Sequence[OwnedThing]) -> dict[Key, str]:
    from airflow_llm_provisioning.connections import open_cluster
    from airflow_llm_provisioning.gateways.owned import why_left

    try:
        async with open_cluster(place["cluster"]) as cluster:
            told = await why_left(cluster, place.get("namespace"), [item.thing for item in items if item.thing])
    except ProvisioningError:
        return {}
    return {item.key: told[str(item.key[-1])] for item in items if str(item.key[-1]) in told}
