"""An exported trace: its content, what it must not contain, and that it stays the same trace."""

import contextlib
import gzip
import json
from typing import Any

import pytest
from trace_builders import AT, small_chunks, small_trace

from airflow_llm_provisioning.core.replay import replay
from airflow_llm_provisioning.core.result import Computed
from airflow_llm_provisioning.core.secrets.shapes import SHAPES
from airflow_llm_provisioning.core.trace import encode_chunk, encode_line, line
from airflow_llm_provisioning.core.trace.secrets import find_secrets, without_secrets
from airflow_llm_provisioning.core.trace_file import exported, read_trace_file, refusal
from airflow_llm_provisioning.exceptions import TraceError

# Assembled here, so that no scanner takes this file for a leak.
SECRETS = {
    "a private key": "-----BEGIN RSA " + "PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----",
    "a JSON web token": "ey" + "JhbGciOiJIUzI1NiJ9.ey" + "JzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
    "an AWS access key": "AKIA" + "IOSFODNN7EXAMPLE",
    "a Hugging Face token": "hf" + "_" + "a" * 34,
    "a GitHub token": "ghp" + "_" + "b" * 36,
    "a Google access token": "ya29" + "." + "c" * 40,
    "a Google API key": "AIza" + "d" * 35,
    "a GitLab token": "glpat" + "-" + "g" * 20,
    "a Slack token": "xoxb" + "-" + "1" * 12,
    "a model service's key": "sk" + "-" + "h" * 40,
    "a registry token": "npm" + "_" + "i" * 36,
    "a service token": "hvs" + "." + "j" * 24,
    "a user on a command line": "curl -u jane" + ":" + "secret https://x.example",
    "a shared access signature": "https://x.example/c?sv=1&" + "sig=" + "e" * 40,
    "a signed URL": "https://s3.example/x?" + "X-Amz-Signature=" + "0" * 40,
    "a bearer token": "Authorization: " + "Bearer " + "f" * 20,
    "basic credentials": "Authorization: " + "Basic " + "dXNlcjpwYXNzd29yZA==",
    "a password of a login": "docker login -u jane -p " + "very-private",
    "a password of a database client": "mysql -h db -u jane -p" + "very-private",
    "a passphrase of a key or an archive": "openssl enc -aes-256-cbc -k " + "very-private",
    "a password of a command": "az login -u jane -p " + "very-private",
    "a short bearer token": "answered with Bearer " + "abc123def",
    "a password that is piped": "echo " + "very-private" + " | docker login --password-stdin x.example",
    "a literal of a Secret": "kubectl create secret generic x --from-literal=" + "key=very-private",
    "a password in .netrc": "machine x.example login " + "jane password very-private",
    "a secret on a command line": "--api-key=" + "very-private-value",
    "an issuer's token": "wandb" + "_v1_" + "k" * 40,
    "a webhook's address": "https://hooks.slack.com/services/" + "T0/B0/very-private",
    "a password's hash": "me:" + "$apr1$" + "very.private",
    "a password in a database's URL": "redis://:" + "very/private@db.example/0",
    "a password in Oracle's URL": "jdbc:oracle:thin:jane/" + "very-private@//db.example:1521/x",
    "a user of curl": "curl --user=jane:" + "secret https://x.example",
    "basic credentials in a call": "BasicAuth('jane', " + "'very-private')",
    "a password in a URL": "postgres://user:" + "secret@db.example/x",
}


def with_log(text: str) -> list[dict[str, Any]]:
    """Return the small trace with one more line, of a log."""
    *lines, end = small_trace()
    log = {"received_at": end["received_at"], "resource": "ray-log-file", "filename": "a.log", "object": text}
    return [*lines, log, end]


def test_an_exported_trace_replays_as_before_and_carries_what_was_computed() -> None:
    """The file is sufficient: recording, trial, and result with its version."""
    chunks = small_chunks()
    before = Computed("0.1+x", replay(chunks))
    found = read_trace_file(exported(chunks, {"trial_id": "night-1", "total_s": 61.0}, before))
    assert found.carried == before
    assert replay(found.data) == before.text
    assert (found.named, found.origin, found.cut) == ("night-1", "simulated", None)
    assert found.data.startswith(b"".join(chunks))


def test_exporting_an_exported_trace_adds_nothing() -> None:
    """The result in the file stays unchanged."""
    once = exported(small_chunks(), {"trial_id": "a"}, Computed("1", "{}\n"))
    assert exported([once], {"trial_id": "b"}, Computed("2", "{}\n")) == once


def test_the_same_recording_has_one_id_however_it_is_packed() -> None:
    """Packed or plain, with a result or without, the id is the same; another recording has another id."""
    lines = small_trace()
    plain = b"".join(map(encode_line, lines))
    files = [plain, gzip.compress(plain), b"".join(small_chunks()), exported(small_chunks(), {}, Computed("1", "{}\n"))]
    assert len({read_trace_file(data).trial_id for data in files}) == 1
    assert read_trace_file(encode_chunk(lines[:-1])).trial_id != read_trace_file(plain).trial_id


