"""A run skips what an arm does not need any more, says so, and is judged without it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException
from cluster_in_background import simulated_target
from operator_harness import context, run
from trial_builders import a_result

from airflow_llm_provisioning.connections import open_store
from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.core.gate_limit import GateLimit
from airflow_llm_provisioning.core.result import TrialResult, TrialStatus
from airflow_llm_provisioning.core.stopping import StoppingRule
from airflow_llm_provisioning.core.trial import NOT_NEEDED, Trial
from airflow_llm_provisioning.core.workload import ScalingSetup
from airflow_llm_provisioning.exceptions import ProvisioningError, TrialFailedError
from airflow_llm_provisioning.gateways.store.results import ResultsStore
from airflow_llm_provisioning.operators import JudgeRun, OpenTrial
from airflow_llm_provisioning.trials.enough import enough, settled_gates

RULE = StoppingRule(5, 20, 5.0)
EXPERIMENT = Experiment(
    "nightly",
    (simulated_target(variants=("baseline", "fast_download", "baked_image")),),
    setups=(ScalingSetup.STATIC,),
    replicates=20,
    stop_early=RULE,
)
PLAN = EXPERIMENT.plan(1, dag_id="nightly", run_id="run-1")
ARMS = [EXPERIMENT.arm(cell) for cell in EXPERIMENT.cells()]
QUIET = (1000.0, 1001.0, 1002.0, 1003.0, 1004.0, 1005.0, 1006.0, 1007.0)


@pytest.fixture
def store(results_db: Path) -> Iterator[ResultsStore]:
    """Open the default results connection."""
    opened = open_store()
    yield opened
    opened.close()


def planned(variant: str) -> list[Trial]:
    return [trial for trial in PLAN if trial.arm.variant == variant]


def rows(variant: str, totals: Sequence[float], **changes: Any) -> list[TrialResult]:
    """The first replicates of an arm, as the cluster told: simulated."""
    made = []
    for trial, total_s in zip(planned(variant), totals, strict=False):
        applied = "applied" if trial.arm.treatments else "none"
        seen = replace(trial, arm=trial.arm.seen_at("simulated"))
        made.append(a_result(trial=seen, total_s=total_s, **{"applied": applied, **changes}))
    return made


def wanted(variant: str, *known: Sequence[TrialResult]) -> str | None:
    return enough(planned(variant)[0].arm, ARMS, [row for listed in known for row in listed], RULE)


def test_a_quiet_arm_has_enough_and_says_why() -> None:
    """Eight trials within a per cent know a reduction to five points."""
    reason = wanted("fast_download", rows("baseline", QUIET), rows("fast_download", [t / 2 for t in QUIET]))
    assert reason is not None
    assert "fast_download has enough trials: the interval is" in reason


def test_a_noisy_arm_goes_on() -> None:
    """Times between 300 and 900 s do not."""
    noisy = [300.0, 900.0, 500.0, 400.0, 800.0, 600.0, 350.0, 700.0]
    assert wanted("fast_download", rows("baseline", QUIET), rows("fast_download", noisy)) is None


def test_the_baseline_goes_on_as_long_as_another_arm_needs_it() -> None:
    """It is what both others are compared with."""
    base, fast = rows("baseline", QUIET), rows("fast_download", [t / 2 for t in QUIET])
    assert wanted("baseline", base, fast) is None
    assert wanted("baseline", base, fast, rows("baked_image", [t / 3 for t in QUIET])) is not None


def test_only_trials_that_count_are_enough() -> None:
    """Failed and warm ones are not."""
    base = rows("baseline", QUIET)
    for changes in ({"status": TrialStatus.FAILED}, {"start": "warm"}, {"applied": "unknown"}):
        assert wanted("fast_download", base, rows("fast_download", [t / 2 for t in QUIET], **changes)) is None


def test_without_a_baseline_nothing_stops() -> None:
    """There is no reduction to know."""
    alone = [arm for arm in ARMS if not arm.is_baseline]
    known = rows("fast_download", QUIET)
    assert enough(planned("fast_download")[0].arm, alone, known, RULE) is None


def open_slot(trial: Trial) -> Any:
    return run(OpenTrial(task_id="o", planned=trial.as_dict(), experiment=EXPERIMENT), context(run_id="run-1"))


def test_a_slot_that_is_not_needed_is_skipped_before_anything_is_locked(store: ResultsStore) -> None:
    """The task is skipped with the reason; the run counts the slot as not needed, and no other missing one."""
    known = [*rows("baseline", QUIET), *rows("fast_download", [t / 2 for t in QUIET])]
    for row in known:
        store.save_trial(row)
    last = planned("fast_download")[-1]
    with pytest.raises(AirflowSkipException, match="fast_download has enough trials"):
        open_slot(last)
    (noted,) = store.outcomes(last.slot.slot_id)
    assert noted["status"] == NOT_NEEDED
    dag = {"experiment": "nightly"}
    assert run(JudgeRun(task_id="j", expected=len(known) + 1, **dag)) == {
        "trials": len(known),
        "not_needed": 1,
        "no_capacity": 0,
        "gates": 0,
        "serves_slower": [],
    }
    with pytest.raises(TrialFailedError, match=f"1 of {len(known) + 2} trials left no row"):
        run(JudgeRun(task_id="j", expected=len(known) + 2, **dag))


def test_a_slot_that_was_cleared_by_hand_runs_again(store: ResultsStore) -> None:
    """Its user wants it: it is opened, which fails here because there is no cluster."""
    for row in [*rows("baseline", QUIET), *rows("fast_download", [t / 2 for t in QUIET])]:
        store.save_trial(row)
    with pytest.raises(ProvisioningError):
        open_slot(planned("fast_download")[0])


@pytest.mark.parametrize(
    ("count", "limit", "told"),
    [
        (16, 2000.0, "its gate says passes, which the 4 trials that are left cannot change"),
        (16, 500.0, "its gate says slower, which the 4 trials that are left cannot change"),
        (16, 1007.5, None),
        (8, 2000.0, None),
    ],
)
def test_a_gate_that_is_settled_stops_its_arm(count: int, limit: float, told: str | None) -> None:
    """The four that are left cannot change it; twelve could. The baseline goes on."""
    gates = tuple(GateLimit(f"plain/phi3-2025/static/{name}", limit) for name in ("fast_download", "baseline"))
    gated = replace(EXPERIMENT, gates=gates)
    known = rows("fast_download", [1000.0 + at for at in range(count)])
    found = settled_gates(planned("fast_download")[count], gated, known, lambda _: known)
    assert found is None if told is None else found is not None and told in found
    assert settled_gates(planned("baseline")[0], gated, known, lambda _: known) is None
    assert settled_gates(planned("fast_download")[count], EXPERIMENT, known, lambda _: known) is None


def test_a_settled_gate_against_the_previous_run_skips_the_slot(store: ResultsStore) -> None:
    """The reference is read from the store: twenty trials of the night before."""
    gated = replace(EXPERIMENT, gates=(GateLimit("plain/phi3-2025/static/fast_download", against="previous"),))
    night = timedelta(days=1)
    for row in rows("fast_download", [1000.0 + at for at in range(18)]):
        earlier = replace(row.trial, slot=replace(row.trial.slot, run_id="run-0"))
        store.save_trial(replace(row, trial=earlier, opened_at=row.opened_at - night, closed_at=row.closed_at - night))
        store.save_trial(row)
    task = OpenTrial(task_id="o", planned=planned("fast_download")[19].as_dict(), experiment=gated)
    with pytest.raises(AirflowSkipException, match="its gate says passes, which the 2 trials that are left cannot"):
        run(task, context(run_id="run-1"))


def test_what_is_left_of_an_arm_counts_every_cell_of_it() -> None:
    """Two targets of equal nodes are one arm: twenty trials of one of them leave the other's twenty. A second attempt
    of a slot is no further slot.
    """
    limit = GateLimit("plain/phi3-2025/static/fast_download", 2000.0)
    twin = replace(EXPERIMENT.targets[0], name="twin", cluster="other")
    two = replace(EXPERIMENT, targets=(*EXPERIMENT.targets, twin), gates=(limit,))
    known = rows("fast_download", [1000.0 + at for at in range(19)])
    again = replace(known[0], trial=known[0].trial.attempted(1))
    assert settled_gates(planned("fast_download")[19], two, known, lambda _: known) is None
    one = replace(EXPERIMENT, gates=(limit,))
    told = settled_gates(planned("fast_download")[19], one, [*known, again], lambda _: known)
    assert told is not None
    assert "which the 1 trials that are left" in told
