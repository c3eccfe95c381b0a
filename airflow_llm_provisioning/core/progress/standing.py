"""Lines about a wait whose state is one sentence: at each change of it, and otherwise one a minute."""

from datetime import datetime
from typing import Final

from airflow_llm_provisioning.core.progress.told import AT_LEAST_EVERY, clock

# Two states that take turns are told once a minute each.
_MOST_REMEMBERED: Final = 50


class Standing:
    """What is told of one wait. `started_at`: lines begin with the time since then. `usual`: what the wait usually
    takes, in words, for the line of each minute; may be empty. `repeats`: whether the last line told a state again.
    """

    def __init__(self, started_at: datetime, usual: str = "") -> None:
        self._started_at = started_at
        self._usual = usual
        self._told: dict[str, datetime] = {}
        self._last_at: datetime | None = None
        self.repeats = False

    def due(self, now: datetime, state: str) -> str | None:
        """Return the line that is due at `now`, or None. `state`: a sentence without its full stop."""
        told_at = self._told.get(state)
        is_new = told_at is None or now - told_at >= AT_LEAST_EVERY
        if not is_new and (self._last_at is None or now - self._last_at < AT_LEAST_EVERY):
            return None
        self.repeats = told_at is not None
        self._told = dict(list(self._told.items())[-_MOST_REMEMBERED:]) | {state: now}
        self._last_at = now
        words = f"{state}{f' ({self._usual})' if self._usual and self.repeats else ''}"
        return f"+{clock(self.elapsed_s(now))} {words}"

    def elapsed_s(self, now: datetime) -> float:
        """Return the seconds since the start."""
        return (now - self._started_at).total_seconds()
