"""Traces that are truncated, foreign, impossible or wrong: each has a defined outcome, and none raises."""

import copy
import gzip
import json
import random
import re
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from proof.generated import NAME, NAMESPACE, Deployment, draw_distortion, draw_scenario, generate

from airflow_llm_provisioning.core.image_arrival import image_arrival
from airflow_llm_provisioning.core.readiness import Readiness
from airflow_llm_provisioning.core.timing.analysis import Analysis, analyse, analyse_trace
from airflow_llm_provisioning.core.trace import TraceView, encode_chunk, redact
from airflow_llm_provisioning.core.verdicts import recipe_packages, runtime_pip_seen, switch

JUNK: tuple[Any, ...] = (
    None, True, -1, 0, 1e308, float("nan"), "", "x", "9999-12-31T23:59:59Z", "2199-12-31T23:59:59.999999Z",
    "0001-01-01T00:00:00Z", "1970-01-01T00:00:01Z", [], [None], {}, {"a": {}}, [["x"]], "2026-02-30T00:00:00Z", 10**400,
)  # fmt: skip


def kinds(analysis: Analysis) -> set[str]:
    return {flag.kind for flag in analysis.flags}


def changed(deployment: Deployment, resource: str, change: Any) -> list[dict[str, Any]]:
    """Return the lines with `change(object)` applied to every object of a resource."""
    lines = copy.deepcopy(deployment.lines)
    for line in lines:
        if line["resource"] == resource:
            change(line["object"])
    return lines


def test_a_truncated_trace_is_flagged() -> None:
    """The lines before the truncation are analysed, and a flag reports it."""
    lines = generate(1).lines
    chunks = [encode_chunk(lines[:20]), encode_chunk(lines[20:])]
    whole = b"".join(chunks)
    analysis = analyse_trace(whole[: len(chunks[0]) + 40])
    assert analysis.outcome == "unfinished"
    assert "cut" in kinds(analysis)
    plain = b"".join(json.dumps(line).encode() + b"\n" for line in lines[:10])
    assert "cut" in kinds(analyse_trace(plain[:-25]))


def test_a_newer_format_is_unreadable_and_asks_for_an_upgrade() -> None:
    """The trace of a later format is not interpreted."""
    lines = generate(2).lines
    lines[0] = {**lines[0], "object": {**lines[0]["object"], "format": 99}}
    analysis = analyse_trace(encode_chunk(lines))
    assert analysis.outcome == "unreadable"
    assert analysis.reason is not None
    assert "upgrade" in analysis.reason


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello\n",
        b"\x89PNG\r\n",
        gzip.compress(b"no trace", mtime=0),
        b"\x1f\x8bbroken",
        b"[1, 2]\n",
        b'{"a": 1}\n',
    ],
)
def test_another_kind_of_file_is_unreadable(data: bytes) -> None:
    """The reason says that the data are no trace, and what to give instead."""
    analysis = analyse_trace(data)
    assert analysis.outcome == "unreadable"
    assert analysis.total_us is None


def test_a_header_without_its_content_is_unreadable() -> None:
    """Half a header contains no format, so the trace is not interpreted."""
    lines = generate(2).lines
    analysis = analyse([{key: value for key, value in lines[0].items() if key != "object"}, *lines[1:]])
    assert analysis.outcome == "unreadable"


def test_a_recording_of_something_else_has_no_rayservice() -> None:
    """Lines of a cluster without a RayService (a plain pod, a RayJob) are no failure of one."""
    lines = [line for line in generate(2).lines if line["resource"] in ("pods", "nodes", "events")]
    analysis = analyse(lines)
    assert (analysis.outcome, analysis.total_us, analysis.setup) == ("unfinished", None, None)
    assert "no_rayservice" in kinds(analysis)


def test_an_endpoint_before_its_submission_is_a_contradiction() -> None:
    """Impossible times give no total, and the flag names the two contradicting milestones."""
    deployment = generate(3)
    lines = [
        {**line, "received_at": "2020-01-01T00:00:00.000000Z"} if line["resource"] == "endpointslices" else line
        for line in deployment.lines
    ]
    analysis = analyse(lines)
    assert analysis.total_us is None
    assert "contradiction" in kinds(analysis)


def test_lines_of_one_log_that_run_backwards_are_a_contradiction() -> None:
    """Two seconds are within the bounds of a clock without samples, but one clock cannot write both stamps."""
    deployment = generate(3)
    early = deployment.truth["replica_initialising"] - timedelta(seconds=2)

    def backwards(line: dict[str, Any]) -> None:
        stamp = early.strftime("%Y-%m-%d %H:%M:%S,%f")[:-3]
        line["object"] = re.sub(r"INFO [-0-9 :,]+ (\S+ \S+ -- Weights downloaded)", rf"INFO {stamp} \1", line["object"])

    lines = copy.deepcopy(deployment.lines)
    for line in lines:
        if line["resource"] == "ray-log-file":
            backwards(line)
    analysis = analyse(lines)
    assert [flag for flag in analysis.flags if flag.kind == "contradiction" and "weights_downloaded" in flag.detail]
    assert "weight_download+model_load" in {phase.name for phase in analysis.phases}


