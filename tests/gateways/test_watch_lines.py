"""One line of a watch, as API servers write it, becomes its event."""

import gc
import json

import pytest

from airflow_llm_provisioning.exceptions import ClusterUnreachableError
from airflow_llm_provisioning.gateways.kubernetes.watch import WatchEvent, event_of


@pytest.mark.parametrize(
    "obj",
    [
        {"metadata": {"name": "ä-\u2028", "generation": 2**63, "labels": {}}, "status": {"ready": None, "share": 0.1}},
        # A message that was cut in the middle of a pair, as a kubelet cuts the last bytes of a log.
        {"status": {"message": "cut \ud83d"}},
        {"status": {"share": float("nan"), "large": 10**30}},
    ],
)
def test_a_line_is_read_as_it_was_written(obj: dict[str, object]) -> None:
    """Escaped or not; also what the quick parser refuses. A pair that is cut and not escaped is no UTF-8."""
    told = {"type": "ADDED", "object": obj}
    for line in (
        json.dumps(told).encode(),
        json.dumps(told, ensure_ascii=False).encode("utf-8", "surrogatepass"),
    ):
        try:
            expected = json.loads(line)
        except UnicodeDecodeError:
            with pytest.raises(ValueError, match="decode"):
                event_of(line)
            continue
        event = event_of(line)
        assert (event.type, repr(event.object), event.line) == ("ADDED", repr(expected["object"]), line)


@pytest.mark.parametrize("line", [b"<html>", b'{"type": "ADDED"', b"\xff\xfe"])
def test_what_is_no_json_is_a_value_error(line: bytes) -> None:
    """A proxy's page or a line that was cut: the watch counts as interrupted."""
    with pytest.raises(ValueError, match=r"."):
        event_of(line)


def test_a_line_that_waits_for_its_reader_is_bytes() -> None:
    """Thousands of parsed objects make every garbage collection slow, and readers that are behind fall further back."""
    pod = {"metadata": {"name": "p", "resourceVersion": "7"}, "spec": {"containers": [{"env": [{"name": "A"}] * 50}]}}
    line = json.dumps({"type": "MODIFIED", "object": pod}).encode()
    before = len(gc.get_objects())
    events = [event_of(line) for _ in range(200)]
    assert len(gc.get_objects()) - before < 3 * len(events)
    assert {event.version for event in events} == {"7"}
    assert events[0].object == pod


def test_a_line_that_turns_out_to_be_no_json_interrupts_the_watch() -> None:
    """Its beginning was enough to queue it; its reader watches again."""
    with pytest.raises(ClusterUnreachableError, match="no JSON"):
        WatchEvent("ADDED", line=b'{"type": "ADDED", "object": {"metadata"').object  # noqa: B018 - it is made now
