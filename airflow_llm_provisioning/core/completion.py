"""Decides whether an answer is a valid completion. A server can be up while its model does not answer.

Pure. Two formats are known: OpenAI's (`/v1/chat/completions`, `/v1/completions`, served by vLLM and ray.serve.llm), and
a plain answer as in the origin (text, or JSON with `text` or `generated_text`).
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from airflow_llm_provisioning.core.fields import dig, items, mapping

# Finish reasons of vLLM beside `stop` and `length`: the request was aborted, or the engine failed (v1/engine, 0.33).
_BROKEN_OFF: Final = frozenset({"abort", "error"})
_PLAIN_KEYS = ("text", "generated_text", "response", "output")


def reply_flaw(status: int, headers: Mapping[str, str], body: bytes, *, expect_model: str | None = None) -> str | None:
    """Return why a reply to a non-streaming completion request is invalid, or None for a valid one."""
    lower = {key.lower(): value for key, value in headers.items()}
    length = lower.get("content-length", "").strip()
    if length.isdecimal() and int(length) > len(body):
        return f"a reply that ends after {len(body)} of {length} bytes"
    kind = lower.get("content-type", "")
    if "event-stream" in kind.lower():
        return "a stream instead of the requested whole completion"
    return flaw(status, kind, body, expect_model=expect_model)


def flaw(status: int, content_type: str, body: bytes, *, expect_model: str | None = None) -> str | None:
    """Return why an answer is no valid completion, in one clause, or None for a valid one.

    `expect_model`: the model name that the answer must contain; an answer without a model name is then invalid too.
    """
    if status != 200:
        return f"status {status}"
    if not body.strip():
        return "an empty body"
    if "html" in content_type.lower() or body.lstrip()[:1] == b"<":
        return "an HTML page"
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return _flaw_of_text(body, content_type, expect_model)
    if expect_model is not None and content_type.strip() and "json" not in content_type.lower():
        return f"JSON with the content type {content_type.partition(';')[0].strip()}"
    return _flaw_of_json(answer, expect_model)


def _flaw_of_text(body: bytes, content_type: str, expect_model: str | None) -> str | None:
    if "json" in content_type.lower():
        return "truncated JSON"
    if expect_model is not None:
        return "plain text without a model name"
    try:
        body.decode()
    except UnicodeDecodeError:
        return "bytes that are not text"
    return None


def _flaw_of_json(answer: Any, expect_model: str | None) -> str | None:
    error = dig(answer, "error")
    if error or dig(answer, "object") == "error":
        return f"an error: {str(dig(answer, 'error', 'message') or error or dig(answer, 'message'))[:200]}"
    if not _written(answer):
        return "no generated text"
    ended = {dig(choice, "finish_reason") for choice in items(dig(answer, "choices"))}
    if broken := sorted(ended & _BROKEN_OFF, key=str):
        return f"a completion that ended by {broken[0]}"
    model = dig(answer, "model")
    if expect_model is not None and model != expect_model:
        return f"written by {model!r} instead of {expect_model!r}"
    return None


def _written(answer: Any) -> bool:
    """Return whether any text was generated."""
    if dig(answer, "usage", "completion_tokens") == 0:
        return False
    if "choices" in mapping(answer):
        return any(_has_text(_choice_text(choice)) for choice in items(dig(answer, "choices")))
    if isinstance(answer, Mapping):
        return any(_has_text(answer.get(key)) for key in _PLAIN_KEYS)
    return _has_text(answer)


def _choice_text(choice: Any) -> Any:
    message = mapping(dig(choice, "message"))
    # vLLM writes the first tokens of a reasoning model into `reasoning_content` (vllm docs, reasoning outputs).
    return message.get("content") or message.get("reasoning_content") or dig(choice, "text")


def _has_text(value: Any) -> bool:
    """Return whether a text contains a letter or digit: vLLM writes `!!!!!!!!` if the logits are NaN."""
    if isinstance(value, str):
        return any(letter.isalnum() for letter in value)
    return any(_has_text(item) for item in items(value))
