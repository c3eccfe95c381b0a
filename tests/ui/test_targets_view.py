"""*Targets*: only what is possible is offered, and only to those who may start it."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from airflow_llm_provisioning.core.offer import offer_of, offered_targets
from airflow_llm_provisioning.core.operation import KEEP_DAYS
from airflow_llm_provisioning.core.result import Preparation
from airflow_llm_provisioning.dag_factory import load_experiment
from airflow_llm_provisioning.exceptions import ConfigurationError
from airflow_llm_provisioning.gateways.store import ResultsStore
from airflow_llm_provisioning.ui.views.targets import _state

ROOT = Path(__file__).resolve().parents[2]
DAGS = ROOT / "airflow_llm_provisioning" / "example_dags"


def offered(page: str) -> list[dict[str, str]]:
    """Return the combinations that a page offers."""
    return [json.loads(unescape(value)) for value in re.findall(r'<option value="(\{[^"]*)"', page)]


def test_every_offered_combination_is_possible() -> None:
    """And all that are possible are offered: the experiment itself takes each, and refuses others."""
    experiment = load_experiment(DAGS / "experiments" / "simulated.yaml")
    cells = [cell for target in offered_targets(offer_of(experiment)) for cell in target.cells()]

    for cell in cells:
        assert len(list(experiment.narrowed(**cell).cells())) == 1
    assert {(c["target"], c["workload"], c["setup"], c["variant"]) for c in cells} >= {
        (c.target, c.workload, str(c.setup), c.variant) for c in experiment.cells()
    }
    with pytest.raises(ConfigurationError):
        experiment.narrowed(**{**cells[0], "variant": "improved"})


def test_what_is_no_offer_offers_nothing() -> None:
    """The text is in a DAG that anybody may have written."""
    for text in (None, 7, "", "{", "[]", '{"targets": 3}', '{"targets": [1, {"name": 2}]}'):
        assert offered_targets(text) == []


@pytest.mark.usefixtures("single_trial")
def test_an_op_is_offered_what_is_possible(op: Any, store: ResultsStore) -> None:
    """The page offers the cells of the DAG as Airflow stores it; the form names the DAG, and no address."""
    page = op.get("targets").text

    cells = offered(page)
    assert {"target": "eks-fast", "variant": "improved", "workload": "phi3-2025", "setup": "dynamic"} in cells
    assert not [cell for cell in cells if cell["target"] == "eks-plain" and cell["variant"] == "improved"]
    assert 'data-start="single_trial"' in page
    assert "not prepared" in page


@pytest.mark.usefixtures("single_trial")
def test_a_viewer_sees_the_targets_and_no_form(viewer: Any, store: ResultsStore) -> None:
    """Who may not trigger the DAG is told so."""
    page = viewer.get("targets").text

    assert "eks-fast" in page
    assert "may not start it" in page
    assert "<form" not in page


@pytest.mark.usefixtures("single_trial")
def test_preparations_are_shown_with_when_and_price(op: Any, store: ResultsStore) -> None:
    """A target is prepared when every step that its variants need is recorded; an unknown price is not 0."""
    made_at = datetime.now(UTC) - timedelta(days=2)
    assert "not prepared" in op.get("targets?target=eks-fast").text
    for verb in ("build_image", "snapshot_image", "set_up_nodes"):
        if verb == "set_up_nodes":
            assert "1 of 3 steps are missing" in op.get("targets?target=eks-fast").text
        store.save_preparation(
            Preparation(
                target="eks-fast",
                cloud="eks",
                verb=verb,
                content="c",
                result={"image": "registry/llm:1"},
                origin="simulated",
                seconds=12.5,
                prepared_at=made_at,
            )
        )

    page = op.get("targets?target=eks-fast").text

    assert '<span class="badge status good">prepared' in page
    assert f"Since {made_at:%Y-%m-%d %H:%M}." in page
    assert "registry/llm:1" in page
    assert "not known" in page
    assert "eks-plain" not in page


def test_every_state_of_a_preparation_has_its_words() -> None:
    """What is reaped after its expiry is not called prepared; what needs nothing is not called missing."""
    (target, *_) = offered_targets(offer_of(load_experiment(DAGS / "experiments" / "simulated.yaml")))
    now = datetime.now(UTC)
    step = Preparation(
        target=target.name, cloud="eks", verb="v", content="c", result={}, origin="simulated", seconds=1.0,
        prepared_at=now - timedelta(days=KEEP_DAYS + 1),
    )  # fmt: skip
    assert _state(replace(target, steps=()), {}, now)[:2] == ("needs no preparation", "good")
    assert _state(replace(target, steps=("v",)), {}, now)[:2] == ("not prepared", "bad")
    assert _state(replace(target, steps=("v", "w")), {"v": step}, now)[:2] == ("partly prepared", "bad")
    assert _state(replace(target, steps=("v",)), {"v": step}, now)[1] == "wait"
    new = replace(step, prepared_at=now)
    assert _state(replace(target, steps=("v",)), {"v": new}, now)[:2] == ("prepared", "good")


def test_without_a_store_the_targets_are_shown(op: Any, results_db: Path, single_trial: None) -> None:
    """The first visitor has no results store yet: nothing is prepared, and a trial can be started."""
    results_db.unlink(missing_ok=True)
    assert "Start a trial on eks-plain" in op.get("targets").text
    assert "There is no results store yet" in op.get("results").text
