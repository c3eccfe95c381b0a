"""How fast a served model writes: tokens a second of one request at a time, with bounds.

It guards against a start that is faster because less was prepared for serving. Two lengths of answer are timed, so that
what both have in common (network, proxies, queue, prompt) cancels out. Pure: the requests are sent elsewhere.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from airflow_llm_provisioning.core.fields import dig, mapping

# Tokens that are asked for: a short and a long answer in turn. 64 tokens between them take 1 to 6 s on today's GPUs.
LENGTHS: Final = (16, 80, 16, 80)
# An answer that is shorter than this share of what was asked for is not timed: the model stopped by itself.
_WHOLE: Final = 0.75
_ASKED: Final = "Count from one to two hundred in English words. Write the numbers only."
# Two arms differ in speed where their bounds do not overlap and their medians differ by more than this.
NOTABLE: Final = 0.05


@dataclass(frozen=True, slots=True)
class TimedAnswer:
    """One answer: its length and how long it took from the request to its last byte."""

    tokens: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"tokens": self.tokens, "seconds": round(self.seconds, 6)}


@dataclass(frozen=True, slots=True)
class ServingSpeed:
    """Tokens a second. `low`, `high`: what the answers' own times allow; `high` is None where they allow any."""

    tokens_s: float
    low: float
    high: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        high = None if self.high is None else round(self.high, 4)
        return {"tokens_s": round(self.tokens_s, 4), "low": round(self.low, 4), "high": high}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "ServingSpeed":
        """Read what `as_dict` wrote."""
        high = data.get("high")
        return cls(float(data["tokens_s"]), float(data["low"]), None if high is None else float(high))

    def __str__(self) -> str:
        upper = "any" if self.high is None else f"{self.high:.1f}"
        return f"{self.tokens_s:.1f} tokens/s ({self.low:.1f} to {upper})"


def timed_body(body: Any, tokens: int) -> dict[str, Any] | None:
    """Return the completion request with another prompt and length; None for a request that is not OpenAI's."""
    made = dict(mapping(body))
    if made.get("messages"):
        made["messages"] = [{"role": "user", "content": _ASKED}]
    elif isinstance(made.get("prompt"), str):
        made["prompt"] = _ASKED
    else:
        return None
    made.pop("max_completion_tokens", None)
    return {**made, "max_tokens": tokens, "stream": False}


def tokens_written(answer: bytes) -> int | None:
    """Return how many tokens a completion says it wrote (OpenAI's `usage`); None if it does not say it."""
    try:
        told = dig(json.loads(answer), "usage", "completion_tokens")
    except (ValueError, RecursionError):
        return None
    return told if isinstance(told, int) and not isinstance(told, bool) and told > 0 else None


def is_whole(tokens: int | None, wanted: int) -> bool:
    """Return whether an answer is as long as it was asked to be."""
    return tokens is not None and tokens >= _WHOLE * wanted


def serving_speed(answers: Iterable[TimedAnswer]) -> ServingSpeed | None:
    """Return the speed that timed answers of two lengths show; None where they show none."""
    known = sorted(answers, key=lambda one: one.tokens)
    if len(known) < 2 or known[0].tokens == known[-1].tokens:
        return None
    middle = (known[0].tokens + known[-1].tokens) / 2
    short = [one for one in known if one.tokens <= middle]
    long = [one for one in known if one.tokens > middle]
    rates = [_rate(one, other) for one in short for other in long]
    bounded = [rate for rate in rates if rate is not None]
    if not bounded:
        return None
    # The fastest of each length has met the fewest disturbances.
    best = _rate(min(short, key=_time), min(long, key=_time)) or median(bounded)
    return ServingSpeed(best, min(bounded), max(bounded) if len(bounded) == len(rates) else None)


def pooled_speed(speeds: Sequence[Mapping[str, Any]]) -> ServingSpeed | None:
    """Return the speed of several trials: the medians of estimate and bounds; None without any."""
    return median_speed([ServingSpeed.from_dict(one) for one in speeds])


def median_speed(known: Sequence[ServingSpeed]) -> ServingSpeed | None:
    """Return the medians of estimate and bounds; None without any speed."""
    if not known:
        return None
    highs = [one.high for one in known]
    return ServingSpeed(
        median(one.tokens_s for one in known),
        median(one.low for one in known),
        None if None in highs else median(high for high in highs if high is not None),
    )


def slower(speed: ServingSpeed | None, baseline: ServingSpeed | None) -> float | None:
    """Return by which share an arm serves slower than its baseline; 0 where it does not; None where that is not known.

    It is slower if its upper bound is below the baseline's lower one, by more than `NOTABLE`.
    """
    if speed is None or baseline is None:
        return None
    share = 1 - speed.tokens_s / baseline.tokens_s
    if share <= NOTABLE:
        return 0.0 if speed.low > 0.5 * baseline.tokens_s else None
    if speed.high is None or speed.high >= baseline.low:
        return None
    return share


def _rate(short: TimedAnswer, long: TimedAnswer) -> float | None:
    between_s = long.seconds - short.seconds
    return (long.tokens - short.tokens) / between_s if between_s > 0 else None


def _time(one: TimedAnswer) -> float:
    return one.seconds
