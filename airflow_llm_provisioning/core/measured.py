"""What statistics need of a trial: its arm, its run, its times and what was observed. Neither phases' bounds,
milestones, verdicts nor the plan.

`TrialResult` is one. The results store gives thinner ones, so that a table of many trials does not build whole results.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from airflow_llm_provisioning.core.arm import Arm


class PhaseTime(Protocol):
    """One phase of a deciding path."""

    @property
    def name(self) -> str:
        """Its name, or the names that it joins (`a+b`)."""
        ...

    @property
    def duration_s(self) -> float:
        """Its seconds; those of a trial's phases sum to its total."""
        ...


class Measured(Protocol):
    """One trial; the fields mean what they mean in `core.result.TrialResult`."""

    @property
    def trial_id(self) -> str:
        """The trial's name everywhere."""
        ...

    @property
    def arm(self) -> Arm:
        """What the trial is a replicate of."""
        ...

    @property
    def target(self) -> str:
        """The prepared cluster and node profile that it ran on."""
        ...

    @property
    def run(self) -> tuple[str, str]:
        """The DAG and the id of the run. Two DAGs may have runs of one id."""
        ...

    @property
    def opened_at(self) -> datetime:
        """When it was opened, or refused."""
        ...

    @property
    def exclusion(self) -> str | None:
        """Why it may not enter a cold comparison; None where it may."""
        ...

    @property
    def total_s(self) -> float | None:
        """Submission to the first ready endpoint."""
        ...

    @property
    def total_low_s(self) -> float | None:
        """The total's lower bound."""
        ...

    @property
    def total_high_s(self) -> float | None:
        """The total's upper bound."""
        ...

    @property
    def completion_s(self) -> float | None:
        """Submission to the first valid completion."""
        ...

    @property
    def start(self) -> str:
        """`cold`, `warm` or `unknown`."""
        ...

    @property
    def applied(self) -> str:
        """The verdict on the variant's treatments."""
        ...

    @property
    def environment(self) -> Mapping[str, Any]:
        """At least what `core.arm.observed_facts` reads."""
        ...

    @property
    def speed(self) -> Mapping[str, Any] | None:
        """How fast the model wrote; None where it was not measured."""
        ...

    @property
    def phases(self) -> Sequence[PhaseTime]:
        """The deciding path; empty where it is not known or was not asked for."""
        ...
