"""The lines that tell a waiting reader how far a deployment is: each milestone, each change of the blocker, and
otherwise one line a minute.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from airflow_llm_provisioning.core.blockers.blocker import Blocker
from airflow_llm_provisioning.core.one_line import plain
from airflow_llm_provisioning.core.progress import spans
from airflow_llm_provisioning.core.progress.seen import Current, News, SeenProgress
from airflow_llm_provisioning.core.progress.spans import SPANS, Expected
from airflow_llm_provisioning.core.timing.milestones import ENDPOINT_READY
from airflow_llm_provisioning.core.trace.format import Line

# A blocker that passes sooner is part of every start: a scheduler's first refusal before the autoscaler has looked.
WORTH_TELLING: Final = timedelta(seconds=20)
AT_LEAST_EVERY: Final = timedelta(seconds=60)
_MOST: Final = 300
_GB: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a wait. `phase`: the spans that it is in, in words; `blocker`: in one or two sentences, or None."""

    phase: str
    blocker: str | None
    elapsed_s: float


class LiveProgress:
    """The progress of one wait. Give it every line of the recording, and ask for what is to be told.

    `submitted_at`: instants are told as the time since then. `expected`: of the arm's earlier trials.
    """

    def __init__(self, submitted_at: datetime, expected: Expected | None = None) -> None:
        self.seen = SeenProgress(submitted_at)
        self._expected = expected or Expected()
        self._blocked: Blocker | None = None
        self._told_blockers: set[tuple[str, str]] = set()
        self._told_at: datetime | None = None

    def take(self, line: Line, received_at: datetime) -> None:
        """Process one line of the recording."""
        self.seen.take(line, received_at)

    @property
    def has_news(self) -> bool:
        """Whether something has happened that was not told yet."""
        return self.seen.has_news

    @property
    def due_at(self) -> datetime | None:
        """When a line is due even if nothing happens; None before the first question."""
        return self._told_at + AT_LEAST_EVERY if self._told_at else None

    def endpoint_ready(self, at: datetime) -> None:
        """Take the end of the total, which `core.readiness` decides."""
        self.seen.reach(ENDPOINT_READY, at, at, "endpoint ready")

    def resumed(self) -> None:
        """Take what was read so far as told: an earlier process told it."""
        self.seen.take_news()
        self._told_at = self.seen.submitted_at - AT_LEAST_EVERY

    def told(self, now: datetime, blocker: Blocker | None) -> list[str]:
        """Return the lines that are due at `now`. `blocker`: what blocks the deployment most of all."""
        lines = [self._line(news.at, f"{news.text}{self._took(news)}") for news in self.seen.take_news()]
        lines += [self._line(now, text) for text in self._blocker_news(now, blocker)]
        # Before the first minute has passed, the first lists may still be on their way.
        if not lines and now - (self._told_at or now) >= AT_LEAST_EVERY:
            lines = [self._line(now, self._standing(now))]
        if lines or self._told_at is None:
            self._told_at = now
        return lines

    def snapshot(self, now: datetime) -> Snapshot:
        """Return the state as it was told last."""
        phase = ", ".join(one.name for one in self.seen.current())
        blocker = self._blocked.told(now) if self._blocked else None
        return Snapshot(phase, blocker, round((now - self.seen.submitted_at).total_seconds(), 3))

    def _line(self, at: datetime, text: str) -> str:
        return f"+{clock((at - self.seen.submitted_at).total_seconds())} {text}"

    def _took(self, news: News) -> str:
        """Return how long the span took that a milestone ends, and what it usually takes."""
        for name, (begins, ends) in SPANS.items():
            begun = next((self.seen.reached[start] for start in begins if start in self.seen.reached), None)
            took_s = (news.at - begun).total_seconds() if begun is not None and ends == news.milestone else 0.0
            if took_s >= 1:
                return f" after {clock(took_s)}{self._median(name)}"
        return ""

    def _median(self, name: str) -> str:
        usual_s = self._expected.spans.get(name)
        return "" if usual_s is None else f" (this arm's median {clock(usual_s)})"

    def _blocker_news(self, now: datetime, blocker: Blocker | None) -> Iterator[str]:
        # What only waits is no blocker: the span that the deployment is in says so already.
        if blocker is None or blocker.kind == "waiting":
            if self._blocked is not None:
                yield f"no longer blocked by {self._blocked.about}: {self._blocked.reason}"
                self._blocked = None
                self._told_blockers.clear()
            return
        if now - blocker.since < WORTH_TELLING:
            return
        self._blocked = blocker
        key = blocker.about, blocker.reason
        # Two reasons of one wait may take turns, as ErrImagePull and ImagePullBackOff.
        if key not in self._told_blockers:
            self._told_blockers.add(key)
            yield f"blocked: {blocker.told(now)}"

    def _standing(self, now: datetime) -> str:
        """Return where the deployment stands, for a reader who has read nothing else."""
        current = list(self.seen.current())
        doing = "; ".join(self._doing(one, now) for one in current) or "waiting"
        said = next((one.said for one in current if one.said), "")
        blocked = f" Blocked: {self._blocked.told(now)}" if self._blocked else ""
        return f"{self._of_total()}{doing}.{f' {plain(said, _MOST)}' if said and not blocked else ''}{blocked}"

    def _of_total(self) -> str:
        if self._expected.total_s is None:
            return ""
        return f"of {clock(self._expected.total_s)} expected (median of {self._expected.n}): "

    def _doing(self, one: Current, now: datetime) -> str:
        for_s = max(0.0, (now - one.since).total_seconds())
        usual_s = self._expected.spans.get(one.name)
        lasted = f"{one.name} for {clock(for_s)}"
        if usual_s is None:
            return lasted
        if for_s > usual_s:
            return f"{lasted}, longer than this arm's median {clock(usual_s)}"
        size = self._expected.image_bytes
        if size and usual_s and one.name.endswith(spans.PULL):
            there = size * for_s / usual_s / _GB
            return f"{lasted}: {there:.1f} of {size / _GB:.1f} GB expected at this arm's median {clock(usual_s)}"
        return f"{lasted}, this arm's median {clock(usual_s)}"


def clock(seconds: float) -> str:
    """Return seconds as minutes and seconds, with hours if there are any: `3:12`, `1:02:05`."""
    whole = max(0, round(seconds))
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
