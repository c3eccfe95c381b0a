"""Any text in an experiment file gives an experiment or sentences; never another exception, never for long.

500 examples each. LLM_PROVISIONING_FUZZ=full tries 10,000 of each, which takes some minutes.
"""

import json
import os
import time
from typing import Any

import pytest
from experiment_changes import BASE, CHANGES, JSON_VALUES, Change, mutated
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_llm_provisioning.core.experiment_file import read_experiment_text
from airflow_llm_provisioning.dag_factory.experiment_file import checked
from airflow_llm_provisioning.exceptions import ConfigurationError

FULL = os.environ.get("LLM_PROVISIONING_FUZZ") == "full"
# Of processor time: other work on the machine must not decide.
LIMIT_S = 2.0

fuzzed = settings(
    max_examples=10_000 if FULL else 500,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
pytestmark = pytest.mark.timeout(7200 if FULL else 300)


def no_such_file(path: str) -> str:
    raise ConfigurationError("The file cannot be read: No such file or directory.")


def outcome(text: str) -> str:
    """Return `read` or `refused`; everything else than sentences that begin with the file's name fails."""
    began = time.process_time()
    try:
        checked(read_experiment_text(text, where="it.yaml", read_text=no_such_file))
        found = "read"
    except ConfigurationError as error:
        found = "refused"
        lines = str(error).split("\n")
        assert len(lines) <= 21
        for line in lines:
            assert line.startswith("it.yaml"), line
            assert line.endswith("."), line
            assert line.isprintable(), line
            assert len(line) < 3000, line
    assert time.process_time() - began < LIMIT_S
    return found


@fuzzed
@given(st.text())
def test_any_text(text: str) -> None:
    """Text is refused unless it is an experiment."""
    assert outcome(text) == "refused"


@fuzzed
@given(JSON_VALUES)
def test_any_json(value: Any) -> None:
    """Also numbers that JSON does not have, and characters that Unicode does not have."""
    assert outcome(json.dumps(value)) == "refused"


@fuzzed
@given(CHANGES)
def test_a_damaged_experiment(changes: list[Change]) -> None:
    """One to three places are deleted, replaced, retyped, or get a neighbour."""
    outcome(json.dumps(mutated(changes)))


def test_the_undamaged_experiment_is_read() -> None:
    """So a refusal above is due to the damage."""
    assert outcome(json.dumps(BASE)) == "read"


LARGE: dict[str, dict[str, Any]] = {
    "targets": BASE | {"targets": [BASE["targets"][0] | {"name": f"t{n}"} for n in range(2000)]},
    "a thousand targets": BASE | {"targets": [BASE["targets"][0] | {"name": f"t{n}"} for n in range(1000)]},
    "unknown variants": BASE
    | {
        "targets": [
            BASE["targets"][0] | {"name": f"t{n}", "variants": [f"unknown{n}{m}" for m in range(100)]}
            for n in range(900)
        ]
    },
    "a hundred workloads": BASE | {"workloads": {f"w{n}": {"profile": "phi3-2025"} for n in range(100)}},
    "variants": BASE | {"variants": {f"v{n}": ["fast_download", "bake_packages"] for n in range(1000)}},
    "treatments": BASE | {"variants": {f"v{n}": [f"no{n}{m}" for m in range(50)] for n in range(1000)}},
    "unknown keys": BASE | {f"key{n}": n for n in range(20_000)},
    "a long name": BASE | {"name": "x" * 1_000_000},
    "a long key": BASE | {"x" * 1_000_000: 1},
    "a long variant": BASE | {"targets": [BASE["targets"][0] | {"variants": ["v" * 1_000_000]}]},
}


@pytest.mark.parametrize("data", LARGE.values(), ids=list(LARGE))
def test_a_large_experiment_is_refused_soon(data: dict[str, Any]) -> None:
    """Many entries or long names: within the limits of the text, and far beyond any run."""
    assert outcome(json.dumps(data)) == "refused"
