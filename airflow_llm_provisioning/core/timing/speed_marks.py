"""The serving speed of a trial, from the answers that its recording timed."""

from collections.abc import Iterator, Mapping
from typing import Any

from airflow_llm_provisioning.core.fields import items, mapping, number
from airflow_llm_provisioning.core.serving_speed import ServingSpeed, TimedAnswer, serving_speed
from airflow_llm_provisioning.core.trace.view import TraceView


def speed_of(view: TraceView) -> ServingSpeed | None:
    """Return how fast the model wrote; None where no answers of two lengths were timed. The first mark counts."""
    mark = next(iter(view.marks("serving_speed")), None)
    return serving_speed(_answers(mark.detail)) if mark else None


def _answers(detail: Mapping[str, Any]) -> Iterator[TimedAnswer]:
    for item in map(mapping, items(detail.get("answers"))):
        tokens, seconds = item.get("tokens"), number(item.get("seconds"))
        if isinstance(tokens, int) and seconds is not None and 0 < seconds < 3600:
            yield TimedAnswer(tokens, seconds)
