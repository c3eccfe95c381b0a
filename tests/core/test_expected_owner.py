"""Whose a RayService is: by its labels, and what a task that waits for it makes of a change."""

from typing import Any

import pytest

from airflow_llm_provisioning.core.names import LABEL_TRIAL
from airflow_llm_provisioning.core.ownership import (
    LABEL_APPLIED_BY,
    LABEL_RUN,
    ExpectedOwner,
    owned_by_another_run,
    owner_of,
    run_label,
)
from airflow_llm_provisioning.core.readiness import Readiness


def rayservice(generation: int = 2, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": "a", "namespace": "n", "uid": "rs", "generation": generation, "labels": labels}}


def test_the_label_of_a_run_differs_for_every_id() -> None:
    """Also for ids that differ only in what no label may hold; it fits, and it can be read."""
    ids = ["manual__2026-11-29T15:00:00+00:00", "manual__2026-11-29T15:00:00-00:00", "x" * 300, "x" * 299 + "y"]
    values = [run_label("nightly", one) for one in ids]
    assert len(set(values)) == len(ids)
    assert all(len(value) <= 63 for value in values)
    assert values[0].startswith("nightly.manual__2026-11-29T15-00")


@pytest.mark.parametrize(
    ("labels", "foreign", "words"),
    [
        ({LABEL_TRIAL: "t"}, True, "trial 't'"),
        ({LABEL_RUN: "r"}, False, "DAG run 'r'"),
        ({LABEL_RUN: "other"}, True, "DAG run 'other'"),
        ({LABEL_APPLIED_BY: "abc"}, True, "the task 'abc'"),
        ({}, False, "something else"),
    ],
)
def test_the_owner_is_told(labels: dict[str, str], foreign: bool, words: str) -> None:
    """With the uid, so that it can be found; what has no label of this package is protected by its field managers."""
    assert owned_by_another_run(rayservice(**labels), "r") is foreign
    assert owner_of(rayservice(**labels)).startswith(words)
    assert "uid rs" in owner_of(rayservice(**labels))


def judge(owner: dict[str, str], *versions: dict[str, Any], generation: int | None = 1) -> Readiness:
    readiness = Readiness("a", "n", uid="rs", generation=generation, owner=owner)
    for obj in versions:
        readiness.feed(
            {"received_at": "2026-05-04T12:00:00Z", "type": "MODIFIED", "resource": "rayservices", "object": obj}
        )
    return readiness


def test_a_service_that_is_taken_over_ends_the_wait() -> None:
    """What becomes ready then is not what this run applied; the sentence names the new owner."""
    found = judge({LABEL_RUN: "r"}, rayservice(**{LABEL_RUN: "r"}), rayservice(3, **{LABEL_RUN: "other"}))
    assert found.state == "failed"
    assert "belongs to DAG run 'other'" in str(found.reason)


def test_a_service_that_was_taken_over_before_the_wait_ends_it() -> None:
    """Its generation shows a change after this run's apply and the operator's own."""
    assert judge({LABEL_RUN: "r"}, rayservice(3, **{LABEL_RUN: "other"})).state == "failed"


def test_a_run_may_wait_for_what_another_one_applied() -> None:
    """A dict by hand, or an XCom of another DAG: nothing was taken from this run."""
    assert judge({LABEL_RUN: "r"}, rayservice(2, **{LABEL_RUN: "other"})).state == "pending"
    assert judge({LABEL_RUN: "r"}, rayservice(9, **{LABEL_RUN: "other"}), generation=None).state == "pending"


def test_a_trial_waits_for_its_own_object_only() -> None:
    """Its object always carries its label."""
    assert judge({LABEL_TRIAL: "t"}, rayservice(**{LABEL_TRIAL: "t"})).state == "pending"
    assert judge({LABEL_TRIAL: "t"}, rayservice(**{LABEL_TRIAL: "t.2"})).state == "failed"
    assert ExpectedOwner(None).other(rayservice()) is None
