"""What is opened for a cloud is closed: its clients, and the store whose ledger records its intents."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from airflow_llm_provisioning.connections import cloud as connections_cloud
from airflow_llm_provisioning.connections import opened_cloud
from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.exceptions import CloudError, ConfigurationError
from airflow_llm_provisioning.gateways.clouds.generic.cloud import GenericCloud
from airflow_llm_provisioning.gateways.store.ledger import ReadOnlyLedger
from airflow_llm_provisioning.preparation.operations import start_operation
from airflow_llm_provisioning.triggers.cloud_operation import CloudOperationWait

GENERIC = {"cloud": "generic"}


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record what is closed, in order."""
    names: list[str] = []

    class Store:
        ledger = ReadOnlyLedger()

        def close(self) -> None:
            names.append("store")

    monkeypatch.setattr(connections_cloud, "open_store", lambda conn_id: names.append(f"open {conn_id}") or Store())
    monkeypatch.setattr(GenericCloud, "close", lambda self: names.append("cloud"))
    return names


def test_cloud_and_store_are_closed_after_use(closed: list[str]) -> None:
    """The cloud first: it may still write."""
    with opened_cloud(GENERIC, results_conn_id="results") as cloud:
        assert cloud.name == "generic"
        assert closed == ["open results"]
    assert closed == ["open results", "cloud", "store"]


def test_without_a_store_only_the_cloud_is_closed(closed: list[str]) -> None:
    """Nothing can be created then."""
    with opened_cloud(GENERIC):
        pass
    assert closed == ["cloud"]


def test_an_error_inside_closes_both(closed: list[str]) -> None:
    """And is raised as it was."""
    with pytest.raises(CloudError, match="no"), opened_cloud(GENERIC, results_conn_id="results"):
        raise CloudError("no")
    assert closed == ["open results", "cloud", "store"]


def test_a_cloud_that_cannot_be_opened_leaves_no_store_open(closed: list[str]) -> None:
    """Its ledger was opened first."""
    with (
        pytest.raises(ConfigurationError, match="is unknown"),
        opened_cloud({"cloud": "oci"}, results_conn_id="results"),
    ):
        pass
    assert closed == ["open results", "store"]


def test_starting_an_operation_closes_both(closed: list[str]) -> None:
    """Also where the start is refused."""
    with pytest.raises(ConfigurationError, match="build_image is impossible"):
        start_operation(GENERIC, "build_image", {}, "results")
    assert closed == ["open results", "cloud", "store"]


def test_the_trigger_closes_both(closed: list[str]) -> None:
    """Once every operation has ended."""
    operations: list[Mapping[str, Any]] = [Operation("build_image", {}).as_dict()]
    wait = CloudOperationWait(cloud=dict(GENERIC), operations=[dict(item) for item in operations], results_conn_id="r")
    (ended,) = asyncio.run(wait.outcome())["operations"]
    assert ended["state"] == "failed"
    assert closed == ["open r", "cloud", "store"]


def test_a_trigger_that_is_cancelled_closes_both(closed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A triggerer that stops leaves no connection behind."""
    monkeypatch.setattr(GenericCloud, "poll", lambda self, operation: operation)
    wait = CloudOperationWait(cloud=dict(GENERIC), operations=[Operation("x", {}).as_dict()], results_conn_id="r")

    async def cancelled() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await wait.outcome()

    asyncio.run(cancelled())
    assert closed == ["open r", "cloud", "store"]
