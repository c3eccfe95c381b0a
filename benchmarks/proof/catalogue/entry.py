"""What an entry of the catalogue is."""

from dataclasses import dataclass
from typing import Literal

from proof.recorded_trial import Scenario

Truth = Literal["not applied", "excluded", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoOp:
    """One silent no-op. `claim`: whose verdict must say it. `truth`: what it must say; `excluded` where it is the
    reason for which the trial does not count (`reason`), against its replicates where there are several.
    """

    name: str
    scenario: Scenario
    claim: str
    truth: Truth = "not applied"
    reason: str = "treatment not applied"
    why_unseen: str = ""
