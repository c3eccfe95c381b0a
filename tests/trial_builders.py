"""One builder of trials and their rows for all tests: small, plain, every number made up.

A keyword goes where a field of its name is: stratum, slot, trial or row.
"""

from collections.abc import Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_llm_provisioning.core.arm import BASELINE, Arm, Stratum
from airflow_llm_provisioning.core.result import TrialResult, TrialStatus
from airflow_llm_provisioning.core.trial import Opened, Served, Slot, Trial
from airflow_llm_provisioning.core.workload import Model

OPENED_AT = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)

_STRATUM = {
    "origin": "simulated",
    "cloud": "eks",
    "setup": "static",
    "workload_content": "0123456789ab",
    "region": "us-west-2",
    "autoscaler": "luna",
    "nodes": "ba9876543210",
    "model_id": "microsoft/Phi-3-mini-4k-instruct",
    "model_revision": "f39ac1d",
    "workload": "phi3-2025",
}
_SLOT = {
    "experiment": "made-up",
    "dag_id": "a_dag",
    "run_id": "run-1",
    "cluster": "eks-cluster",
    "number": 0,
    "replicate": 0,
    "seed": 7,
}


def a_stratum(**changes: Any) -> Stratum:
    """The built-in workload on EKS, static, simulated."""
    return Stratum(**_STRATUM | changes)


def a_planned_trial(
    trial_id: str | None = None, *, variant: str = BASELINE, treatments: Sequence[str] | None = None, **changes: Any
) -> Trial:
    """A trial that was opened. `trial_id`: None for the one that follows from the slot. `treatments`: None for one that
    is named as the variant, and none for the baseline.
    """
    stratum, slot = (_taken(changes, kind) for kind in (Stratum, Slot))
    used = (() if variant == BASELINE else (f"{variant}_treatment",)) if treatments is None else tuple(treatments)
    arm = Arm(a_stratum(**stratum), variant, used)
    model = Model(str(arm.stratum.model_id), str(arm.stratum.model_revision), 7_642_181_880, 4_972_489_328, "hub")
    image = changes.pop("image", "docker.io/rayproject/ray-ml:2.33.0")
    values: dict[str, Any] = {
        "target": f"{arm.stratum.cloud}-{'fast' if variant == 'improved' else 'plain'}",
        "served": Served(workload=arm.stratum.workload, model=model if arm.stratum.model_id else None, image=image),
        "opened": Opened(
            at=OPENED_AT,
            rayservice="llm-model-serve",
            namespace="default",
            labels={"a": "b"},
            place="cluster:eks-cluster/default",
            manifest_content="fedcba987654",
        ),
    }
    return Trial(slot=Slot(**_SLOT | {"fixed_id": trial_id} | slot), arm=arm, **values | changes)


def a_result(trial_id: str | None = None, *, total_s: float | None = 1000.0, **changes: Any) -> TrialResult:
    """A comparable row without phases. Keywords as `a_planned_trial`, and every field of the row."""
    own = _taken(changes, TrialResult)
    trial = own.pop("trial", None) or a_planned_trial(trial_id, **changes)
    values: dict[str, Any] = {
        "status": TrialStatus.SUCCEEDED,
        "opened_at": OPENED_AT,
        "closed_at": OPENED_AT + timedelta(seconds=total_s or 0),
        "total_s": total_s,
        "start": "cold",
        "applied": "applied" if trial.arm.treatments else "none",
    }
    return TrialResult(trial=trial, **values | own)


def _taken(changes: dict[str, Any], kind: Any) -> dict[str, Any]:
    """Take the keywords out that are fields of a dataclass."""
    return {field.name: changes.pop(field.name) for field in fields(kind) if field.name in changes}
