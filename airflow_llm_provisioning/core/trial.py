"""A trial's identity: the same slot of the same DAG run is the same trial, until its row is written."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from airflow_llm_provisioning.core.names import fingerprint
from airflow_llm_provisioning.core.result import TrialResult, TrialStatus

# After its time limit a trial is deleted and its nodes are waited for; what is older than this was forgotten.
EXPIRES_AFTER_LIMIT: Final = timedelta(hours=2)


@dataclass(frozen=True, slots=True)
class TrialPlan:
    """One trial before anything of it exists. `slot_id` names its slot in its DAG run; `attempt` counts re-runs of
    the slot.
    """

    slot_id: str
    dag_id: str
    run_id: str
    cluster: str
    timeout_s: float
    attempt: int = 1

    @classmethod
    def draw(cls, planned: Mapping[str, Any], *, dag_id: str, run_id: str, timeout_s: float) -> "TrialPlan":
        """Return the trial of a planned slot (see `PlannedTrial.as_dict`, with `experiment`) in a DAG run."""
        run = fingerprint({"dag_id": dag_id, "run_id": run_id}, 8)
        slot_id = f"{planned['experiment']}-{run}-{planned['cluster']}-{int(planned['slot']):02d}"
        return cls(slot_id, dag_id, run_id, planned["cluster"], timeout_s)

    @property
    def trial_id(self) -> str:
        """The trial's name everywhere: store, ledger, labels."""
        return self.slot_id if self.attempt == 1 else f"{self.slot_id}.{self.attempt}"

    @property
    def lock_holder(self) -> str:
        """Who holds the cluster's lock: the DAG run, whose slots on a cluster follow one another."""
        return f"{self.dag_id}/{self.run_id}/{self.cluster}"

    def same_slot(self, trial_id: str) -> bool:
        """Return whether a trial was an earlier run of this slot."""
        return trial_id == self.slot_id or trial_id.startswith(f"{self.slot_id}.")

    def numbered(self, finished: int) -> "TrialPlan":
        """Return the plan as the attempt after `finished` ones whose rows are written."""
        return replace(self, attempt=finished + 1)

    def expires_at(self, opened_at: datetime) -> datetime:
        """Return when whatever is left of it may be deleted by anybody."""
        return opened_at + timedelta(seconds=self.timeout_s) + EXPIRES_AFTER_LIMIT

    def refused(
        self, planned: Mapping[str, Any], *, origin: str, opened_at: datetime, closed_at: datetime, reason: str
    ) -> TrialResult:
        """Return the row of a trial that could not even be opened."""
        model = planned.get("model") or {}
        return TrialResult(
            trial_id=self.trial_id,
            dag_id=self.dag_id,
            run_id=self.run_id,
            **{key: planned[key] for key in ("experiment", "cluster", "cloud", "setup", "variant", "profile")},
            target=_target_name(planned),
            treatments=(),
            replicate=planned["replicate"],
            slot=planned["slot"],
            seed=planned["seed"],
            rayservice="",
            namespace="",
            model_id=model.get("model_id", ""),
            model_revision=model.get("revision", ""),
            model_source=model.get("source", ""),
            image="",
            origin=origin,
            status=TrialStatus.FAILED,
            opened_at=opened_at,
            closed_at=closed_at,
            reason=reason,
        )


def _target_name(planned: Mapping[str, Any]) -> str:
    target = planned["target"]
    return str(target["name"] if isinstance(target, Mapping) else target)
