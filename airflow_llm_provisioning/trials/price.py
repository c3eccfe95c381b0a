"""What an experiment's trials cost at most, before any of them runs, and whether that fits the budget.

At most: every trial takes its whole time limit, and its nodes stay for as long as they are waited for. A budget per
trial bounds it, because the wait ends a trial that has used it up.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_llm_provisioning.core.budget import Amount, Budget, Rate, rate_of, smallest
from airflow_llm_provisioning.core.devices import devices
from airflow_llm_provisioning.core.experiment import Experiment, PlannedCell
from airflow_llm_provisioning.core.manifests.groups import accelerators, ray_container, ray_groups, starting_replicas
from airflow_llm_provisioning.core.prices import PriceBook
from airflow_llm_provisioning.core.trial import DEFAULT_TIMEOUT_S
from airflow_llm_provisioning.exceptions import ConfigurationError


@dataclass(frozen=True, slots=True)
class CellPrice:
    """One cell: `rate` of its nodes an hour, `seconds` at most, and what one of its `trials` costs at most."""

    cell: PlannedCell
    rate: Rate
    seconds: float
    trials: int
    each: Amount

    @property
    def together(self) -> Amount:
        """What all of them cost at most."""
        found = Amount(0.0, 0.0)
        for _ in range(self.trials):
            found += self.each
        return found


def prices_of_experiment(experiment: Experiment) -> PriceBook:
    """Return the experiment's own prices, completed by the shipped list."""
    from airflow_llm_provisioning.gateways.prices import prices_of

    return prices_of(experiment.prices)


def cell_prices(experiment: Experiment, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> list[CellPrice]:
    """Return what the trials of every cell cost at most, in the order of the cells. At most every trial is tried in
    every fallback.
    """
    return [_of_cell(experiment, cell, timeout_s) for cell in experiment.all_cells()]


def check_plan(experiment: Experiment, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
    """Refuse a plan that cannot fit its budget: a ConfigurationError says what it would cost. Without a budget nothing
    is refused.
    """
    if experiment.budget is None:
        return
    problems = list(_problems(experiment, experiment.budget, cell_prices(experiment, timeout_s=timeout_s)))
    if problems:
        raise ConfigurationError("\n".join(f"{experiment.where}: {problem}" for problem in problems))


def _problems(experiment: Experiment, budget: Budget, cells: list[CellPrice]) -> Iterator[str]:
    currency = prices_of_experiment(experiment).currency
    counts_money = any(limit.money is not None for limit in (budget.trial, budget.run, budget.month))
    unpriced = [one for one in cells if counts_money and one.rate.money is None]
    for one in unpriced:
        yield (
            f"budget: {one.cell.key} cannot be priced: no price is known of {', '.join(one.rate.unknown)}. Name the "
            "instance types in the target's nodes, give their prices in `prices`, or state `budget.node_hour_at_most`."
        )
    whole = Amount(0.0, 0.0)
    for one in cells:
        whole += one.together
    for period in ("run", "month"):
        for told in () if unpriced else whole.within(getattr(budget, period), currency):
            yield (
                f"budget.{period}: the run would cost at most {told}. Plan fewer trials, give `budget.trial` a limit, "
                f"or raise `budget.{period}`."
            )


def _of_cell(experiment: Experiment, cell: PlannedCell, timeout_s: float) -> CellPrice:
    from airflow_llm_provisioning.gateways.autoscalers import nodes_gone_s

    target = experiment.target(cell.target)
    budget = experiment.budget or Budget()
    manifest = experiment.workload(cell.workload).manifest
    rate = rate_of(
        prices_of_experiment(experiment), target.cloud, target.region, _nodes(target.nodes, manifest),
        budget.node_hour_at_most,
    )  # fmt: skip
    seconds = timeout_s + nodes_gone_s(target)
    each = rate.for_seconds(seconds)
    bounded = smallest(each, budget.trial)
    # A price that is not known is not made known by a limit, unless the wait can hold the trial to it.
    each = Amount(bounded.money if each.money is not None else None, bounded.gpu_hours)
    return CellPrice(cell, rate, seconds, experiment.replicates, each)


def waiting_hours(experiment: Experiment, target_name: str, workload: str) -> dict[str, float]:
    """Return {head_hour, worker_hour}: what an hour of a node counts that a pod waits for, as far as it is known."""
    target, book = experiment.target(target_name), prices_of_experiment(experiment)
    found: dict[str, float] = {}
    for role, (instance_type, _, _) in _nodes(target.nodes, experiment.workload(workload).manifest).items():
        price = book.node_hour(target.cloud, target.region, instance_type, spot=False)
        key = "head_hour" if role == "head" else "worker_hour"
        if price is not None:
            found[key] = max(price.amount, found.get(key, 0.0))
    return found


def _nodes(nodes: Any, manifest: Mapping[str, Any]) -> dict[str, tuple[str | None, int, int]]:
    """Return role -> (instance type, how many pods it starts with, accelerators of each); a pod has a node of its own.
    Ray's autoscaler adds workers under load only, and a trial has none.
    """
    found: dict[str, tuple[str | None, int, int]] = {}
    for group in ray_groups(manifest):
        count = 1 if group.role == "head" else max(1, starting_replicas(manifest, group))
        gpus = sum(devices(accelerators(ray_container(manifest, group))).values())
        instance_type = nodes.gpu_instance_type if gpus else nodes.cpu_instance_type
        found[group.name if group.role == "worker" else "head"] = (instance_type, count, gpus)
    return found
