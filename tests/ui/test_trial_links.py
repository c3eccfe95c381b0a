"""From a trial to the logs of its tasks: the tasks whose extra link leads to it, as Airflow keeps the links."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from result_builders import a_trial

from airflow_llm_provisioning.core.page_links import trial_link
from airflow_llm_provisioning.gateways.store import ResultsStore
from airflow_llm_provisioning.ui.airflow_dags import TaskOfTrial, owned_lists, tasks_of_trial

TRIAL = "by-hand/eks 1+x"
LINKS = {
    "open": trial_link(TRIAL),
    # A server below a path, and the same as the task's process sends it: JSON in a text.
    "wait": json.dumps(trial_link(TRIAL, root="/air")),
    "close": trial_link(f"another-{TRIAL}"),
    "judge": trial_link(""),
}

# What the reaper's tasks saw, one after the other; here under names that this DAG has.
SEEN = (("cluster:a", "old", "open"), ("cluster:b", "node", "wait"), ("cluster:a", "pod", "close"))


@pytest.fixture(scope="module")
def a_run(single_trial: None) -> Iterator[str]:
    """Give a DAG run with links and lists in its tasks' XComs; other tests do not see it."""
    from airflow.models.dagrun import DagRun
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    run_id = "manual__2026-11-30T01:00:00+00:00"
    with create_session() as session:
        dag = SerializedDagModel.get_dag("single_trial")
        assert dag is not None
        made: DagRun = dag.create_dagrun(
            run_id=run_id,
            run_after=datetime.now(UTC),
            run_type=DagRunType.MANUAL,
            triggered_by=DagRunTriggeredByType.TEST,
            state=DagRunState.SUCCESS,
            session=session,
        )
        for task_id, link in LINKS.items():
            told = {"key": "_link_TrialLink", "value": link, "dag_id": "single_trial", "run_id": run_id}
            session.add(XComModel(dag_run_id=made.id, task_id=task_id, map_index=-1, **told))
        for at, (place, kind, task_id) in enumerate(SEEN):
            item = {"kind": kind, "name": "<b>x</b>", "state": "expired", "age_s": 90061, "price_hour_usd": 1.32}
            listed = {"place": place, "at": f"2026-11-30T0{at}:00:00+00:00", "items": [item]}
            told = {"key": "llm_owned", "value": json.dumps(listed), "dag_id": "single_trial", "run_id": run_id}
            when = {"timestamp": datetime(2026, 11, 30, at, tzinfo=UTC)}
            session.add(XComModel(dag_run_id=made.id, task_id=task_id, map_index=-1, **told, **when))
    yield run_id
    with create_session() as session:
        session.query(XComModel).filter(XComModel.run_id == run_id).delete()
        session.query(DagRun).filter(DagRun.run_id == run_id).delete()


def test_the_tasks_of_a_trial_are_those_that_lead_to_it(a_run: str) -> None:
    """A trial whose name ends like it is another one; a run that Airflow does not have has no tasks."""
    assert tasks_of_trial("single_trial", a_run, TRIAL) == [TaskOfTrial("open", -1), TaskOfTrial("wait", -1)]
    assert tasks_of_trial("single_trial", "gone", TRIAL) == []


def test_what_the_reaper_saw_last_is_listed_with_its_price(viewer: Any, store: ResultsStore, a_run: str) -> None:
    """Of every place the newest list, also where the ledger is empty; of DAGs that are asked for only."""
    assert [found["at"][11:13] for found in owned_lists({"single_trial"})] == ["01", "02"]
    assert owned_lists({"another"}) == []
    page = viewer.get("owned").text
    assert "cluster:a, seen 2026-11-30 02:00" in page
    assert "cluster:b, seen 2026-11-30 01:00" in page
    assert "old" not in page.partition('id="seen"')[2].partition("<footer")[0]
    assert "&lt;b&gt;x&lt;/b&gt;" in page
    assert "1 d 1 h" in page
    assert ">1.32<" in page
    assert page.count('badge status bad">expired') == 2


def test_a_trial_leads_to_its_logs(viewer: Any, store: ResultsStore, a_run: str) -> None:
    """The links open in Airflow; where it has forgotten the run, that is said."""
    store.save_trial(a_trial(TRIAL, dag_id="single_trial", run_id=a_run))
    store.save_trial(a_trial("forgotten"))
    page = viewer.get("trial", params={"id": TRIAL}).text
    run = "../dags/single_trial/runs/manual__2026-11-30T01%3A00%3A00%2B00%3A00"
    assert f'href="{run}/tasks/open" data-airflow="">open</a>' in page
    assert f'href="{run}/tasks/wait" data-airflow="">wait</a>' in page
    assert f"{run}/tasks/close" not in page
    assert "does not have its tasks any more" in viewer.get("trial?id=forgotten").text