@pytest.mark.parametrize(("outcome", "reason"), [("timed_out", "1800 s are over"), ("aborted", None), ("failed", "x")])
def test_the_end_line_decides_the_outcome(outcome: str, reason: str | None) -> None:
    """The recorder's outcome at the end counts, with its reason; a claimed readiness without an endpoint is flagged."""
    lines = [line for line in generate(9).lines if line["resource"] != "endpointslices"]
    end = {"received_at": lines[-1]["received_at"], "resource": "trace", "type": "END"}
    analysis = analyse([*lines, {**end, "object": {"outcome": outcome, "reason": reason}}])
    assert (analysis.outcome, analysis.reason) == (outcome, reason)
    claimed = analyse([*lines, {**end, "object": {"outcome": "ready", "reason": None}}])
    assert "contradiction" in kinds(claimed)


def test_a_recording_without_an_end_is_unfinished() -> None:
    """The recorder always writes its outcome. Without it a ready endpoint is no success; its time is reported."""
    analysis = analyse(generate(9).lines)
    assert analysis.outcome == "unfinished"
    assert analysis.total_us is not None


def test_an_older_rayservice_of_the_same_name_is_ignored() -> None:
    """Objects and events of an earlier RayService of the same name change nothing."""
    deployment = generate(10)
    before = analyse(deployment.lines).as_dict()
    service = copy.deepcopy(next(line for line in deployment.lines if line["resource"] == "rayservices"))
    service["object"]["metadata"] |= {"uid": "old", "creationTimestamp": "2026-05-04T10:00:00Z"}
    service |= {"type": "LISTED"}
    old_slice = copy.deepcopy(next(line for line in deployment.lines if line["resource"] == "endpointslices"))
    old_slice["object"]["metadata"] |= {
        "uid": "old-eps", "creationTimestamp": "2026-05-04T10:00:00Z", "ownerReferences": [{"uid": "old-svc"}]
    }  # fmt: skip
    old_slice["type"] = "LISTED"
    event = {
        "metadata": {"uid": "old-event"}, "reason": "Scheduled", "eventTime": "2026-05-04T10:00:01.000000Z",
        "involvedObject": {"kind": "Pod", "name": "trial-a-x7k2p-head", "uid": "old-pod"},
    }  # fmt: skip
    old_event = {**service, "resource": "events", "object": event}
    after = analyse([*deployment.lines, service, old_slice, old_event]).as_dict()
    assert after["phases"] == before["phases"]


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32))
# A list as the status of an application in Ray's answer.
@example(30755)
def test_no_content_makes_the_analysis_raise(seed: int) -> None:
    """For any value in any field, in a trace of any kind and distortion, analysis, view, judge and redaction end with a
    result, and its numbers stay in order.
    """
    rng = random.Random(seed)
    lines: list[Any] = copy.deepcopy(generate(seed % 500, draw_distortion(rng), draw_scenario(rng)).lines)
    for _ in range(rng.randint(1, 40)):
        spoil(rng, lines)
    analysis = analyse(lines)
    assert analysis.outcome in ("ready", "unfinished", "unreadable", "failed", "timed_out", "aborted")
    assert sum(phase.duration_us for phase in analysis.phases) == (analysis.total_us or 0)
    assert all(0 <= phase.shortest_s <= phase.duration_s <= phase.longest_s for phase in analysis.phases)
    assert all(m.earliest_at <= m.at <= m.latest_at for m in analysis.milestones)
    json.dumps(analysis.as_dict())
    view = TraceView(lines)
    for pod in (view.head, view.worker):
        image_arrival(view, pod)
        view.env_of(pod)
    switch(view, "HF_HUB_ENABLE_HF_TRANSFER")
    runtime_pip_seen(view)
    recipe_packages(view)
    judge = Readiness(NAME, NAMESPACE)
    for line in lines:
        judge.feed(line)
        if isinstance(line, dict):
            redact(str(line.get("resource")), line.get("object"))


def spoil(rng: random.Random, lines: list[Any]) -> None:
    """Change one thing: drop, repeat or move a line, or put another value at a random depth of a line."""
    at = rng.randrange(len(lines))
    kind = rng.random()
    if kind < 0.1 and len(lines) > 1:
        del lines[at]
    elif kind < 0.15:
        lines.append(copy.deepcopy(lines[at]))
    elif kind < 0.2:
        lines.append(lines.pop(at))
    else:
        _replace_at_random_depth(rng, lines, at)


