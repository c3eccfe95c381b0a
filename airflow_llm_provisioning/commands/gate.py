"""`llm-provisioning gate`: an exit code that says whether an arm of a run is fast enough.

It exits 0 only if the arm passes. A wrong name, an empty store or trials that do not count are never a pass.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from airflow_llm_provisioning.commands.exit_codes import ExitCode
from airflow_llm_provisioning.commands.stored import read_store, store_option
from airflow_llm_provisioning.core.names import nearest
from airflow_llm_provisioning.exceptions import ProvisioningError

if TYPE_CHECKING:
    from airflow_llm_provisioning.core.comparison import ArmTrials
    from airflow_llm_provisioning.core.gate import Gate
    from airflow_llm_provisioning.core.result import TrialResult

_CODES: Final = {
    "passes": ExitCode.DONE,
    "slower": ExitCode.OBJECTION,
    "undecided": ExitCode.NOT_DONE,
    "not judged": ExitCode.REFUSED,
}


def add_gate(commands: Any) -> None:
    """Add the command."""
    gate = commands.add_parser("gate", help="exit 0 only if an arm of a run is fast enough")
    store_option(gate)
    gate.add_argument("--experiment", help="only this experiment")
    gate.add_argument("--run", metavar="RUN_ID", help="the DAG run to judge (default: the newest)")
    gate.add_argument("--arm", required=True, help="the arm's key, or `TARGET/WORKLOAD/SETUP/VARIANT`")
    limit = gate.add_mutually_exclusive_group(required=True)
    limit.add_argument("--max-seconds", type=float, metavar="S", help="the median total may be at most this")
    limit.add_argument("--against", metavar="RUN_ID", help="the same arm of another run is the reference")
    gate.add_argument(
        "--max-slower", type=_per_cent, default=5.0, metavar="PCT", help="against a run: per cent slower (default: 5)"
    )
    gate.add_argument("--format", choices=["text", "json"], default="text")
    gate.set_defaults(command=_gate)


def _per_cent(text: str) -> float:
    return float(text.removesuffix("%"))


def _gate(parsed: argparse.Namespace) -> int:
    from airflow_llm_provisioning.core.gate import Gate, Outcome

    try:
        with read_store(parsed) as store:
            trials = store.trials(**({"experiment": parsed.experiment} if parsed.experiment else {}))
        found = judged(trials, parsed)
    except ProvisioningError as error:
        found = Gate(Outcome.NOT_JUDGED, str(error))
    code = _CODES[str(found.outcome)]
    row = {"outcome": str(found.outcome), "sentence": found.sentence, "low": found.low, "high": found.high}
    text = found.sentence if parsed.format == "text" else json.dumps(row)
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # The verdict stands, also without a reader of the sentence.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def judged(trials: Sequence["TrialResult"], parsed: argparse.Namespace) -> "Gate":
    """Judge the arm of a run that a command line names."""
    from airflow_llm_provisioning.core.gate import Gate, Outcome, no_slower_than, within_limit

    runs = {trial.trial.slot.run_id: trial.opened_at for trial in sorted(trials, key=lambda one: one.opened_at)}
    if not runs:
        return Gate(Outcome.NOT_JUDGED, "The results store has no trials that could be judged.")
    run = parsed.run or max(runs, key=lambda one: runs[one])
    for asked in (run, *([parsed.against] if parsed.against else [])):
        if asked not in runs:
            return Gate(Outcome.NOT_JUDGED, f"There is no DAG run {asked!r}{nearest(asked, runs)}.")
    if parsed.against == run:
        return Gate(Outcome.NOT_JUDGED, f"DAG run {run!r} cannot be its own reference: name another with --against.")
    arm = _one(trials, run, parsed.arm)
    if isinstance(arm, str):
        return Gate(Outcome.NOT_JUDGED, arm)
    if parsed.against is None:
        return within_limit(arm, parsed.max_seconds)
    reference = _one(trials, parsed.against, parsed.arm)
    if isinstance(reference, str):
        return Gate(Outcome.NOT_JUDGED, reference)
    return no_slower_than(arm, reference, parsed.max_slower)


def _one(trials: Sequence["TrialResult"], run: str, name: str) -> "ArmTrials | str":
    """Return the one arm of a run that has this name, or a sentence that says why there is not one."""
    from airflow_llm_provisioning.core.comparison import grouped

    arms = grouped(one for one in trials if one.trial.slot.run_id == run)
    fitting = [found for found in arms if name in _names(found)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        keys = ", ".join(found.arm.key for found in fitting)
        return f"{len(fitting)} arms of DAG run {run!r} are called {name!r}: give the key of one of them, {keys}."
    known = sorted(cell for found in arms for cell in _names(found) if "/" in cell)
    return f"DAG run {run!r} has no arm {name!r}{nearest(name, known)}."


def _names(found: "ArmTrials") -> frozenset[str]:
    stratum = found.arm.stratum
    cells = {
        f"{trial.trial.target}/{trial.arm.stratum.workload}/{stratum.setup}/{found.arm.variant}"
        for trial in found.trials
    }
    return frozenset({found.arm.key, *cells})
