"""Which state each thing of ours is in: pure, from one listing of a place, the ledger, the rows and the locks.

Nothing counts as ours by one sign alone. A label can be copied or edited by hand: beside it, the ledger must name the
thing, or its labels must be those that a run of this package writes on such a thing.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from airflow_llm_provisioning.core.names import (
    LABEL_MANAGED_BY,
    LABEL_TARGET,
    LABEL_TRIAL,
    OWNER,
    fingerprint,
    label_value,
)
from airflow_llm_provisioning.core.operation import KEEP_DAYS
from airflow_llm_provisioning.core.owned import (
    Listing,
    OwnedThing,
    Recorded,
    Records,
    State,
    Thing,
    belongs,
    label_of,
    labelled_expiry,
)
from airflow_llm_provisioning.core.owned_identity import Identity, spellings
from airflow_llm_provisioning.core.ownership import LABEL_APPLIED_BY
from airflow_llm_provisioning.core.trial import NODES_GONE_S

# What KubeRay makes belongs to one of these.
_OWNERS: Final = ("RayService", "RayCluster")
NODES: Final = ("Node", "NodeClaim")
LOCK: Final = "Lease"
# label_value shortens what is longer than 63 characters; the run in such a name may be cut off.
_SHORTENED: Final = 55
_NO_TARGET: Final = "no target of the experiment leads to this place: name the experiment that does"
_UNMARKED: Final = (
    "the ledger names it, and it does not carry our label: it was edited, or it is another owner's of that name; look "
    "at it, and delete it by hand if it is ours"
)
_UNKNOWN_USE: Final = "whether a running trial uses it is not known"


def judge(listing: Listing, records: Records, targets: Collection[str]) -> list[OwnedThing]:
    """Return one line for each thing that was listed, each ledger entry of the place without its thing, and each part
    of the place that could not be listed. `targets`: names of the experiments' targets.
    """
    return _Place(listing, records, targets).lines()


def elsewhere(records: Records, listings: Collection[Listing]) -> list[OwnedThing]:
    """Return the open entries of places that were not listed: a cloud's that failed, and those no target leads to."""
    looked_at = {listing.place for listing in listings}
    failed = {listing.place: listing.problems[""] for listing in listings if listing.problems.get("")}
    found = []
    for entry in records.entries or ():
        if entry.place not in looked_at:
            why = next((told for place, told in failed.items() if entry.place.startswith(f"{place}/")), _NO_TARGET)
            found.append(_line_of_entry(entry, State.UNKNOWN, why, None))
    return found


def may_run(holder: str, trial: str) -> bool:
    """Return whether the holder of a lock may be running a trial; `trial`: its label's value. A holder that is not of
    our form, or a name that was shortened, leaves it open: then it may.
    """
    parts = holder.split("/")
    if len(parts) < 3 or len(trial) >= _SHORTENED:
        return True
    runs = (("/".join(parts[:i]), "/".join(parts[i:j])) for j in range(2, len(parts)) for i in range(1, j))
    return any(f"-{fingerprint({'dag_id': dag, 'run_id': run}, 8)}-" in trial for dag, run in runs)


@dataclass(frozen=True, slots=True)
class _Found:
    """A state with its reason."""

    state: State
    why: str
    ours: bool = True
    held: bool = False


