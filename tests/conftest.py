"""Fixtures for every test: where the recordings are, and an Airflow of their own."""

import atexit
import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from cluster_in_background import BackgroundCluster

# Before anything imports airflow: its settings are read at import.
if "AIRFLOW_HOME" not in os.environ:
    os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="llm-provisioning-airflow-")
    # The process that made it removes it: workers of xdist inherit the variable.
    atexit.register(shutil.rmtree, os.environ["AIRFLOW_HOME"], ignore_errors=True)
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__UNIT_TEST_MODE"] = "False"

# How long an example takes says what else this machine does, not whether the claim holds.
settings.register_profile("busy-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy-machine")


# Modules of whole trials in real time. One that began last would run alone at the end, on one of two processes; two
# that wait for an Airflow side by side would leave a core idle.
LONGEST_FIRST = (
    "test_recovery",
    "test_dag_run",
    "test_noops_proof",
    "test_decisions_figures",
    "test_in_airflow",
    "test_in_a_browser",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest modules; all others stay in random order. For xdist's `--no-loadscope-reorder`."""
    places = {name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


def pytest_collection_finish() -> None:
    """Make full garbage collections rare: Airflow, the SDKs and the tests are objects that are never freed, and each
    collection would look at all of them. A trial in virtual time makes many small objects and few cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


@pytest.fixture(scope="session")
def recordings_folder() -> Path:
    """Return the recordings of real deployments that belong to this repository."""
    return Path(__file__).resolve().parent / "recordings"


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """Return the folder of KubeRay's CRDs and the clouds' recorded exchanges, which belong to others, or skip.

    LLM_PROVISIONING_SHARED names it; the default is `shared` beside the checkout.
    """
    default = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("LLM_PROVISIONING_SHARED", default))
    if not folder.is_dir():
        pytest.skip(f"no CRDs and recorded exchanges: {folder} is absent; name their folder by LLM_PROVISIONING_SHARED")
    return folder


@pytest.fixture
def results_db(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Lead the default results connection to a file of this test's own."""
    path = tmp_path / "results.db"
    monkeypatch.setenv("AIRFLOW_CONN_LLM_PROVISIONING_RESULTS", f'{{"conn_type": "sqlite", "host": "{path}"}}')
    return path


@pytest.fixture
def simulated(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator["BackgroundCluster"]:
    """Run a simulated EKS cluster with Luna on a thread, reached by the connection `sim`."""
    from cluster_in_background import SPEED, ClusterThread, kubernetes_connection

    slower = request.node.get_closest_marker("simulated_speed")
    with ClusterThread(speed=slower.args[0] if slower else SPEED) as cluster:
        monkeypatch.setenv("AIRFLOW_CONN_SIM", kubernetes_connection(cluster.url))
        yield cluster
