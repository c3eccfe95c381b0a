"""Compiled graphs from a Job: no compilation with every step; without one it is back, and the verdict does not say yes.

Whole trials in virtual time with the preparation's claim and Job, recorded and judged by what is shipped
(`proof.recorded_trial`), without noise.
"""

from typing import Any

import pytest
from proof.catalogue.compile_cache import no_archive, not_led_there, not_unpacked
from proof.recorded_trial import Scenario, run
from proof.targets import target
from proof.workloads import SERVED_CURRENT, with_pip

from airflow_llm_provisioning.core.result import TrialResult, TrialStatus
from airflow_llm_provisioning.core.workload import ScalingSetup

# From the profile: 19.4 s, of which a tenth is left; 150 MB of archive over 0.35 GB/s.
COMPILE_S, LOAD_S, UNPACK_S = 19.4, 1.94, 0.43


def trial(**fields: Any) -> TrialResult:
    given = {"target": target("eks", "compile_cache"), "variant": "compile_cache", "declared": SERVED_CURRENT, **fields}
    return run(Scenario(noise=False, **given))[-1].row


def seconds_of(row: TrialResult, name: str) -> float:
    return sum(phase.duration_s for phase in row.phases if name in phase.name.split("+"))


def value_of(row: TrialResult, claim: str = "compile_cache") -> str:
    (found,) = [item["value"] for item in row.verdicts if item["claim"] == claim]
    return str(found)


@pytest.fixture(scope="module")
def plain() -> TrialResult:
    return trial(target=target("eks", "plain"), variant="baseline")


@pytest.fixture(scope="module")
def cached() -> TrialResult:
    return trial()


def test_everything_done_the_graphs_are_loaded(plain: TrialResult, cached: TrialResult) -> None:
    """Cold except for what was declared, applied, and the total is shorter by what is not compiled."""
    assert (cached.status, cached.start, cached.applied) == (TrialStatus.SUCCEEDED, "cold", "applied")
    assert seconds_of(plain, "compile") == pytest.approx(COMPILE_S, abs=1.1)
    assert seconds_of(cached, "compile") == pytest.approx(LOAD_S, abs=1.1)
    # What every start captures anew.
    assert seconds_of(cached, "graph_capture") == pytest.approx(seconds_of(plain, "graph_capture"), abs=1.1)
    assert cached.total_s is not None
    assert plain.total_s is not None
    assert plain.total_s - cached.total_s == pytest.approx(COMPILE_S - LOAD_S - UNPACK_S, abs=3)


@pytest.mark.parametrize("left_out", [not_unpacked, not_led_there])
def test_without_a_step_in_the_pod_it_is_compiled(plain: TrialResult, left_out: Any) -> None:
    """The init container, or the variable that leads the engine to what it unpacked."""
    row = trial(manifest=left_out)
    assert (row.status, row.applied, value_of(row)) == (TrialStatus.SUCCEEDED, "not applied", "no")
    assert seconds_of(row, "compile") == pytest.approx(seconds_of(plain, "compile"), abs=1.1)


def test_without_the_job_it_is_compiled(plain: TrialResult) -> None:
    """The claim is there and empty."""
    row = trial(objects=no_archive)
    assert (row.status, row.applied, value_of(row)) == (TrialStatus.SUCCEEDED, "not applied", "no")
    assert seconds_of(row, "compile") == pytest.approx(seconds_of(plain, "compile"), abs=1.1)


def test_an_application_of_the_users_own_that_installs_its_engine_gains_as_much() -> None:
    """The origin's application with a later vLLM from pip, without AOT, in a dynamic start on another cloud: a manifest
    that is no built-in one.
    """
    own = {"declared": with_pip(vllm="0.11.0"), "setup": ScalingSetup.DYNAMIC}
    row = trial(target=target("gke", "compile_cache"), **own)
    assert (row.status, row.start, row.applied) == (TrialStatus.SUCCEEDED, "cold", "applied")
    assert seconds_of(row, "compile") == pytest.approx(LOAD_S, abs=1.1)
    (evidence,) = [item["evidence"] for item in row.verdicts if item["claim"] == "compile_cache"]
    assert "which the Job prepared with vllm 0.11.0" in evidence[0]
