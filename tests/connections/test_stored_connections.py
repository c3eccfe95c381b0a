"""Commands and scripts find connections in Airflow's own database, as tasks do. A real Airflow database, migrated."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from cluster_in_background import ClusterThread, kube_config
from trial_builders import a_result

from airflow_llm_provisioning.gateways.store.results import ResultsStore

FILL = """
import json, sys
from airflow.utils.db import upgradedb
upgradedb()
from airflow.models import Connection
from airflow.utils.session import create_session
with create_session() as session:
    for fields in json.loads(sys.argv[1]):
        session.add(Connection(**fields))
"""

# No command: a script of a user that opens a cluster and a cloud.
SCRIPT = """
import asyncio
from airflow_llm_provisioning.connections import open_cluster, opened_cloud

async def nodes():
    async with open_cluster({"conn_id": "a_cluster"}) as cluster:
        return cluster.version()["gitVersion"]

print(asyncio.run(nodes()))
with opened_cloud({"cloud": "eks", "conn_id": "a_cloud", "region": "us-west-2"}) as cloud:
    print(type(cloud).__name__)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the AIRFLOW_HOME of a database that holds three connections: a store, a cluster and a cloud."""
    folder = tmp_path_factory.mktemp("airflow")
    store = ResultsStore.open(f"sqlite:///{folder}/mine.db")
    store.save_trial(a_result("night-1"))
    store.close()
    extra = json.dumps({"region_name": "us-west-2"})
    stored = [
        {"conn_id": "my_store", "conn_type": "sqlite", "host": f"{folder}/mine.db"},
        {"conn_id": "a_cloud", "conn_type": "aws", "login": "AKIDEXAMPLE", "password": "made-up", "extra": extra},
    ]
    run(folder, "-c", FILL, json.dumps(stored))
    return folder


def run(home: Path, *words: str, **environment: str) -> str:
    """Run Python with this AIRFLOW_HOME; return its output and errors."""
    kept: Mapping[str, str] = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW_CONN", "_AIRFLOW"))}
    changed = {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(  # noqa: S603 - our own arguments
        [sys.executable, *words], env={**kept, **changed, **environment}, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout + done.stderr


def test_a_command_reads_the_store_of_a_stored_connection(home: Path) -> None:
    """Named by its id; nothing is in the environment."""
    words = ("-m", "airflow_llm_provisioning.cli", "results", "--what", "trials", "--format", "json")
    told = run(home, *words, "--store-conn", "my_store")
    assert '"trial_id": "night-1"' in told
    assert "(connection my_store)" in told


def test_a_script_opens_a_cluster_and_a_cloud_of_stored_connections(home: Path) -> None:
    """`open_cluster` and `open_cloud` outside a task, also where a hook of the cloud's provider asks."""
    with ClusterThread() as cluster:
        extra = json.dumps({"kube_config": json.dumps(kube_config(cluster.url))})
        run(home, "-c", FILL, json.dumps([{"conn_id": "a_cluster", "conn_type": "kubernetes", "extra": extra}]))
        lines = run(home, "-c", SCRIPT).splitlines()
    assert lines[0].startswith("v1.")
    assert lines[1].startswith("Eks")


def test_what_was_searched_is_said(home: Path, tmp_path: Path) -> None:
    """A connection that is nowhere; a database that is absent, and is not created; one that cannot be read, where the
    connection is unknown and not absent.
    """
    words = ("-m", "airflow_llm_provisioning.cli", "results", "--store-conn", "mistyped")
    assert f"and Airflow's database sqlite:///{home}/airflow.db." in run(home, *words)
    assert "was not searched, because it does not exist" in run(tmp_path / "new", *words)
    assert not (tmp_path / "new" / "airflow.db").exists()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "airflow.db").touch()
    assert "could not be searched: no such table: connection" in run(tmp_path / "broken", *words)
