"""Weights in an image volume: no download with every step; with one left out it is back, and the verdict says no.

Whole trials in virtual time, recorded and judged by what is shipped (`proof.recorded_trial`), without noise.
"""

from typing import Any

import pytest
from proof.catalogue.image_volume import from_the_hub, gate_off
from proof.catalogue.preparations import world
from proof.recorded_trial import Scenario, run
from proof.targets import target
from proof.workloads import SERVED_CURRENT

from airflow_llm_provisioning.core.result import TrialResult, TrialStatus

# EKS, from the profile: what the node's memory does not take goes to a gp3 volume of 131 MB/s.
PULL_S = 1.0 + (7.645e9 - 3e9) / 131e6
LOAD_S = 7.642e9 / 1.2e9


def trial(**fields: Any) -> TrialResult:
    given = {"target": target("eks", "image_volume", kubernetes_minor="1.35"), "variant": "image_volume", **fields}
    return run(Scenario(declared=SERVED_CURRENT, noise=False, **given))[-1].row


def seconds_of(row: TrialResult, name: str) -> float:
    return sum(phase.duration_s for phase in row.phases if name in phase.name.split("+"))


def value_of(row: TrialResult) -> str:
    (found,) = [item["value"] for item in row.verdicts if item["claim"] == "image_volume"]
    return str(found)


@pytest.fixture(scope="module")
def plain() -> TrialResult:
    return trial(target=target("eks", "plain", kubernetes_minor="1.35"), variant="baseline")


def test_everything_done_the_weights_are_pulled_and_not_downloaded(plain: TrialResult) -> None:
    """Cold, applied; the engine only loads, and the bytes are in the phase of the pull, where a new node pays them."""
    row = trial()
    assert (row.status, row.start, row.applied) == (TrialStatus.SUCCEEDED, "cold", "applied")
    assert seconds_of(row, "weight_download") == 0
    assert seconds_of(row, "model_load") == pytest.approx(LOAD_S, abs=1.1)
    assert seconds_of(plain, "weight_download") > 30
    pull = "head_image_pull" if seconds_of(row, "head_image_pull") else "worker_image_pull"
    assert seconds_of(row, pull) - seconds_of(plain, pull) == pytest.approx(PULL_S, abs=2.1)
    assert row.total_s is not None
    assert plain.total_s is not None
    # On a new node nothing is gained: the bytes come over the same disk, before the image instead of beside nothing.
    assert row.total_s == pytest.approx(plain.total_s, abs=20)


@pytest.mark.parametrize(
    "left_out",
    [{"manifest": from_the_hub}, {"manifest": from_the_hub, "after_preparation": world(gate_off)}],
    ids=["source", "gate"],
)
def test_without_one_step_the_download_is_back(plain: TrialResult, left_out: dict[str, Any]) -> None:
    """The engine reads the hub's model; an API server without the gate drops the volume."""
    row = trial(**left_out)
    assert (row.status, row.applied, value_of(row)) == (TrialStatus.SUCCEEDED, "not applied", "no")
    assert seconds_of(row, "weight_download") == pytest.approx(seconds_of(plain, "weight_download"), abs=1.1)


def test_a_dropped_volume_leaves_no_model() -> None:
    """The engine does not start, so nothing is measured."""
    row = trial(after_preparation=world(gate_off))
    assert row.status is TrialStatus.FAILED
    assert "Repo id must be in the form" in str(row.reason)
    assert value_of(row) == "no"
