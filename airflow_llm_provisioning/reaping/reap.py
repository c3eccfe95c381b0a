"""The reaper: deletes what expired or was orphaned, sees that it is gone, closes the ledger's entries.

It goes on in rounds, because deletions take their time and clouds refuse some for a while: look, delete, pause, look
again. It ends when nothing of what it may delete is left, or at its time limit; what is left then has a reason. Each
deletion is judged again right before, from a fresh look at the thing, the lock and the ledger, so a trial that begins
meanwhile keeps what is its own, and two reapers at once disturb neither each other nor a trial's own teardown.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from airflow_llm_provisioning.core.owned import OwnedThing, State, may_delete
from airflow_llm_provisioning.core.target import Target
from airflow_llm_provisioning.exceptions import ProvisioningError, StoreError
from airflow_llm_provisioning.reaping.delete import Key, Reason, delete_thing, reasons
from airflow_llm_provisioning.reaping.owned import Survey, survey
from airflow_llm_provisioning.reaping.places import Place

# Real seconds. The first pause between two rounds; each is twice the one before, up to the last.
FIRST_PAUSE_S: float = 2.0
LAST_PAUSE_S: float = 60.0
WAIT_S: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaped:
    """What came of it. `deleted`: seen to be gone after it was deleted here. `closed`: entries of the ledger whose
    thing is gone. `left`: what it may delete and did not see gone, each with its reason. `survey`: the last look.
    """

    deleted: tuple[OwnedThing, ...]
    closed: tuple[OwnedThing, ...]
    left: tuple[OwnedThing, ...]
    survey: Survey
    problems: tuple[str, ...] = ()
    everything: bool = False

    @property
    def clean(self) -> bool:
        """Whether every place was listed after the last deletion and nothing is left that may be deleted. With
        `everything` also nothing that a running trial may use: the experiment has not ended then.
        """
        return not (self.left or self.survey.unknown or self.problems or self.stuck or self.kept)

    @property
    def kept(self) -> list[OwnedThing]:
        """What should go with everything else, and is kept because a running trial may use it."""
        kept = (item for item in self.survey.items if item.thing is not None and item.ours and item.held)
        return [item for item in kept if self.everything and item.state is State.IN_USE]

    @property
    def unrecorded(self) -> list[OwnedThing]:
        """What carries our label and is not ours to delete."""
        return [item for item in self.survey.items if item.state is State.UNRECORDED]

    @property
    def stuck(self) -> list[OwnedThing]:
        """Nodes that their autoscaler has not removed."""
        return [item for item in self.survey.items if item.state is State.ORPHAN and not item.ours]

    def sentence(self) -> str:
        """Return the end in words."""
        done = f"{len(self.deleted)} deleted and seen to be gone"
        unknown = {item.place for item in self.survey.unknown}
        parts = [
            (len(self.left), "not gone"),
            (len(self.kept), "kept because a running trial may use them"),
            (len(self.stuck), "not removed by the node autoscaler"),
            (len(unknown), "places not wholly known"),
            (len(self.unrecorded), "with our label that no ledger entry or run identity fits"),
        ]
        told = "; ".join([done, *(f"{count} {words}" for count, words in parts if count), *self.problems])
        return f"{'Clean' if self.clean else 'Not clean'}: {told}."

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "clean": self.clean,
            "sentence": self.sentence(),
            "deleted": [item.as_dict() for item in self.deleted],
            "left": [item.as_dict() for item in (*self.left, *self.kept, *self.stuck)],
            "unrecorded": [item.as_dict() for item in self.unrecorded],
            "unknown": [item.as_dict() for item in self.survey.unknown],
            "closed": [item.as_dict() for item in self.closed],
            "problems": list(self.problems),
        }


async def reap(
    targets: Sequence[Target],
    store_url: str | None,
    *,
    places: Sequence[Place] | None = None,
    everything: bool = False,
    wait_s: float = WAIT_S,
    pause_s: float = FIRST_PAUSE_S,
    log: Callable[[str], None] = lambda _: None,
) -> Reaped:
    """Delete what expired or was orphaned, and return what was seen to be gone and what is left.

    `targets`, `store_url`, `places`: as for `survey`. `everything`: also what is kept until a later expiry, which ends
    an experiment; never what a running trial uses. `wait_s`: real seconds for all rounds.
    """
    rounds = _Rounds(targets, store_url, places, everything, log)
    ends_at = asyncio.get_running_loop().time() + wait_s
    found = await rounds.look()
    while due := rounds.due(found):
        await rounds.delete(due, found)
        pause = min(pause_s, max(0.0, ends_at - asyncio.get_running_loop().time()))
        await asyncio.sleep(pause)
        found = await rounds.look()
        if asyncio.get_running_loop().time() >= ends_at:
            break
        pause_s = min(LAST_PAUSE_S, pause_s * 2)
    return await rounds.end(found)


class _Rounds:
    def __init__(
        self,
        targets: Sequence[Target],
        store_url: str | None,
        places: Sequence[Place] | None,
        everything: bool,
        log: Callable[[str], None],
    ) -> None:
        self._targets, self._store_url, self._places = targets, store_url, places
        self._everything, self._log = everything, log
        self._asked: dict[Key, OwnedThing] = {}
        self._refused: dict[Key, Reason] = {}
        self._deleted: dict[Key, OwnedThing] = {}

    async def look(self) -> Survey:
        """Look at every place, and note what is gone of what was deleted here."""
        found = await survey(self._targets, self._store_url, self._places)
        there = {item.key for item in found.items if item.thing is not None}
        failed = {item.place for item in found.unknown}
        for key, item in list(self._asked.items()):
            if key not in there and item.place not in failed and not _cloud_failed(item.place, failed):
                self._deleted[key] = self._asked.pop(key)
                self._log(f"Gone: {item.kind} {item.name} in {item.place}.")
        return found

    def due(self, found: Survey) -> list[OwnedThing]:
        """Return what is to be deleted, in the order of its listing."""
        return [item for item in found.items if may_delete(item, everything=self._everything)]

    async def delete(self, due: Sequence[OwnedThing], found: Survey) -> None:
        """Ask for each deletion; a refusal is kept as the reason why the thing is still there."""
        for item in due:
            place, listing = next(looked for looked in found.looked if looked[1].place == item.place)
            try:
                asked = await delete_thing(item, place, listing, self._store_url, everything=self._everything)
            except ProvisioningError as error:
                self._refused[item.key] = Reason(str(error))
                self._log(f"Not deleted: {item.kind} {item.name} in {item.place}: {error}")
                continue
            self._refused.pop(item.key, None)
            if asked and item.key not in self._asked:
                self._asked[item.key] = item
                self._log(f"Deleting {item.kind} {item.name} in {item.place} ({item.of or '?'}): {item.why}.")

    async def end(self, found: Survey) -> Reaped:
        """Close the entries of what is gone, and say why the rest is left."""
        closed, problems = await self._close(found)
        left = self.due(found)
        told = await reasons(left, found.looked)
        named = tuple(replace(item, why=self._why(item, told)) for item in left)
        return Reaped(
            deleted=tuple(self._deleted.values()),
            closed=closed,
            left=named,
            survey=found,
            problems=problems,
            everything=self._everything,
        )

    def _why(self, item: OwnedThing, told: dict[Key, str]) -> str:
        refused = self._refused.get(item.key)
        waits = told.get(item.key) or ("its deletion was asked for, and it is still listed" if refused is None else "")
        return "; ".join(filter(None, [item.why, waits, refused.sentence if refused else ""]))

    async def _close(self, found: Survey) -> tuple[tuple[OwnedThing, ...], tuple[str, ...]]:
        """Close the entries whose thing was listed as absent: those that vanished, and those that were deleted here."""
        from airflow_llm_provisioning.gateways.store.owned import close_entries

        gone = {item.entry.entry_id for item in self._deleted.values() if item.entry is not None}
        closing = tuple(
            item
            for item in found.items
            if item.entry is not None
            and item.thing is None
            and item.ours
            and (item.state is State.VANISHED or (item.entry.entry_id in gone and item.state is not State.UNKNOWN))
        )
        if not closing or self._store_url is None:
            return (), ()
        ids = [item.entry.entry_id for item in closing if item.entry is not None]
        try:
            await asyncio.to_thread(close_entries, self._store_url, ids)
        except StoreError as error:
            return (), (f"{len(ids)} ledger entries of what is gone could not be closed: {error}",)
        return closing, ()


def _cloud_failed(place: str, failed: set[str]) -> bool:
    return any(place.startswith(f"{name}/") for name in failed if name.startswith("cloud:"))
