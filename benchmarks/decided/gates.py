"""How often a gate is wrong, and how many wiring mistakes pass it.

Wrong is `slower` of an arm that is within the limit, and `passes` of one that is not. An arm exactly at the
limit is tried as well, and may be called neither.
"""

import argparse
import contextlib
import io
import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from airflow_llm_provisioning.cli import main
from airflow_llm_provisioning.core.arm import Arm, Stratum
from airflow_llm_provisioning.core.comparison import ArmTrials, grouped
from airflow_llm_provisioning.core.gate import Gate, Outcome, no_slower_than, within_limit
from airflow_llm_provisioning.core.result import TrialResult, TrialStatus
from airflow_llm_provisioning.core.trial import Served, Slot, Trial
from airflow_llm_provisioning.gateways.store.results import ResultsStore

AT = datetime(2026, 1, 1, tzinfo=UTC)
ARM = "here/w/static/baseline"


def figures(repeats: int, seed: int) -> dict[str, object]:
    """Return the share of wrong judgements over so many series, and the wiring mistakes that passed."""
    rng = random.Random(f"{seed} gate")
    wrong: dict[bool, int] = {True: 0, False: 0}
    undecided = 0
    for _ in range(repeats):
        slower_pct = rng.choice((0.0, 0.0, 5.0, 15.0, 30.0))
        n, noise = rng.randrange(5, 21), rng.choice((0.02, 0.05, 0.1))
        found = _against(rng, n, noise, slower_pct) if rng.random() < 0.5 else _limit(rng, n, noise, slower_pct)
        wrong[slower_pct == 5.0] += _is_wrong(found, slower_pct)
        undecided += found.outcome is Outcome.UNDECIDED
    passed = list(mistakes())
    return {
        "gate_wrong_ratio": round(sum(wrong.values()) / repeats, 4),
        "gate_undecided_ratio": round(undecided / repeats, 4),
        "wiring_mistakes": len(passed),
        "wiring_mistakes_passed": sum(passed),
    }


def _is_wrong(found: Gate, slower_pct: float) -> bool:
    """At the limit both are a claim that is not so."""
    return (found.outcome is Outcome.SLOWER and slower_pct <= 5.0) or (
        found.outcome is Outcome.PASSES and slower_pct >= 5.0
    )


def _against(rng: random.Random, n: int, noise: float, slower_pct: float) -> Gate:
    return no_slower_than(_arm(rng, n, noise, slower_pct), _arm(rng, n, noise, 0.0), 5.0)


def _limit(rng: random.Random, n: int, noise: float, slower_pct: float) -> Gate:
    return within_limit(_arm(rng, n, noise, slower_pct), 1050.0)


def _arm(rng: random.Random, n: int, noise: float, slower_pct: float) -> ArmTrials:
    (arm,) = grouped(row(f"t{at}", 1000 * (1 + slower_pct / 100) * rng.lognormvariate(0, noise)) for at in range(n))
    return arm


def row(name: str, total_s: float | None, run_id: str = "new", **changes: object) -> TrialResult:
    """Return a comparable row of the arm."""
    stratum = Stratum("simulated", "eks", "static", "content", workload="w")
    slot = Slot(
        experiment="e",
        dag_id="d",
        run_id=run_id,
        cluster="c",
        number=0,
        replicate=0,
        seed=1,
        fixed_id=f"{run_id}-{name}",
    )
    trial = Trial(slot=slot, arm=Arm(stratum, "baseline"), target="here", served=Served(workload="w"))
    at = AT + timedelta(days=run_id == "new")
    made = TrialResult(
        trial=trial, status=TrialStatus.SUCCEEDED, opened_at=at, closed_at=at, total_s=total_s, start="cold",
        applied="none",
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type] # fields of the row by name


def mistakes() -> Iterator[bool]:
    """Yield for each wiring mistake whether the gate exits 0."""
    good = [row(f"t{at}", 100.0 + at, run) for run in ("old", "new") for at in range(8)]
    limit = ("--arm", ARM, "--max-seconds", "1000")
    with tempfile.TemporaryDirectory() as folder:
        store, empty = Path(folder) / "good.db", Path(folder) / "empty.db"
        fill(store, good)
        fill(empty, [])
        for words in (
            ("--arm", "here/w/static/improved", "--max-seconds", "1000"),
            ("--arm", "", "--max-seconds", "1000"),
            ("--arm", "baseline", "--max-seconds", "1000"),
            ("--arm", ARM.upper(), "--max-seconds", "1000"),
            (*limit, "--run", "newest"),
            (*limit, "--run", "{{ run_id }}"),
            (*limit, "--experiment", "another"),
            ("--arm", ARM, "--max-seconds", "0"),
            ("--arm", ARM, "--max-seconds", "nan"),
            ("--arm", ARM, "--max-seconds", "-1"),
            ("--arm", ARM, "--max-seconds", ""),
            ("--arm", ARM, "--against", "never"),
            ("--arm", ARM, "--against", "new"),
            ("--arm", ARM, "--against", "old", "--max-slower", "nan"),
            ("--arm", ARM),
        ):
            yield exits_0(("--store", str(store), *words))
        yield exits_0(("--store", str(empty), *limit))
        yield exits_0(("--store", str(Path(folder) / "mistyped.db"), *limit))
        for at, changes in enumerate(SPOILT):
            spoilt = Path(folder) / f"spoilt-{at}.db"
            fill(spoilt, [replace(one, **changes) for one in good])  # type: ignore[arg-type] # fields by name
            yield exits_0(("--store", str(spoilt), *limit))
        few = Path(folder) / "few.db"
        fill(few, good[:2])
        yield exits_0(("--store", str(few), *limit))


# What a run looks like whose trials do not count: failed, skipped before they had a time, warm, unverified.
SPOILT: Sequence[dict[str, object]] = (
    {"status": TrialStatus.FAILED},
    {"status": TrialStatus.ABORTED, "total_s": None},
    {"start": "warm"},
    {"start": "unknown"},
    {"applied": "unknown"},
    {"total_s": None},
)


def fill(path: Path, rows: Sequence[TrialResult]) -> None:
    """Write rows into a store."""
    store = ResultsStore.open(f"sqlite:///{path}")
    try:
        for one in rows:
            store.save_trial(one)
    finally:
        store.close()


def exits_0(words: Sequence[str]) -> bool:
    """Run the command and return whether it passed."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            return main(["gate", *words]) == 0
        except (SystemExit, argparse.ArgumentError) as end:
            return getattr(end, "code", 1) == 0
