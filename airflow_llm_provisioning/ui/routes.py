"""The routes. Each asks who the user is and which DAGs they may read, then calls one view.

No route takes an address, a path or a query language. What is named is a trial, a DAG, a run, an experiment, a target
or a cell, and it is looked up as a value.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from airflow_llm_provisioning.core.result import TrialResult
from airflow_llm_provisioning.core.trace_file import exported, read_trace_file
from airflow_llm_provisioning.gateways.store import ResultsStore
from airflow_llm_provisioning.gateways.store.page_queries import PageKey, Selection
from airflow_llm_provisioning.report.markup import Markup
from airflow_llm_provisioning.ui.access import User, readable_dags
from airflow_llm_provisioning.ui.airflow_dags import starting_dags
from airflow_llm_provisioning.ui.app import asset
from airflow_llm_provisioning.ui.layout import document
from airflow_llm_provisioning.ui.store import read, read_if_there
from airflow_llm_provisioning.ui.views import blockers, results, targets, trial

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


@router.get("/results")
def show_results(
    user: User,
    experiment: MaybeText = None,
    dag: MaybeText = None,
    run: MaybeText = None,
    target: MaybeText = None,
    before: datetime | None = None,
    after: MaybeText = None,
) -> HTMLResponse:
    """Show the comparison and the trials of a selection. `before`, `after`: the key of a page's last trial."""
    key = PageKey(before, after) if before is not None and after else None

    def view(store: ResultsStore) -> Markup:
        selection = Selection(
            dag_ids=readable_dags(user, store.pages.names("dag_id")),
            experiment=experiment or None,
            dag_id=dag or None,
            run_id=run or None,
            target=target or None,
        )
        return results.results_view(store, selection, key)

    return HTMLResponse(document("Results", read(view), active="results", lead=results.LEAD))


@router.get("/trial")
def show_trial(user: User, id: Text) -> HTMLResponse:  # noqa: A002 - the name in the address
    """Show one trial."""
    content = read(lambda store: trial.trial_view(store, _trial(store, user, id)))
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
    content = read_if_there(lambda store: targets.targets_view(store, dags, target or None))
    return HTMLResponse(document("Targets", content, active="targets", lead=targets.LEAD))


def _trial(store: ResultsStore, user: Any, trial_id: str) -> TrialResult:
    """Return a trial that the user may see. A trial of another DAG is as if it did not exist."""
    dag_id = store.pages.dag_of(trial_id)
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
