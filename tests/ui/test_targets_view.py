"""*Targets*: only what is possible is offered, and only to those who may start it."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from trial_builders import OPENED_AT, a_result

from airflow_llm_provisioning.core.offer import offer_of, offered_targets
from airflow_llm_provisioning.core.operation import KEEP_DAYS
from airflow_llm_provisioning.core.progress import Expected
from airflow_llm_provisioning.core.result import Preparation
from airflow_llm_provisioning.core.running import begun, news
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


def words(page: Any) -> str:
    """Return the words of an answer, single-spaced."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page.text)).split())


@pytest.mark.usefixtures("single_trial")
def test_the_holder_of_the_lease_is_who_runs_or_whom_the_waiting_were_told(
    op: Any, store: ResultsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a look at the cluster. A trial of a DAG that the reader may not see is not named."""
    from airflow.api_fastapi.app import get_auth_manager

    def progress(trial_id: str, step: Any, dag_id: str, blocker: str | None = None) -> None:
        trial = a_result(trial_id, target="eks-plain", cluster="eks-plain", dag_id=dag_id).trial
        row = begun(trial, step, task_id="wait", at=OPENED_AT, expected=Expected())
        store.progress.begin({**row, **news(step, "", blocker, 0.0)})

    assert "No trial of this store is running on it." in words(op.get("targets?target=eks-plain"))
    told = "Lock default/llm-provisioning is held by 'other/run' until 2026-11-30 08:00:00 (cluster time)"
    progress("t-2", "lock", "single_trial", told)
    assert f"Its cluster is held, as a trial that waits for it was told: {told}" in words(
        op.get("targets?target=eks-plain")
    )
    progress("t-1", "wait", "nightly")
    held = words(op.get("targets?target=eks-plain"))
    assert "Its cluster is held by trial t-1 of DAG run nightly/run-1, since 2026-" in held
    assert "1 more waits for it." in held

    def only_single(*, dag_ids: set[str], **_: Any) -> set[str]:
        return dag_ids & {"single_trial"}

    monkeypatch.setattr(get_auth_manager(), "filter_authorized_dag_ids", only_single)
    hidden = words(op.get("targets?target=eks-plain"))
    assert "Its cluster is held by a trial of a DAG that you may not read, since 2026-" in hidden
    assert "nightly" not in hidden
    assert "t-1" not in hidden


@pytest.mark.usefixtures("single_trial")
def test_what_the_machines_of_a_target_cost_is_taken_from_a_trial(op: Any, store: ResultsStore) -> None:
    """Per machine and together; without a price it is not known, and not 0."""

    def cost(*hours: float | None) -> dict[str, Any]:
        nodes = [{"node": f"n-{at}", "instance_type": f"g6.{at}xlarge", "hour": h} for at, h in enumerate(hours)]
        return {"currency": "USD", "nodes": nodes}

    page = "targets?target=eks-plain"
    assert "What its machines cost is not known" in words(op.get(page))
    store.save_trial(a_result("old", target="eks-plain", opened_at=OPENED_AT, cost=cost(9.0)))
    store.save_trial(a_result("new", target="eks-plain", opened_at=OPENED_AT + timedelta(days=1), cost=cost(0.8, 1.32)))
    store.save_trial(a_result("else", target="eks-fast", opened_at=OPENED_AT + timedelta(days=2), cost=cost(5.0, None)))
    newest = "The machines of one of its newest trials, USD an hour:"
    assert f"{newest} g6.0xlarge 0.80, g6.1xlarge 1.32; together 2.12." in words(op.get(page))
    assert f"{newest} g6.0xlarge 5.00, g6.1xlarge not known; together at least 5.00." in words(
        op.get("targets?target=eks-fast")
    )


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
