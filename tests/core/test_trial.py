"""One trial through plan, XCom, trace and row: nothing is lost, and nothing travels that must not."""

import json
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from trial_builders import OPENED_AT, a_planned_trial, a_stratum

from airflow_llm_provisioning.core.arm import Arm
from airflow_llm_provisioning.core.model import Model
from airflow_llm_provisioning.core.recipe import ImageRecipe
from airflow_llm_provisioning.core.trial import EXPIRES_AFTER_LIMIT, Access, Opened, Prepared, Served, Slot, Trial

WORDS = st.text(min_size=1, max_size=20)
MAYBE = st.none() | WORDS
SIZES = st.none() | st.integers(0, 2**63)
TEXTS = st.dictionaries(WORDS, WORDS, max_size=3)

SLOTS = st.builds(
    Slot,
    experiment=WORDS,
    dag_id=WORDS,
    run_id=WORDS,
    cluster=WORDS,
    number=st.integers(0, 99),
    replicate=st.integers(0, 99),
    seed=st.integers(0, 2**63),
    attempt=st.integers(1, 9),
    fixed_id=MAYBE,
)
ARMS = st.builds(
    Arm,
    st.builds(a_stratum, region=MAYBE, autoscaler=MAYBE, nodes=MAYBE, model_id=MAYBE, model_revision=MAYBE),
    WORDS,
    st.lists(WORDS, max_size=3).map(tuple),
)
SERVED = st.builds(
    Served,
    workload=WORDS,
    model=st.none() | st.builds(Model, WORDS, MAYBE, SIZES, SIZES, WORDS),
    image=st.text(max_size=20),
    images=st.lists(WORDS, max_size=3).map(tuple),
    recipe=st.none() | st.builds(ImageRecipe, WORDS, MAYBE, st.lists(WORDS, max_size=3).map(tuple), TEXTS),
    overrides=TEXTS,
    model_source=MAYBE,
)
PREPARED = st.builds(
    Prepared,
    image=MAYBE,
    digest=MAYBE,
    size_bytes=SIZES,
    snapshot_id=MAYBE,
    disk_image=MAYBE,
    disk_digest=MAYBE,
    volume_gib=SIZES,
    volume_initialization_rate_mib_s=SIZES,
    pool=MAYBE,
)
OPENED = st.builds(
    Opened,
    at=st.datetimes(timezones=st.just(UTC)),
    rayservice=WORDS,
    namespace=WORDS,
    labels=TEXTS,
    place=WORDS,
    manifest_content=MAYBE,
    node_selector=MAYBE,
    prepared=PREPARED,
    completion=st.none() | st.fixed_dictionaries({"path": WORDS, "body": TEXTS}),
    ledger_entry=MAYBE,
)
TRIALS = st.builds(
    Trial,
    slot=SLOTS,
    arm=ARMS,
    target=WORDS,
    served=SERVED,
    access=st.none() | st.builds(Access, cluster=TEXTS, cloud=st.none() | TEXTS, results_conn_id=WORDS),
    timeout_s=st.floats(1, 1e6),
    grace_s=st.dictionaries(WORDS, st.none() | st.floats(0, 1e6), max_size=3),
    opened=st.none() | OPENED,
)


def through_json(data: dict[str, Any]) -> dict[str, Any]:
    """Return what another process reads."""
    read: dict[str, Any] = json.loads(json.dumps(data))
    return read


@given(TRIALS)
def test_a_trial_survives_xcom(trial: Trial) -> None:
    """Every field, and one that was left out stays left out."""
    assert Trial.from_dict(through_json(trial.as_dict())) == trial


@given(TRIALS)
def test_a_row_keeps_all_but_how_it_is_reached(trial: Trial) -> None:
    """A row is read years later, when the connections are others."""
    assert Trial.from_dict(through_json(trial.stored())) == replace(trial, access=None)


@given(TRIALS)
def test_a_trace_s_header_reads_back_as_the_same_arm_and_plan(trial: Trial) -> None:
    """What a replay needs: it lacks access and the ledger's entry only."""
    opened = replace(trial.opened, ledger_entry=None) if trial.opened else None
    assert Trial.from_dict(through_json(trial.header())) == replace(trial, access=None, opened=opened)


@given(PREPARED)
def test_what_was_prepared_survives_and_names_only_what_is_known(prepared: Prepared) -> None:
    """Missing is absent: neither 0 nor an empty text."""
    data = through_json(prepared.as_dict())
    assert None not in data.values()
    assert Prepared.from_dict(data) == prepared


def test_a_later_preparation_leaves_what_it_does_not_say() -> None:
    """The snapshot's result says nothing of the image; other keys of a result are ignored."""
    built = Prepared.from_dict({"image": "r:1", "digest": "sha256:a", "seconds": 12.5})
    both = built.updated({"snapshot_id": "snap-1", "image": None, "price_usd": 0.1})
    assert (both.image, both.digest, both.snapshot_id) == ("r:1", "sha256:a", "snap-1")


def everything_in(value: Any) -> str:
    return json.dumps(value)


def test_the_header_holds_no_access_no_manifest_and_no_ledger_entry() -> None:
    """A trace is shared with others: it says what was deployed, not how to reach it."""
    base = a_planned_trial("t-1")
    assert base.opened is not None
    access = Access(cluster={"conn_id": "SECRET-K8S"}, cloud={"conn_id": "SECRET-AWS"}, results_conn_id="SECRET-DB")
    trial = replace(base, access=access, opened=replace(base.opened, ledger_entry="SECRET-ENTRY"))
    header = trial.header()
    assert "SECRET" not in everything_in(header)
    assert not {"access", "manifest"} & {*header, *header["opened"], *header["served"]}
    assert header["opened"]["manifest_content"] == "fedcba987654"
    # And no part of a trial has a place for a manifest.
    names = {field.name for kind in (Trial, Slot, Served, Opened, Access, Prepared) for field in fields(kind)}
    assert "manifest" not in names


def test_a_trial_without_opened_has_a_header_too() -> None:
    """One that could not be opened still says what it was."""
    assert replace(a_planned_trial("t-1"), opened=None).header()["opened"] is None


def test_attempts_are_counted_from_the_rows_that_are_written() -> None:
    """The first keeps the slot's name; slot 1 is no attempt of slot 10."""
    trial = a_planned_trial(number=1)
    first, third = trial.attempted(0), trial.attempted(2)
    assert (first.trial_id, third.trial_id) == (trial.slot.slot_id, f"{trial.slot.slot_id}.3")
    assert all(trial.slot.is_attempt(item.trial_id) for item in (first, third))
    assert not trial.slot.is_attempt(a_planned_trial(number=10).trial_id)
    assert not trial.slot.is_attempt(f"{trial.slot.slot_id}0")


def test_what_is_left_expires_after_the_limit_and_the_time_to_clean_up() -> None:
    """Counted from the opening, with the trial's own limit."""
    trial = a_planned_trial(timeout_s=600.0)
    assert trial.expires_at(OPENED_AT) == OPENED_AT + timedelta(seconds=600) + EXPIRES_AFTER_LIMIT
    assert trial.expires_at(OPENED_AT) > datetime.fromisoformat(OPENED_AT.isoformat())
