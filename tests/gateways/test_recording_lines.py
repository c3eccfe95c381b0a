"""The lines of a recording on their way to the store."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_llm_provisioning.core.trace import decode_line, encode_line, end_line, line, mark_line
from airflow_llm_provisioning.core.trace.secrets import find_secrets
from airflow_llm_provisioning.gateways.kubernetes.follow import ObservedVersion
from airflow_llm_provisioning.gateways.recording import lines as module
from airflow_llm_provisioning.gateways.recording.lines import Lines

NOW = datetime(2026, 11, 22, tzinfo=UTC)


class Store:
    """A sink that stores its lines."""

    def __init__(self) -> None:
        self.lines: list[Any] = []

    async def __call__(self, chunk: Sequence[bytes]) -> None:
        self.lines += map(decode_line, chunk)


def pod(version: int, **env: str) -> dict[str, Any]:
    container = {"name": "c", "env": [{"name": name, "value": value} for name, value in env.items()]}
    return {"metadata": {"uid": "u", "resourceVersion": str(version)}, "spec": {"containers": [container]}}


async def test_no_value_of_an_environment_reaches_the_store() -> None:
    """Objects are redacted before they wait."""
    store = Store()
    lines = Lines(store)
    lines.add_seen("pods", ObservedVersion("ADDED", pod(1, HF_TOKEN="hf_secret"), NOW))
    await lines.flush()
    assert "hf_secret" not in str(store.lines)


async def test_a_node_that_many_recordings_have_is_made_a_line_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten waits on a cluster record each version of each node; a version of it at another instant is another line."""
    made: list[str] = []
    real = module.without_secrets

    def counted(item: Any) -> Any:
        made.append(item["received_at"])
        return real(item)

    monkeypatch.setattr(module, "without_secrets", counted)
    node, later = pod(1, HF_TOKEN="hf_secret"), NOW + timedelta(seconds=1)
    kept = [Lines(Store()).add_seen("nodes", ObservedVersion("ADDED", node, at)) for at in (NOW, NOW, NOW, later)]
    assert [one["received_at"] for one in kept if one] == [*["2026-11-22T00:00:00.000000Z"] * 3, made[-1]]
    assert len(made) == 2
    assert "hf_secret" not in str(kept)
    copies = [Lines(Store()).add_seen("nodes", ObservedVersion("ADDED", dict(node), NOW)) for _ in range(200)]
    assert copies == [kept[0]] * 200
    assert len(module._MADE) <= 64


async def test_a_version_is_kept_once_and_chunks_are_in_order_of_receipt() -> None:
    """Repeats are dropped; held lines are sorted by their receipt."""
    store = Store()
    lines = Lines(store)
    later = NOW.replace(second=5)
    assert lines.add_seen("pods", ObservedVersion("ADDED", pod(2), later)) is not None
    assert lines.add_seen("pods", ObservedVersion("LISTED", pod(2), later)) is None
    lines.add(line(NOW, "MARK", "trace", {"mark": "x"}))
    await lines.flush()
    assert [one["resource"] for one in store.lines] == ["trace", "pods"]


class SlowStore(Store):
    """A slow sink that, like a thread, finishes its work; `fails`: how often it then fails."""

    def __init__(self, fails: int = 0) -> None:
        super().__init__()
        self.begun = asyncio.Event()
        self.may_end = asyncio.Event()
        self.fails = fails

    async def __call__(self, chunk: Sequence[bytes]) -> None:
        await asyncio.shield(asyncio.ensure_future(self._write(chunk)))

    async def _write(self, chunk: Sequence[bytes]) -> None:
        self.begun.set()
        await self.may_end.wait()
        if self.fails > 0:
            self.fails -= 1
            raise OSError("the store is away")
        self.lines += map(decode_line, chunk)


