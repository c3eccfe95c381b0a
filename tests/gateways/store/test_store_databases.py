"""Every database keeps the same values: what SQLite takes, PostgreSQL takes too, and both give it back equally."""

import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from postgres_server import new_database
from sqlalchemy import create_engine, text
from trial_builders import a_result

from airflow_llm_provisioning.core.result import MilestoneResult, PhaseResult, TrialResult
from airflow_llm_provisioning.exceptions import StoreError
from airflow_llm_provisioning.gateways.store.database import store_address
from airflow_llm_provisioning.gateways.store.results import ResultsStore
from airflow_llm_provisioning.gateways.store.traces import ImportedTrace

T0 = datetime(2026, 11, 22, 7, 28, 2, 710_001, tzinfo=UTC)
# A joined phase of a trial whose milestones are nearly all missing.
LONG = "+".join(f"worker_phase_{number}" for number in range(60))


@pytest.fixture
def store(database_url: str) -> Iterator[ResultsStore]:
    opened = ResultsStore.open(database_url)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def both(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ResultsStore]]:
    """Return a store in each kind of database."""
    with new_database(postgres) as url:
        opened = [ResultsStore.open(f"sqlite:///{tmp_path_factory.mktemp('s')}/r.db"), ResultsStore.open(url)]
        yield opened
        for each in opened:
            each.close()


def saved(store: ResultsStore, result: TrialResult) -> TrialResult:
    store.save_trial(result)
    found = store.trial(result.trial_id)
    assert found is not None
    return found


@pytest.mark.parametrize("seed", [0, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, -(2**63)])
def test_a_seed_is_kept_as_it_was(store: ResultsStore, seed: int) -> None:
    """A DAG run draws 32 unsigned bits, one more than a plain integer column of PostgreSQL has."""
    assert saved(store, a_result("t", seed=seed)).trial.slot.seed == seed


def test_a_seed_of_more_bits_is_refused_in_a_sentence(store: ResultsStore) -> None:
    """No integer column of any database holds it."""
    with pytest.raises(StoreError, match="trial t to the results store failed"):
        store.save_trial(a_result("t", seed=2**64))


def test_milestones_that_cannot_be_kept_leave_no_trial(store: ResultsStore) -> None:
    """Two milestones of one name: a sentence, and nothing of the trial, although rows go to PostgreSQL as a stream."""
    stone = MilestoneResult("endpoint_ready", T0, T0, "x")
    wrong = replace(a_result("t"), milestones=(stone, stone))
    with pytest.raises(StoreError, match="trial t to the results store failed"):
        store.save_trial(wrong)
    assert store.trials() == []


def test_a_phase_that_joins_sixty_others_keeps_its_name(store: ResultsStore) -> None:
    """More than the 250 characters that its column once had."""
    assert len(LONG) > 250
    read = saved(store, a_result("t", phases=(PhaseResult(LONG, 1.0, 0.5, 1.5),)))
    assert [phase.name for phase in read.phases] == [LONG]


def test_a_name_that_is_too_long_for_its_column_does_not_lose_the_row(store: ResultsStore) -> None:
    """A model's path may have any length. The whole name is read from the trial itself."""
    read = saved(store, a_result("t", model_id="org/" + "m" * 300, region="r" * 251))
    assert read.arm.stratum.model_id == "org/" + "m" * 300
    assert read.arm.stratum.region == "r" * 251


def test_a_long_place_and_name_have_one_open_entry(store: ResultsStore) -> None:
    """The key of an entry is made of three names."""
    place, name = f"cluster:{'c' * 200}/default", "n" * 200
    first = store.ledger.intend("rayservice", name, place, {}, T0)
    assert store.ledger.intend("rayservice", name, place, {}, T0) == first
    assert len(store.ledger.open_entries(place)) == 1


def test_an_imported_trace_may_name_anything(store: ResultsStore) -> None:
    """Its file comes from elsewhere."""
    found = ImportedTrace("imported-1", T0, "f" * 300, "measured", "n" * 300, redacted=2)
    assert store.traces.add_imported(found, b"data", None)
    assert store.traces.imported("imported-1") == found


