"""How far a trial's cost, computed from its recording, is from the bill that the simulated cloud keeps of its machines.

Every cloud with every node autoscaler, both set-ups, with the profiles' noise: deployed, recorded by the shipped
recorder, deleted, and watched until its nodes are gone. The bill is kept from the machines' lives alone, at the rates
of the simulated cloud; it is not read by what computes the cost.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from proof.in_process import InProcessCluster
from proof.recorded_trial import Finished, Scenario, run
from proof.targets import KINDS, target

from airflow_llm_provisioning.core.cost import nodes_used, priced
from airflow_llm_provisioning.core.result import TrialStatus
from airflow_llm_provisioning.core.trace import TraceView, decode_trace
from airflow_llm_provisioning.core.workload import ScalingSetup, builtin_workload
from airflow_llm_provisioning.gateways.prices import list_prices
from airflow_llm_provisioning.trials.close import parts
from airflow_llm_provisioning.triggers.deadline import Deadline
from llm_provisioning_simulator.instant_trial import Stage


@dataclass(frozen=True, slots=True)
class Compared:
    """One trial: what was computed, what the simulated cloud charged, and the bounds that were told."""

    cloud: str
    autoscaler: str
    setup: str
    computed: float | None
    charged: float
    low: float | None
    high: float | None

    @property
    def error_pct(self) -> float:
        """The error; a cost that is not known is wrong by all of it."""
        return 100.0 if self.computed is None else abs(self.computed / self.charged - 1) * 100


# Dollars after which a trial is ended: before its endpoint is ready, and after its nodes are there.
LIMIT_USD: Final = 0.15
SHORT: Final = (("eks", "luna", ScalingSetup.STATIC), ("gke", "native", ScalingSetup.DYNAMIC))
FULL: Final = tuple((*kind, setup) for kind in KINDS for setup in (ScalingSetup.STATIC, ScalingSetup.DYNAMIC))


def figures(repeats: int, seed: int) -> dict[str, object]:
    """Return {cost_error_pct: the largest, cost_error_pct_of: where, cost_trials, cost_within_bounds_ratio,
    budget_overrun_s_max}; 0 repeats: two trials.
    """
    tried = [(*kind, number) for number in range(repeats) for kind in FULL] or [(*kind, 0) for kind in SHORT]
    found = [compared(cloud, autoscaler, setup, seed + number) for cloud, autoscaler, setup, number in tried]
    worst = max(found, key=lambda one: one.error_pct)
    held = [one.low is not None and one.high is not None and one.low <= one.charged <= one.high for one in found]
    return {
        "cost_error_pct": round(worst.error_pct, 2),
        "cost_error_pct_of": f"{worst.cloud} {worst.autoscaler} {worst.setup}",
        "cost_trials": len(found),
        "cost_within_bounds_ratio": round(sum(held) / len(held), 3),
        "budget_overrun_s_max": round(max(overrun_s(*kind, seed) for kind in (KINDS if repeats else KINDS[:1])), 1),
    }


def overrun_s(cloud: str, autoscaler: str, seed: int) -> float:
    """Return for how many seconds the machines of a trial were charged beyond its budget before the wait ended it.

    The deletion follows at once, and what the nodes cost until they are gone comes on top of it.
    """
    late: list[float] = []

    async def charged(cluster: InProcessCluster, on: Stage, finished: Finished) -> None:
        ended_at = TraceView(decode_trace(finished.chunks).lines).ended_at
        if ended_at is None or finished.row.status is not TrialStatus.OVER_BUDGET:
            raise ValueError(f"the trial ended as {finished.row.status}: {finished.row.reason}")
        at = ended_at
        while on.cluster.fleet.bill.usd_until(at) > LIMIT_USD:
            at -= timedelta(seconds=1)
        late.append((ended_at - at).total_seconds())

    scenario = Scenario(
        target=target(cloud, autoscaler=autoscaler),
        declared=builtin_workload(),
        variant="baseline",
        seed=seed,
        budget={"money": LIMIT_USD},
        afterwards=charged,
    )
    run(scenario)
    return late[0]


def compared(cloud: str, autoscaler: str, setup: ScalingSetup, seed: int) -> Compared:
    """Run one trial until its nodes are gone; return both amounts."""
    found: list[Compared] = []

    async def until_gone(cluster: InProcessCluster, on: Stage, finished: Finished) -> None:
        opened, _ = parts(finished.row.trial)
        await cluster.delete("rayservices", opened.rayservice, opened.namespace)
        view = TraceView(decode_trace(finished.chunks).lines)
        deadline = Deadline(cluster, cluster.clock(), 3600.0)
        named = {name: None for pod in view.pods if (name := view.node_name_of(pod))}
        await deadline.gone("nodes", named)
        now = cluster.clock()
        told = priced(nodes_used(view, deadline.gone_at), list_prices(), cloud, closed_at=now)
        charged = on.cluster.fleet.bill.usd(now)
        found.append(Compared(cloud, autoscaler, str(setup), told["amount"], charged, told["low"], told["high"]))

    scenario = Scenario(
        target=target(cloud, autoscaler=autoscaler),
        declared=builtin_workload(),
        setup=setup,
        variant="baseline",
        seed=seed,
        afterwards=until_gone,
    )
    run(scenario)
    return found[0]
