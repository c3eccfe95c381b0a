"""Print, as one JSON line, the figures of all installed treatments; progress and the records go to stderr.

python benchmarks/treatments.py [--short] [--only NAME ...] [--budget N] [--seed N] [--page] [--details FILE]

Parts: `noops` (every silent no-op of the catalogue), `valid` (no valid trial raises an alarm), `foreseen` (what-if's
intervals), `record` (the fastest cold start per cloud, and which method pays when), `calibration` (the statements that
the committed calibration meets, run again). A figure of a part that was not run, or failed, is null.
"""

import argparse
import importlib
import json
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from proof import FULL, SHORT, Size
from proof.workers import report, workers

from airflow_llm_provisioning.core.treatments import known_treatments

ROOT: Final = Path(__file__).resolve().parents[1]
KEYS: Final = (
    *("treatments", "noops_total", "noops_caught", "valid_trials", "false_alarms", "what_if_coverage_90"),
    *("best_cold_s", "floor_s", "warm_s", "calibration_statements_met"),
)
# Worlds of what-if's coverage: some 400 later totals, whose share inside is known to 1.5 points.
WORLDS: Final = 40
SHORT_WORLDS: Final = 2
STARTS: Final = (("phi3-current", "static"), ("phi3-2025", "static"), ("phi3-current", "dynamic"))
CALIBRATION: Final = ROOT / "docs" / "calibration.json"
EXPERIMENT: Final = ROOT / "airflow_llm_provisioning" / "example_dags" / "experiments" / "simulated.yaml"
Found = dict[str, Any]


def noops(asked: argparse.Namespace, size: Size) -> Found:
    """Run the catalogue of silent no-ops."""
    return importlib.import_module("proof.noops").prove(size)  # type: ignore[no-any-return]


def valid(asked: argparse.Namespace, size: Size) -> Found:
    """Run valid trials."""
    return importlib.import_module("proof.valid").prove(size)  # type: ignore[no-any-return]


def foreseen(asked: argparse.Namespace, size: Size) -> Found:
    """Hold what-if's intervals against trials that are run later."""
    worlds = SHORT_WORLDS if asked.short else WORLDS
    return importlib.import_module("foreseen").coverage(  # type: ignore[no-any-return]
        worlds, seed=size.seed, processes=size.processes
    )


def record(asked: argparse.Namespace, size: Size) -> Found:
    """Search the best combination per cloud and workload."""
    from searched import pays
    from searched.record import CLOUDS, record_lines

    strata = [(cloud, *start) for cloud in CLOUDS for start in STARTS]
    found, rows = [], []
    # Each search in one process: its steps wait for each other, and searches do not.
    with workers(size.processes) as pool:
        begun = [pool.submit(searched_stratum, *one, asked.budget) for one in strata[: 1 if asked.short else None]]
        for one, done in zip(strata, begun, strict=False):
            record_of, rows_of, trials = done.result()
            found.append(record_of)
            rows += rows_of
            report(f"record: {' '.join(one)}, {trials} trials")
    for line in record_lines(found):
        report(line)
    if asked.page:
        pays.write({"command": f"python benchmarks/treatments.py --only record --budget {asked.budget} --page",
                    "rows": rows, "records": found})  # fmt: skip
    fastest: Found = {}
    for one in found:
        best = one["best"]
        if best is not None and (one["cloud"] not in fastest or best["total_s"] < fastest[one["cloud"]]["total_s"]):
            fastest[one["cloud"]] = {**best, "warm_s": one["warm_s"]}
    return {
        "best_cold_s": {cloud: round(best["total_s"], 1) for cloud, best in fastest.items()},
        "floor_s": {cloud: best["floor_s"] for cloud, best in fastest.items()},
        "warm_s": {cloud: best["warm_s"] for cloud, best in fastest.items()},
        "records": found,
    }


def searched_stratum(cloud: str, workload: str, setup: str, budget: int) -> tuple[Found, list[Found], int]:
    """Return the record of a stratum, the rows of what pays there, and how many trials were run."""
    from searched import pays
    from searched.record import best_of_cloud
    from searched.trials import Book

    with workers(1) as pool:
        book = Book(pool)
        found = best_of_cloud(book, cloud, workload=workload, setup=setup, budget=budget)
        return found, pays.pays_rows(book, [found]), len(book.known)


def calibration(asked: argparse.Namespace, size: Size) -> Found:
    """Run the best world of the committed calibration again, as whole trials."""
    from llm_provisioning_simulator.calibration.findings import met_again
    from llm_provisioning_simulator.calibration.statements import origin_statements
    from llm_provisioning_simulator.experiment import simulated_experiment

    committed = json.loads(CALIBRATION.read_text(encoding="utf-8"))
    met = met_again(committed, origin_statements(), simulated_experiment(EXPERIMENT))
    return {"calibration_statements_met": f"{met} of {committed['statements_total']}"}


PARTS: Final[dict[str, Callable[[argparse.Namespace, Size], Found]]] = {
    "noops": noops,
    "valid": valid,
    "foreseen": foreseen,
    "record": record,
    "calibration": calibration,
}


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--short", action="store_true", help="the size of a test run: one cloud, few trials")
    parser.add_argument("--only", nargs="+", choices=tuple(PARTS), metavar="PART", help=f"of: {', '.join(PARTS)}")
    parser.add_argument("--budget", type=int, help="trials of each record search (default: 60; with --short 6)")
    parser.add_argument("--seed", type=int, default=FULL.seed, metavar="N", help="seed of the drawn trials")
    parser.add_argument("--page", action="store_true", help="write docs/treatments/which-pays.md and its data")
    parser.add_argument("--details", type=Path, metavar="FILE", help="write everything that was found, as JSON")
    asked = parser.parse_args(argv)
    asked.budget = asked.budget or (6 if asked.short else 60)
    return asked


def measure(asked: argparse.Namespace) -> tuple[Found, Found, list[str]]:
    """Run the parts; return the figures in their order, all that was found, and the names of the failed parts."""
    size = replace(SHORT if asked.short else FULL, seed=asked.seed)
    figures: Found = dict.fromkeys(KEYS) | {"treatments": len(known_treatments())}
    details: Found = {}
    broken = []
    for name in asked.only or tuple(PARTS):
        report(f"{name} ...")
        begun = time.perf_counter()
        try:
            found = PARTS[name](asked, size)
        except Exception:  # noqa: BLE001 - a failed part must not prevent the others; it is named and counted
            report(traceback.format_exc())
            broken.append(name)
            continue
        figures |= {key: value for key, value in found.items() if key in KEYS}
        details[name] = found
        report(f"{name}: {time.perf_counter() - begun:.0f} s")
    return figures, details, broken


def main() -> int:
    """Run the parts of the command line."""
    asked = arguments()
    figures, details, broken = measure(asked)
    if asked.details:
        asked.details.parent.mkdir(parents=True, exist_ok=True)
        asked.details.write_text(json.dumps({"figures": figures, "details": details}, indent=1) + "\n")
    print(json.dumps(figures))
    if broken:
        report(f"broken: {', '.join(broken)}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
