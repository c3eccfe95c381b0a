"""What a treatment is: one acceleration, what must be prepared for it, how it changes what is served, how it is
verified.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from airflow_llm_provisioning.core.experiment import Delivery
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.verdicts import Verdict
from airflow_llm_provisioning.core.workload import ImageRecipe, Workload


@dataclass(frozen=True, slots=True)
class ServingPlan:
    """What a variant serves.

    `recipe`: the image; `own_image`: whether it must be in a registry of ours (built, or mirrored unchanged), because
    the public base cannot be snapshotted or streamed. `pip`: what Ray still installs at start; `env`: of every Ray
    container.
    """

    recipe: ImageRecipe
    pip: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    own_image: bool = False

    def in_own_registry(self) -> "ServingPlan":
        """Return the plan with its image in our registry."""
        return replace(self, own_image=True)


class Treatment(Protocol):
    """One acceleration."""

    name: str
    clouds: frozenset[str]
    """Where it exists; empty: everywhere."""
    preparations: tuple[str, ...]
    """Steps before the trials: verbs of the cloud, or `warm_image` (one pull through the Kubernetes API)."""
    delivery: Delivery | None
    """How the image reaches the node, where this treatment decides it."""
    claims: tuple[str, ...]
    """What its cloud is asked before the trial is deleted; the answers are in the trace as evidence."""

    def change(self, plan: ServingPlan, workload: Workload) -> ServingPlan:
        """Return what is served with this treatment."""
        ...

    def verify(self, view: TraceView) -> Verdict:
        """Say from a trial's trace whether it was really applied, with the evidence."""
        ...

    def undeclared(self, view: TraceView) -> str | None:
        """Return what says that a trial which does not declare it had it all the same, or None."""
        ...
