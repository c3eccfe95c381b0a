"""Everything that is ours, in one list: every place of the targets, the ledger, the rows, and what is not known."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from airflow_llm_provisioning.core.owned import Listing, OwnedThing, Records, State
from airflow_llm_provisioning.core.owned_judgement import elsewhere, judge
from airflow_llm_provisioning.core.target import Target
from airflow_llm_provisioning.reaping.look import look
from airflow_llm_provisioning.reaping.places import Place, places_of

STORE: str = "results store"


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """One look at every place. `items`: one line for each thing; `looked`: the places with their listings."""

    items: tuple[OwnedThing, ...]
    looked: tuple[tuple[Place, Listing], ...]
    records: Records

    @property
    def notes(self) -> list[str]:
        """What is to be said of the look itself, once each."""
        return list(dict.fromkeys(note for _, listing in self.looked for note in listing.notes))

    @property
    def unknown(self) -> list[OwnedThing]:
        """What could not be looked at."""
        return [item for item in self.items if item.state is State.UNKNOWN]


async def survey(targets: Sequence[Target], store_url: str | None, places: Sequence[Place] | None = None) -> Survey:
    """Look at every place of the targets, side by side.

    `store_url`: SQLAlchemy URL of the results store; None: there is none. `places`: only these (see `places_of`);
    entries of the ledger in other places are left out then.
    """
    from airflow_llm_provisioning.gateways.store.owned import read_records

    records = await asyncio.to_thread(read_records, store_url)
    chosen = places_of(targets, _recorded_places(records)) if places is None else list(places)
    found = await asyncio.gather(*(look(place, records) for place in chosen))
    looked = tuple((place, listing) for place, listings in zip(chosen, found, strict=True) for listing in listings)
    items = list(_judged(looked, records))
    if places is None:
        items += elsewhere(records, [listing for _, listing in looked])
    return Survey(items=(*items, *_store_line(records)), looked=looked, records=records)


def places_with_ledger(targets: Sequence[Target], store_url: str | None) -> list[Place]:
    """Return every place of the targets, also the namespaces that only the ledger names."""
    from airflow_llm_provisioning.gateways.store.owned import read_records

    return places_of(targets, _recorded_places(read_records(store_url)))


def judged(place: Place, listing: Listing, records: Records) -> list[OwnedThing]:
    """Judge one listing of a place."""
    return judge(listing, records, place["targets"])


def _judged(looked: Sequence[tuple[Place, Listing]], records: Records) -> Iterator[OwnedThing]:
    for place, listing in looked:
        yield from judged(place, listing, records)


def _recorded_places(records: Records) -> set[str]:
    return {entry.place for entry in records.entries or ()}


def _store_line(records: Records) -> list[OwnedThing]:
    """Return the store itself as a place that could not be looked at."""
    if records.problem is None:
        return []
    return [OwnedThing(place=STORE, kind="(place)", name="", state=State.UNKNOWN, why=records.problem)]