@pytest.mark.parametrize("character", ["\x00", "\ud800"])
def test_a_character_that_no_database_keeps_is_replaced(store: ResultsStore, character: str) -> None:
    """A container's last words may hold it; the row is written all the same."""
    told = f"exit 1: {character} at 0x0"
    result = a_result("t", reason=told, flags=(told,), environment={f"a{character}": [told]})
    read = saved(store, result)
    assert read.reason == "exit 1: \ufffd at 0x0"
    assert list(read.flags) == [read.reason]
    assert read.environment == {"a\ufffd": [read.reason]}
    store.note_outcome("t", "apply", "failed", told)
    assert store.outcomes("t")[0]["reason"] == read.reason


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_does_not_have_is_missing(store: ResultsStore, number: float) -> None:
    """PostgreSQL refuses the whole row for it."""
    assert saved(store, a_result("t", environment={"clock": {"offset_s": number}})).environment == {
        "clock": {"offset_s": None}
    }
    store.save_comparison("night", "run-1", [{"median_s": number, "n": 2**40}])
    assert store.comparison("run-1") == [{"median_s": None, "n": 2**40}]


def test_instants_are_the_same_in_every_time_zone(postgres: str) -> None:
    """A session of PostgreSQL has a zone of its own, and Airflow's server may set it."""
    at = T0.astimezone(timezone(timedelta(hours=5, minutes=30)))
    with new_database(postgres) as url:
        writer = ResultsStore.open(f"{url}?options=-c%20timezone%3DAmerica/St_Johns")
        writer.save_trial(a_result("t", opened_at=at, milestones=(MilestoneResult("submitted", T0, at, "m"),)))
        reader = ResultsStore.open(f"{url}?options=-c%20timezone%3DAsia/Kolkata")
        (read,) = reader.trials()
        (listed,) = reader.trials(opened_at=T0)  # type: ignore[arg-type]
        assert read.opened_at == T0 == listed.opened_at
        assert {read.opened_at.utcoffset(), read.milestones[0].latest_at.utcoffset()} == {timedelta(0)}
        writer.close()
        reader.close()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_name_of_the_scheme_opens_it(postgres: str, scheme: str) -> None:
    """`postgres://` is what libpq and many hosts print; SQLAlchemy knows it no more."""
    with new_database(postgres) as url:
        given_url = f"{scheme}://{url.partition('://')[2]}"
        ResultsStore.open(given_url).close()
        store = ResultsStore.open_for_reading(given_url)
        assert store.trials() == []
        store.close()
    shown = store_address("postgres://u:secret@h/d")[1]
    assert shown.startswith("postgresql+psycopg://")
    assert shown.endswith("@h/d")
    assert "secret" not in shown


def test_reading_creates_nothing(postgres: str) -> None:
    """An empty database stays empty, and says that it is no store."""
    with new_database(postgres) as url:
        with pytest.raises(StoreError, match="no results store"):
            ResultsStore.open_for_reading(url)
        engine = create_engine(url)
        with engine.connect() as connection:
            assert connection.scalar(text("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")) == 0
        engine.dispose()


TEXTS = st.text(max_size=400)
FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=64)
INSTANTS = st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    reason=st.none() | TEXTS,
    flags=st.lists(TEXTS, max_size=3),
    environment=st.dictionaries(TEXTS, VALUES, max_size=3),
    total_s=st.none() | FLOATS,
    at=INSTANTS,
    phase=TEXTS,
    model_id=st.none() | TEXTS,
    seed=st.integers(-(2**63), 2**63 - 1),
)
def test_both_databases_give_the_same_row_back(both: list[ResultsStore], total_s: float | None, **values: Any) -> None:
    """For any text, number and instant that a row may hold."""
    at, phase = values.pop("at"), values.pop("phase")
    result = replace(
        a_result("t", opened_at=at, phases=(PhaseResult(phase, 1.0, 0.0, 2.0),), **values), total_s=total_s
    )
    ours, theirs = (saved(store, result) for store in both)
    assert ours == theirs
    assert (ours.opened_at, ours.total_s, ours.trial.slot.seed) == (at, total_s, values["seed"])
