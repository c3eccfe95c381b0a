"""Where results are kept when no connection says so, and where that is refused."""

from collections.abc import Callable

import pytest

from airflow_llm_provisioning.connections import default_store_file, store_url
from airflow_llm_provisioning.exceptions import ConnectionConfigError, StoreError
from airflow_llm_provisioning.gateways.store.database import open_engine
from airflow_llm_provisioning.gateways.store.reading import open_for_reading, stored_schema


@pytest.mark.parametrize("executor", ["LocalExecutor", "airflow.executors.local_executor.LocalExecutor:here"])
def test_tasks_of_one_machine_share_a_file(monkeypatch: pytest.MonkeyPatch, executor: str) -> None:
    """Nothing has to be set up where every task runs on the scheduler's machine."""
    monkeypatch.delenv("AIRFLOW_CONN_LLM_PROVISIONING_RESULTS", raising=False)
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", executor)
    assert store_url() == f"sqlite:///{default_store_file()}"


@pytest.mark.parametrize(
    ("executor", "named"),
    [
        ("CeleryExecutor", "CeleryExecutor"),
        ("LocalExecutor,KubernetesExecutor", "KubernetesExecutor"),
        ("airflow.providers.celery.executors.celery_executor.CeleryExecutor:queue", "CeleryExecutor"),
        ("LocalExecutor;team_a=CeleryExecutor", "CeleryExecutor"),
    ],
)
def test_tasks_on_other_machines_need_a_database(monkeypatch: pytest.MonkeyPatch, executor: str, named: str) -> None:
    """A file on each worker would lose the rows of all others: a sentence says what to create."""
    monkeypatch.delenv("AIRFLOW_CONN_LLM_PROVISIONING_RESULTS", raising=False)
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", executor)
    with pytest.raises(ConnectionConfigError, match=rf"tasks of {named} do not share.*PostgreSQL"):
        store_url()


@pytest.mark.parametrize("kind", ["postgresql+asyncpg", "postgresql+psycopg_async", "sqlite+aiosqlite"])
def test_an_asynchronous_driver_is_told_as_such(kind: str) -> None:
    """Airflow's own setting for its database has one, and is what people copy."""
    backend, _, driver = kind.partition("+")
    with pytest.raises(StoreError, match=f"has the asynchronous driver {driver}.* write {backend}:// without a driver"):
        open_for_reading(f"{kind}://me:made-up-secret@127.0.0.1:1/results")


@pytest.mark.parametrize("opened", [open_engine, open_for_reading, stored_schema])
@pytest.mark.parametrize("kind", ["mysql", "mariadb+pymysql"])
def test_another_kind_of_database_is_refused(opened: Callable[[str], object], kind: str) -> None:
    """MySQL was never tried: it is refused before anything is written, also to a command that only reads. It need not
    have a driver.
    """
    named = kind.partition("+")[0]
    with pytest.raises(StoreError, match=f"is on {named}, which is not supported") as refused:
        opened(f"{kind}://somebody:made-up-secret@127.0.0.1:1/results")
    assert "made-up-secret" not in str(refused.value)
