"""Trials as PerfKitBenchmarker's samples, one JSON object a line (perfkitbenchmarker/publisher.py, commit 0245256:
`NewlineDelimitedJSONPublisher`, with `collapse_labels`; sample.py, commit 04d7a67: metric, value, unit, metadata,
timestamp). `bq load --source_format=NEWLINE_DELIMITED_JSON` reads it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from airflow_llm_provisioning.core.measured import Measured
from airflow_llm_provisioning.core.names import fingerprint
from airflow_llm_provisioning.core.secrets import redacted_text, redacted_value
from airflow_llm_provisioning.report.exports import comparable

PRODUCT: Final = "airflow-llm-provisioning"
TEST: Final = "llm_deployment_start"


def write(trials: Sequence[Measured]) -> bytes:
    """Return a sample for the total, the first completion and each phase of every comparable trial."""
    lines = [json.dumps(redacted_value(sample)) for trial in comparable(trials) for sample in _samples(trial)]
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")


def _samples(trial: Measured) -> Iterator[Mapping[str, Any]]:
    values: dict[str, float | None] = {"Time to Ready Endpoint": trial.total_s}
    values["Time to First Completion"] = trial.completion_s
    values |= {f"Phase {phase.name}": phase.duration_s for phase in trial.phases}
    dag_id, run_id = trial.run
    for metric, value in values.items():
        if value is None:
            continue
        yield {
            "metric": metric,
            "value": value,
            "unit": "seconds",
            "timestamp": trial.opened_at.timestamp(),
            "test": TEST,
            "product_name": PRODUCT,
            "official": False,
            "owner": dag_id,
            "run_uri": fingerprint({"dag": dag_id, "run": run_id}, 8),
            "sample_uri": fingerprint({"trial": trial.trial_id, "metric": metric}, 32),
            "labels": ",".join(f"|{key}:{_flat(text)}|" for key, text in _metadata(trial).items()),
        }


def _metadata(trial: Measured) -> dict[str, str]:
    stratum = trial.arm.stratum
    dag_id, run_id = trial.run
    named = {
        "origin": stratum.origin, "cloud": stratum.cloud, "region": stratum.region, "target": trial.target,
        "workload": stratum.workload, "setup": stratum.setup, "variant": trial.arm.variant,
        "treatments": "+".join(trial.arm.treatments), "model": stratum.model_id,
        "model_revision": stratum.model_revision, "arm": trial.arm.key, "trial_id": trial.trial_id, "dag_id": dag_id,
        "run_id": run_id,
    }  # fmt: skip
    return {key: value for key, value in named.items() if value}


def _flat(text: str) -> str:
    """Return a value without the two characters that separate labels."""
    return redacted_text(text).replace("|", "/").replace("\n", " ")
