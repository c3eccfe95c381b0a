"""The recordings of real deployments measure the same after redaction: nothing that is needed looks like a secret."""

from pathlib import Path

import pytest

from airflow_llm_provisioning.core.timing.analysis import analyse
from airflow_llm_provisioning.core.trace import decode_trace
from airflow_llm_provisioning.core.trace.secrets import find_secrets, without_secrets

FOLDER = Path(__file__).resolve().parents[2] / "recordings"
RECORDINGS = sorted(str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.jsonl.gz"))


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recording_measures_the_same(name: str) -> None:
    """Milestones, phases, verdicts, flags and reasons are equal, and the copy has no finding."""
    lines = decode_trace((FOLDER / name).read_bytes()).lines
    kept = [without_secrets(item) for item in lines]
    assert analyse(kept).as_dict() == analyse(lines).as_dict()
    assert find_secrets(kept) == ()
