"""What Airflow is told beside a task's result: links to the page, and events of assets."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import Asset
from airflow.sdk.execution_time.context import OutletEventAccessors
from operator_harness import context, experiment, planned, run
from trial_builders import OPENED_AT, a_result

from airflow_llm_provisioning.connections import open_store
from airflow_llm_provisioning.core.result import TrialStatus
from airflow_llm_provisioning.gateways.store.results import ResultsStore
from airflow_llm_provisioning.operators import (
    ApplyRayService,
    CloseTrial,
    CompareVariants,
    DeleteRayService,
    JudgeRun,
    OpenTrial,
    SetUpNodes,
    TellChanges,
)
from airflow_llm_provisioning.operators.assets import arms_of, changes_of, compared, regressed
from airflow_llm_provisioning.sensors import WaitServeEndpoint

TI: Any = SimpleNamespace(dag_id="nightly", run_id="manual__2026-11-30T01:00:00+00:00")
BASE = "/plugin/llm-deployments/llm-deployments"


@pytest.fixture
def store(results_db: Path) -> Iterator[ResultsStore]:
    opened = open_store()
    yield opened
    opened.close()


def link(operator: Any) -> str:
    """Return the operator's link, as Airflow asks for it in the task's process."""
    (found,) = operator.operator_extra_links
    return str(found.get_link(operator, ti_key=TI))


def emitting(run_id: str) -> tuple[Any, OutletEventAccessors]:
    """Return a context with Airflow's own collection of events, and that collection."""
    events = OutletEventAccessors()
    return context(run_id=run_id) | {"outlet_events": events}, events


def test_every_task_of_a_trial_leads_to_its_trial() -> None:
    """Also while it waits and after it failed; without a trial it leads to what exists."""
    trial = {"trial_id": "nightly/run 1+x"}
    wanted = f"{BASE}/trial?id=nightly%2Frun%201%2Bx"
    opening = OpenTrial(task_id="o", planned=trial, experiment=experiment())
    assert link(opening) == wanted
    opening.opened_trial_id = "again"
    assert link(opening) == f"{BASE}/trial?id=again"
    assert link(CloseTrial(task_id="c", trial=trial)) == wanted
    assert link(WaitServeEndpoint(task_id="w", rayservice={}, trial=trial)) == wanted
    assert link(ApplyRayService(task_id="a", trial=trial, experiment=experiment())) == wanted
    for alone in (WaitServeEndpoint(task_id="w", rayservice={}), DeleteRayService(task_id="d", rayservice={})):
        assert link(alone) == f"{BASE}/owned"


def test_results_and_preparations_lead_to_their_views() -> None:
    """Of the run that they are about, and of the target that they prepare."""
    own = f"{BASE}/results?experiment=e&dag=nightly&run=manual__2026-11-30T01%3A00%3A00%2B00%3A00"
    assert link(CompareVariants(task_id="c", experiment="e")) == own
    assert link(JudgeRun(task_id="j", experiment="e", expected=1)) == own
    assert link(TellChanges(task_id="t", experiment="e")) == own
    assert link(CompareVariants(task_id="c", experiment="e", run_id="r-2")).endswith("run=r-2")
    assert link(SetUpNodes(task_id="s", target={"name": "plain"})) == f"{BASE}/targets?target=plain"


def test_a_comparison_emits_itself_and_the_arms_that_it_measured(store: ResultsStore) -> None:
    """An arm without a comparable trial has no event; the names do not change from run to run."""
    for number, variant in enumerate(("baseline", "improved", "broken")):
        status = TrialStatus.FAILED if variant == "broken" else TrialStatus.SUCCEEDED
        row = a_result(
            f"t-{number}", variant=variant, status=status, experiment="nightly", run_id="run-1", dag_id="nightly"
        )
        store.save_trial(row)
    ctx, events = emitting("run-1")
    operator = CompareVariants(task_id="c", experiment="nightly")
    rows = run(operator, ctx)
    assert {str(outlet.name) for outlet in operator.outlets} == {
        "llm-provisioning/nightly/compared", "llm-provisioning/nightly/arms",
    }  # fmt: skip
    assert events[compared("nightly")].extra == {"dag_id": "nightly", "run_id": "run-1", "rows": rows}
    emitted = [event.dest_asset_key.uri for event in events[arms_of("nightly")].asset_alias_events]
    assert len(emitted) == 2
    assert all(uri.startswith("x-llm-provisioning://experiment/nightly/arm/eks/") for uri in emitted)
    assert {uri.rpartition("/")[2] for uri in emitted} == {"baseline", "improved"}


def test_a_regression_is_an_event_and_a_quiet_night_is_none(store: ResultsStore) -> None:
    """Other DAGs are scheduled on it, so an event without a regression would be a false alarm."""
    from datetime import timedelta

    for day in range(24):
        total_s = 1000.0 + day % 3 + 200.0 * (day >= 20)
        at = OPENED_AT + timedelta(days=day)
        fields: dict[str, Any] = {"experiment": "nightly", "dag_id": "nightly", "run_id": f"run-{day}"}
        store.save_trial(a_result(f"t-{day}", total_s=total_s, opened_at=at, **fields))
    ctx, events = emitting("run-21")
    assert run(TellChanges(task_id="c", experiment="nightly"), ctx) == []
    assert events[changes_of("nightly")].asset_alias_events == []
    ctx, events = emitting("run-22")
    told = run(TellChanges(task_id="c", experiment="nightly"), ctx)
    (event,) = events[changes_of("nightly")].asset_alias_events
    assert event.dest_asset_key.uri == regressed("nightly").uri == "x-llm-provisioning://experiment/nightly/regressed"
    assert event.extra == {"dag_id": "nightly", "run_id": "run-22", "changes": told}


def test_names_of_any_kind_make_valid_assets() -> None:
    """A template has no outlet, because outlets are known when the DAG is parsed."""
    found = regressed("nächtlich / 1")
    assert isinstance(found, Asset)
    assert found.uri == "x-llm-provisioning://experiment/n_chtlich___1/regressed"
    assert CompareVariants(task_id="c", experiment="{{ params.experiment }}").outlets == []
    assert planned()["trial_id"]
