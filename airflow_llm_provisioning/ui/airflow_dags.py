"""What Airflow's own database says of this package's DAGs. Only the API server may read it."""

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final

from airflow_llm_provisioning.core.fields import items, mapping, text
from airflow_llm_provisioning.core.names import OWNED_LIST
from airflow_llm_provisioning.core.offer import OFFER, OfferedTarget, offered_targets
from airflow_llm_provisioning.core.page_links import trial_link
from airflow_llm_provisioning.operators.links import TrialLink
from airflow_llm_provisioning.ui.access import may, may_start, readable_dags

# The tag of the DAGs that the page looks at.
TAG: Final = "llm-provisioning"
# Newest lists of the reaper that are read: it looks at each place once a night.
MOST_LISTS: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class StartingDag:
    """A DAG that can start single trials. `may_start`, `may_unpause`: what the user may do with it."""

    dag_id: str
    paused: bool
    may_start: bool
    may_unpause: bool
    targets: list[OfferedTarget]


def tagged_dags() -> dict[str, bool]:
    """Return the DAGs with this package's tag: DAG id -> whether it is paused."""
    from airflow.models.dag import DagModel, DagTag
    from airflow.utils.session import create_session
    from sqlalchemy import select

    query = (
        select(DagModel.dag_id, DagModel.is_paused)
        .join(DagTag, DagTag.dag_id == DagModel.dag_id)
        .where(DagTag.name == TAG, ~DagModel.is_stale)
        .order_by(DagModel.dag_id)
    )
    with create_session() as session:
        return {dag_id: bool(paused) for dag_id, paused in session.execute(query)}


def starting_dags(user: Any) -> list[StartingDag]:
    """Return the DAGs with a form for single trials that the user may read."""
    known = tagged_dags()
    return [
        StartingDag(
            dag_id=dag_id,
            paused=known[dag_id],
            may_start=may_start(user, dag_id),
            may_unpause=may(user, "PUT", dag_id),
            targets=targets,
        )
        for dag_id, targets in _offers(sorted(readable_dags(user, known)))
        if targets
    ]


@dataclass(frozen=True, slots=True)
class TaskOfTrial:
    """A task of a DAG run that worked for a trial. `map_index`: -1 where it is not mapped."""

    task_id: str
    map_index: int


def tasks_of_trial(dag_id: str, run_id: str, trial_id: str) -> list[TaskOfTrial]:
    """Return the tasks that worked for a trial, in their order; empty where Airflow has forgotten the run.

    They are those whose extra link leads to the trial: Airflow keeps each link as an XCom of its task
    (`BaseOperatorLink.xcom_key`, airflow.sdk 1.3), so tasks of any name in any DAG are found.
    """
    from airflow.models.dagrun import DagRun
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    key = f"_link_{TrialLink.__name__}"
    run = select(DagRun.id).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id).scalar_subquery()
    query = (
        select(XComModel.task_id, XComModel.map_index, XComModel.value)
        .where(XComModel.dag_run_id == run, XComModel.key == key)
        .order_by(XComModel.timestamp, XComModel.task_id)
    )
    # The value is JSON, and may be a text that holds JSON. A path of Airflow's address may stand before the link.
    end = f"/trial?{trial_link(trial_id).partition('/trial?')[2]}"
    with create_session() as session:
        rows = session.execute(query).all()
    return [TaskOfTrial(task_id, index) for task_id, index, value in rows if str(value).strip('"').endswith(end)]


def owned_lists(dag_ids: Collection[str]) -> list[dict[str, Any]]:
    """Return the newest {place, at, items} of every place that the reaper's tasks of these DAGs looked at
    (`operators.reaping.ReapPlace`), the place with the oldest look first.
    """
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    query = (
        select(XComModel.value)
        .where(XComModel.key == OWNED_LIST, XComModel.dag_id.in_(sorted(dag_ids)))
        .order_by(XComModel.timestamp.desc())
        .limit(MOST_LISTS)
    )
    with create_session() as session:
        values = [json.loads(value) if isinstance(value, str) else value for value in session.scalars(query)]
    newest: dict[str, dict[str, Any]] = {}
    for value in map(mapping, values):
        newest.setdefault(text(value.get("place")), dict(value))
    return sorted(newest.values(), key=lambda found: text(found.get("at")))


def _offers(dag_ids: list[str]) -> Iterator[tuple[str, list[OfferedTarget]]]:
    from airflow.models.serialized_dag import SerializedDagModel

    for dag_id in dag_ids:
        found = SerializedDagModel.get(dag_id)
        if found is not None:
            yield dag_id, offered_targets(_offer(found.data))


def _offer(data: Any) -> Any:
    """Return the offer in a serialized DAG's form: `params` is a list of [name, parameter], and a mapping inside is
    wrapped as {__var, __type} (Airflow 3.3).
    """
    for pair in items(mapping(mapping(data).get("dag")).get("params")):
        name, parameter = pair if isinstance(pair, (list, tuple)) and len(pair) == 2 else (None, None)
        if name == "target":
            schema = mapping(mapping(parameter).get("schema"))
            return mapping(schema.get("__var", schema)).get(OFFER)
    return None
