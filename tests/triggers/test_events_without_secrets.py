"""What a trigger says and how it prints itself: Airflow stores events in clear, and triggerers log both."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import pytest

from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.exceptions import CloudError
from airflow_llm_provisioning.preparation.operations import content_of, succeeded
from airflow_llm_provisioning.triggers.base import Wait
from airflow_llm_provisioning.triggers.cloud_operation import CloudOperationWait

CANARY = "made-up-5"
BUILD = Operation("build_image", {"recipe": {"base": "r:1", "env": {"HF": CANARY}}, "target": "plain"})


class Cloud:
    """A cloud whose operations end at the first look."""

    def poll(self, operation: Operation) -> Operation:
        return operation.succeeded(image="r:2", seconds=1.0)


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch) -> CloudOperationWait:
    monkeypatch.setattr("airflow_llm_provisioning.connections.opened_cloud", lambda *_, **__: nullcontext(Cloud()))
    return CloudOperationWait(cloud={"cloud": "x"}, operations=[BUILD.as_dict()], results_conn_id="r")


def test_an_event_has_no_request(wait: CloudOperationWait) -> None:
    """The variables of an image stay in the trigger's arguments; the row is found by the same content as before."""
    event = asyncio.run(wait.outcome())
    assert CANARY not in json.dumps(event)
    (ended,) = succeeded(event)
    assert ended.result == {"image": "r:2", "seconds": 1.0}
    assert content_of(ended) == content_of(BUILD)


def test_a_trigger_prints_no_arguments(wait: CloudOperationWait) -> None:
    """Airflow's own text of a trigger has all of them."""
    assert CANARY not in repr(wait)
    assert "CloudOperationWait" in repr(wait)


def test_an_errors_sentence_is_redacted() -> None:
    """A cloud's message may repeat what was sent."""

    class Failing(Wait):
        async def outcome(self) -> dict[str, Any]:
            raise CloudError(f"The build was refused: api_key={CANARY} is invalid.")

    async def first() -> Mapping[str, Any]:
        async for event in Failing().run():
            payload: Mapping[str, Any] = event.payload
            return payload
        raise AssertionError

    told = asyncio.run(first())
    assert told == {"error": "The build was refused: api_key=<redacted> is invalid.", "error_type": "CloudError"}
