"""A results store of any size: one night that is written as trials write it, and copies of it in SQL."""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, Engine, create_engine, inspect, text

from airflow_llm_provisioning.core.arm import Arm, Stratum
from airflow_llm_provisioning.core.result import MilestoneResult, PhaseResult, TrialResult, TrialStatus
from airflow_llm_provisioning.core.trial import Opened, Served, Slot, Trial
from airflow_llm_provisioning.gateways.store.database import open_engine, writing
from airflow_llm_provisioning.gateways.store.results import ResultsStore

AT = datetime(2026, 1, 1, 4, tzinfo=UTC)
NIGHT = 36
PHASES = (
    *("operator_start", "pod_creation", "head_scheduling", "head_node_provisioning", "head_image_pull"),
    *("head_container_start", "ray_start", "worker_scheduling", "worker_node_provisioning", "worker_gpu_setup"),
    *("worker_image_pull", "worker_container_start", "serve_start", "app_build", "replica_start", "weight_download"),
    *("model_load", "endpoint_publish"),
)
BATCH = 100
_MEASURED = 1_000


def fill(url: str, trials: int) -> dict[str, float]:
    """Fill a store with so many trials; return how many a second were written by `save_trials` (in batches) and by
    `save_trial`, of the last ones.
    """
    store = ResultsStore.open(url)
    own = min(_MEASURED, trials // 3 // NIGHT * NIGHT or NIGHT)
    copies = max(0, (trials - 2 * own) // NIGHT - 1)
    store.save_trials([*night(0)])
    if copies:
        _copy(url, copies)
    first = copies + 1
    many = [trial for at in range(own // NIGHT) for trial in night(first + at)]
    single = [trial for at in range(own // NIGHT) for trial in night(first + own // NIGHT + at)]
    started, cpu = time.monotonic(), time.process_time()
    for at in range(0, len(many), BATCH):
        store.save_trials(many[at : at + BATCH])
    batched_s, batched_cpu_s = time.monotonic() - started, time.process_time() - cpu
    started = time.monotonic()
    for trial in single:
        store.save_trial(trial)
    single_s = time.monotonic() - started
    store.close()
    return {
        "ingest_per_s": round(len(many) / batched_s),
        "ingest_per_cpu_s": round(len(many) / batched_cpu_s),
        "ingest_single_per_s": round(len(single) / single_s),
    }


def size_mb(url: str) -> float:
    """Return how large the database is."""
    engine = create_engine(url)
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            pages, page = (connection.scalar(text(f"PRAGMA {name}")) for name in ("page_count", "page_size"))
            size = float(pages or 0) * float(page or 0)
        else:
            size = float(connection.scalar(text("SELECT pg_database_size(current_database())")) or 0)
    engine.dispose()
    return size / 1e6


def night(number: int) -> Iterator[TrialResult]:
    """Yield the trials of one night: three clouds, two set-ups, two variants, three replicates."""
    rng = random.Random(number)
    for cloud in ("eks", "gke", "aks"):
        for setup in ("static", "dynamic"):
            for variant in ("baseline", "improved"):
                for replicate in range(3):
                    yield _trial(rng, number, cloud, setup, variant, replicate)


def _trial(rng: random.Random, number: int, cloud: str, setup: str, variant: str, replicate: int) -> TrialResult:
    at = AT + timedelta(days=number, minutes=20 * replicate)
    stratum = Stratum(
        "simulated", cloud, setup, "0123456789ab", "us-west-2", "karpenter", "ba9876543210",
        "microsoft/Phi-3-mini-4k-instruct", "f39ac1d28e925b323eae81227eaba4464caced4e", "phi3-2025",
    )  # fmt: skip
    treatments = () if variant == "baseline" else ("bake_packages", "fast_download")
    slot = Slot(
        experiment="nightly", dag_id="llm_deployments_nightly", run_id=f"scheduled__{at:%Y-%m-%d}T04:00:00+00:00",
        cluster=f"{cloud}-cluster", number=replicate, replicate=replicate, seed=7,
        fixed_id=f"n{number:06d}-{cloud}-{setup}-{variant}-{replicate}",
    )  # fmt: skip
    opened = Opened(
        at=at, rayservice="llm-model-serve", namespace="default", labels={"llm-provisioning/trial": slot.trial_id},
        place=f"cluster:{cloud}/default", manifest_content="fedcba987654",
    )  # fmt: skip
    image = "registry.example/serving:2.33.0"
    trial = Trial(
        slot=slot,
        arm=Arm(stratum, variant, treatments),
        target=f"{cloud}-{variant}",
        served=Served(workload="phi3-2025", image=image),
        opened=opened,
    )
    seconds = [rng.uniform(20, 100) for _ in PHASES]
    total_s = sum(seconds)
    ends = [AT + timedelta(days=number, seconds=sum(seconds[: at + 1])) for at in range(12)]
    failed = rng.random() < 0.05
    made = TrialResult(
        trial=trial,
        status=TrialStatus.SUCCEEDED,
        opened_at=at,
        closed_at=at + timedelta(seconds=total_s),
        submitted_at=at,
        ready_at=at + timedelta(seconds=total_s),
        total_s=total_s,
        total_low_s=total_s - 0.5,
        total_high_s=total_s + 0.5,
        completion_s=total_s + 2,
        start="cold",
        applied="applied" if treatments else "none",
        verdicts=[{"claim": claim, "value": "yes", "evidence": [f"the node {claim} was not seen before " * 3]}
                  for claim in ("cold", "ready", "applied", "answered")],
        flags=("The clock of node a is 1.2 s ahead of the API server.",),
        environment={
            role: {"node": f"ip-{number}", "instance_type": "g5.2xlarge", "zone": rng.choice("abc"), "gpu": "A10G",
                   "driver": "550.54", "os_image": "Bottlerocket 1.21", "image": image,
                   "image_digest": f"sha256:{'a' * 64}", "provider_id": "aws:///us-west-2a/i-0123456789"}
            for role in ("head", "worker")
        } | {"cluster": {"gitVersion": "v1.34.1", "major": "1", "minor": "34"}, "kuberay": "v1.5.0", "ray": "2.33.0"},
        phases=[PhaseResult(name, s, s - 0.5, s + 0.5) for name, s in zip(PHASES, seconds, strict=True)],
        milestones=[MilestoneResult(f"milestone_{at}", end, end, "pod/worker status.conditions[Ready]")
                    for at, end in enumerate(ends)],
        analysis_version="0.2.0+core.0123456789ab",
    )  # fmt: skip
    return replace(made, status=TrialStatus.FAILED, total_s=None, phases=()) if failed else made


def _copy(url: str, copies: int) -> None:
    """Copy the first night so many times, each a day later and with times of its own."""
    engine = open_engine(url)
    sqlite = engine.dialect.name == "sqlite"
    try:
        with nullcontext() if sqlite else _without_indexes(engine):
            for first in range(1, copies + 1, 500):
                with writing(engine) as connection:
                    _copies(connection, sqlite, range(first, min(first + 500, copies + 1)))
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("ANALYZE" if sqlite else "VACUUM ANALYZE"))
    finally:
        engine.dispose()


@contextmanager
def _without_indexes(engine: Engine) -> Iterator[None]:
    """Take PostgreSQL's secondary indexes and foreign keys away while rows are copied, and make them again."""
    ours = "('" + "', '".join(_CHANGED) + "')"
    keys_of = (
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint "  # noqa: S608 - constants
        f"WHERE contype = 'f' AND conrelid::regclass::text IN {ours}"
    )
    indexes_of = (
        f"SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename IN {ours} "  # noqa: S608
        "AND indexname NOT IN (SELECT conname FROM pg_constraint)"
    )
    with engine.begin() as connection:
        keys = connection.execute(text(keys_of)).all()
        indexes = connection.execute(text(indexes_of)).all()
        for table, name, _ in keys:
            connection.execute(text(f"ALTER TABLE {table} DROP CONSTRAINT {name}"))
        for name, _ in indexes:
            connection.execute(text(f"DROP INDEX {name}"))
    yield
    with engine.begin() as connection:
        for _, definition in indexes:
            connection.execute(text(definition))
        for table, name, definition in keys:
            connection.execute(text(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}"))


def _copies(connection: Connection, sqlite: bool, numbers: range) -> None:
    connection.execute(text("CREATE TEMPORARY TABLE copied (n INTEGER, name TEXT, run TEXT)" +
                            ("" if sqlite else " ON COMMIT DROP")))  # fmt: skip
    rows = [
        {"n": n, "name": f"n{n:06d}", "run": f"scheduled__{AT + timedelta(days=n):%Y-%m-%d}T04:00:00+00:00"}
        for n in numbers
    ]
    connection.execute(text("INSERT INTO copied VALUES (:n, :name, :run)"), rows)
    for table, changed in _CHANGED.items():
        names = [column["name"] for column in inspect(connection).get_columns(table)]
        # Every trial of every night has a factor of its own, so that its phases still sum to its total.
        factor = "(0.9 + 0.2 * ((c.n * 7919 + length(t.trial_id) * 31) % 1000) / 1000.0)"
        values = [changed.get(name, f"t.{name}") for name in names]
        listed = ", ".join(values).replace("FACTOR", factor)
        for name in ("opened_at", "closed_at", "submitted_at", "ready_at", "earliest_at", "latest_at"):
            later = (
                f"strftime('%Y-%m-%d %H:%M:%f000', t.{name}, '+' || c.n || ' days')"
                if sqlite
                else f"t.{name} + c.n * interval '1 day'"
            )
            listed = listed.replace(f"LATER({name})", later)
        connection.execute(text(
            f"INSERT INTO {table} ({', '.join(names)}) SELECT {listed} FROM copied c CROSS JOIN {table} t "  # noqa: S608 - constants
            "WHERE t.trial_id >= 'n000000-' AND t.trial_id < 'n000000.'"
        ))  # fmt: skip
    if sqlite:
        connection.execute(text("DROP TABLE copied"))


_NAME = "c.name || substr(t.trial_id, 8)"
_SECONDS = ("total_s", "total_low_s", "total_high_s", "completion_s", "duration_s", "low_s", "high_s")
_INSTANTS = ("opened_at", "closed_at", "submitted_at", "ready_at", "earliest_at", "latest_at")
_TIMES = {name: f"t.{name} * FACTOR" for name in _SECONDS} | {name: f"LATER({name})" for name in _INSTANTS}
_CHANGED = {
    "llmp_trials": {"trial_id": _NAME, "run_id": "c.run", **_TIMES},
    "llmp_phases": {"trial_id": _NAME, **_TIMES},
    "llmp_milestones": {"trial_id": _NAME, **_TIMES},
}
