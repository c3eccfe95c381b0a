"""A guard against a start that is faster because less was prepared for serving: an arm that serves slower says so.

It compares an arm with the baseline of its own run and stratum (`core.serving_speed.slower`).
"""

from collections.abc import Iterable, Mapping
from typing import Any

from airflow_llm_provisioning.core.comparison import ArmTrials, compare
from airflow_llm_provisioning.core.gate import Gate, Outcome
from airflow_llm_provisioning.core.measured import Measured
from airflow_llm_provisioning.core.serving_speed import ServingSpeed, slower


def serves_slower(trials: Iterable[Measured]) -> list[str]:
    """Return a sentence for each arm that serves slower than its baseline, in the order of the tables."""
    return [sentence for row in compare(trials) if (sentence := trade_off(row.as_dict()))]


def trade_off(row: Mapping[str, Any]) -> str | None:
    """Return the sentence for an arm that serves slower than its baseline, None for any other. `row`: of
    `core.comparison.ComparisonRow`; rows of an older store have no speed.
    """
    if not row.get("slower_pct"):
        return None
    saved = row["reduction_pct"]
    starts = "starts" if saved is None else f"starts {abs(saved):.1f} % {'faster' if saved > 0 else 'slower'}"
    bounds = f"{row['tokens_low']:.1f} to {row['tokens_high']:.1f}"
    return (
        f"{row['setup']} {row['variant']} {starts} and serves {row['slower_pct']:.0f} % slower than the baseline: "
        f"{row['tokens_s']:.1f} tokens/s ({bounds}), one request at a time."
    )


def serving_gate(arm: ArmTrials, baseline: ArmTrials | None, most_slower_pct: float) -> Gate:
    """Judge whether an arm serves at most `most_slower_pct` per cent slower than the baseline of its run.

    It is beyond the limit if its upper bound is below the baseline's lower one, and the two differ by more than the
    limit. A speed that is not known is undecided, never a pass. The baseline itself passes.
    """
    if arm.arm.is_baseline:
        return Gate(Outcome.PASSES, "Passes: it is the baseline that other arms are served against.")
    if baseline is None:
        return Gate(
            Outcome.NOT_JUDGED, f"No trial of the baseline of {arm.arm.label} in this run, so no serving speed."
        )
    own, other = arm.speed, baseline.speed
    if own is None or other is None:
        missing = " and ".join(name for name, speed in (("the arm", own), ("its baseline", other)) if speed is None)
        return Gate(Outcome.UNDECIDED, f"Undecided: the serving speed of {missing} was not measured.")
    outcome, share_pct = serving_verdict(own, other, most_slower_pct)
    told = f"it serves {own}, {max(share_pct, 0.0):.0f} % slower than its baseline's {other}"
    return Gate(outcome, f"{outcome.capitalize()}: {told}; allowed is {most_slower_pct:g} %.")


def serving_verdict(own: ServingSpeed, other: ServingSpeed, most_slower_pct: float) -> tuple[Outcome, float]:
    """Return what two speeds say, and by how many per cent the first is slower. A faster `own`, or a slower `other`,
    never takes a pass away.
    """
    share_pct = 100 * (1 - own.tokens_s / other.tokens_s)
    if share_pct > most_slower_pct:
        return Outcome.SLOWER if slower(own, other) else Outcome.UNDECIDED, share_pct
    # As in `slower`: bounds that reach down to half of what is allowed do not show that it is kept.
    kept = own.low > 0.5 * (1 - most_slower_pct / 100) * other.tokens_s
    return Outcome.PASSES if kept else Outcome.UNDECIDED, share_pct


def both(first: Gate, second: Gate) -> Gate:
    """Return one gate for two that must hold: that of the first that does not pass, with both sentences."""
    stopped = next((gate for gate in (first, second) if gate.outcome is not Outcome.PASSES), first)
    return Gate(stopped.outcome, f"{first.sentence} {second.sentence}", first.low, first.high)
