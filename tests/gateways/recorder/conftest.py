"""What every test of the recorder over real HTTP begins with."""

from collections.abc import AsyncIterator

import pytest
from kube_fake_api import FakeApi, fake_api

from airflow_llm_provisioning.gateways import recorder
from airflow_llm_provisioning.gateways.kubernetes import follow
from airflow_llm_provisioning.gateways.recording import lines as recording_lines


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    """Give the API server of a cluster without NodeClaims."""
    async with fake_api() as server:
        server.absent = {"nodeclaims"}
        yield server


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make chunks frequent and the retries of a lost store short, so that tests are short."""
    monkeypatch.setattr(recording_lines, "FLUSH_S", 0.05)
    monkeypatch.setattr(recording_lines, "LAST_FLUSH_S", 0.4)
    monkeypatch.setattr(recording_lines, "LAST_PAUSE_S", 0.1)
    monkeypatch.setattr(recorder, "LATE_CLUSTER_S", 0.0)
    # Versions after an interruption are recognised as late, however slow the machine is.
    monkeypatch.setattr(follow, "CATCH_UP_S", 30.0)
