"""Weights on a shared volume: no download with every step; without one it is back, and the verdict does not say yes.

Whole trials in virtual time with the preparation's claim and Job, recorded and judged by what is shipped
(`proof.recorded_trial`), without noise.
"""

from typing import Any

import pytest
from proof.catalogue.preparations import world
from proof.catalogue.shared_weights import not_mounted, other_revision
from proof.recorded_trial import Scenario, run
from proof.targets import target
from proof.workloads import SERVED_CURRENT

from airflow_llm_provisioning.core.result import TrialResult, TrialStatus
from llm_provisioning_simulator.instant_trial import Stage

# From the profile: 7.64 GB over 0.39 GB/s.
LOAD_S = 7.642e9 / 0.39e9


def trial(**fields: Any) -> TrialResult:
    given = {"target": target("eks", "shared_weights"), "variant": "shared_weights", **fields}
    return run(Scenario(declared=SERVED_CURRENT, noise=False, **given))[-1].row


def seconds_of(row: TrialResult, name: str) -> float:
    return sum(phase.duration_s for phase in row.phases if name in phase.name.split("+"))


def value_of(row: TrialResult) -> str:
    (found,) = [item["value"] for item in row.verdicts if item["claim"] == "shared_weights"]
    return str(found)


@pytest.fixture(scope="module")
def plain() -> TrialResult:
    return trial(target=target("eks", "plain"), variant="baseline")


def test_everything_done_the_weights_are_read_from_the_volume(plain: TrialResult) -> None:
    """Cold, applied, no download; loading takes the bytes at the volume's rate, and the total is shorter."""
    row = trial()
    assert (row.status, row.start, row.applied) == (TrialStatus.SUCCEEDED, "cold", "applied")
    assert seconds_of(row, "weight_download") == 0
    assert seconds_of(row, "model_load") == pytest.approx(LOAD_S, abs=1.1)
    gained = seconds_of(plain, "weight_download") + seconds_of(plain, "model_load") - seconds_of(row, "model_load")
    assert gained > 20
    assert row.total_s is not None
    assert plain.total_s is not None
    assert plain.total_s - row.total_s == pytest.approx(gained, abs=3)


def test_without_the_mount_the_download_is_back(plain: TrialResult) -> None:
    """The engine reads the hub's model."""
    row = trial(manifest=not_mounted)
    assert (row.status, row.applied, value_of(row)) == (TrialStatus.SUCCEEDED, "not applied", "no")
    assert seconds_of(row, "weight_download") == pytest.approx(seconds_of(plain, "weight_download"), abs=1.1)


def test_filled_from_another_revision_it_is_not_believed() -> None:
    """It starts as fast, and it is another model than the trial was planned with."""
    row = trial(objects=other_revision)
    assert (row.status, row.applied, value_of(row)) == (TrialStatus.SUCCEEDED, "not applied", "no")


def test_without_the_volume_nothing_is_measured() -> None:
    """The claim was deleted after it was filled: the pods stay pending."""

    def deleted(on: Stage) -> None:
        for item in on.cluster.store.list("persistentvolumeclaims", "default"):
            on.cluster.store.remove("persistentvolumeclaims", item["metadata"]["name"], "default")

    row = trial(after_preparation=world(deleted), limit_s=600.0)
    assert row.status is not TrialStatus.SUCCEEDED
    assert value_of(row) != "yes"
