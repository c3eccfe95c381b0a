"""*Now*: running trials of the DAGs that a user may read, as a page and as the part that updates itself."""

import re
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from trial_builders import OPENED_AT, a_planned_trial

from airflow_llm_provisioning.core.progress import Expected
from airflow_llm_provisioning.core.running import begun, news
from airflow_llm_provisioning.gateways.store import ResultsStore
from airflow_llm_provisioning.ui.views.now import running_trials

HOSTILE = "<script>alert(1)</script>"


def words(text: str) -> str:
    """Return the words of HTML, single-spaced."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", text)).split())


def begin(store: ResultsStore, name: str, expected: Expected, **planned: Any) -> None:
    """Let a trial wait for its endpoint, blocked by what a cluster said."""
    trial = a_planned_trial(name, **planned)
    store.progress.begin(begun(trial, "open", task_id="wait", at=OPENED_AT, expected=expected))
    told = news("wait", "worker image pull", f"Pod w: Pulling {HOSTILE}", 212.0, spent=0.1234, currency="USD")
    store.progress.change(name, told)


def test_a_running_trial_is_shown_with_what_its_arm_takes(viewer: Any, store: ResultsStore) -> None:
    """Step, phase, blocker, elapsed time, and the median of the arm; a cluster's text is a text."""
    begin(store, "one", Expected(total_s=847.0, low_s=800.0, high_s=900.0, n=12))

    for address in ("now", "now/running"):
        page = viewer.get(address)
        told = words(page.text)
        assert "waits for the endpoint" in told
        assert "worker image pull" in told
        assert "212 s" in told
        assert "Cost so far 0.12 USD, an estimate from prices" in told
        assert "847 s" in told
        assert "middle half 800 to 900 s" in told
        assert "<script>alert" not in page.text
    assert 'data-live="now/running"' in viewer.get("now").text


def test_running_trials_of_other_dags_are_not_shown(
    viewer: Any, store: ResultsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial that runs has no row yet: its DAG is asked for all the same."""
    from airflow.api_fastapi.app import get_auth_manager

    begin(store, "open", Expected(), dag_id="mine")
    begin(store, "withheld", Expected(), dag_id="theirs")

    def only_mine(*, dag_ids: set[str], **_: Any) -> set[str]:
        return dag_ids & {"mine"}

    monkeypatch.setattr(get_auth_manager(), "filter_authorized_dag_ids", only_mine)

    for address in ("now", "now/running"):
        page = viewer.get(address).text
        assert "running-open" in page
        assert "withheld" not in page


def test_a_trial_without_news_says_so(store: ResultsStore) -> None:
    """A triggerer that is down writes nothing."""
    begin(store, "one", Expected())
    told = words(running_trials(store.progress.running(), datetime.now(UTC) + timedelta(minutes=9)))
    assert "No news for 9 minutes: is the triggerer running?" in told
    assert "its arm has no comparable trial yet" in told
    store.progress.change("one", {"spent": None})
    assert "Cost so far not known yet" in words(running_trials(store.progress.running()))
