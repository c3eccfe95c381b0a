"""The routes. Each asks who the user is and which DAGs they may read, then calls one view.

No route takes an address, a path or a query language. What is named is a trial, a DAG, a run, an experiment, a target
or a cell, and it is looked up as a value.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, HTTPException, Query
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from airflow_llm_provisioning.core.nights import Cell
from airflow_llm_provisioning.core.result import TrialResult
from airflow_llm_provisioning.core.running import RunningTrial
from airflow_llm_provisioning.core.trace_file import exported, read_trace_file
from airflow_llm_provisioning.decisions.acknowledge import acknowledge
from airflow_llm_provisioning.gateways.store import ResultsStore
from airflow_llm_provisioning.gateways.store.selection import Selection, TrialKey
from airflow_llm_provisioning.ui.access import User, may, readable_dags, require_change, require_same_origin
from airflow_llm_provisioning.ui.airflow_dags import owned_lists, starting_dags, tagged_dags, tasks_of_trial
from airflow_llm_provisioning.ui.app import asset
from airflow_llm_provisioning.ui.layout import document
from airflow_llm_provisioning.ui.store import read, read_if_there, write
from airflow_llm_provisioning.ui.views import (
    blockers,
    comparison,
    history,
    now,
    owned,
    phase_history,
    results,
    targets,
    trial,
)

router = APIRouter()

Text = Annotated[str, Query(max_length=500)]
MaybeText = Annotated[str | None, Query(max_length=500)]
TYPES: Final = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


@router.get("/")
def entry(user: User) -> Response:
    """Lead to the first view."""
    return RedirectResponse("now")


@router.get("/assets/{name}")
def assets(name: str, user: User) -> Response:
    """Serve the page's own style sheets, scripts and icons."""
    kind = TYPES.get(name.rsplit(".", 1)[-1], "text/plain")
    return Response(asset(name), media_type=kind, headers={"Cache-Control": "private, max-age=3600"})


def _wanted(
    experiment: MaybeText = None,
    dag: MaybeText = None,
    run: MaybeText = None,
    target: MaybeText = None,
    before: MaybeText = None,
) -> results.Wanted:
    """Read what was asked for. `before`: the key of the last trial of the page before."""
    return results.Wanted(
        experiment=experiment or None,
        dag=dag or None,
        run=run or None,
        target=target or None,
        before=TrialKey.read(before) if before else None,
    )


Asked = Annotated[results.Wanted, Depends(_wanted)]


@router.get("/results")
def show_results(user: User, wanted: Asked) -> HTMLResponse:
    """Show the trials of a selection, and where their comparison is loaded to."""
    content = read(lambda store: results.results_view(store, _readable(store, user), wanted))
    return HTMLResponse(document("Results", content, active="results", lead=results.LEAD))


@router.get("/results/comparison")
def show_comparison(user: User, wanted: Asked) -> HTMLResponse:
    """Return the comparison of a selection, as a part of its page."""
    return HTMLResponse(read(lambda store: comparison.comparison_view(store, _readable(store, user), wanted)))


@router.get("/trial")
def show_trial(user: User, id: Text) -> HTMLResponse:  # noqa: A002 - the name in the address
    """Show one trial."""

    def view(store: ResultsStore) -> Any:
        found = _trial(store, user, id)
        return trial.trial_view(store, found, tasks_of_trial(*found.run, id))

    content = read(view)
    return HTMLResponse(document(f"Trial {id}", content, active="results", lead=trial.LEAD))


@router.get("/trial/blockers")
def show_blockers(user: User, id: Text) -> HTMLResponse:  # noqa: A002
    """Return what blocked a trial, as a part of its page."""
    return HTMLResponse(
        read(lambda store: blockers.blockers_view(_trial(store, user, id), store.trace(id))),
    )


@router.get("/trial/trace")
def download_trace(user: User, id: Text) -> Response:  # noqa: A002
    """Return the recording of a trial as a file."""
    return _file(id, "trace", read(lambda store: _recording(store, user, id, lambda _, chunks: b"".join(chunks))))


@router.get("/trial/replayable")
def download_replayable(user: User, id: Text) -> Response:  # noqa: A002
    """Return the recording with row and analysis, as `llm-provisioning trace export` writes it."""

    def with_result(store: ResultsStore, chunks: list[bytes]) -> bytes:
        found = _trial(store, user, id)
        return exported(chunks, found.summary(), store.traces.analysis(id))

    return _file(id, "replayable", read(lambda store: _recording(store, user, id, with_result)))


@router.get("/targets")
def show_targets(user: User, target: MaybeText = None) -> HTMLResponse:
    """Show the targets of the DAGs that the user may read, and forms for those that they may start."""
    dags = starting_dags(user)

    def view(store: ResultsStore | None) -> Any:
        if store is None:
            return targets.targets_view(targets.Stored(), dags, target or None)
        names = {*store.queries.names("dag_id"), *(one.dag_id for one in store.progress.running())}
        known = targets.stored(store, dags, frozenset(readable_dags(user, names)))
        return targets.targets_view(known, dags, target or None)

    return HTMLResponse(document("Targets", read_if_there(view), active="targets", lead=targets.LEAD))


@router.get("/now")
def show_now(user: User) -> HTMLResponse:
    """Show the running trials."""
    content = read_if_there(lambda store: now.now_view(_running(store, user)))
    return HTMLResponse(document("Now", content, active="now", lead=now.LEAD))


