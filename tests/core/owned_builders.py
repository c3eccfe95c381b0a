"""Things, entries and listings of one made-up place."""

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_llm_provisioning.core.names import fingerprint, preparation_tags, trial_labels
from airflow_llm_provisioning.core.owned import Listing, OwnedThing, Recorded, Records, Thing
from airflow_llm_provisioning.core.owned_judgement import judge

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
PLACE = "cluster:demo/serving"
CLOUD = "cloud:eks/us-west-2"
RUN = fingerprint({"dag_id": "nightly", "run_id": "run-1"}, 8)
TRIAL = f"exp-{RUN}-demo-00"
HOLDER = "nightly/run-1/demo"


def hours(count: float) -> timedelta:
    return timedelta(hours=count)


def of_trial(kind: str = "RayService", name: str = "llm", *, left_h: float = 1, **fields: Any) -> Thing:
    """An object of a trial that expires in `left_h` hours."""
    labels = {**trial_labels(fields.pop("trial", TRIAL), "plain", NOW + hours(left_h)), **fields.pop("labels", {})}
    known = {"place": PLACE, "kind": kind, "name": name, "uid": f"uid-{kind}-{name}", "created_at": NOW - hours(3)}
    return Thing(**{**known, "labels": {key: value for key, value in labels.items() if value}, **fields})


def prepared(kind: str = "snapshot", name: str = "snap-1", *, left_h: float = 1, **fields: Any) -> Thing:
    """A thing that a preparation of the target `plain` made."""
    labels = {**preparation_tags("c0ffee", NOW + hours(left_h), "plain"), **fields.pop("labels", {})}
    known = {"place": CLOUD, "kind": kind, "name": name, "created_at": NOW - hours(30)}
    return Thing(**{**known, "labels": {key: value for key, value in labels.items() if value}, **fields})


def entry_of(thing: Thing, **fields: Any) -> Recorded:
    """The ledger's entry of a thing, with the same expiry."""
    known: dict[str, Any] = {
        "entry_id": "1",
        "kind": thing.kind.lower(),
        "name": thing.name,
        "place": thing.place,
        "tags": dict(thing.labels),
        "intended_at": NOW - hours(3),
        "expires_at": NOW + hours(1),
    }
    return Recorded(**known | fields)


def judged(
    *things: Thing,
    entries: tuple[Recorded, ...] | None = (),
    place: str = PLACE,
    targets: Any = ("plain",),
    **fields: Any,
) -> list[OwnedThing]:
    """Judge things of a place. `fields`: of the listing or of the records."""
    of_records = {key: fields.pop(key) for key in ("closed", "used_at") if key in fields}
    listing = Listing(**{"place": place, "now": NOW, "things": things, **fields})
    return judge(listing, Records(entries=entries, **of_records), targets)


def closed(trial: str = TRIAL) -> dict[str, Any]:
    """The rows say that a trial is closed."""
    return {"closed": frozenset({trial})}
