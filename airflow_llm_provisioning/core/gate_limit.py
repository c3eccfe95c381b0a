"""What an arm of a run must keep, and its judgement from rows: the one for the command, the operator and the file.

Everything that is wrong with the question (no such arm, two runs of one id, a limit that is none) is a judgement of its
own, *not judged*, with a sentence. It is never a pass.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from airflow_llm_provisioning.core.comparison import ArmTrials, grouped
from airflow_llm_provisioning.core.gate import Gate, Outcome, no_slower_than, within_limit
from airflow_llm_provisioning.core.measured import Measured
from airflow_llm_provisioning.core.names import nearest
from airflow_llm_provisioning.core.serving_guard import both, serving_gate

# `against` this word: the newest earlier run of the same DAG in which a trial of the arm counts.
PREVIOUS: Final = "previous"
MAX_SLOWER_PCT: Final = 5.0
# Python's float also takes `1_10` and digits of other scripts.
_DECIMAL: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_NO_TRIALS: Final = "The results store has no trials that could be judged."

RunKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class GateLimit:
    """`arm`: its key, or `TARGET/WORKLOAD/SETUP/VARIANT`. Either `max_seconds` of the median total, or `against`
    another run's id (or `previous`), of whose time it may need `max_slower_pct` per cent more. Besides or instead,
    `max_serving_slower_pct`: by how much less than the baseline's its model may write.
    """

    arm: str
    max_seconds: float | None = None
    against: str | None = None
    max_slower_pct: float = MAX_SLOWER_PCT
    max_serving_slower_pct: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it as `limit_from` reads it."""
        found: dict[str, Any] = {"arm": self.arm}
        if self.max_seconds is not None:
            found["max_seconds"] = self.max_seconds
        if self.against is not None:
            found |= {"against": self.against, "max_slower": self.max_slower_pct}
        if self.max_serving_slower_pct is not None:
            found["max_serving_slower"] = self.max_serving_slower_pct
        return found

    def __str__(self) -> str:
        """Return it for people: `here/w/static/baseline: at most 600 s`."""
        told = [f"at most {self.max_seconds:g} s"] if self.max_seconds is not None else []
        if self.against is not None:
            told.append(f"at most {self.max_slower_pct:g} % slower than run {self.against}")
        if self.max_serving_slower_pct is not None:
            told.append(f"serves at most {self.max_serving_slower_pct:g} % slower than its baseline")
        return f"{self.arm}: {', '.join(told)}"


def limit_from(asked: Mapping[str, Any]) -> GateLimit:
    """Return the limit of {arm, max_seconds | against, max_slower, max_serving_slower}, with numbers as such or as a
    template's text.

    Raises ValueError with a sentence: no arm, no limit, both of the two limits of time, a number that is none.
    """
    arm, against = _text(asked.get("arm")), _text(asked.get("against"))
    seconds = _number("max_seconds", asked.get("max_seconds"))
    slower = _number("max_slower", asked.get("max_slower"))
    if not arm:
        raise ValueError("A gate needs `arm`: the key of an arm, or TARGET/WORKLOAD/SETUP/VARIANT.")
    serving = _number("max_serving_slower", asked.get("max_serving_slower"))
    if seconds is not None and against:
        raise ValueError(f"The gate of {arm} needs either `max_seconds` or `against`; found both.")
    if seconds is None and not against and serving is None:
        told = "needs either `max_seconds` or `against`; found neither, and no `max_serving_slower`"
        raise ValueError(f"The gate of {arm} {told}.")
    if seconds == 0:
        raise ValueError(f"The gate of {arm} has a `max_seconds` of 0, which no trial keeps: give seconds above 0.")
    if not against and slower is not None:
        raise ValueError(f"The gate of {arm} has `max_slower` without `against`: name the run to compare with.")
    for rendered in (arm, against):
        if "{{" in rendered:
            raise ValueError(f"The gate of {arm} has a template that was not rendered: {rendered}.")
    return GateLimit(arm, seconds, against or None, MAX_SLOWER_PCT if slower is None else slower, serving)


def judged(
    trials: Iterable[Measured],
    limit: GateLimit,
    *,
    run_id: str | None = None,
    dag_id: str | None = None,
    experiment: str | None = None,
) -> Gate:
    """Judge an arm of a run. `trials`: of all runs that are asked for; `run_id`: None for the newest. `experiment`: of
    which they are, for the sentence.
    """
    case = case_of(trials, limit, run_id=run_id, dag_id=dag_id)
    if isinstance(case, str):
        if experiment is not None and case == _NO_TRIALS:
            return _not(f"The results store has no trials of experiment {experiment!r} that could be judged.")
        return _not(case)
    serving = _serving(case, limit)
    if limit.max_seconds is None and limit.against is None:
        return serving or _not(f"The gate of {limit.arm!r} has no limit.")
    timed = _timed(case, limit)
    found = timed if serving is None else both(timed, serving)
    return replace(found, sentence=" ".join([found.sentence, *_elsewhere(case)]))


@dataclass(frozen=True, slots=True)
class Case:
    """What a gate looks at. `runs`: of these, `own` is judged. `reference`: the same arm of another run, or why there
    is none; None where no other run is asked for. `baseline`: of the arm's stratum in its own run.
    """

    runs: Mapping[RunKey, Sequence[Measured]]
    own: RunKey
    arm: ArmTrials
    reference: ArmTrials | str | None
    baseline: ArmTrials | None


