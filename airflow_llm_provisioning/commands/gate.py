"""`llm-provisioning gate`: an exit code that says whether an arm of a run is fast enough.

It exits 0 only if the arm passes. A wrong name, an empty store or trials that do not count are never a pass.
"""

import argparse
import json
import re
import sys
from typing import TYPE_CHECKING, Any, Final

from airflow_llm_provisioning.commands.exit_codes import ExitCode
from airflow_llm_provisioning.commands.stored import read_store, store_option
from airflow_llm_provisioning.exceptions import ConfigurationError, ProvisioningError

if TYPE_CHECKING:
    from airflow_llm_provisioning.core.gate_limit import GateLimit

_CODES: Final = {
    "passes": ExitCode.DONE,
    "slower": ExitCode.OBJECTION,
    "undecided": ExitCode.NOT_DONE,
    "no capacity": ExitCode.NO_CAPACITY,
    "not judged": ExitCode.REFUSED,
}
_FIELD: Final = re.compile("`(arm|against|max_[a-z_]+)`")


def add_gate(commands: Any) -> None:
    """Add the command."""
    gate = commands.add_parser("gate", help="exit 0 only if an arm of a run starts and serves fast enough")
    store_option(gate)
    gate.add_argument("--experiment", help="only this experiment")
    gate.add_argument("--dag", metavar="DAG_ID", help="only runs of this DAG")
    gate.add_argument("--run", metavar="RUN_ID", help="the DAG run to judge (default: the newest)")
    gate.add_argument("--arm", required=True, help="the arm's key, or `TARGET/WORKLOAD/SETUP/VARIANT`")
    limit = gate.add_mutually_exclusive_group()
    limit.add_argument("--max-seconds", metavar="S", help="the median total may be at most this")
    limit.add_argument(
        "--against", metavar="RUN_ID", help="the same arm of another run is the reference, or `previous` for the last"
    )
    gate.add_argument("--max-slower", metavar="PCT", help="against a run: per cent slower (default: 5)")
    gate.add_argument(
        "--max-serving-slower", metavar="PCT", help="per cent that it may serve slower than the baseline of its run"
    )
    gate.add_argument("--format", choices=["text", "json"], default="text")
    gate.set_defaults(command=_gate)


def _gate(parsed: argparse.Namespace) -> int:
    from airflow_llm_provisioning.core.gate import Gate, Outcome
    from airflow_llm_provisioning.core.gate_limit import judged
    from airflow_llm_provisioning.gateways.store.gate_runs import trials_for

    limit = _limit(parsed)
    try:
        with read_store(parsed) as store:
            # An empty name is a variable of a pipeline that was not set, and means no experiment.
            trials = trials_for(store, limit, run_id=parsed.run, dag_id=parsed.dag, experiment=parsed.experiment)
        found = judged(trials, limit, run_id=parsed.run, dag_id=parsed.dag, experiment=parsed.experiment)
    except ProvisioningError as error:
        found = Gate(Outcome.NOT_JUDGED, str(error))
    code = _CODES[str(found.outcome)]
    row = {"outcome": str(found.outcome), "sentence": found.sentence, "low": found.low, "high": found.high}
    text = found.sentence if parsed.format == "text" else json.dumps(row)
    sys.stdout.write(f"{text}\n")
    return code


def _limit(parsed: argparse.Namespace) -> "GateLimit":
    """Return the limit that is asked for; wrong arguments are a ConfigurationError in the words of the options."""
    from airflow_llm_provisioning.core.gate_limit import limit_from

    try:
        return limit_from(vars(parsed))
    except ValueError as error:
        raise ConfigurationError(_FIELD.sub(lambda found: f"--{found[1].replace('_', '-')}", str(error))) from error
