"""Silent no-ops are caught and valid trials raise no alarm, although both come from the same simulator."""

from dataclasses import replace
from typing import Any

import pytest
from proof import FULL, SHORT
from proof.catalogue import CATALOGUE
from proof.catalogue.downloads import DOWNLOADS
from proof.noops import missed, prove, tried
from proof.recorded_trial import Scenario, run
from proof.targets import target
from proof.valid_trials import alarm, cells
from proof.workloads import SERVED_2025


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    # One process: the tests already have their processes.
    return prove(replace(SHORT, valid_trials=5, processes=1))


def test_every_no_op_that_is_tried_is_caught(found: dict[str, Any]) -> None:
    """The verdict is not applied, or the trial is excluded for the true reason; unknown only if unobservable."""
    assert found["missed"] == {}
    assert found["noops_caught"] == found["noops_total"] >= 9


def test_no_valid_trial_raises_an_alarm(found: dict[str, Any]) -> None:
    """Valid trials are cold, have every treatment applied, and no flags."""
    assert found["alarms"] == []
    assert (found["valid_trials"], found["false_alarms"]) == (5, 0)


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


def test_an_alarm_is_reported() -> None:
    """The other side can fail too: a trial with a plain download is no valid trial of a fast one."""
    (entry, *_) = DOWNLOADS
    told = alarm(entry.scenario)
    assert told is not None
    assert "not applied" in told


def test_valid_trials_cover_every_cell() -> None:
    """Three clouds, three node autoscalers, both set-ups, all variants, both profiles; each once before any twice."""
    every = cells()
    rates = {where.nodes.volume_initialization_rate_mib_s for where, *_ in every}
    assert rates == {None, 300}
    told = {
        (where.name, where.nodes.volume_initialization_rate_mib_s, setup, variant, served.profile)
        for where, setup, variant, served in every
    }
    assert len(told) == len(every)
    assert {where.cloud for where, *_ in every} == {"eks", "gke", "aks"}
    assert {variant for *_, variant, _ in every} == {
        "baseline",
        "fast_download",
        "baked_image",
        "image_delivery",
        "improved",
    }


def test_the_same_scenario_gives_the_same_trial() -> None:
    """A figure of the proof can be repeated; only the order of equal instants may differ."""
    scenario = Scenario(target=target("eks", "fast"), declared=SERVED_2025)
    one, other = (run(scenario)[-1].row for _ in range(2))
    assert one.total_s == pytest.approx(other.total_s, abs=0.01)
    assert one.verdicts == other.verdicts
    assert one.environment == other.environment
