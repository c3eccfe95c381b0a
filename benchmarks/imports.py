"""Measures import times: the operators after `airflow.sdk`, and each shipped DAG after the operators.

Airflow parses every DAG file repeatedly and starts every task in a new process, so these seconds are paid all day.
Prints one line of JSON: {"operators_over_sdk_s": s, "sdk_modules": [...], "dag_parse_s": {file: s}}. Seconds are
medians of five processes; modules are the loaded ones that operators must not load.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
PROCESSES: Final = 5
# Modules that only a gateway may load, when it is used. SQLAlchemy and Alembic: Airflow itself may load them.
HEAVY: Final = (
    "aiohttp", "airflow.providers", "alembic", "azure", "boto3", "botocore", "google.cloud", "googleapiclient",
    "huggingface_hub", "kubernetes", "kubernetes_asyncio", "moto", "numpy", "pandas", "scipy", "sqlalchemy",
)  # fmt: skip
SDK: Final = "import airflow.sdk"
# What every operator of this package needs of Airflow, without this package.
FLOOR: Final = "from airflow.sdk import BaseOperator, BaseSensorOperator; import airflow.triggers.base"
OPERATORS: Final = "import airflow_llm_provisioning.operators, airflow_llm_provisioning.sensors"


def main() -> None:
    """Measure and print."""
    figures = {
        # In one process, after the SDK: the difference between the times of two processes would be mostly noise.
        "operators_over_sdk_s": round(median_s("import airflow_llm_provisioning.operators", SDK), 3),
        "sdk_modules": heavy_modules(OPERATORS),
        "dag_parse_s": {path.name: round(median_s(parsing(path), OPERATORS), 3) for path in shipped_dags()},
    }
    print(json.dumps(figures))


def shipped_dags() -> list[Path]:
    """Return the DAG files that come with this package."""
    return sorted((ROOT / "airflow_llm_provisioning" / "example_dags").glob("*.py"))


def parsing(path: Path) -> str:
    """Return the statement that parses a DAG file."""
    return f"import runpy; runpy.run_path({str(path)!r})"


def median_s(statement: str, before: str = "pass") -> float:
    """Return the median time of a statement, each time in a new process, in seconds."""
    return statistics.median(float(measured(statement, before)["seconds"]) for _ in range(PROCESSES))


def heavy_modules(statement: str) -> list[str]:
    """Return the unwanted modules that a statement loads and Airflow's own classes do not."""
    extra = set(measured(statement)["heavy"]) - set(measured(FLOOR)["heavy"])
    return sorted(extra)


def measured(statement: str, before: str = "pass") -> dict[str, Any]:
    """Run a statement in a new process with an empty AIRFLOW_HOME; return {seconds, heavy}."""
    program = (
        f"import sys, time, json\n{before}\nbegan = time.perf_counter()\n{statement}\n"
        f"seconds, heavy = time.perf_counter() - began, {HEAVY!r}\n"
        "found = [m for m in sys.modules if m.startswith(tuple(f'{h}.' for h in heavy)) or m in heavy]\n"
        "print(json.dumps({'seconds': seconds, 'heavy': found}))"
    )
    with tempfile.TemporaryDirectory() as home:
        environment = os.environ | {"AIRFLOW_HOME": home, "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program], env=environment, capture_output=True, text=True, check=True
        )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
