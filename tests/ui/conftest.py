"""The page's application behind Airflow's own auth manager, on an empty Airflow database; no server is started."""

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

DAGS = Path(__file__).resolve().parents[2] / "airflow_llm_provisioning" / "example_dags"
# The builders of the report's tests are used here too.
sys.path.insert(0, str(Path(__file__).parents[1] / "report"))

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from airflow_llm_provisioning.gateways.store import ResultsStore


@pytest.fixture(scope="session")
def page_app() -> Iterator[Any]:
    """Give the application, mounted as Airflow mounts it."""
    from airflow.api_fastapi.app import init_auth_manager
    from airflow.utils.db import initdb
    from fastapi import FastAPI

    from airflow_llm_provisioning.plugin import LlmDeploymentsPlugin

    with pytest.MonkeyPatch.context() as patch:
        # Airflow's own unit test configuration has a shorter one, about which the library warns.
        patch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "a made-up secret of this test alone" * 2)
        initdb()
        init_auth_manager()
        outer = FastAPI()
        (mounted,) = LlmDeploymentsPlugin().fastapi_apps
        outer.mount(mounted["url_prefix"], mounted["app"])
        yield outer


@pytest.fixture(scope="module")
def single_trial(page_app: Any) -> Iterator[None]:
    """Let Airflow know the shipped DAG single_trial, as its DAG processor does."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager

    from airflow_llm_provisioning.compat import AIRFLOW

    # Airflow 3.1 has it elsewhere, and a DAG knows no bundle there.
    old = AIRFLOW < (3, 2)
    dagbag = import_module("airflow.models.dagbag" if old else "airflow.dag_processing.dagbag")
    named = {} if old else {"bundle_name": "dags-folder"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(DAGS))
        DagBundlesManager().sync_bundles_to_db()
        bag = dagbag.DagBag(DAGS / "single_trial.py", bundle_path=DAGS, **named)
        assert bag.import_errors == {}
        dagbag.sync_bag_to_db(bag, "dags-folder", bundle_version=None)
        yield


@pytest.fixture
def store(results_db: Path) -> Iterator["ResultsStore"]:
    """Return the results store that the page reads."""
    from airflow_llm_provisioning.gateways.store import ResultsStore

    opened = ResultsStore.open(f"sqlite:///{results_db}")
    yield opened
    opened.close()


def a_client(app: Any, role: str | None) -> "TestClient":
    """Return a client that is logged in with a role of Airflow's simple auth manager; None: not logged in."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from fastapi.testclient import TestClient

    client = TestClient(app, base_url="http://testserver/llm-deployments/", follow_redirects=False)
    client.headers["Accept"] = "text/html"
    if role is not None:
        token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username=f"the-{role}", role=role))
        client.cookies.set("_token", token)
    return client


@pytest.fixture
def viewer(page_app: Any, store: "ResultsStore") -> "TestClient":
    """Return a client that may read."""
    return a_client(page_app, "viewer")


@pytest.fixture
def op(page_app: Any, store: "ResultsStore") -> "TestClient":
    """Return a client that may read and change."""
    return a_client(page_app, "op")


@pytest.fixture
def anonymous(page_app: Any, store: "ResultsStore") -> "TestClient":
    """Return a client without a login."""
    return a_client(page_app, None)
