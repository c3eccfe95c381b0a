"""What is kept of a trial and of a preparation. The row says everything a reader needs to trust it or to set it
aside.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from airflow_llm_provisioning.core.arm import Arm
from airflow_llm_provisioning.core.secrets import redacted_text
from airflow_llm_provisioning.core.trial import Trial
from airflow_llm_provisioning.exceptions import TraceError

# The flag of a trial that lost a pod before it served (`core/timing/trial_flags`).
REPLACED: Final = "replaced"
# The flag of a trial whose RayService was changed before it served (`core/timing/trial_flags`).
CHANGED: Final = "changed"
# The flag of a trial that waited for refused capacity (`core/timing/analysis`).
WAITED_FOR_CAPACITY: Final = "capacity"
_EXCLUDING: Final = {REPLACED: "pod replaced", CHANGED: "manifest changed", WAITED_FOR_CAPACITY: "waited for capacity"}


class TrialStatus(StrEnum):
    """How a trial ended. Everything but `succeeded` is a result too, with a reason.

    `not_deleted`: something of it still exists, or was not seen to be gone. Closing it again replaces this by how the
    deployment itself ended. `no_capacity`: the cluster got no machine for it; it is neither slow nor a failure of the
    workload. `over_budget`: it was ended, or not begun, because the budget is used up.
    """

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    NO_CAPACITY = "no_capacity"
    OVER_BUDGET = "over_budget"
    ABORTED = "aborted"
    NOT_DELETED = "not_deleted"


@dataclass(frozen=True, slots=True)
class PhaseResult:
    """One phase of the deciding path. `low_s`, `high_s`: its bounds; the `duration_s` of a trial's phases sum to its
    total.
    """

    name: str
    duration_s: float
    low_s: float
    high_s: float


@dataclass(frozen=True, slots=True)
class MilestoneResult:
    """One instant of a trial with its bounds and where it was read."""

    name: str
    earliest_at: datetime
    latest_at: datetime
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialResult:
    """A trial and how it ended.

    `trial`: what was planned and opened; its `arm.stratum.origin` is `simulated` or `measured`, as the cluster itself
    said. `opened_at`: when the trial was opened, or refused. `total_s`: submission to the first ready endpoint of the
    serve Service, None where it never became ready; `total_low_s`, `total_high_s`: its bounds. `completion_s`:
    submission to the first valid completion. `start`: `cold`, `warm` or `unknown`. `applied`: of all the variant's
    treatments together: `applied`, `not applied`, `unknown`; `none` for the baseline, which has none. `verdicts`:
    [{claim, value, evidence: [..]}]. `environment`: instance types, versions, zone, images, as far as they were seen.
    `analysis_version`: which code computed it from the trace; None where there was none to compute from. `capacity`:
    what was refused to it (`core.capacity.Capacity` as a dict); None where nothing was. `cost`: of its machines
    (`core.cost.priced`); None where the recording does not tell it. `speed`: how fast the model wrote
    (`core.serving_speed.ServingSpeed` as a dict); None where it was not measured.
    """

    trial: Trial
    status: TrialStatus
    opened_at: datetime
    closed_at: datetime
    reason: str | None = None
    submitted_at: datetime | None = None
    ready_at: datetime | None = None
    total_s: float | None = None
    total_low_s: float | None = None
    total_high_s: float | None = None
    completion_s: float | None = None
    start: str = "unknown"
    applied: str = "unknown"
    verdicts: Sequence[Mapping[str, Any]] = ()
    flags: Sequence[str] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    phases: Sequence[PhaseResult] = ()
    milestones: Sequence[MilestoneResult] = ()
    analysis_version: str | None = None
    capacity: Mapping[str, Any] | None = None
    cost: Mapping[str, Any] | None = None
    speed: Mapping[str, Any] | None = None

    @property
    def trial_id(self) -> str:
        """The trial's name everywhere."""
        return self.trial.trial_id

    @property
    def arm(self) -> Arm:
        """What the trial is a replicate of."""
        return self.trial.arm

    @property
    def target(self) -> str:
        """The prepared cluster and node profile that it ran on."""
        return self.trial.target

    @property
    def run(self) -> tuple[str, str]:
        """The DAG and the id of the run. Two DAGs may have runs of one id."""
        return self.trial.slot.dag_id, self.trial.slot.run_id

    @property
    def origin(self) -> str:
        """`measured`, `simulated` or `unknown`."""
        return self.trial.arm.stratum.origin

    @property
    def exclusion(self) -> str | None:
        """Why the trial may not enter a cold comparison, in a few words; None where it may: it became ready, it lost no
        pod, its manifest stayed as it was, it started cold, and every treatment of its arm was verified.
        """
        if self.status is not TrialStatus.SUCCEEDED:
            return str(self.status)
        if self.total_s is None:
            return "no total"
        if not (math.isfinite(self.total_s) and self.total_s > 0):
            return "total is no duration"
        for kind, why in _EXCLUDING.items():
            if any(flag.startswith(f"{kind}:") for flag in self.flags):
                return why
        if self.start != "cold":
            return f"start {self.start}"
        if self.applied == "none" and self.arm.treatments:
            return "treatment not verified"
        return None if self.applied in ("applied", "none") else f"treatment {self.applied}"

    @property
    def comparable(self) -> bool:
        """Whether it may enter a cold comparison."""
        return self.exclusion is None

    def summary(self) -> dict[str, Any]:
        """Return the flat JSON row that goes to XCom: no phases, no milestones."""
        trial, stratum = self.trial, self.trial.arm.stratum
        slot, opened, model = trial.slot, trial.opened, trial.served.model
        row: dict[str, Any] = {
            "trial_id": self.trial_id,
            "experiment": slot.experiment,
            "dag_id": slot.dag_id,
            "run_id": slot.run_id,
            "target": trial.target,
            "cluster": slot.cluster,
            **stratum.as_dict(),
            "variant": trial.arm.variant,
            "treatments": "+".join(trial.arm.treatments),
            "arm": trial.arm.key,
            "stratum": stratum.key,
            "replicate": slot.replicate,
            "slot": slot.number,
            "seed": slot.seed,
            "rayservice": opened.rayservice if opened else None,
            "namespace": opened.namespace if opened else None,
            "model_source": model.source if model else trial.served.model_source,
            "image": trial.served.image or None,
        }
        own = ("status", "reason", "opened_at", "closed_at", "submitted_at", "ready_at", "total_s", "total_low_s")
        more = ("total_high_s", "completion_s", "start", "applied", "analysis_version")
        row |= {name: getattr(self, name) for name in (*own, *more)}
        row["status"] = str(self.status)
        row["capacity_wait_s"] = (self.capacity or {}).get("waited_s")
        row["tokens_s"] = (self.speed or {}).get("tokens_s")
        cost = self.cost or {}
        row |= {"cost_amount": cost.get("amount"), "currency": cost.get("currency"), "gpu_hours": cost.get("gpu_hours")}
        row["flags"] = redacted_text("; ".join(self.flags))
        # What an error repeats may be a user's: this row goes to XCom and into tables.
        row["reason"] = None if self.reason is None else redacted_text(self.reason)
        return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in row.items()}


@dataclass(frozen=True, slots=True)
class Computed:
    """One analysis of a trace. `version`: of the code that computed it; None where it was not written. `text`: the
    whole result as JSON, byte for byte as it was computed.
    """

    version: str | None
    text: str

    @property
    def document(self) -> dict[str, Any]:
        """The result as values (see `Judgement.as_dict`). A TraceError says that the text is no result."""
        try:
            found = json.loads(self.text)
        except ValueError as error:
            raise TraceError(f"What was computed before is no JSON: {error}.") from error
        if not isinstance(found, dict):
            raise TraceError("What was computed before is no result: it is JSON, and no object.")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """One preparation step of a target: what it made, how long it took, what it cost.

    `content`: fingerprint of what was asked; `result`: the operation's result (image, digest, snapshot_id, ...).
    `price_usd`: None where unknown, `price_basis` says why or how it was computed. `seconds` in the cloud's clock.
    """

    target: str
    cloud: str
    verb: str
    content: str
    result: Mapping[str, Any]
    origin: str
    seconds: float
    prepared_at: datetime
    reused: bool = False
    price_usd: float | None = None
    price_basis: str | None = None
    run_id: str | None = None
