"""*Owned*: the ledger's open entries, to those who may read every DAG that could have made them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from result_builders import a_trial

from airflow_llm_provisioning.gateways.store import ResultsStore

NOW = datetime.now(UTC)
TAGS = {"llm-provisioning/trial": "night-1"}


def test_what_is_not_gone_is_listed_and_what_is_expired_is_red(viewer: Any, store: ResultsStore) -> None:
    """Of three entries one is gone, one expired; the gone one is not listed."""
    store.save_trial(a_trial("one"))
    place = "cluster:eks/default"
    store.ledger.intend("rayservice", "still-there", place, TAGS, NOW + timedelta(hours=2))
    store.ledger.intend("rayservice", "too-old", place, TAGS, NOW - timedelta(hours=2))
    store.ledger.gone(store.ledger.intend("rayservice", "deleted", place, TAGS, NOW))

    page = viewer.get("owned").text.partition('id="seen"')[0]  # below it is what the reaper saw

    assert "2 open entries" in page
    assert "deleted" not in page
    assert page.index("too-old") < page.index("still-there")
    assert page.count('badge status bad">expired') == 1
    assert "llm-provisioning owned" in viewer.get("owned").text


def test_it_is_shown_to_those_only_who_may_read_every_dag(
    viewer: Any, store: ResultsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry names no DAG; who may not read one of them does not see what may be its things, however many DAGs there
    are.
    """
    from airflow.api_fastapi.app import get_auth_manager

    mine = {f"mine-{n:03d}" for n in range(201)}
    store.save_trials([a_trial(f"of-{dag_id}", dag_id=dag_id, phases={}) for dag_id in mine])
    store.save_trial(a_trial("two", dag_id="theirs"))
    store.ledger.intend("rayservice", "still-there", "cluster:eks/default", TAGS, NOW + timedelta(hours=2))

    def only_mine(*, dag_ids: set[str], **_: Any) -> set[str]:
        return dag_ids & mine

    monkeypatch.setattr(get_auth_manager(), "filter_authorized_dag_ids", only_mine)

    answer = viewer.get("owned")
    assert answer.status_code == 403
    assert "still-there" not in answer.text
