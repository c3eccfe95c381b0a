"""One entry of the catalogue."""

from dataclasses import dataclass
from typing import Literal

from proof.recorded_trial import Scenario

Truth = Literal["not applied", "excluded", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoOp:
    """One silent no-op.

    `claim`: the name of the verdict. `truth`: its correct value, or `excluded` if the trial must be excluded for
    `reason`, compared with its replicates if there are several.
    """

    name: str
    scenario: Scenario
    claim: str
    truth: Truth = "not applied"
    reason: str = "treatment not applied"
    why_unseen: str = ""
