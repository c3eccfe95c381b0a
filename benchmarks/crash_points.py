"""Every call to the outside fails in every way, on three simulated clouds: one JSON line says what went wrong.

`--whole` tries single faults, then pairs, then the waits of trials with a budget. `--limit` and `--share` draw a seeded
sample. `--details` writes every defect with the calls that led to it.
"""

import argparse
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crashes.sweep import Plan


def main() -> int:
    """Run the sweep; the exit code is 1 where anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clouds", default="eks,gke,aks")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=2, help="calls of one kind and process that are tried")
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--limit", type=int, help="points of a cloud at most")
    parser.add_argument("--pairs", type=int, default=0, help="pairs of faults of all clouds, in place of single ones")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", default="", help="points whose name contains this text")
    parser.add_argument("--budget", action="store_true", help="the trial has a budget, and its wait is ended by it")
    parser.add_argument(
        "--whole", action="store_true", help="single faults, then --pairs, then the waits with a budget"
    )
    parser.add_argument("--details", type=Path)
    asked = parser.parse_args()
    _settings()
    # The settings of Airflow and of the simulated world are read at import.
    from crashes.quick import quick_world
    from crashes.sweep import Found, Plan, clocked, line, say, sweep

    clouds = asked.clouds.split(",")
    plan = Plan(
        asked.seed,
        asked.repeats,
        asked.share,
        asked.limit,
        asked.pairs // len(clouds),
        asked.processes,
        asked.only,
        asked.budget,
    )
    began, found = clocked(), {cloud: Found() for cloud in clouds}
    with quick_world():
        for part in _parts(plan) if asked.whole else [plan]:
            for cloud in clouds:
                one = sweep(cloud, part)
                found[cloud].join(one)
                say(f"{cloud}: {one.points} points, {one.pairs} pairs, {dict(one.defects)}")
    if asked.details is not None:
        asked.details.write_text(json.dumps({cloud: one.told for cloud, one in found.items()}, indent=1))
    told = line(found, clocked() - began)
    print(json.dumps(told))
    return int(any(one.defects for one in found.values()))


def _parts(plan: "Plan") -> "list[Plan]":
    """Return what a whole sweep does one after the other."""
    budget = replace(plan, pairs=0, budget=True, only="wait: ")
    return [replace(plan, pairs=0), *([plan] if plan.pairs else []), budget]


def _settings() -> None:
    os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="crash-points-")
    os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
    os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "CRITICAL"
    os.environ["AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE"] = "True"


if __name__ == "__main__":
    raise SystemExit(main())