def case_of(
    trials: Iterable[Measured], limit: GateLimit, *, run_id: str | None = None, dag_id: str | None = None
) -> Case | str:
    """Return what a gate looks at, or a sentence that says why it cannot be judged. Arguments as in `judged`."""
    runs = _by_run(one for one in trials if dag_id in (None, one.run[0]))
    if not runs:
        return _NO_TRIALS if dag_id is None else f"The results store has no trials of DAG {dag_id!r}."
    own = _run(runs, run_id) if run_id is not None else max(runs, key=lambda key: _opened(runs[key]))
    if isinstance(own, str):
        return own
    arm = _one(runs[own], own, limit.arm)
    if isinstance(arm, str):
        return arm
    stratum = arm.arm.stratum.key
    baselines = (found for found in grouped(runs[own]) if found.arm.is_baseline and found.arm.stratum.key == stratum)
    reference = None if limit.max_seconds is not None else _reference(runs, own, limit)
    return Case(runs, own, arm, reference, next(baselines, None))


def _elsewhere(case: Case) -> list[str]:
    """Return a sentence where trials of the arm fell back to other places in this run: they are not judged with it."""
    targets, own = {trial.target for trial in case.arm.trials}, case.arm.arm
    told = []
    for found in grouped(case.runs[case.own]):
        stratum = found.arm.stratum
        if stratum.fallback.startswith(tuple(f"{target}-" for target in targets)) and (
            (stratum.setup, stratum.workload, found.arm.variant)
            == (own.stratum.setup, own.stratum.workload, own.variant)
        ):
            told.append(f"{len(found.trials)} tried again on {stratum.fallback} are another arm.")
    return told


def _serving(case: Case, limit: GateLimit) -> Gate | None:
    """Judge the serving speed, where it is limited, against the baseline of the same run and stratum."""
    if limit.max_serving_slower_pct is None:
        return None
    return serving_gate(case.arm, case.baseline, limit.max_serving_slower_pct)


def _timed(case: Case, limit: GateLimit) -> Gate:
    if limit.max_seconds is not None:
        return within_limit(case.arm, limit.max_seconds)
    if not isinstance(case.reference, ArmTrials):
        return _not(str(case.reference))
    return no_slower_than(case.arm, case.reference, limit.max_slower_pct)


def _reference(runs: Mapping[RunKey, Sequence[Measured]], own: RunKey, limit: GateLimit) -> ArmTrials | str | None:
    if limit.against is None:
        return None
    if limit.against == PREVIOUS:
        return _previous(runs, own, limit.arm)
    other = _run(runs, limit.against)
    if isinstance(other, str):
        return other
    if other == own:
        return f"DAG run {own[1]!r} cannot be its own reference: name another one."
    return _one(runs[other], other, limit.arm)


def _previous(runs: Mapping[RunKey, Sequence[Measured]], own: RunKey, name: str) -> ArmTrials | str:
    earlier = [key for key in runs if key[0] == own[0] and _opened(runs[key]) < _opened(runs[own])]
    for key in sorted(earlier, key=lambda key: _opened(runs[key]), reverse=True):
        reference = _one(runs[key], key, name)
        if not isinstance(reference, str) and reference.totals:
            return reference
    return f"No earlier run of DAG {own[0]!r} has a trial of {name!r} that counts, so there is no reference."


def _not(sentence: str) -> Gate:
    return Gate(Outcome.NOT_JUDGED, sentence)


def _by_run(trials: Iterable[Measured]) -> dict[RunKey, list[Measured]]:
    runs: dict[RunKey, list[Measured]] = {}
    for one in trials:
        runs.setdefault(one.run, []).append(one)
    return runs


def _opened(members: Sequence[Measured]) -> tuple[Any, str]:
    newest = max(members, key=lambda one: one.opened_at)
    return newest.opened_at, newest.run[1]


def _run(runs: Mapping[RunKey, object], run_id: str) -> RunKey | str:
    """Return the one run of this id. Two DAGs may have runs of one id: their schedule's instant is its name."""
    fitting = [key for key in runs if key[1] == run_id]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        dags = ", ".join(sorted(dag for dag, _ in fitting))
        return f"The DAGs {dags} each have a run {run_id!r}: say which DAG is meant."
    return f"There is no DAG run {run_id!r}{nearest(run_id, [key[1] for key in runs])}."


def _one(trials: Iterable[Measured], run: RunKey, name: str) -> ArmTrials | str:
    """Return the one arm of a run that has this name, or a sentence that says why there is not one."""
    arms = grouped(trials)
    fitting = [found for found in arms if name in _names(found)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        keys = ", ".join(found.arm.key for found in fitting)
        return f"{len(fitting)} arms of DAG run {run[1]!r} are called {name!r}: give the key of one of them, {keys}."
    known = sorted(cell for found in arms for cell in _names(found) if "/" in cell)
    return f"DAG run {run[1]!r} has no arm {name!r}{nearest(name, known)}."


def _names(found: ArmTrials) -> frozenset[str]:
    stratum = found.arm.stratum
    cells = {
        f"{trial.target}/{trial.arm.stratum.workload}/{stratum.setup}/{found.arm.variant}" for trial in found.trials
    }
    return frozenset({found.arm.key, *cells})


def _text(value: object) -> str:
    """Return text; a template renders nothing as `None`."""
    return "" if value is None or str(value).strip() == "None" else str(value).strip()


def _number(name: str, value: object) -> float | None:
    # Seconds in per cent would be read as so many seconds.
    text = _text(value) if name == "max_seconds" else _text(value).removesuffix("%").strip()
    if not text:
        return None
    if _DECIMAL.fullmatch(text) is None and text.lower().lstrip("+-") not in ("nan", "inf", "infinity"):
        raise ValueError(f"`{name}` of a gate is {text!r} and must be a number.")
    found = float(text)
    if not math.isfinite(found) or found < 0 or isinstance(value, bool):
        raise ValueError(f"`{name}` of a gate is {text} and must be a number from 0 on.")
    return found