def _replace_at_random_depth(rng: random.Random, holder: Any, key: Any) -> None:
    while rng.random() < 0.9:
        inner = holder[key]
        if not isinstance(inner, (dict, list)) or not inner:
            break
        holder = inner
        key = rng.choice(list(inner)) if isinstance(inner, dict) else rng.randrange(len(inner))
    if isinstance(holder, dict) and rng.random() < 0.2:
        del holder[key]
    elif isinstance(holder[key], str) and rng.random() < 0.6:
        holder[key] = _other_digits(rng, holder[key])
    else:
        holder[key] = copy.deepcopy(rng.choice(JUNK))


def _other_digits(rng: random.Random, told: str) -> str:
    """Change the numbers in a text: other instants, durations, sizes, also absurd ones."""
    if rng.random() < 0.6:
        return "".join(rng.choice("0123456789") if c.isdigit() and rng.random() < 0.3 else c for c in told)
    return re.sub(r"\d+", lambda found: rng.choice(("0", "9" * rng.randint(1, 400), found.group())), told)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32))
def test_no_bytes_make_reading_raise(seed: int) -> None:
    """Truncated, changed, repeated or dropped bytes, packed or not, give a defined outcome."""
    rng = random.Random(seed)
    lines = generate(seed % 20).lines
    if rng.random() < 0.5:
        data = bytearray(b"".join(encode_chunk(lines[at : at + 30]) for at in range(0, len(lines), 30)))
    else:
        data = bytearray(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    for _ in range(rng.randint(1, 5)):
        at = rng.randrange(len(data))
        end = at + rng.randint(1, 400)
        data[at:end] = rng.choice((b"", rng.randbytes(rng.randint(1, 50)), data[at:end] * 2))
    analysis = analyse_trace(bytes(data[: rng.randint(1, len(data))] if rng.random() < 0.5 else data))
    assert analysis.outcome in ("ready", "unfinished", "unreadable")


def test_gaps_of_the_recording_are_flagged() -> None:
    """A refused or interrupted watch is flagged; missing NodeClaims are no gap."""
    lines = generate(11).lines

    def mark(name: str, **detail: str) -> dict[str, Any]:
        at = lines[-1]["received_at"]
        return {"received_at": at, "type": "MARK", "resource": "trace", "object": {"mark": name, **detail}}

    lines += [
        mark("not_recorded", what="nodeclaims", why="404"),
        mark("watch_interrupted", resource="pods", why="410 Gone"),
        mark("watch_interrupted", resource="pods", why="reset"),
    ]
    gaps = [flag.detail for flag in analyse(lines).flags if flag.kind == "gap"]
    assert len(gaps) == 1
    assert "pods" in gaps[0]
    assert "2 times" in gaps[0]


@pytest.mark.parametrize("stored", [True, False])
def test_a_listed_endpoint_is_bounded_by_its_creation_and_its_last_write(stored: bool) -> None:
    """A recorder that began long after readiness bounds the endpoint by the slice's creation and its last write;
    without a stamp on that write, only by the receipt.
    """
    deployment = generate(12)
    lines = copy.deepcopy(deployment.lines)
    for line in lines:
        if line["resource"] == "endpointslices":
            line["type"], line["received_at"] = "LISTED", "2026-05-04T15:00:00.000000Z"
            line["object"]["metadata"]["generation"] = 3
            if not stored:
                line["object"]["metadata"]["managedFields"] = []
    milestone = analyse(lines).milestone("endpoint_ready")
    assert milestone is not None
    assert milestone.earliest_at <= deployment.truth["endpoint_ready"] <= milestone.latest_at
    assert milestone.width_s < 3 if stored else milestone.width_s > 60


def test_a_repeated_apply_does_not_move_the_submission() -> None:
    """After a crash the second apply finds the RayService: its marks are later than the creation, and ignored."""
    deployment = generate(13)
    lines = copy.deepcopy(deployment.lines)
    for line in lines:
        if line["resource"] == "rayservices":
            line["type"], line["received_at"] = "LISTED", "2026-05-04T14:30:00.000000Z"
    for name, at in (("apply_started", "2026-05-04T14:29:00Z"), ("apply_replied", "2026-05-04T14:29:01Z")):
        lines.append({"received_at": at, "type": "MARK", "resource": "trace", "object": {"mark": name}})
    milestone = analyse(lines).milestone("submitted")
    assert milestone is not None
    assert milestone.earliest_at <= deployment.truth["submitted"] <= milestone.latest_at
    assert milestone.width_s < 3
