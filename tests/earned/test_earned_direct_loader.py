"""The gain of a direct loader is there with every step; without one it is gone, and the verdict does not say yes.

Whole trials in virtual time, recorded and judged by what is shipped (`proof.recorded_trial`), without noise.
"""

from dataclasses import replace
from typing import Any

import pytest
from proof.catalogue.direct_loader import without_the_backend
from proof.catalogue.edits import with_loader
from proof.recorded_trial import Scenario, run
from proof.targets import target
from proof.workloads import SERVED_CURRENT

from airflow_llm_provisioning.core.result import TrialResult, TrialStatus
from airflow_llm_provisioning.core.workload import DirectLoading

# The bytes of the weights at the profile's rates.
PLAIN_S, DIRECT_S, DISK_S = 7.642e9 / 1.2e9, 7.642e9 / 9.6e9, 7.642e9 / 131e6


def trial(cloud: str = "eks", **fields: Any) -> TrialResult:
    given = {"declared": SERVED_CURRENT, "variant": "direct_loader_baked", "noise": False, **fields}
    return run(Scenario(target=target(cloud, "plain"), **given))[-1].row


def load_s(row: TrialResult) -> float:
    """Return the phase from the end of the download to the model on the GPU."""
    return sum(phase.duration_s for phase in row.phases if "model_load" in phase.name)


def value_of(row: TrialResult) -> str:
    (found,) = [item["value"] for item in row.verdicts if item["claim"] == "direct_loader"]
    return str(found)


@pytest.mark.parametrize("cloud", ["eks", "aks"])
def test_everything_done_the_weights_load_at_the_loaders_rate(cloud: str) -> None:
    """Cold, applied, and faster by what bytes and rates say; a log's line has whole seconds."""
    row = trial(cloud)
    assert (row.status, row.start, row.applied) == (TrialStatus.SUCCEEDED, "cold", "applied")
    assert load_s(row) == pytest.approx(DIRECT_S, abs=1.1)


def test_without_the_load_format() -> None:
    """The engine loads as ever."""
    row = trial(manifest=with_loader("auto"))
    assert (row.status, row.applied, value_of(row)) == (TrialStatus.SUCCEEDED, "not applied", "no")
    assert load_s(row) == pytest.approx(PLAIN_S, abs=1.1)


def test_without_the_buffered_backend() -> None:
    """InstantTensor reads the node's disk again, which takes longer than vLLM's own loader from memory."""
    row = trial(manifest=without_the_backend, variant="direct_loader")
    assert (row.status, row.applied, value_of(row)) == (TrialStatus.SUCCEEDED, "not applied", "no")
    assert load_s(row) == pytest.approx(DISK_S, abs=1.1)
    assert load_s(row) > 5 * PLAIN_S


def test_without_the_package() -> None:
    """The engine does not start, so nothing is measured."""
    bare = replace(SERVED_CURRENT, direct_loader=DirectLoading(pip=()))
    row = trial(declared=bare, variant="direct_loader")
    assert row.status is TrialStatus.FAILED
    assert "Please install instanttensor" in str(row.reason)
    assert value_of(row) != "yes"


def test_installed_at_start_the_environment_takes_the_gain_back() -> None:
    """Without `bake_packages`, Ray makes an environment on head and worker for one package: it does not pay here."""
    direct, plain = trial(variant="direct_loader"), trial(variant="baseline")
    assert direct.applied == "applied"
    assert load_s(plain) == pytest.approx(PLAIN_S, abs=1.1)
    assert direct.total_s is not None
    assert plain.total_s is not None
    assert direct.total_s > plain.total_s
