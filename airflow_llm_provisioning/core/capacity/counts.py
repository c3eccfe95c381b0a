"""Refusals of capacity counted by zone and hour, over the trials that were asked for."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Protocol

from airflow_llm_provisioning.core.fields import number, objects, text


class Refused(Protocol):
    """What is counted of a trial: its row, or anything with the same fields."""

    @property
    def trial_id(self) -> str: ...  # noqa: D102 - a row's own

    @property
    def capacity(self) -> Mapping[str, Any] | None: ...  # noqa: D102 - a row's own

    @property
    def arm(self) -> Any: ...  # noqa: D102 - a row's own


def capacity_rows(trials: Iterable[Refused]) -> list[dict[str, Any]]:
    """Return one row for each hour, zone and kind: {hour, origin, cloud, autoscaler, region, zone, kind, refusals,
    trials, no_capacity, waited_s, sentence}, oldest first.

    `zone` is None where the refusals do not tell it. `trials`: how many were refused something; `no_capacity`: how many
    of them ended because of it; `waited_s`: how long these trials waited together; `sentence`: the last one.
    """
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for trial in trials:
        seen = set()
        for key, refusal in _keyed(trial):
            row = found.setdefault(key, _empty(key))
            row["refusals"] += int(number(refusal.get("count")) or 1)
            row["sentence"] = text(refusal.get("sentence"))
            if key not in seen:
                seen.add(key)
                capacity = trial.capacity or {}
                row["trials"] += 1
                row["no_capacity"] += capacity.get("ended") is True
                row["waited_s"] += number(capacity.get("waited_s")) or 0.0
    return [found[key] for key in sorted(found, key=lambda key: tuple(part or "" for part in key))]


def _keyed(trial: Refused) -> Iterator[tuple[tuple[Any, ...], Mapping[str, Any]]]:
    stratum = trial.arm.stratum
    for refusal in objects(trial.capacity, "refusals"):
        hour = datetime.fromisoformat(text(refusal.get("first_at"))).strftime("%Y-%m-%dT%H:00Z")
        where = (stratum.origin, stratum.cloud, stratum.autoscaler, stratum.region)
        for zone in refusal.get("zones") or (None,):
            yield (hour, *where, zone, text(refusal.get("kind"))), refusal


def _empty(key: tuple[Any, ...]) -> dict[str, Any]:
    names = ("hour", "origin", "cloud", "autoscaler", "region", "zone", "kind")
    return {**dict(zip(names, key, strict=True)), "refusals": 0, "trials": 0, "no_capacity": 0, "waited_s": 0.0}
