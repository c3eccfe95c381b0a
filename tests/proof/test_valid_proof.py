"""Valid trials are not doubted and not given up, although they come from the same simulator as the no-ops."""

from dataclasses import replace
from typing import Any

import pytest
from proof import SHORT
from proof.catalogue.downloads import DOWNLOADS
from proof.valid import prove
from proof.valid_trials import cells, told
from proof.variants import VARIANTS


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    # One process: the tests already have their processes.
    return prove(replace(SHORT, valid_trials=5, processes=1))


def test_no_valid_trial_raises_an_alarm(found: dict[str, Any]) -> None:
    """Valid trials are cold, have every treatment applied, and no flags."""
    assert found["alarms"] == []
    assert (found["valid_trials"], found["false_alarms"]) == (5, 0)


def test_no_wait_for_a_valid_trial_ends_early(found: dict[str, Any]) -> None:
    """Waiting for nodes, pulls and weights is what a cold start does."""
    assert found["early"] == []
    assert found["false_early_ends"] == 0


def test_an_alarm_is_reported() -> None:
    """The other side can fail too: a trial with a plain download is no valid trial of a fast one."""
    (entry, *_) = DOWNLOADS
    found = told(entry.scenario)
    assert "not applied" in str(found.alarm)
    assert found.early is None


def test_valid_trials_cover_every_cell() -> None:
    """Three clouds, three node autoscalers, both set-ups, all variants, both profiles; each once before any twice."""
    every = cells()
    rates = {where.nodes.volume_initialization_rate_mib_s for where, *_ in every}
    assert rates == {None, 300}
    seen = {
        (where.name, where.nodes.volume_initialization_rate_mib_s, setup, variant, served.profile)
        for where, setup, variant, served in every
    }
    assert len(seen) == len(every)
    assert {where.cloud for where, *_ in every} == {"eks", "gke", "aks"}
    assert {variant for *_, variant, _ in every} == set(VARIANTS)
