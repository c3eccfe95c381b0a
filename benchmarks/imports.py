"""Measures import times: the operators after `airflow.sdk`, and each shipped DAG after the operators.

python benchmarks/imports.py [--before CHECKOUT]

Airflow parses every DAG file repeatedly and starts every task in a new process, so these seconds are paid all day.
Prints one line of JSON: {"operators_over_sdk_s": s, "sdk_modules": [...], "dag_parse_s": {file: s}, "dag_modules":
[...]}. Seconds are medians of five processes. Modules are those that operators and DAG files must not load, unless
Airflow itself loads them. With `--before`, another checkout of this project is measured in turn with this one, and
"before" and "ratio" (this one's seconds to the other's; null for a file that the other does not have) are added.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
PROCESSES: Final = 5
# Modules that only a gateway may load, when it is used, and modules that are slow to load or to prepare. Airflow itself
# may load SQLAlchemy, Alembic, pydantic and YAML.
HEAVY: Final = (
    "aiohttp", "airflow.providers", "alembic", "azure", "boto3", "botocore", "google.cloud", "googleapiclient",
    "huggingface_hub", "jsonschema", "kubernetes", "kubernetes_asyncio", "moto", "numpy", "pandas", "pydantic", "scipy",
    "sqlalchemy", "yaml",
)  # fmt: skip
SDK: Final = "import airflow.sdk"
# What every operator of this package needs of Airflow, without this package.
FLOOR: Final = "from airflow.sdk import DAG, BaseOperator, BaseSensorOperator, Param; import airflow.triggers.base"
OPERATORS: Final = "import airflow_llm_provisioning.operators, airflow_llm_provisioning.sensors"

Timings = dict[str, list[float]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="another checkout, for the ratio")
    before: Path | None = parser.parse_args().before
    now, then = timings([ROOT, *([before.resolve()] if before else [])])
    parsing_all = "; ".join(parsing(path) for path in shipped_dags(ROOT).values())
    figures = named(medians(now))
    figures |= {"sdk_modules": heavy_modules(OPERATORS), "dag_modules": heavy_modules(parsing_all)}
    if before:
        old = medians(then)
        ratios = {name: round(s / old[name], 2) if name in old else None for name, s in medians(now).items()}
        figures |= {"before": named(old), "ratio": named(ratios)}
    print(json.dumps(figures))


def timings(checkouts: list[Path]) -> tuple[Timings, Timings]:
    """Return the seconds of each statement in the first checkout and in the second, {} without one. The checkouts take
    turns, so that a busy minute of the machine hits both.
    """
    found: tuple[Timings, Timings] = {}, {}
    for _ in range(PROCESSES):
        for checkout, seconds in zip(checkouts, found, strict=False):
            # In one process, after the SDK: the difference between the times of two processes would be mostly noise.
            once = measured("import airflow_llm_provisioning.operators", SDK, checkout)["seconds"]
            seconds.setdefault("", []).append(once)
            for name, path in shipped_dags(checkout).items():
                seconds.setdefault(name, []).append(measured(parsing(path), OPERATORS, checkout)["seconds"])
    return found


def medians(seconds: Timings) -> dict[str, float]:
    """Return the median of each statement; the operators' is named ""."""
    return {name: statistics.median(values) for name, values in seconds.items()}


def named(figures: Mapping[str, float | None]) -> dict[str, Any]:
    """Return figures under the names they are printed with, to the millisecond."""
    rounded = {name: None if value is None else round(value, 3) for name, value in figures.items()}
    return {"operators_over_sdk_s": rounded.pop("", None), "dag_parse_s": rounded}


def shipped_dags(checkout: Path) -> dict[str, Path]:
    """Return the DAG files of a checkout by name. Version 0.1 kept them in `dags`."""
    folder = checkout / "airflow_llm_provisioning" / "example_dags"
    return {path.name: path for path in sorted((folder if folder.is_dir() else checkout / "dags").glob("*.py"))}


def parsing(path: Path) -> str:
    """Return the statement that parses a DAG file."""
    return f"import runpy; runpy.run_path({str(path)!r})"


def heavy_modules(statement: str) -> list[str]:
    """Return the unwanted modules that a statement loads and Airflow's own classes do not."""
    extra = set(measured(statement)["heavy"]) - set(measured(FLOOR)["heavy"])
    return sorted(extra)


def measured(statement: str, before: str = "pass", checkout: Path = ROOT) -> dict[str, Any]:
    """Run a statement in a new process with an empty AIRFLOW_HOME; return {seconds, heavy}. Raises RuntimeError if
    another checkout than this one was imported.
    """
    program = (
        f"import sys, time, json\n{before}\nbegan = time.perf_counter()\n{statement}\n"
        f"seconds, heavy = time.perf_counter() - began, {HEAVY!r}\n"
        "found = [m for m in sys.modules if m.startswith(tuple(f'{h}.' for h in heavy)) or m in heavy]\n"
        "ours = getattr(sys.modules.get('airflow_llm_provisioning'), '__file__', None)\n"
        "print(json.dumps({'seconds': seconds, 'heavy': found, 'imported': ours}))"
    )
    with tempfile.TemporaryDirectory() as home:
        path = os.pathsep.join([str(checkout), str(checkout / "simulator")])
        environment = os.environ | {"AIRFLOW_HOME": home, "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "PYTHONPATH": path}
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program],
            env=environment,
            # Python looks in the current directory first.
            cwd=home,
            capture_output=True,
            text=True,
            check=True,
        )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if found["imported"] and not Path(found["imported"]).is_relative_to(checkout):
        raise RuntimeError(f"{checkout} was to be measured, and {found['imported']} was imported.")
    return found


if __name__ == "__main__":
    main()
