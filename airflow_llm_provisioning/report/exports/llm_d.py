"""Arms as llm-d's benchmark reports, version 0.2 (llm-d/llm-d-benchmark, commit 331a0f7:
benchmark-report/llmd_benchmark_report/schema_v0_2.py), a YAML document each.

A report of theirs is about requests; a start-up has no field of its own in it. It stands under `results.observability`,
where other keys are allowed, in the schema's `Statistics`. Nothing is written for what was not measured.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from statistics import mean, quantiles, stdev
from typing import Any, Final

import yaml

from airflow_llm_provisioning.core.comparison import ArmTrials, grouped
from airflow_llm_provisioning.core.measured import Measured
from airflow_llm_provisioning.core.names import fingerprint
from airflow_llm_provisioning.core.secrets import redacted_value

VERSION: Final = "0.2.1"


def write(trials: Sequence[Measured]) -> bytes:
    """Return a report for every arm with comparable trials."""
    reports = [redacted_value(_report(arm)) for arm in grouped(trials) if arm.totals]
    return yaml.safe_dump_all(reports, sort_keys=False, explicit_start=True, allow_unicode=True).encode(
        "utf-8", "backslashreplace"
    )


def _report(arm: ArmTrials) -> dict[str, Any]:
    stratum = arm.arm.stratum
    trials = sorted(trial.trial_id for trial in arm.pooled)
    opened = [trial.opened_at for trial in arm.pooled]
    words = [stratum.origin, stratum.cloud, stratum.setup, arm.arm.variant, *arm.arm.treatments]
    return {
        "version": VERSION,
        "run": {
            "uid": fingerprint({"arm": arm.arm.key, "trials": trials}, 32),
            "eid": arm.arm.key,
            "time": {"start": _instant(min(opened)), "end": _instant(max(opened))},
            "description": f"Start-up of {stratum.workload} on {stratum.cloud}, {stratum.setup}, {arm.arm.variant}: "
            f"{len(trials)} cold trials, {stratum.origin}",
            "keywords": [word for word in words if word],
        },
        "results": {
            "observability": {
                "deployment_startup_time": _statistics(arm.totals),
                **_completion([trial.completion_s for trial in arm.pooled if trial.completion_s is not None]),
            }
        },
    }


def _completion(seconds: Sequence[float]) -> Mapping[str, Any]:
    return {"deployment_first_completion_time": _statistics(seconds)} if seconds else {}


def _statistics(seconds: Sequence[float]) -> dict[str, Any]:
    """Return the schema's `Statistics`, in seconds: what so few values have."""
    found: dict[str, Any] = {"units": "s", "mean": mean(seconds), "min": min(seconds), "max": max(seconds)}
    if len(seconds) > 1:
        cuts = quantiles(seconds, n=20, method="inclusive")
        found |= {"stddev": stdev(seconds), "p25": cuts[4], "p50": cuts[9], "p75": cuts[14], "p90": cuts[17]}
    return found


def _instant(at: datetime) -> str:
    return at.isoformat()
