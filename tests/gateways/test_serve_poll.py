"""Which of Serve's answers are new, as bytes."""

import json
from typing import Any

import pytest

from airflow_llm_provisioning.gateways.recording import serve_poll as module
from airflow_llm_provisioning.gateways.recording.serve_poll import _Answers

JSON = {"Content-Type": "application/json; charset=utf-8"}


def body(status: str = "DEPLOYING", **more: Any) -> bytes:
    return json.dumps({"applications": {"llm": {"status": status}}, **more}).encode()


def test_an_equal_answer_is_not_parsed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The controller's metrics change at every poll; they are neither compared nor parsed."""
    answers, parsed = _Answers(), []
    monkeypatch.setattr(module, "body_of", lambda _, found: parsed.append(found) or json.loads(found))
    found = [body(controller_health_metrics={"at": number}) for number in range(3)]
    assert [answers.is_new("a", 200, JSON, one) for one in found] == [True, False, False]
    assert parsed == found[:1]


@pytest.mark.parametrize(
    ("service", "status", "headers", "second", "new"),
    [
        ("a", 200, JSON, body("RUNNING"), True),
        ("a", 503, JSON, body(), True),
        ("b", 200, JSON, body(), True),
        ("a", 200, {"Content-Type": "text/plain"}, body(), True),
        ("a", 200, JSON, body() + b"\n", False),
        ("a", 200, JSON, body().replace(b"DEPLOYING", b"DEPLO\\u0059ING"), False),
        ("a", 200, JSON, body()[:-1], True),
    ],
)
def test_what_makes_an_answer_new(service: str, status: int, headers: dict[str, str], second: bytes, new: bool) -> None:
    """Another head, another status, another content and another kind of content are new; another spelling is not."""
    answers = _Answers()
    assert answers.is_new("a", 200, JSON, body())
    assert answers.is_new(service, status, headers, second) is new


def test_an_answer_that_returns_is_new_again() -> None:
    """What is compared is the answer before, not any answer."""
    answers = _Answers()
    found = [body("DEPLOYING"), b"no JSON", body("DEPLOYING")]
    assert [answers.is_new("a", 200, JSON, one) for one in found] == [True, True, True]
    assert answers.told == {"applications": {"llm": {"status": "DEPLOYING"}}}
