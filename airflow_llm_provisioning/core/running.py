"""A trial between its first and its last task, as the results store keeps it for readers: where it stands now.

It is no result: the row of the trial replaces it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final, Literal

from airflow_llm_provisioning.core.one_line import one_line
from airflow_llm_provisioning.core.progress.spans import Expected
from airflow_llm_provisioning.core.trial import Trial

Step = Literal["lock", "prepared", "open", "wait", "delete", "not_deleted"]

BLOCKER_CHARACTERS: Final = 500
PHASE_CHARACTERS: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningTrial:
    """One running trial. `step`: what it is doing: waits for its cluster (`lock`) or for what was prepared
    (`prepared`), is open, waits for the endpoint, is being deleted, or could not be deleted. `task_id`: of the task
    that does it. `phase`: in words, empty if unknown. `blocker`: in a sentence without secrets, or None. `elapsed_s`:
    since the submission, before it since the opening, in the cluster's clock. `expected_s`: median total of the arm's
    `expected_n` earlier trials, with the middle half (None of too few). `opened_at`: cluster clock. `updated_at`: real
    time of the last news. `spent`: what its machines have cost in `currency` at the last news of its wait; None where a
    price is not known.
    """

    trial_id: str
    experiment: str
    dag_id: str
    run_id: str
    task_id: str
    target: str
    cluster: str
    variant: str
    origin: str
    arm: str
    label: str
    step: Step
    phase: str
    blocker: str | None
    elapsed_s: float
    expected_s: float | None
    expected_low_s: float | None
    expected_high_s: float | None
    expected_n: int
    opened_at: datetime
    updated_at: datetime
    spent: float | None = None
    currency: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it as flat JSON."""
        data = asdict(self)
        return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in data.items()}


def begun(
    trial: Trial, step: Step, *, task_id: str, at: datetime, expected: Expected, phase: str = ""
) -> dict[str, Any]:
    """Return the values of a trial that begins, all but `updated_at`."""
    slot, arm = trial.slot, trial.arm
    return {
        "trial_id": trial.trial_id,
        "experiment": slot.experiment,
        "dag_id": slot.dag_id,
        "run_id": slot.run_id,
        "task_id": task_id,
        "target": trial.target,
        "cluster": slot.cluster,
        "variant": arm.variant,
        "origin": arm.stratum.origin,
        "arm": arm.key,
        "label": arm.label,
        "opened_at": at,
        "expected_s": expected.total_s,
        "expected_low_s": expected.low_s,
        "expected_high_s": expected.high_s,
        "expected_n": expected.n,
        **news(step, phase, None, 0.0),
    }


def news(step: Step, phase: str, blocker: str | None, elapsed_s: float | None, **more: Any) -> Mapping[str, Any]:
    """Return the values of a trial that change while it runs; texts have a limit and no secrets."""
    told = {"step": step, "phase": phase[:PHASE_CHARACTERS], "blocker": short(blocker) if blocker else None}
    return {**told, **({} if elapsed_s is None else {"elapsed_s": elapsed_s}), **more}


def short(sentence: str) -> str:
    """Return a sentence without secrets, in one line, at most `BLOCKER_CHARACTERS` long."""
    return one_line(sentence, BLOCKER_CHARACTERS)
