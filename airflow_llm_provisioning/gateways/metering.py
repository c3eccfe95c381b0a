"""What an experiment has spent, from the results store, and the meter of a running trial, with the prices in force."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_llm_provisioning.core.budget import Amount, Meter
from airflow_llm_provisioning.core.fields import number, objects
from airflow_llm_provisioning.core.prices import PriceBook
from airflow_llm_provisioning.gateways.prices import prices_of

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.store.results import ResultsStore


def meter_of(trial: Mapping[str, Any] | None) -> Meter | None:
    """Return the meter of a trial (`core.trial.Trial` as a dict), without a limit where none is set; None without a
    trial.
    """
    budget = dict((trial or {}).get("budget") or {})
    at_most = budget.pop("node_hour_at_most", None)
    waiting = {role: budget.pop(f"{role}_hour", None) for role in ("head", "worker")}
    # Without an arm the cloud is not known; then no limit can have been drawn up either.
    if trial is None or (not budget and "arm" not in trial):
        return None
    cloud = trial["arm"]["stratum"]["cloud"]
    own = (trial.get("pricing") or {}).get("prices")
    book = prices_of(PriceBook.from_dict(own) if own else None)
    # A worker's machine may be any that the list has; a head's is a small one.
    dearest = max(book.amounts(cloud, "node").values(), default=0.0)
    usual = {"head": at_most or 0.0, "worker": at_most or dearest}
    return Meter(
        Amount(**budget),
        book,
        cloud,
        at_most=at_most,
        waiting={role: usual[role] if hour is None else hour for role, hour in waiting.items()},
    )


def spent(
    store: "ResultsStore",
    currency: str,
    *,
    experiment: str,
    at_most: float | None,
    run: tuple[str, str] | None = None,
    since: datetime | None = None,
) -> Amount:
    """Return what trials of an experiment have cost: of one DAG run (dag_id, run_id), or since an instant.

    A node without a known price counts `at_most` an hour. Without that, and for a trial of which nothing is known,
    money is None. What could not be opened cost nothing.
    """
    money, gpu_hours = 0.0, 0.0
    known = True
    for amount, unit, hours, cost in store.queries.amounts(experiment, run=run, since=since):
        gpu_hours += hours or 0.0
        counted = amount if unit == currency else None
        if counted is None:
            counted = _bounded(cost, currency, at_most)
        known = known and counted is not None
        money += counted or 0.0
    return Amount(money if known else None, gpu_hours)


def _bounded(cost: Mapping[str, Any] | None, currency: str, at_most: float | None) -> float | None:
    if cost is None or cost.get("currency") != currency or at_most is None:
        return None
    total = 0.0
    for node in objects(cost, "nodes"):
        hour = number(node.get("hour"))
        total += (at_most if hour is None else hour) * (number(node.get("seconds")) or 0.0) / 3600
    return total