@pytest.mark.parametrize("fails", [0, 1])
async def test_a_flush_cancelled_in_the_middle_stores_once(fails: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recording ends while a chunk is being written: it is in the store once, whether that write succeeded or not."""
    monkeypatch.setattr(module, "LAST_PAUSE_S", 0.01)
    store = SlowStore(fails)
    lines = Lines(store)
    lines.add(mark_line(NOW, "first"))
    flushing = asyncio.create_task(lines.flush())
    await store.begun.wait()
    flushing.cancel()
    await asyncio.gather(flushing, return_exceptions=True)
    lines.add(mark_line(NOW, "second"))
    ending = asyncio.create_task(lines.final_flush())
    await asyncio.sleep(0)
    store.may_end.set()
    await ending
    assert [one["object"]["mark"] for one in store.lines] == ["first", "second"]


def padded(resource: str, number: int, size: int = 900) -> dict[str, Any]:
    return line(NOW, "ADDED", resource, {"metadata": {"uid": f"{resource}-{number}"}, "pad": "x" * size})


async def test_over_the_budget_the_least_important_lines_are_dropped_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """With too many lines of each kind, events are dropped first, of both APIs alike, then nodes, pods; endpoints and
    END are always stored, each truncation is marked once, and the whole stays within the budget.
    """
    monkeypatch.setattr(module, "BUDGET_BYTES", 100_000)
    store = Store()
    lines = Lines(store)
    kinds = ("events.events.k8s.io", "events", "nodes", "pods")
    for number in range(200):
        for resource in kinds:
            lines.add(padded(resource, number))
    lines.add(padded("endpointslices", 0))
    lines.add(end_line(NOW, "ready"))
    await lines.flush()
    cuts = [one["object"]["what"] for one in store.lines if one["object"].get("mark") == "cut_short"]
    assert (sorted(cuts[:2]), cuts[2:]) == (["events", "events.events.k8s.io"], list(kinds[2:]))
    kept = [sum(one["resource"] == resource for one in store.lines) for resource in kinds]
    assert max(kept[:2]) < kept[2] < kept[3] < 200
    assert abs(kept[0] - kept[1]) <= 1
    assert [one["resource"] for one in store.lines[-2:]] == ["endpointslices", "trace"]
    assert sum(len(encode_line(one)) for one in store.lines) <= 100_000


async def test_a_full_trace_still_has_its_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    """Essential lines and marks are limited too; END does not count."""
    monkeypatch.setattr(module, "BUDGET_BYTES", 5_000)
    store = Store()
    lines = Lines(store)
    for number in range(20):
        lines.add(padded("rayservices", number))
    for _ in range(100):
        lines.add(mark_line(NOW, "watch_interrupted"))
    lines.add(end_line(NOW, "timed_out"))
    await lines.flush()
    assert sum(one["resource"] == "rayservices" for one in store.lines) == 4
    assert sum(one["object"].get("mark") == "watch_interrupted" for one in store.lines) < 100
    assert store.lines[-1]["type"] == "END"


async def test_the_judge_receives_lines_that_are_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """The budget shortens the trace and never the judgement: a line that is not stored is still returned."""
    monkeypatch.setattr(module, "BUDGET_BYTES", 0)
    assert Lines(Store()).add_seen("pods", ObservedVersion("ADDED", pod(1), NOW)) is not None


async def test_the_budget_counts_what_was_stored_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial whose triggerer is killed repeatedly has one budget."""
    monkeypatch.setattr(module, "BUDGET_BYTES", 10_000)
    store = Store()
    lines = Lines(store, stored=[padded("pods", number) for number in range(9)])
    lines.add(padded("pods", 9))
    await lines.flush()
    assert [one["object"].get("mark") for one in store.lines] == ["cut_short"]


async def test_the_opening_lines_are_first_for_all_instants() -> None:
    """The header is the first line; marks of earlier steps follow, then received lines."""
    store = Store()
    lines = Lines(
        store, opening=[line(NOW, "HEADER", "trace", {}), mark_line(NOW - timedelta(hours=1), "apply_started")]
    )
    lines.add(line(NOW - timedelta(minutes=1), "MARK", "trace", {"mark": "x"}))
    await lines.flush()
    assert [one["object"].get("mark") for one in store.lines] == [None, "apply_started", "x"]


async def test_what_an_earlier_process_stored_is_not_taken_again() -> None:
    """A stored version is not new."""
    stored = [line(NOW, "ADDED", "pods", pod(2))]
    lines = Lines(Store(), stored=stored)
    assert lines.add_seen("pods", ObservedVersion("LISTED", pod(2), NOW)) is None
    assert lines.add_seen("pods", ObservedVersion("LISTED", pod(1), NOW)) is None
    assert lines.add_seen("pods", ObservedVersion("MODIFIED", pod(3), NOW)) is not None


SECRETS = {
    "a hub token": "hf_" + "aB3" * 12,
    "an AWS key id": "AKIA" + "ABCDEFGH12345678",
    "a temporary AWS key id": "ASIA" + "ABCDEFGH12345678",
    "a JSON web token": "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhYmNkZWYifQ.c2lnbmF0dXJlLXRleHQ",
    "a GitHub token": "ghp_" + "a1B2" * 9,
    "a signed URL": "https://s3/x?X-Amz-Signature=0123456789abcdef&y=1",
    "a shared access signature": "https://blob/x?se=1&sig=abc%2Bdef%3D",
    "a password in a URL": "https://jane:s3cr3t-w0rd@registry.example/v2",
    "a header": "Authorization: Bearer abcdefghijklmnopqrstuvwxyz012345",
    "basic credentials": "AUTHORIZATION: Basic bm9ib2R5OmtsbW5vcHE=",
    "a private key": "-----BEGIN EC " + "PRIVATE KEY-----\nMHcCAQEEIklmnopq\n-----END EC PRIVATE KEY-----",
    "a Google access token": "ya29.a0klmnopqabcdefghijk",
    "a flag": "--api-key=very-private-value",
}
TELLING = ("aB3aB3", "ABCDEFGH1234", "c2lnbmF0dXJl", "a1B2a1B2", "0123456789abcdef", "abc%2Bdef", "s3cr3t", "klmnopq",
           "very-private", "bm9ib2R5")  # fmt: skip


@pytest.mark.parametrize("what", sorted(SECRETS))
@pytest.mark.parametrize("resource", ["pods", "events", "ray-log-file", "serve-rest"])
async def test_what_looks_like_a_secret_is_not_stored(resource: str, what: str) -> None:
    """Secrets are removed from arguments, messages, logs and answers. The text around them stays, and the line is
    readable.
    """
    store = Store()
    lines = Lines(store)
    text = f'before {SECRETS[what]} after "quoted" \n'
    obj = text if resource == "ray-log-file" else {"message": text, "args": [text]}
    lines.add(line(NOW, None, resource, obj))
    await lines.flush()
    stored = str(store.lines)
    assert not [word for word in TELLING if word in stored]
    assert "before" in stored
    assert 'after "quoted"' in stored
    assert find_secrets(store.lines) == ()


async def test_what_is_no_secret_is_stored_as_it_is() -> None:
    """Digests, addresses, flags without secrets, mail addresses and Kubernetes names are not changed."""
    store = Store()
    lines = Lines(store)
    text = (
        "acme/ray@sha256:" + "a" * 64 + " http://10.0.0.1:8000/-/healthz --num-cpus=2 jane@example.org bearer of news"
    )
    lines.add(line(NOW, None, "ray-log-file", text))
    await lines.flush()
    assert store.lines[0]["object"] == text
