"""Silent no-ops are caught, although what they change is a cause and not a trace."""

from dataclasses import replace
from typing import Any

import pytest
from proof import FULL, SHORT
from proof.catalogue import CATALOGUE
from proof.catalogue.downloads import DOWNLOADS
from proof.noops import missed, prove, tried
from proof.recorded_trial import Scenario, run
from proof.targets import target
from proof.workloads import SERVED_2025

from airflow_llm_provisioning.core.treatments import known_treatments


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    # One process: the tests already have their processes.
    return prove(replace(SHORT, processes=1))


def test_every_no_op_that_is_tried_is_caught(found: dict[str, Any]) -> None:
    """The verdict is not applied, or the trial is excluded for the true reason; unknown only if unobservable."""
    assert found["missed"] == {}
    assert found["noops_caught"] == found["noops_total"] == len(tried(SHORT))


def test_a_short_run_leaves_no_verdict_out() -> None:
    """Every claim is tried on every cloud that has a no-op of it, the unobservable ones too; it is a third at most."""
    kinds = {(entry.claim, entry.scenario.target.cloud, entry.truth) for entry in CATALOGUE}
    chosen = [CATALOGUE[place] for place in tried(SHORT)]
    assert {(entry.claim, entry.scenario.target.cloud, entry.truth) for entry in chosen} == kinds
    assert known_treatments().keys() <= {entry.claim for entry in chosen}
    assert len(chosen) == len(kinds) <= len(CATALOGUE) / 3
    assert set(tried(replace(SHORT, seed=2))) != set(tried(SHORT))


def test_the_catalogue_is_of_different_no_ops() -> None:
    """There are at least twenty names; a full run tests all; unobservable ones are the exception and have a reason."""
    assert len({entry.name for entry in CATALOGUE}) == len(CATALOGUE) >= 20
    assert len(tried(FULL)) == len(CATALOGUE)
    unseen = [entry for entry in CATALOGUE if entry.truth == "unknown"]
    assert all(entry.why_unseen for entry in unseen)
    assert len(unseen) <= 2


def test_a_trial_without_a_fault_is_not_caught() -> None:
    """The proof can fail: a trial without a fault is no no-op and does not count as caught."""
    (entry, *_) = DOWNLOADS
    valid = Scenario(target=target("eks"), declared=SERVED_2025, variant="fast_download")
    why = missed(replace(entry, scenario=valid))
    assert why is not None
    assert "it counts: applied" in why


def test_an_image_outside_the_plan_is_not_the_variants() -> None:
    """A baseline whose applied manifest names an image that the plan does not contain does not count."""
    (entry,) = [entry for entry in CATALOGUE if entry.claim == "variant_image" and entry.scenario.variant == "baseline"]
    row = run(entry.scenario)[-1].row
    (found,) = [item for item in row.verdicts if item["claim"] == "variant_image"]
    assert found["value"] == "no"
    assert any("planned was rayproject/ray-ml" in sentence for sentence in found["evidence"])
    assert row.exclusion == "treatment not applied"


def test_the_same_scenario_gives_the_same_trial() -> None:
    """A figure of the proof can be repeated; only the order of equal instants may differ."""
    scenario = Scenario(target=target("eks", "fast"), declared=SERVED_2025)
    one, other = (run(scenario)[-1].row for _ in range(2))
    assert one.total_s == pytest.approx(other.total_s, abs=0.01)
    assert one.verdicts == other.verdicts
    assert one.environment == other.environment
