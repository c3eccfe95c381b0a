"""One look at a place: everything of ours there, the locks that are held, and the clock that counts.

A place that cannot be looked at is no error here: its listing says so, with the cluster's or the cloud's own sentence.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_llm_provisioning.core.owned import Listing, Records, Thing
from airflow_llm_provisioning.exceptions import ProvisioningError
from airflow_llm_provisioning.reaping.places import Place

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.clouds.base import Cloud, Owned
    from airflow_llm_provisioning.gateways.kubernetes import Cluster


async def look(place: Place, records: Records) -> list[Listing]:
    """Return the listings of a place: one, or of a cloud one for each account and region."""
    if place["kind"] == "cloud":
        return await _look_at_clouds(place, records)
    if place["kind"] == "gone":
        return [Listing(place=place["name"], now=_utc_now(), notes=(f"{place['name']} is said not to exist.",))]
    try:
        return [await _look_at_cluster(place, records)]
    except ProvisioningError as error:
        return [Listing(place=place["name"], now=None, holders=None, problems={"": str(error)})]


async def _look_at_cluster(place: Place, records: Records) -> Listing:
    from airflow_llm_provisioning.connections import open_cluster
    from airflow_llm_provisioning.gateways.owned import earlier_clock, list_cluster_scope, list_namespace

    async with open_cluster(place["cluster"]) as cluster:
        now, skew = earlier_clock(cluster)
        name = place["name"]
        if place["kind"] == "namespace":
            holders = await _holders(cluster, [place["namespace"]], now)
            things, problems = await list_namespace(cluster, name, place["namespace"], records.of_place(name))
        else:
            holders = await _holders(cluster, place["namespaces"], now)
            things, problems = await list_cluster_scope(cluster, name, list(place["nodes"]), place["namespaces"])
            things = [_priced(thing, place["nodes"]) for thing in things]
    notes = (skew,) if skew else ()
    return Listing(place=name, now=now, things=tuple(things), holders=tuple(holders), problems=problems, notes=notes)


async def _holders(cluster: "Cluster", namespaces: Sequence[str], now: datetime) -> list[str]:
    from airflow_llm_provisioning.gateways.owned import live_holder

    found = [await live_holder(cluster, namespace, now) for namespace in namespaces]
    return sorted({holder for holder in found if holder})


def _priced(thing: Thing, nodes: Mapping[str, Sequence[Any]]) -> Thing:
    """Return a node with its list price an hour, where the cloud's table has one, and whether anything removes it."""
    from airflow_llm_provisioning.core.names import LABEL_TARGET
    from airflow_llm_provisioning.core.owned_judgement import NODES
    from airflow_llm_provisioning.gateways.clouds.registry import cloud_named

    if thing.kind not in NODES:
        return thing
    known = nodes.get(thing.label(LABEL_TARGET) or "") or next(iter(nodes.values()))
    prices = cloud_named(str(known[0])).node_prices
    region = thing.labels.get("topology.kubernetes.io/region")
    price, _ = prices.price(region, thing.labels.get("node.kubernetes.io/instance-type"), 3600.0)
    return replace(thing, stays=bool(known[1]), price_hour_usd=price)


async def _look_at_clouds(place: Place, records: Records) -> list[Listing]:
    locks = await held_locks(place)
    found: dict[str, Listing] = {}
    failed: dict[str, str] = {}
    for reference in place["clouds"]:
        try:
            name, owned, by_name = await asyncio.to_thread(_listed, reference, records)
        except ProvisioningError as error:
            failed[""] = str(error)
            continue
        things = tuple(_with_price(thing_of(name, item), item, reference) for item in owned)
        told: dict[str, Any] = {"now": locks.now, "holders": locks.holders, "notes": locks.notes}
        listing = Listing(place=name, things=things, standing=by_name.standing, unmarked=by_name.unmarked, **told)
        found[name] = _together(found[name], listing) if name in found else listing
    if not failed:
        return list(found.values())
    # An entry of the ledger may be of the account that could not be listed: none is missing because others lack it.
    listed = [replace(listing, problems=failed) for listing in found.values()]
    return listed or [Listing(place=place["name"], now=locks.now, holders=locks.holders, problems=failed)]


