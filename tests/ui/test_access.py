"""Every route asks Airflow who the user is and what they may read. Nothing is served before."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute
from result_builders import a_trial

from airflow_llm_provisioning.gateways.store import ResultsStore


def each_route(routes: Any) -> Iterator[Any]:
    """Yield the routes, also those of a router that FastAPI keeps as one entry (0.139)."""
    for route in routes:
        included = getattr(route, "original_router", None)
        yield from [route] if included is None else each_route(included.routes)


def every_route(app: Any) -> Iterator[tuple[str, str]]:
    """Yield method and address of every route of the page, with plausible parameters."""
    (mounted,) = (route for route in app.routes if route.path == "/llm-deployments")
    for route in each_route(mounted.app.routes):
        assert isinstance(route, APIRoute), route
        for method in route.methods:
            yield method, route.path.lstrip("/").replace("{name}", "page.css") + "?id=secret&cell=secret"


def test_no_route_answers_without_a_login(page_app: Any, anonymous: Any, store: ResultsStore) -> None:
    """Each route says 401 and shows nothing of the store, for pages, parts, downloads, assets and changes alike."""
    store.save_trial(a_trial("secret"))
    routes = list(every_route(page_app))
    assert len(routes) >= 7
    for method, address in routes:
        answer = anonymous.request(method, address)
        assert answer.status_code == 401, (method, address)
        assert "secret" not in answer.text


def test_a_wrong_token_is_refused(anonymous: Any) -> None:
    """A token that Airflow did not sign opens nothing."""
    anonymous.cookies.set("_token", "made.up.token")
    assert anonymous.get("results").status_code in (401, 403)


def test_a_viewer_reads_and_changes_nothing(page_app: Any, viewer: Any, store: ResultsStore) -> None:
    """Every GET is answered for a viewer; the one change is refused, for what exists and for what does not."""
    store.save_trial(a_trial("secret"))
    changes = []
    for method, address in every_route(page_app):
        if method == "GET":
            assert viewer.get(address).status_code in (200, 307, 403, 404), address
        else:
            changes.append((method, address.split("?")[0]))
    assert changes == [("POST", "acknowledge")]
    (cell,) = store.queries.cells()
    said = {"cell": cell.key, "run_id": "run-1", "why": "known"}
    assert viewer.post("acknowledge", json=said).status_code == 403
    assert viewer.post("acknowledge", json=said | {"cell": "another"}).status_code == 404
    assert store.level_notes() == []


def test_an_op_reads_every_view(page_app: Any, op: Any, store: ResultsStore) -> None:
    """An op sees what a viewer sees."""
    store.save_trial(a_trial("secret"))
    assert "secret" in op.get("results").text
    assert op.get("trial?id=secret").status_code == 200


def test_trials_of_other_dags_do_not_exist(viewer: Any, store: ResultsStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Airflow lets a user read one DAG only, no route shows a trial of another one, by list or by name."""
    from airflow.api_fastapi.app import get_auth_manager

    store.save_trial(a_trial("open", dag_id="mine"))
    store.save_trial(a_trial("withheld", dag_id="theirs", experiment="theirs", variant="improved"))
    (theirs,) = (cell for cell in store.queries.cells() if cell.variant == "improved")

    def only_mine(*, dag_ids: set[str], **_: Any) -> set[str]:
        return dag_ids & {"mine"}

    monkeypatch.setattr(get_auth_manager(), "filter_authorized_dag_ids", only_mine)

    assert "withheld" not in viewer.get("results").text
    assert "withheld" not in viewer.get("results/comparison").text
    assert viewer.get(f"history/nights?cell={theirs.key}").status_code == 404
    assert "open" in viewer.get("results").text
    assert "theirs" not in viewer.get("results").text
    for part in ("trial", "trial/blockers", "trial/trace", "trial/replayable"):
        assert viewer.get(f"{part}?id=open").status_code in (200, 404)
        answer = viewer.get(f"{part}?id=withheld")
        assert (answer.status_code, "no such trial" in answer.text) == (404, True)


def test_every_answer_has_the_headers(anonymous: Any, viewer: Any) -> None:
    """Also a refusal: no script of elsewhere, no frame of elsewhere, nothing kept."""
    for answer in (anonymous.get("results"), viewer.get("results")):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'self'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"


def test_without_airflows_check_nothing_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a later Airflow has no such function any more, every request is refused."""
    from fastapi.testclient import TestClient

    from airflow_llm_provisioning.ui.app import build_app

    monkeypatch.setitem(sys.modules, "airflow_llm_provisioning.ui.routes", None)
    client = TestClient(build_app())

    assert client.get("/results").status_code == 503
    assert client.post("/acknowledge").status_code == 503
    assert client.get("/assets/page.css").status_code == 503
