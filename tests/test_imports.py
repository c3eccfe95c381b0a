"""Importing what Airflow imports all day long loads nothing heavy of our doing."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Loaded by gateways and reports alone, inside functions.
HEAVY = {
    "aiohttp", "alembic", "altair", "azure", "boto3", "botocore", "google.api_core", "google.auth", "google.cloud",
    "googleapiclient", "huggingface_hub", "kubernetes", "kubernetes_asyncio", "moto", "numpy", "pandas", "scipy",
    "sqlalchemy", "vl_convert",
}  # fmt: skip
AIRFLOW_ALONE = "import airflow.triggers.base\nfrom airflow.sdk import DAG, BaseOperator, BaseSensorOperator, Param"
PACKAGES = ("operators", "sensors", "triggers")
DAGS = ROOT / "airflow_llm_provisioning" / "example_dags"
DAG_FILES = sorted(path.name for path in DAGS.glob("*.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_loads_nothing_heavy(package: str) -> None:
    """Every public module of operators, sensors and triggers leaves SDKs, clients, pandas and SQLAlchemy alone."""
    files = sorted((ROOT / "airflow_llm_provisioning" / package).glob("*.py"))
    names = [f"airflow_llm_provisioning.{package}.{path.stem}".removesuffix(".__init__") for path in files]

    loaded = modules_after("\n".join(f"import {name}" for name in names))

    assert set(names) <= loaded
    assert heavy(loaded) - heavy(modules_after(AIRFLOW_ALONE)) == set()


@pytest.mark.parametrize("name", DAG_FILES)
def test_parsing_a_shipped_dag_loads_nothing_heavy(name: str) -> None:
    """A DAG file is parsed every half minute: it loads what Airflow has loaded anyway, ours, and a YAML reader."""
    loaded = modules_after(f"import runpy\nrunpy.run_path({str(DAGS / name)!r})")

    assert "airflow_llm_provisioning.dag_factory" in loaded
    assert heavy(loaded) - heavy(modules_after(AIRFLOW_ALONE)) == set()


WITHOUT_EXTRAS = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(("azure.", "boto3", "botocore", "google.cloud.", "googleapiclient", "moto", "altair")):
            raise ModuleNotFoundError(f"No module named {name!r}")
sys.meta_path.insert(0, Hidden())
"""


def test_a_missing_cloud_extra_does_not_hurt_a_dag() -> None:
    """Without any cloud's SDK and without the simulator's every shipped DAG still parses."""
    parsing = [f"runpy.run_path({str(DAGS / name)!r})" for name in DAG_FILES]

    loaded = modules_after("\n".join([f"{WITHOUT_EXTRAS}import runpy", *parsing]))

    assert "airflow_llm_provisioning.dag_factory" in loaded


def test_a_heavy_import_would_be_noticed() -> None:
    """The test's own instrument: an import of pandas is seen."""
    assert heavy(modules_after("import pandas")) >= {"pandas", "numpy"}


def heavy(modules: set[str]) -> set[str]:
    """Return the heavy ones that are among the loaded modules."""
    return HEAVY & modules


@cache
def _modules_after(program: str) -> frozenset[str]:
    report = "\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-W", "ignore", "-c", program + report],
        env=os.environ | {"AIRFLOW__CORE__LOAD_EXAMPLES": "False"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return frozenset(json.loads(done.stdout.splitlines()[-1]))


def modules_after(program: str) -> set[str]:
    """Return what a new process has loaded after running a program."""
    return set(_modules_after(program))
