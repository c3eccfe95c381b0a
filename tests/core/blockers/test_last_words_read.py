"""The log of a container's run before the present one: it explains an end, and times no start."""

import pytest

from airflow_llm_provisioning.core.blockers.reader import Blockers
from airflow_llm_provisioning.core.trace import Line
from airflow_llm_provisioning.core.trace.index import TraceIndex

AT = "2026-11-30T10:00:00Z"


def log(said: str, **fields: str) -> Line:
    text = "".join(f"2026-11-30T09:59:58.017042900Z {one}\n" for one in said.splitlines())
    return {"received_at": AT, "resource": "pod-log", "type": None, "object": text, **fields}


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("starting\nValueError: no such model\n", "ValueError: no such model"),
        ("starting\n/bin/bash: line 1: ray: command not found\n\n---\n", "/bin/bash: line 1: ray: command not found"),
        ("INFO fine\nERROR 11-30 09:59:57 [core.py:7] out of memory\nbye\n", "out of memory"),
    ],
)
def test_what_a_container_said_last_is_told_without_the_kubelets_times(said: str, words: str) -> None:
    """An exception or an error line is believed first, else the last line that says something."""
    blockers = Blockers("llm", "ml")
    blockers.feed(log(said, previous_of="llm-w/ray-worker"))
    found = blockers.engine_error()
    assert found is not None
    assert found[:2] == ("The last words of container llm-w/ray-worker before it was started again", words)


def test_the_engines_own_log_is_believed_before_a_container() -> None:
    """A worker process's output names the cause more precisely than the container around it."""
    blockers = Blockers("llm", "ml")
    blockers.feed(log("ended\n", previous_of="llm-w/ray-worker"))
    blockers.feed(
        {"received_at": AT, "resource": "ray-log-file", "filename": "worker-1.err", "object": "OSError: a gated repo."}
    )
    found = blockers.engine_error()
    assert found is not None
    assert found[:2] == ("The engine's own last error (worker-1.err)", "OSError: a gated repo.")


def test_a_present_containers_log_is_no_last_word() -> None:
    """What a running container writes says nothing about an end."""
    blockers = Blockers("llm", "ml")
    blockers.feed(log("ValueError: handled\n"))
    assert blockers.engine_error() is None


def test_it_times_nothing() -> None:
    """Only the present run's log is among those from which starts are read."""
    before = log("GCS is ready.\n", previous_of="llm-w/wait-gcs-ready")
    index = TraceIndex([before, log("GCS is ready.\n", path="/pods/llm-w/log?container=wait-gcs-ready")])
    assert [one.container for one in index.logs] == ["wait-gcs-ready"]
