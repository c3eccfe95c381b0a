"""`llm-provisioning plan`: which trials a run has and, with `--price`, what they cost at most. Asks no cluster."""

import argparse
import sys
from pathlib import Path
from typing import Any

from airflow_llm_provisioning.commands.exit_codes import ExitCode
from airflow_llm_provisioning.commands.numbers import seconds
from airflow_llm_provisioning.core.trial import DEFAULT_TIMEOUT_S


def add_plan(commands: Any) -> None:
    """Add the command `plan`."""
    parser = commands.add_parser("plan", help="print the trials of a run, and what they cost at most")
    parser.add_argument("experiment", type=Path, help="the experiment's YAML file")
    parser.add_argument("--price", action="store_true", help="print what they cost, and hold it against the budget")
    parser.add_argument(
        "--time-limit", type=seconds, default=DEFAULT_TIMEOUT_S, metavar="S", help="of each trial (default: 3600)"
    )
    parser.add_argument("--format", choices=["table", "csv", "json"], default="table")
    parser.set_defaults(command=_plan)


def _plan(parsed: argparse.Namespace) -> int:
    from airflow_llm_provisioning.core.budget import Amount
    from airflow_llm_provisioning.core.fallbacks import told
    from airflow_llm_provisioning.dag_factory import load_experiment
    from airflow_llm_provisioning.report.tables import terminal_width, written
    from airflow_llm_provisioning.trials.price import cell_prices, check_plan, prices_of_experiment

    experiment = load_experiment(parsed.experiment)
    cells = cell_prices(experiment, timeout_s=parsed.time_limit)
    currency = prices_of_experiment(experiment).currency
    rows, whole = [], Amount(0.0, 0.0)
    with_fallbacks = any(experiment.fallback_slots().values())
    for one in cells:
        whole += one.together
        cell = one.cell
        row: dict[str, Any] = {
            "target": cell.target,
            "workload": cell.workload,
            "setup": str(cell.setup),
            "variant": cell.variant,
            "trials": one.trials,
        }
        if with_fallbacks:
            row["only_after"] = experiment.target(cell.target).fallback_of or ""
        if parsed.price:
            row |= {
                "currency": currency,
                "hour": one.rate.money,
                "each_at_most": one.each.money,
                "at_most": one.together.money,
                "gpu_hours_at_most": one.together.gpu_hours,
                "not_known": "; ".join(one.rate.unknown),
            }
        rows.append(row)
    sys.stdout.write(written(rows, parsed.format, terminal_width()))
    if parsed.format == "table":
        sys.stdout.writelines(f"{sentence}\n" for sentence in told(experiment.targets))
    if not parsed.price:
        return ExitCode.DONE
    if parsed.format == "table":
        money = "not known" if whole.money is None else f"{whole.money:.2f} {currency}"
        sys.stdout.write(f"The run costs at most {money} and {whole.gpu_hours:.1f} GPU hours.\n")
    sys.stdout.flush()
    check_plan(experiment, timeout_s=parsed.time_limit)
    return ExitCode.DONE
