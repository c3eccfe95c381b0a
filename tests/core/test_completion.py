"""What counts as a completion: none of the answers of a server whose model does not work."""

import json
from typing import Any

import pytest

from airflow_llm_provisioning.core.completion import flaw


def chat(text: str | None = "Hi", model: str = "phi", **more: Any) -> bytes:
    message = {"role": "assistant", "content": text}
    return json.dumps({"model": model, "choices": [{"message": message}], **more}).encode()


@pytest.mark.parametrize(
    "body",
    [
        chat(),
        json.dumps({"model": "phi", "choices": [{"text": "Hi"}]}).encode(),
        json.dumps({"model": "phi", "choices": [{"message": {"content": None, "reasoning_content": "Hm"}}]}).encode(),
    ],
)
def test_a_completion_of_the_right_model_has_no_flaw(body: bytes) -> None:
    """Chat, plain completions and reasoning answers are accepted."""
    assert flaw(200, "application/json", body, expect_model="phi") is None


@pytest.mark.parametrize("body", [b'"Hi there"', b'{"text": ["Hi"]}', b'{"generated_text": "Hi"}', b"Hi there"])
def test_a_plain_answer_counts_where_no_model_is_expected(body: bytes) -> None:
    """A custom application may answer in text or JSON."""
    assert flaw(200, "text/plain", body) is None


@pytest.mark.parametrize(
    ("status", "kind", "body", "words"),
    [
        (503, "application/json", chat(), "status 503"),
        (404, "application/json", b'{"detail":"Not Found"}', "status 404"),
        (200, "application/json", b"", "empty body"),
        (200, "application/json", b"  \n", "empty body"),
        (200, "text/html", b"<html>Welcome</html>", "HTML"),
        (200, "application/json", b"<!DOCTYPE html><html>", "HTML"),
        (200, "application/json", b'{"model": "phi", "choi', "truncated JSON"),
        (200, "application/json", chat(model="other"), "'other' instead of 'phi'"),
        (200, "application/json", chat(text=""), "no generated text"),
        (200, "application/json", chat(text="  "), "no generated text"),
        (200, "application/json", chat(text=None), "no generated text"),
        (200, "application/json", b'{"model": "phi", "choices": []}', "no generated text"),
        (200, "application/json", chat(usage={"completion_tokens": 0}), "no generated text"),
        (200, "application/json", b'{"error": {"message": "CUDA out of memory"}}', "CUDA out of memory"),
        (200, "application/json", b'{"object": "error", "message": "model not found"}', "model not found"),
        (200, "application/json", b"null", "no generated text"),
        (200, "application/json", b"{}", "no generated text"),
        (200, "application/json", b'{"status": "ok"}', "no generated text"),
        (200, "text/plain", b"success", "without a model name"),
        (200, "application/json", b'{"choices": [{"message": {"content": "Hi"}}]}', "None instead of 'phi'"),
    ],
)
def test_none_of_these_is_an_answer_of_the_model(status: int, kind: str, body: bytes, words: str) -> None:
    """Each misbehaving server is named by its fault."""
    found = flaw(status, kind, body, expect_model="phi")
    assert found is not None
    assert words in found
