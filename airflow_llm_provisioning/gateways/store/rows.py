"""A trial's result as rows of the store's tables, and back."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Column

from airflow_llm_provisioning.core.result import MilestoneResult, PhaseResult, TrialResult, TrialStatus
from airflow_llm_provisioning.core.secrets import redacted_text, redacted_value
from airflow_llm_provisioning.core.trial import Trial
from airflow_llm_provisioning.gateways.store import tables
from airflow_llm_provisioning.gateways.store.column_types import Name, fit_text

# The fields of a result that are columns as they are; the others belong to its trial or have tables of their own.
_OWN: Final = tuple(field.name for field in fields(TrialResult) if field.name not in ("trial", "phases", "milestones"))


def phase_rows(result: TrialResult) -> Iterator[dict[str, Any]]:
    """Yield the rows of its phases, in their order."""
    key = result.trial_id
    for position, phase in enumerate(result.phases):
        yield {
            "trial_id": key,
            "position": position,
            "name": phase.name,
            "duration_s": phase.duration_s,
            "low_s": phase.low_s,
            "high_s": phase.high_s,
        }


def milestone_rows(result: TrialResult) -> Iterator[dict[str, Any]]:
    """Yield the rows of its milestones."""
    key = result.trial_id
    for stone in result.milestones:
        yield {
            "trial_id": key,
            "name": stone.name,
            "earliest_at": stone.earliest_at,
            "latest_at": stone.latest_at,
            "source": stone.source,
        }


def trial_row(result: TrialResult, shared: Mapping[str, str | None]) -> dict[str, Any]:
    """Return a trial's values by column. Columns that queries need repeat what `trial` holds. `shared`: the keys of
    what it has in common with others.
    """
    trial, arm = result.trial, result.trial.arm
    told = result.summary()
    told |= {**shared, "exclusion": result.exclusion}
    row = {column.name: _copied(column, told.get(column.name)) for column in tables.trials.columns}
    row |= {name: getattr(result, name) for name in _OWN}
    return row | {
        "status": str(result.status),
        "reason": None if result.reason is None else redacted_text(result.reason),
        "treatments": list(arm.treatments),
        "flags": redacted_value(list(result.flags)),
        "verdicts": redacted_value([dict(verdict) for verdict in result.verdicts]),
        "environment": dict(result.environment),
        "capacity": None if result.capacity is None else redacted_value(dict(result.capacity)),
        "trial": trial.stored(),
    }


def _copied(column: Column[Any], value: Any) -> Any:
    """Return what a column repeats of a trial: a name as far as it fits, since the whole one is in `trial`."""
    if isinstance(column.type, Name) and value is not None and not column.primary_key:
        return fit_text(value)[: tables.NAME_LENGTH]
    return value


def trial_of(row: Any, stages: Sequence[Any], stones: Sequence[Any]) -> TrialResult:
    """Return the result whose rows these are: its own, those of its phases in their order, and of its milestones."""
    values = {name: row[name] for name in _OWN} | {"status": TrialStatus(row["status"])}
    return TrialResult(
        **values,
        trial=Trial.from_dict(row["trial"]),
        phases=tuple(PhaseResult(s["name"], s["duration_s"], s["low_s"], s["high_s"]) for s in stages),
        # Sorted here: databases order equal instants, and names, each in their own way.
        milestones=tuple(sorted((_milestone(stone) for stone in stones), key=_milestone_order)),
    )


def _milestone(row: Any) -> MilestoneResult:
    return MilestoneResult(row["name"], row["earliest_at"], row["latest_at"], row["source"])


def _milestone_order(stone: MilestoneResult) -> tuple[datetime, datetime, str]:
    return (stone.earliest_at, stone.latest_at, stone.name)
