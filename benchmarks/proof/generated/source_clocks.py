"""The clocks of the sources, and the formats of their stamps."""

import random
from datetime import datetime, timedelta
from typing import Final

# `ray-*`: the raylet and the autoscaler in a pod; `serve-*`: Serve's controller, replica and engine there.
SOURCES: Final = (
    "api",
    "operator",
    "scheduler",
    "cluster-autoscaler",
    "karpenter",
    "node-head",
    "node-gpu",
    "ray-head",
    "ray-worker",
    "serve-head",
    "serve-worker",
)


class SourceClocks:
    """Writes stamps by the clocks of their sources. `skews`: the offset of each clock in seconds."""

    def __init__(self, rng: random.Random, skew_s: float) -> None:
        self.skews = {source: rng.uniform(-1, 1) * skew_s for source in SOURCES}

    def at(self, when: datetime, source: str) -> datetime:
        """Return the time of a source's clock."""
        return when + timedelta(seconds=self.skews[source])

    def second(self, when: datetime, source: str) -> str:
        """Write truncated whole seconds (metav1.Time)."""
        return self.at(when, source).strftime("%Y-%m-%dT%H:%M:%SZ")

    def micro(self, when: datetime, source: str) -> str:
        """Write microseconds (metav1.MicroTime)."""
        return self.at(when, source).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def milli(self, when: datetime, source: str) -> str:
        """Write a log's milliseconds, without a time zone (Python's logging)."""
        return self.at(when, source).strftime("%Y-%m-%d %H:%M:%S,%f")[:-3]

    def yearless(self, when: datetime, source: str) -> str:
        """Write vLLM's whole seconds, without year and time zone."""
        return self.at(when, source).strftime("%m-%d %H:%M:%S")

    def epoch_s(self, when: datetime, source: str) -> float:
        """Write seconds since 1970 (Serve)."""
        return self.at(when, source).timestamp()

    def epoch_ms(self, when: datetime, source: str) -> int:
        """Write whole milliseconds since 1970 (Ray)."""
        return int(self.at(when, source).timestamp() * 1000)


def written(when: datetime) -> str:
    """Write an instant by the recorder's clock, which is the reference."""
    return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