class _Place:
    def __init__(self, listing: Listing, records: Records, targets: Collection[str]) -> None:
        self._listing, self._records = listing, records
        self._entries = records.of_place(listing.place)
        # Only Google's own labels have no capitals: in a cluster, `Plain` and `plain` are two targets.
        spelled = spellings if listing.place.startswith("cloud:") else lambda value: (value,)
        self._targets = {each for target in targets for each in spelled(label_value(target))}
        self._by_uid = {thing.uid: thing for thing in listing.things if thing.uid}
        self._identity = Identity(self._entries, self._targets, listing.things)

    def lines(self) -> list[OwnedThing]:
        judged: dict[int, OwnedThing] = {}
        for thing in self._listing.things:
            judged[id(thing)] = self._line(thing)
        told = [self._with_parent(thing, judged) for thing in self._listing.things]
        return [*told, *self._without_thing(), *self._not_listed()]

    # --- things

    def _line(self, thing: Thing) -> OwnedThing:
        entry, found = self._identity.entry(thing), self._judged(thing)
        return OwnedThing(
            place=thing.place,
            kind=thing.kind,
            name=thing.name,
            state=found.state,
            why=_deleting(thing, found.why),
            of=belongs(thing.labels) or (belongs(entry.tags) if entry else None),
            created_at=thing.created_at,
            expires_at=_expiry(thing, entry),
            seen_at=self._listing.now,
            price_hour_usd=thing.price_hour_usd,
            thing=thing,
            entry=entry,
            ours=found.ours,
            held=found.held,
        )

    def _judged(self, thing: Thing) -> _Found:
        if thing.kind == LOCK:
            return self._lock(thing)
        if thing.kind in NODES:
            return self._node(thing)
        if thing.label(LABEL_TRIAL):
            return self._of_trial(thing)
        if thing.label(LABEL_APPLIED_BY):
            task = thing.label(LABEL_APPLIED_BY)
            return _Found(State.UNRECORDED, f"applied by the task {task}, which has to delete it", ours=False)
        if thing.label(LABEL_MANAGED_BY) != OWNER:
            return self._without_label(thing)
        return self._of_preparation(thing)

    def _with_parent(self, thing: Thing, judged: dict[int, OwnedThing]) -> OwnedThing:
        """Return the line of what goes with a listed owner: it shares the owner's state and is not deleted itself."""
        line = judged[id(thing)]
        owner = next((self._by_uid[uid] for uid in thing.owners if uid in self._by_uid), None)
        if owner is None or thing.kind in NODES:
            return line
        root = owner
        while above := next((self._by_uid[uid] for uid in root.owners if uid in self._by_uid), None):
            root = above
        top = judged[id(root)]
        why = _deleting(thing, f"it goes when {owner.kind} {owner.name} is gone")
        of = line.of or top.of
        return replace(line, state=top.state, why=why, ours=top.ours, held=top.held, of=of, parent=owner.name)

    def _lock(self, thing: Thing) -> _Found:
        if thing.label(LABEL_MANAGED_BY) != OWNER:
            return _Found(State.UNRECORDED, "it has the lock's name without our label", ours=False)
        if self._listing.holders is None:
            return _Found(State.UNKNOWN, "whether it is held is not known")
        if self._listing.holders:
            return _Found(State.IN_USE, f"held by {self._listing.holders[0]}", held=True)
        return _Found(State.EXPIRED, "its holder did not give it back, and its time is over")

    def _node(self, thing: Thing) -> _Found:
        if self._listing.holders is None:
            return _Found(State.UNKNOWN, _UNKNOWN_USE, ours=False)
        if self._listing.holders:
            return _Found(State.IN_USE, "a trial runs", ours=False, held=True)
        if thing.busy:
            return _Found(State.IN_USE, "a pod of ours is on it", ours=False)
        if thing.stays:
            return _Found(State.IN_USE, "nothing removes the nodes of this target", ours=False)
        now, created_at = self._listing.now, thing.created_at
        if now is None or created_at is None or now - created_at < timedelta(seconds=NODES_GONE_S):
            return _Found(State.IN_USE, "no trial runs, and its node autoscaler may still remove it", ours=False)
        return _Found(State.ORPHAN, "no trial runs, and its node autoscaler has not removed it", ours=False)

    def _of_trial(self, thing: Thing) -> _Found:
        trial, entry = str(thing.label(LABEL_TRIAL)), self._identity.entry(thing)
        closed = trial in self._records.closed
        holders = self._listing.holders
        if not closed and (holders is None or any(may_run(holder, trial) for holder in holders)):
            why = _UNKNOWN_USE if holders is None else f"its DAG run holds the lock ({(holders or ('',))[0]})"
            return _Found(State.UNKNOWN if holders is None else State.IN_USE, why, held=True)
        if (foreign := self._identity.foreign(thing, trial, entry)) is not None:
            return _Found(State.UNRECORDED, foreign, ours=False)
        if (missed := self._owner_not_listed(thing)) is not None:
            return _Found(State.UNKNOWN, missed, held=True)
        if closed:
            return _Found(State.ORPHAN, "its trial is closed")
        return self._by_expiry(thing, entry, "no row of its trial was written")

    def _owner_not_listed(self, thing: Thing) -> str | None:
        """Return why it is not known whether a thing goes with its owner: that may be of a kind that was not listed."""
        if not thing.owners or any(uid in self._by_uid for uid in thing.owners):
            return None
        kind = next((kind for kind in _OWNERS if kind in self._listing.problems), None)
        return None if kind is None else f"it has an owner, and {kind}s could not be listed: it goes with that one"

    def _without_label(self, thing: Thing) -> _Found:
        """A thing that was found by the ledger's name for it, without our label: another owner's may have that name."""
        return _Found(
            State.UNKNOWN,
            _UNMARKED,
            ours=False,
        )

    def _of_preparation(self, thing: Thing) -> _Found:
        entry = self._identity.entry(thing)
        if thing.kind != "Pod" and self._listing.holders is None:
            return _Found(State.UNKNOWN, _UNKNOWN_USE, held=True)
        if thing.kind != "Pod" and self._listing.holders:
            return _Found(State.IN_USE, f"a trial of its target runs ({self._listing.holders[0]})", held=True)
        if entry is None and (foreign := self._identity.missing(thing)) is not None:
            if self._records.entries is None:
                return _Found(State.UNKNOWN, f"the ledger could not be read, and {foreign}", ours=False)
            return _Found(State.UNRECORDED, foreign, ours=False)
        return self._by_expiry(thing, entry, "kept for the trials of its target")

    def _by_expiry(self, thing: Thing, entry: Recorded | None, otherwise: str) -> _Found:
        now, expires_at = self._listing.now, self._kept_until(thing, entry)
        if now is None or expires_at is None:
            return _Found(State.UNKNOWN, "whether it has expired is not known", held=now is None)
        if expires_at <= now and self._may_judge_use(thing):
            return _Found(State.EXPIRED, f"expired at {expires_at:%Y-%m-%d %H:%M} UTC")
        if self._records.entries is None:
            return _Found(State.UNKNOWN, "the ledger could not be read", held=expires_at <= now)
        if entry is None and not self._records_trial(thing):
            return _Found(State.UNRECORDED, f"no ledger entry names it; it expires at {expires_at:%Y-%m-%d %H:%M} UTC")
        return _Found(State.IN_USE, f"{otherwise}; kept until {expires_at:%Y-%m-%d %H:%M} UTC")

    def _records_trial(self, thing: Thing) -> bool:
        trial = thing.label(LABEL_TRIAL)
        return trial is not None and self._identity.of_trial(trial) is not None

    def _may_judge_use(self, thing: Thing) -> bool:
        """A preparation is kept for as long as trials use it, and only the rows say that."""
        return self._records.entries is not None or not _is_used_again(thing)

    def _kept_until(self, thing: Thing, entry: Recorded | None) -> datetime | None:
        expires_at, used_at = _expiry(thing, entry), self._used_at(thing)
        if expires_at is None or used_at is None or not _is_used_again(thing):
            return expires_at
        keep = entry.expires_at - entry.intended_at if entry else timedelta(days=KEEP_DAYS)
        return max(expires_at, used_at + keep)

    def _used_at(self, thing: Thing) -> datetime | None:
        wanted = thing.label(LABEL_TARGET)
        if wanted is None:
            return None
        used = [at for target, at in self._records.used_at.items() if wanted in spellings(target)]
        return max(used, default=None)

    # --- entries and places

    def _without_thing(self) -> Iterator[OwnedThing]:
        for entry in self._entries:
            if not any(self._has(thing, entry) for thing in self._listing.things):
                yield self._absent(entry)

    def _has(self, thing: Thing, entry: Recorded) -> bool:
        return self._identity.is_of(entry, thing) or self._identity.is_content(entry, thing)

    def _absent(self, entry: Recorded) -> OwnedThing:
        now, problems = self._listing.now, self._listing.problems
        problem = problems.get("") or next((told for kind, told in problems.items() if kind.lower() == entry.kind), "")
        if problem:
            return _line_of_entry(entry, State.UNKNOWN, problem, now)
        state, why = self._of_absent(entry)
        line = _line_of_entry(entry, state, why, now)
        target = label_of(entry.tags, LABEL_TARGET)
        if state is not State.VANISHED or target in self._targets:
            return line
        # Another account of the same region, or another cluster of the same name, may have it.
        return replace(line, ours=False, why=f"{why} here; its target {target} is not one of this experiment")

    def _of_absent(self, entry: Recorded) -> tuple[State, str]:
        now = self._listing.now
        if entry.entry_id in self._listing.standing:
            return self._of_unmarked(entry)
        if entry.entry_id in self._listing.unmarked:
            return State.UNKNOWN, _UNMARKED
        if entry.tags.get(LABEL_TRIAL) in self._records.closed:
            return State.VANISHED, "its trial is closed, and it does not exist"
        if now is None:
            return State.UNKNOWN, "whether it has expired is not known"
        if entry.expires_at <= now:
            return State.VANISHED, "it has expired and does not exist"
        return State.IN_USE, "it may still be created: the entry is written before"

    def _of_unmarked(self, entry: Recorded) -> tuple[State, str]:
        """Return the state of what exists without a mark: beside marked ones of its repository it goes with them."""
        repository = entry.name.partition("@")[0]
        if any(thing.kind == entry.kind and thing.name.startswith(f"{repository}@") for thing in self._listing.things):
            return State.IN_USE, "it goes with the image it was made of"
        if self._listing.now is not None and entry.expires_at > self._listing.now:
            return State.IN_USE, "it was made of an image that is not ours"
        return State.UNKNOWN, "it exists and carries no mark of ours: only the ledger knows it, so delete it by hand"

    def _not_listed(self) -> Sequence[OwnedThing]:
        return [
            OwnedThing(
                place=self._listing.place,
                kind=kind or "(place)",
                name="",
                state=State.UNKNOWN,
                why=why,
                seen_at=self._listing.now,
            )
            for kind, why in self._listing.problems.items()
        ]


def _expiry(thing: Thing, entry: Recorded | None) -> datetime | None:
    """Return the later one of the label's expiry and the ledger's: a label that was edited deletes nothing early."""
    found = [labelled_expiry(thing.labels), entry.expires_at if entry else None]
    return max((at for at in found if at is not None), default=None)


def _is_used_again(thing: Thing) -> bool:
    """Return whether trials use a thing that a preparation made; a trial's own object and a pod that ends are not."""
    return not thing.label(LABEL_TRIAL) and thing.kind != "Pod"


def _deleting(thing: Thing, why: str) -> str:
    return f"{why}; its deletion was asked for at {thing.deleted_at}" if thing.deleted_at else why


def _line_of_entry(entry: Recorded, state: State, why: str, now: datetime | None) -> OwnedThing:
    return OwnedThing(
        place=entry.place,
        kind=entry.kind,
        name=entry.name,
        state=state,
        why=why,
        of=belongs(entry.tags),
        created_at=entry.intended_at,
        expires_at=entry.expires_at,
        seen_at=now,
        entry=entry,
        ours=True,
    )