@router.get("/now/running")
def show_running(user: User) -> HTMLResponse:
    """Return the running trials, as the part of the page that updates itself."""
    return HTMLResponse(read_if_there(lambda store: now.running_trials(_running(store, user))))


@router.get("/owned")
def show_owned(user: User) -> HTMLResponse:
    """Show what is ours. An entry of the ledger names no DAG, so the user must be allowed to read all of them."""

    def view(store: ResultsStore | None) -> Any:
        known = {*tagged_dags(), *(store.queries.names("dag_id") if store is not None else ())}
        hidden = known - readable_dags(user, known)
        if hidden or not known:
            raise HTTPException(403, "This list is of all DAGs of this package, and you may not read all of them.")
        return owned.owned_view(store, owned_lists(known))

    return HTMLResponse(document("Owned", read_if_there(view), active="owned", lead=owned.LEAD))


@router.get("/history")
def show_history(user: User, cell: MaybeText = None) -> HTMLResponse:
    """Show the cells, and where the nights of one, named by its key, are loaded to."""

    def view(store: ResultsStore) -> Any:
        return history.history_view(store, Selection(dag_ids=_readable(store, user)), cell or None)

    return HTMLResponse(document("History", read(view), active="history", lead=history.LEAD))


@router.get("/history/nights")
def show_nights(user: User, cell: Text) -> HTMLResponse:
    """Return the nights of a cell, as a part of its page."""

    def view(store: ResultsStore) -> Any:
        readable = _readable(store, user)
        changeable = any(may(user, "PUT", dag_id, runs=True) for dag_id in readable)
        return history.nights_view(store, Selection(dag_ids=readable, cell=cell), changeable)

    return _part_of_cell(read(view))


@router.get("/history/phases")
def show_phases(user: User, cell: Text) -> HTMLResponse:
    """Return the phases of a cell that have a new level, as a part of its page."""
    return _part_of_cell(
        read(lambda store: phase_history.phases_view(store, Selection(dag_ids=_readable(store, user), cell=cell)))
    )


class Acknowledgement(BaseModel):
    """What a user says of a slower level. `cell`: its key; `run_id`: the first run of the level."""

    model_config = ConfigDict(extra="forbid")

    cell: str = Field(max_length=100)
    run_id: str = Field(max_length=500)
    why: str = Field(min_length=1, max_length=500)


@router.post("/acknowledge", dependencies=[Depends(require_same_origin)])
def acknowledge_change(user: User, said: Acknowledgement) -> dict[str, str]:
    """Record under the user's name that a slower level is known. Needs the permission to edit runs of its DAG."""
    selection, found = read(lambda store: _night(store, user, said))
    require_change(user, found.dag_id)
    note = write(
        lambda store: acknowledge(
            store,
            found.cell.short_name,
            by=user.get_name(),
            why=said.why,
            run_id=said.run_id,
            within=selection,
            origin=found.cell.origin,
        )
    )
    return {"by": note.by, "at": note.at.isoformat()}


def _running(store: ResultsStore | None, user: Any) -> list[RunningTrial]:
    """Return the running trials of the DAGs that the user may read. Their rows may not be written yet."""
    if store is None:
        return []
    found = store.progress.running()
    readable = readable_dags(user, {one.dag_id for one in found})
    return [one for one in found if one.dag_id in readable]


def _part_of_cell(found: Any) -> HTMLResponse:
    if found is None:
        raise HTTPException(404, "There is no such cell that you may see.")
    return HTMLResponse(found)


def _readable(store: ResultsStore, user: Any) -> frozenset[str]:
    """Return the DAGs of the store's trials that the user may read."""
    return frozenset(readable_dags(user, store.queries.names("dag_id")))


@dataclass(frozen=True, slots=True)
class _Night:
    cell: Cell
    dag_id: str


def _night(store: ResultsStore, user: Any, said: Acknowledgement) -> tuple[Selection, _Night]:
    """Return the night that an acknowledgement is of. What the user may not read does not exist."""
    selection = Selection(dag_ids=_readable(store, user), cell=said.cell)
    run = store.queries.newest_run(replace(selection, run_id=said.run_id))
    cells = store.queries.cells(selection)
    if run is None or not cells:
        raise HTTPException(404, "There is no such night that you may see.")
    return selection, _Night(cells[0], run.dag_id)


def _trial(store: ResultsStore, user: Any, trial_id: str) -> TrialResult:
    """Return a trial that the user may see. A trial of another DAG is as if it did not exist."""
    dag_id = store.queries.dag_of(trial_id)
    if dag_id is not None and readable_dags(user, [dag_id]):
        found = store.trial(trial_id)
        if found is not None:
            return found
    raise HTTPException(404, "There is no such trial that you may see.")


def _recording(
    store: ResultsStore, user: Any, trial_id: str, content: Callable[[ResultsStore, list[bytes]], bytes]
) -> bytes:
    """Return a trial's recording without anything that may be a secret."""
    _trial(store, user, trial_id)
    chunks = store.trace(trial_id)
    if not chunks:
        raise HTTPException(404, "This trial has no recording.")
    found = read_trace_file(content(store, chunks))
    return found.data if found.clean else found.cleaned().data


def _file(trial_id: str, what: str, data: bytes) -> Response:
    name = "".join(letter if letter.isalnum() or letter in "-." else "_" for letter in trial_id)[:150]
    disposition = f'attachment; filename="{name}-{what}.jsonl.gz"'
    return Response(data, media_type="application/gzip", headers={"Content-Disposition": disposition})
