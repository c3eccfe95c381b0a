"""Decides which versions of a generated cluster reach the recorder, and when: latency, stalls, losses, interruptions
and restarts.

A watch is a stream: a delayed line delays all later ones. An interrupted watch continues where it stopped or, after a
410, lists the current objects; the versions in between are lost. A killed recorder loses its unstored lines, and its
successor lists everything again.
"""

import copy
import random
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from proof.generated.names import Json
from proof.generated.ray import Ray
from proof.generated.scenario import Distortion
from proof.generated.source_clocks import written
from proof.generated.store import EVENT_RESOURCES, Write

# Unstored time of a killed recorder (it flushes every three seconds).
_UNSTORED_S = 3.0
_POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class Break:
    """An interruption of a watch. `how` it continues: where it stopped, with a list, or as a new recorder."""

    begins_at: datetime
    ends_at: datetime
    how: Literal["resume", "list", "restart"]

    def covers(self, at: datetime) -> bool:
        """Return whether an instant is in the interruption."""
        return self.begins_at <= at < self.ends_at


class Wire:
    """Delivers versions to the recorder, which watches from `begins_at` to `ends_at`."""

    def __init__(self, rng: random.Random, distortion: Distortion, begins_at: datetime, ends_at: datetime) -> None:
        self.rng, self.distortion = rng, distortion
        self.begins_at, self.ends_at = begins_at, ends_at
        self.restart = self._break("restart", 5, 40) if distortion.killed else None
        self.outage = self._break(rng.choice(("resume", "list")), 2, 20) if distortion.api_restart else None
        self.marks: list[tuple[datetime, Json]] = []

    def watched(self, writes: Iterable[Write]) -> list[Json]:
        """Return the lines of every watch."""
        by_resource: dict[str, list[Write]] = {}
        lost = self._lost()
        for write in writes:
            if write.resource not in EVENT_RESOURCES or not lost(write.object["metadata"]["uid"]):
                by_resource.setdefault(write.resource, []).append(write)
        breaks = {resource: self._breaks() for resource in sorted(by_resource)}
        for _ in range(self.distortion.gaps):
            how: Literal["resume", "list"] = self.rng.choice(("resume", "list"))
            breaks[self.rng.choice(sorted(by_resource))].append(self._break(how, 0.5, 15))
        lines = [line for resource, told in by_resource.items() for line in self._stream(told, breaks[resource])]
        for resource, found in breaks.items():
            for gap in found:
                if gap.how != "restart":
                    told_why = {"mark": "watch_interrupted", "resource": resource, "why": gap.how}
                    self.marks.append((gap.begins_at, told_why))
        return lines

    def polled(self, ray: Ray) -> list[Json]:
        """Return the lines of Serve's REST interface: polled every second, recorded after a change."""
        lines: list[Json] = []
        last: tuple[int, Json] | None = None
        unchanged: datetime | None = None
        asked_at = self.begins_at
        while asked_at < self.ends_at:
            if self.restart and self.restart.covers(asked_at):
                asked_at, last, unchanged = self.restart.ends_at, None, None
            replied_at = asked_at + timedelta(seconds=self.rng.uniform(0.004, 0.03))
            away = self.outage is not None and self.outage.covers(asked_at)
            answer = None if away else ray.serve(asked_at + (replied_at - asked_at) / 2)
            if answer is not None:
                if answer != last:
                    extra = {"unchanged_until": written(unchanged)} if unchanged and last else {}
                    told = {"resource": "serve-rest", "status_code": answer[0], "service": ray.service}
                    lines.append({"received_at": written(replied_at), **told, **extra, "object": answer[1]})
                    last = answer
                unchanged = asked_at
            asked_at = replied_at + timedelta(seconds=_POLL_S)
        return [line for line in lines if self._kept(line)]

    def read(self, ray: Ray) -> list[Json]:
        """Return the lines of the closing collection."""
        found = ray.closing() if self.distortion.logs else ()
        return [{"received_at": written(reply.at + timedelta(seconds=0.05)), **reply.line} for reply in found]

    def headers(self) -> list[datetime]:
        """Return the start of each recorder; several after a kill."""
        return [self.begins_at, *([self.restart.ends_at] if self.restart else [])]

    def doubled(self, lines: list[Json]) -> list[Json]:
        """Return repeated lines: a watch may repeat a version later; an answer is at most stored twice."""
        again = [copy.deepcopy(line) for line in lines if self.rng.random() < self.distortion.doubled]
        for line in again:
            if "type" in line:
                line["received_at"] = written(_received(line) + timedelta(seconds=self.rng.uniform(0, 2)))
        return again

    def _stream(self, writes: list[Write], breaks: list[Break]) -> list[Json]:
        """Deliver one watch: lists at the beginning and after interruptions, a stream in between."""
        lines = self._listed([w for w in writes if w.at < self.begins_at], self.begins_at)
        delivered = {str(line["object"]["metadata"]["uid"]): line["object"] for line in lines}
        last = self.begins_at
        waiting = [write for write in writes if write.at >= self.begins_at]
        for gap in sorted(breaks, key=lambda gap: gap.begins_at):
            before = [w for w in waiting if w.at < gap.begins_at]
            last = self._deliver(before, last, lines, delivered)
            waiting = waiting[len(before) :]
            last = max(last, gap.ends_at)
            if gap.how == "resume":
                continue
            known = {} if gap.how == "restart" else delivered
            now = [w for w in writes if w.at < gap.ends_at]
            lines += [
                line
                for line in self._listed(now, last)
                if known.get(line["object"]["metadata"]["uid"]) != line["object"]
            ]
            delivered |= {str(w.object["metadata"]["uid"]): w.object for w in now}
            waiting = [w for w in waiting if w.at >= gap.ends_at]
        self._deliver(waiting, last, lines, delivered)
        return [line for line in lines if self._kept(line)]

    def _deliver(self, writes: list[Write], last: datetime, lines: list[Json], delivered: dict[str, Json]) -> datetime:
        for write in writes:
            lag = self.rng.uniform(0.003, 0.05)
            if self.rng.random() < self.distortion.late:
                lag += self.rng.uniform(0.2, 4)
            last = max(last, write.at + timedelta(seconds=lag))
            received = last
            if self.rng.random() < self.distortion.reordered:
                received += timedelta(seconds=self.rng.uniform(0.05, 2))
            lines.append(
                {
                    "received_at": written(received),
                    "type": write.kind,
                    "resource": write.resource,
                    "object": write.object,
                }
            )
            delivered[str(write.object["metadata"]["uid"])] = write.object
        return last

    def _listed(self, writes: list[Write], at: datetime) -> list[Json]:
        newest = {str(write.object["metadata"]["uid"]): write for write in writes}
        received = at + timedelta(seconds=self.rng.uniform(0.01, 0.1))
        return [
            {"received_at": written(received), "type": "LISTED", "resource": write.resource, "object": write.object}
            for write in newest.values()
        ]

    def _lost(self) -> "_Losses":
        return _Losses(self.rng, self.distortion.lost)

    def _breaks(self) -> list[Break]:
        return [found for found in (self.outage, self.restart) if found is not None]

    def _break(self, how: Literal["resume", "list", "restart"], low_s: float, high_s: float) -> Break:
        spread = (self.ends_at - self.begins_at).total_seconds() - high_s - 2
        begins = self.begins_at + timedelta(seconds=self.rng.uniform(1, max(spread, 2)))
        return Break(begins, begins + timedelta(seconds=self.rng.uniform(low_s, high_s)), how)

    def _kept(self, line: Json) -> bool:
        """Return whether a line was stored: a killed recorder loses its last, unstored lines."""
        if self.restart is None:
            return True
        begins = self.restart.begins_at - timedelta(seconds=_UNSTORED_S)
        return not begins <= _received(line) < self.restart.ends_at


class _Losses:
    """Lost events, drawn once for both APIs."""

    def __init__(self, rng: random.Random, chance: float) -> None:
        self._rng, self._chance = rng, chance
        self._drawn: dict[str, bool] = {}

    def __call__(self, uid: str) -> bool:
        if uid not in self._drawn:
            self._drawn[uid] = self._rng.random() < self._chance
        return self._drawn[uid]


def _received(line: Json) -> datetime:
    return datetime.fromisoformat(str(line["received_at"]))
