"""Whether a planned trial is still needed: an experiment may stop an arm once its reduction is known well enough, or
once the rest of its trials cannot change the verdict of its gate.

Looks at the rows of the same DAG run only. A treated arm has enough when its rule says so; the baseline has enough when
every other arm of its stratum has. A trial that did not count (failed, warm, unverified) is not made up for beyond the
planned replicates.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from airflow_llm_provisioning.core.arm import BASELINE, Arm
from airflow_llm_provisioning.core.blocks import paired
from airflow_llm_provisioning.core.comparison import grouped
from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.core.gate_limit import GateLimit
from airflow_llm_provisioning.core.gate_settled import settled
from airflow_llm_provisioning.core.measured import Measured
from airflow_llm_provisioning.core.stopping import StoppingRule
from airflow_llm_provisioning.core.trial import NOT_NEEDED, Trial


def not_needed(planned: Trial, experiment: Experiment, *, results_conn_id: str) -> str | None:
    """Return why a planned trial is not needed any more, and note it in the store; None where it is needed."""
    from airflow_llm_provisioning.connections import open_store
    from airflow_llm_provisioning.gateways.store.gate_runs import trials_for
    from airflow_llm_provisioning.gateways.store.selection import Selection

    rule = experiment.stop_early
    if rule is None:
        return None
    store = open_store(results_conn_id)
    try:
        slot = planned.slot
        rows = store.queries.measured(Selection(dag_id=slot.dag_id, run_id=slot.run_id, experiment=slot.experiment))
        if any(slot.is_attempt(row.trial_id) for row in rows):
            # The slot ran once and was cleared: its user wants it again.
            return None
        where = {"run_id": slot.run_id, "dag_id": slot.dag_id, "experiment": slot.experiment}
        reason = enough(planned.arm, [experiment.arm(cell) for cell in experiment.all_cells()], rows, rule)
        reason = reason or settled_gates(planned, experiment, rows, lambda limit: trials_for(store, limit, **where))
        if reason is not None:
            store.note_outcome(slot.slot_id, "open", NOT_NEEDED, reason)
        return reason
    finally:
        store.close()


def settled_gates(
    planned: Trial,
    experiment: Experiment,
    rows: Sequence[Measured],
    trials_for: Callable[[GateLimit], Sequence[Measured]],
) -> str | None:
    """Return why the rest of an arm's trials cannot change what its gates say, or None. The baseline goes on, because
    the other arms need it; so does an arm without a gate.

    `rows`: of this DAG run; `trials_for`: what a gate needs, its reference run included.
    """
    stratum, rule = planned.arm.stratum, experiment.stop_early
    cell = f"{planned.target}/{planned.served.workload}/{stratum.setup}/{planned.arm.variant}"
    limits = [gate for gate in experiment.gates if gate.arm == cell]
    if rule is None or planned.arm.is_baseline or not limits:
        return None
    if len(_own(planned.arm, rows)) < rule.fewest:
        return None
    baseline = replace(planned.arm, variant=BASELINE, treatments=())
    left, baseline_left = (_left(arm, experiment, rows) for arm in (planned.arm, baseline))
    run = (planned.slot.dag_id, planned.slot.run_id)
    verdicts = []
    for limit in limits:
        verdicts.append(settled(trials_for(limit), limit, run=run, left=left, baseline_left=baseline_left))
        if verdicts[-1] is None:
            return None
    told = " and ".join(dict.fromkeys(map(str, verdicts)))
    return f"{planned.arm.label}: its gate says {told}, which the {left} trials that are left cannot change."


def _own(arm: Arm, rows: Sequence[Measured]) -> list[float]:
    """Return the times of an arm's trials that count."""
    key = _unseen(arm).key
    return [total_s for found in grouped(rows) if _unseen(found.arm).key == key for total_s in found.totals]


def _left(arm: Arm, experiment: Experiment, rows: Sequence[Measured]) -> int:
    """Return how many planned trials of an arm have no row yet. Several cells may be of one arm, and a slot that ran
    again has a row for each attempt.
    """
    key = _unseen(arm).key
    planned = experiment.replicates * sum(_unseen(experiment.arm(cell)).key == key for cell in experiment.cells())
    slots = {re.sub(r"\.\d+$", "", row.trial_id) for row in rows if _unseen(row.arm).key == key}
    return max(planned - len(slots), 0)


def enough(arm: Arm, arms: Iterable[Arm], rows: Sequence[Measured], rule: StoppingRule) -> str | None:
    """Return why an arm has enough trials, or None. `arms`: all of the experiment; `rows`: of one DAG run."""
    pooled = {_unseen(found.arm).key: found.pooled for found in grouped(rows)}
    peers = [peer for peer in map(_unseen, arms) if peer.stratum == _unseen(arm).stratum]
    baseline = next((peer for peer in peers if peer.is_baseline), None)
    if baseline is None:
        return None
    treated = [peer for peer in peers if not peer.is_baseline]
    if not arm.is_baseline:
        treated = [_unseen(arm)]
    reasons = list(_reasons(treated, pooled, pooled.get(baseline.key, ()), rule))
    if not reasons or None in reasons:
        return None
    return (
        f"{arm.label} has enough trials: {reasons[0]}." if len(reasons) == 1 else f"{arm.label}: all arms have enough."
    )


def _reasons(
    treated: Sequence[Arm],
    pooled: dict[str, tuple[Measured, ...]],
    baseline: Sequence[Measured],
    rule: StoppingRule,
) -> Iterator[str | None]:
    for arm in treated:
        pairing = paired(baseline, pooled.get(arm.key, ()))
        yield rule.look(pairing.blocks).enough if pairing.claim else None


def _unseen(arm: Arm) -> Arm:
    """Return an arm as the plan knows it: its origin is what the cluster says when a trial is opened."""
    stratum = replace(arm.stratum, origin="unknown", workload="")
    return replace(arm, stratum=stratum, treatments=tuple(sorted(arm.treatments)))