def test_every_shape_has_its_example() -> None:
    """Every listed format has an example that shows that it works."""
    assert {shape.what for shape in SHAPES} == set(SECRETS)


@pytest.mark.parametrize("what", SECRETS)
def test_a_credential_in_a_log_is_found_named_by_its_place_and_taken_out(what: str) -> None:
    """The sentence names the place, and never the content."""
    lines = with_log(f"starting\n{SECRETS[what]} and so on\n")
    found = read_trace_file(encode_chunk(lines))
    assert [(item.line, item.resource, item.place, item.what) for item in found.findings] == [
        (9, "ray-log-file", "object", what)
    ]
    sentence = refusal(found, "exported")
    assert "line 9 (ray-log-file), object" in sentence
    assert SECRETS[what] not in sentence
    cleaned = found.cleaned()
    assert cleaned.clean
    assert SECRETS[what].encode() not in gzip.decompress(cleaned.data)
    assert b"and so on" in gzip.decompress(cleaned.data)


def test_what_redaction_drops_is_found_too() -> None:
    """A recording without redaction contains the values of its environment."""
    pod = {"metadata": {"uid": "p"}, "spec": {"containers": [{"env": [{"name": "X", "value": "y"}]}]}}
    lines = [*small_trace(), line(AT, "ADDED", "pods", pod)]
    (found,) = find_secrets(lines)
    assert (found.resource, found.place) == ("pods", "object.spec.containers.0.env.0.value")
    assert find_secrets([without_secrets(item) for item in lines]) == ()


@pytest.mark.parametrize(
    "harmless",
    [
        "Image size: 160024299 bytes.",
        "sha256:6f0e3f0f6a2d9ec8a9e3c1f7c2a5b1d7f7a0f6f9c3b2e1d0a9b8c7d6e5f4a3b2",
        "https://huggingface.co/microsoft/Phi-3-mini-4k-instruct/resolve/f39ac1d/model.safetensors",
        "git@github.com:ray-project/ray.git",
        "http://10.0.0.1:8265/api/serve/applications/",
        "authorization mode: token",
        "user@10.0.0.1",
    ],
)
def test_what_is_no_credential_passes(harmless: str) -> None:
    """A check with false alarms would be switched off."""
    assert find_secrets(with_log(harmless)) == ()


def test_lines_that_cannot_be_read_cannot_be_checked() -> None:
    """Unreadable lines are not exported."""
    found = read_trace_file(
        b"".join(map(encode_line, small_trace()[:-1])) + b"rubbish\n" + encode_line(small_trace()[-1])
    )
    assert not found.clean
    assert "1 lines are unreadable" in refusal(found, "exported")
    assert found.cleaned().clean


def test_a_truncation_is_still_reported_after_redaction() -> None:
    """The copy is complete gzip, so a mark keeps the information about the truncation."""
    lines = with_log(SECRETS["an AWS access key"])
    whole = b"".join(map(encode_line, lines))
    found = read_trace_file(whole[:-30])
    assert found.cut is not None
    cleaned = found.cleaned()
    assert cleaned.clean
    flags = json.loads(replay(cleaned.data))["flags"]
    assert [flag for flag in flags if "the rest of the trace" in flag and "is incomplete" in flag]


def test_the_result_in_a_file_is_searched_and_cleaned_too() -> None:
    """The trial and the analysis repeat what a cluster said: a reason, a verdict's evidence."""
    analysis = json.dumps({"reason": "pull failed: password=made-up-8", "total_s": 61.0})
    data = exported(small_chunks(), {"trial_id": "a", "reason": "api_key=made-up-8"}, Computed("1", analysis))
    found = read_trace_file(data)
    assert {item.place for item in found.findings} == {"object.trial.reason", "object.analysis"}
    cleaned = found.cleaned()
    assert cleaned.clean
    assert b"made-up-8" not in gzip.decompress(cleaned.data)
    assert cleaned.carried is not None
    assert json.loads(cleaned.carried.text)["total_s"] == 61.0


def test_a_result_without_its_recording_is_no_trace() -> None:
    """Without a recording nothing can be computed again."""
    result = encode_line(line(AT, "RESULT", "trace", {"analysis": "{}"}))
    with pytest.raises(TraceError, match="no recording"):
        read_trace_file(result)


@pytest.mark.parametrize("kind", ["HEADER", "RESULT", "END"])
@pytest.mark.parametrize("broken", [{}, {"object": None}, {"object": []}, {"object": {"analysis": 3, "trial": "x"}}])
def test_a_damaged_result_line_gives_a_result_or_a_sentence(kind: str, broken: dict[str, Any]) -> None:
    """No content of a file raises an exception of another kind."""
    item = {"received_at": "2026-05-04T12:00:00Z", "type": kind, "resource": "trace", **broken}
    data = b"".join(map(encode_line, [*small_trace()[1:], item]))
    with contextlib.suppress(TraceError):
        found = read_trace_file(data)
        assert found.carried is None
        replay(found.cleaned().data)