@dataclass(frozen=True, slots=True)
class Locks:
    """Who holds locks on the clusters whose trials use what a cloud has, and the earliest of their clocks; None where
    one of the clusters could not be asked: `notes` say why.
    """

    holders: tuple[str, ...] | None
    now: datetime | None
    notes: tuple[str, ...] = ()


class ByName(NamedTuple):
    """Ids of the ledger's entries whose thing exists and is in no list, as in `Listing`."""

    standing: frozenset[str]
    unmarked: frozenset[str]


async def held_locks(place: Place) -> Locks:
    """Look at the locks of a cloud's targets."""
    from airflow_llm_provisioning.connections import open_cluster
    from airflow_llm_provisioning.gateways.owned import earlier_clock

    found: set[str] = set()
    clocks: list[datetime] = []
    for lock in place["locks"]:
        try:
            async with open_cluster(lock["cluster"]) as cluster:
                clocks.append(earlier_clock(cluster)[0])
                found |= set(await _holders(cluster, [lock["namespace"]], clocks[-1]))
        except ProvisioningError as error:
            return Locks(None, None, (f"Whether a trial uses what is in {place['name']} is not known: {error}",))
    return Locks(tuple(sorted(found)), min(clocks, default=_utc_now()))


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _listed(reference: Mapping[str, Any], records: Records) -> "tuple[str, list[Owned], ByName]":
    """Return a cloud's name in the ledger, what it lists, and the entries of what exists and is not in the list."""
    with opened(reference) as cloud:
        owned = cloud.list_owned()
        known = {(one.kind, one.identity) for one in owned}
        # Only a cloud with things that cannot be marked has the first; another package's cloud may lack the second.
        stands = getattr(cloud, "stands", lambda _kind, _name: None)
        exists = getattr(cloud, "exists", lambda _kind, _identity: None)
        entries = records.of_place(cloud.place)
        missed = [one for one in entries if (one.kind, one.identity or one.name) not in known]
        standing = frozenset(entry.entry_id for entry in entries if stands(entry.kind, entry.name))
        unmarked = frozenset(entry.entry_id for entry in missed if exists(entry.kind, entry.identity or entry.name))
        return cloud.place, owned, ByName(standing, unmarked)


@contextmanager
def opened(reference: Mapping[str, Any]) -> Iterator["Cloud"]:
    """Open a cloud to list and to delete. Its ledger's entries are closed by the reaper, after it saw a thing gone."""
    from airflow_llm_provisioning.connections import opened_cloud

    with opened_cloud(reference) as cloud:
        yield cloud


def thing_of(place: str, owned: "Owned") -> Thing:
    """Return what a cloud listed as a thing of its place."""
    return Thing(
        place=place, kind=owned.kind, name=owned.identity, labels=dict(owned.tags), created_at=owned.created_at
    )


def _with_price(thing: Thing, owned: "Owned", reference: Mapping[str, Any]) -> Thing:
    """Return a cloud's thing with what keeping it costs an hour at list price, where the book has it in US dollars."""
    from airflow_llm_provisioning.gateways.prices import prices_of

    if owned.priced is None:
        return thing
    what, name, amount = owned.priced
    region = str(reference.get("region") or "") or thing.place.rpartition("/")[2]
    book = prices_of(None)
    a_day = book.a_day(str(reference["cloud"]), what, name, region) if book.currency == "USD" else None
    return replace(thing, price_hour_usd=None if a_day is None else a_day * amount / 24)


def _together(one: Listing, other: Listing) -> Listing:
    """Return what two accounts list whose places have one name."""
    seen = {(thing.kind, thing.name) for thing in one.things}
    more = tuple(thing for thing in other.things if (thing.kind, thing.name) not in seen)
    now = None if one.now is None or other.now is None else min(one.now, other.now)
    notes = tuple(dict.fromkeys((*one.notes, *other.notes)))
    return replace(
        one,
        now=now,
        things=(*one.things, *more),
        problems={**one.problems, **other.problems},
        notes=notes,
        standing=one.standing | other.standing,
        unmarked=one.unmarked | other.unmarked,
    )
