"""What is ours in a place: the things that were listed, what the ledger and the rows say, and one line of the list.

A place is a namespace of a cluster (`cluster:<name>/<namespace>`) or a cloud's account and region
(`cloud:eks/us-west-2`), named as in the ledger.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from airflow_llm_provisioning.core.names import (
    LABEL_CONTENT,
    LABEL_EXPIRES,
    LABEL_TARGET,
    LABEL_TRIAL,
    label_keys_for_google,
    read_expiry,
)


class State(StrEnum):
    """What is known of a thing. `orphan`: its trial is closed. `unrecorded`: our label without a ledger entry that
    fits. `vanished`: a ledger entry without its thing. `unknown`: it could not be looked at.
    """

    IN_USE = "in use"
    EXPIRED = "expired"
    ORPHAN = "orphan"
    UNRECORDED = "unrecorded"
    VANISHED = "vanished"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """One thing that a place listed. `kind`: as Kubernetes or the cloud calls it. `name`: its name in the namespace, or
    the cloud's identity. `labels`: under our own keys. `uid`, `version`: of a Kubernetes object. `owners`: uids of its
    owners. `deleted_at`: when its deletion was asked for. `of_ray`: KubeRay's label says what made it. `stays`: nothing
    removes such a node here. `busy`: a pod of ours is on that node.
    """

    place: str
    kind: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    created_at: datetime | None = None
    uid: str | None = None
    version: str | None = None
    owners: tuple[str, ...] = ()
    deleted_at: str | None = None
    of_ray: bool = False
    stays: bool = False
    busy: bool = False
    price_hour_usd: float | None = None

    def label(self, key: str) -> str | None:
        """Return one of our labels, however the place spells its key; None where it is absent or empty."""
        return label_of(self.labels, key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """An open entry of the ledger (`gateways.store.ledger.Entry`)."""

    entry_id: str
    kind: str
    name: str
    place: str
    tags: Mapping[str, str]
    intended_at: datetime
    expires_at: datetime
    identity: str | None = None

    def is_of(self, thing: Thing) -> bool:
        """Return whether the entry was written for this thing: by name or by the cloud's own name for it."""
        return self.kind == thing.kind.lower() and thing.name in (self.identity, self.name)

    def content(self) -> str | None:
        """Return the fingerprint of the preparation that wrote it; None for a trial's."""
        return label_of(self.tags, LABEL_CONTENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """What the results store says. `entries`: the open ones; None where the store could not be read: `problem` says
    why. `closed`: label values of trials that have a row. `used_at`: label value of a target -> when its last trial was
    opened.
    """

    entries: tuple[Recorded, ...] | None = ()
    closed: frozenset[str] = frozenset()
    used_at: Mapping[str, datetime] = field(default_factory=dict)
    problem: str | None = None

    def of_place(self, place: str) -> tuple[Recorded, ...]:
        """Return the entries of a place."""
        return tuple(entry for entry in self.entries or () if entry.place == place)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a look at a place found. `now`: the earlier one of our clock and the place's; None where it is not known.
    `holders`: who holds a lock of trials there that has not expired; None: not known. `problems`: what could not be
    listed, kind -> sentence; the kind `""` is the whole place. `notes`: sentences about the look itself. `standing`:
    ids of entries whose thing cannot carry a mark, so that no list has it, and exists. `unmarked`: ids of entries whose
    thing exists under the cloud's own name and is in no list, because it does not say that it is ours.
    """

    place: str
    now: datetime | None
    things: tuple[Thing, ...] = ()
    holders: tuple[str, ...] | None = ()
    problems: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    standing: frozenset[str] = frozenset()
    unmarked: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnedThing:
    """One line of the list. `of`: the trial or the preparation it belongs to. `ours`: label and ledger, or label and
    run identity, fit, so that it may be deleted. `held`: a running trial may use it. `parent`: what it goes with.
    """

    place: str
    kind: str
    name: str
    state: State
    why: str
    of: str | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None
    seen_at: datetime | None = None
    price_hour_usd: float | None = None
    thing: Thing | None = None
    entry: Recorded | None = None
    ours: bool = False
    held: bool = False
    parent: str | None = None

    @property
    def key(self) -> tuple[str, str, str, str | None]:
        """What makes it one thing: another object of its name is another thing."""
        return (self.place, self.kind, self.name, self.thing.uid if self.thing else None)

    @property
    def age_s(self) -> float | None:
        """Seconds since it was created; None where that is not known."""
        if self.created_at is None or self.seen_at is None:
            return None
        return max(0.0, (self.seen_at - self.created_at).total_seconds())

    def as_dict(self) -> dict[str, Any]:
        """Return the line as JSON; what is not known is None."""
        instants = {name: getattr(self, name) for name in ("created_at", "expires_at")}
        age_s = self.age_s
        return {
            "place": self.place,
            "kind": self.kind,
            "name": self.name,
            "of": self.of,
            "state": str(self.state),
            "why": self.why,
            **{name: at.isoformat() if at else None for name, at in instants.items()},
            "age_s": None if age_s is None else round(age_s),
            "price_hour_usd": self.price_hour_usd,
        }


def may_delete(item: OwnedThing, *, everything: bool = False) -> bool:
    """Return whether the reaper deletes this thing: it is ours, no running trial uses it, and it expired or its trial
    is closed. `everything`: also what is kept until a later expiry.
    """
    if item.thing is None or not item.ours or item.held or item.parent is not None or item.state is State.UNKNOWN:
        return False
    return everything or item.state in (State.EXPIRED, State.ORPHAN)


def label_of(labels: Mapping[str, str], key: str) -> str | None:
    """Return one of our labels from a mapping that may spell its key as Google or Azure does."""
    for spelled in (key, next(iter(label_keys_for_google({key: ""}))), key.replace("/", "_")):
        if labels.get(spelled):
            return labels[spelled]
    return None


def belongs(labels: Mapping[str, str]) -> str | None:
    """Return in words which trial or preparation labels name."""
    trial, content, target = (label_of(labels, key) for key in (LABEL_TRIAL, LABEL_CONTENT, LABEL_TARGET))
    if trial:
        return f"trial {trial}"
    if content:
        return f"preparation {content}" + (f" of {target}" if target else "")
    return f"target {target}" if target else None


def labelled_expiry(labels: Mapping[str, str]) -> datetime | None:
    """Return the expiry that labels name; None where there is none that can be read."""
    return read_expiry((label_of(labels, LABEL_EXPIRES) or "").upper())
