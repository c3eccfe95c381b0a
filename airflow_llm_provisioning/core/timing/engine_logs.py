"""Reads the log lines about the start of a model: Serve controller, replicas, autoscaler and vLLM.

Lines of several dialects become (marker, stamp, text). Lines of no known dialect are counted and otherwise ignored,
except for a dated line of an engine that states a duration: it stands for a step that is not understood. The stamps
have no time zone, and those of vLLM no year. Containers run in UTC; a log that cannot be in UTC is shifted by whole
quarters of an hour.

Wordings: ray 2.33 to 2.60; vLLM 0.5.4, 0.7 (`Time took to download weights`, `graph compilation takes`), 0.10 (`torch.
compile takes`) and 0.12 to 0.33 (vllm/compilation/monitor.py and decorators.py: `torch.compile took`, or together with
the first run, and `Initial profiling/warmup run took`).
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from airflow_llm_provisioning.core.instants import SECOND, Stamp
from airflow_llm_provisioning.core.timing.log_dialects import OTHER, LogLine, parse_lines
from airflow_llm_provisioning.core.trace.objects import LogText

# Every repetition is limited: a line may be as long as a log, and its content is anyone's.
_FIRST_RUN: Final = "and initial profiling/warmup"
_TOOK: Final = r"(?:took|takes) [0-9.]+ ?s(?:econds)?"
MARKERS: Final[tuple[tuple[str, re.Pattern[str]], ...]] = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        ("controller_deploying", r"Deploying new app '"),
        ("controller_building", r"(?:Importing and building app '|Building application ')"),
        (
            "controller_built",
            r"(?:Imported and built app '.{0,300}' successfully|Built application '.{0,300}' successfully)",
        ),
        ("controller_adding", r"Adding \d+ replicas? to "),
        ("controller_started", r"Replica(?:\(id='.{0,300}| \S{1,200}) started successfully on node"),
        ("autoscaler_adding", r"Adding \d+ node\(s\) of type "),
        ("replica_initialising", r"Started initializing replica"),
        ("replica_initialised", r"Finished initializing replica"),
        ("engine_starting", r"Initializing an? (?:V\d+ )?LLM engine"),
        ("load_started", r"Starting to load model "),
        (
            "weights_downloaded",
            r"(?:Time spent downloading weights for|Time took to download weights for|Weights downloaded in )",
        ),
        (
            "model_loaded",
            r"(?:Model loading took |Loading model weights took [0-9.]+ GB|Model loaded in )",
        ),
        ("compiled", rf"(?:torch\.compile|graph compilation)(?: {_FIRST_RUN} run together)? {_TOOK} in total"),
        ("profiled", r"(?:Initial profiling/warmup run took|Memory profiling takes) [0-9.]+ ?s"),
        ("graphs_captured", r"Graph capturing finished in "),
        ("engine_ready", r"init engine (?:\(.{0,200}\) )?took "),
        ("shards_loaded", r"Loading weights took [0-9.]+ seconds"),
        ("compile_cached", r"Directly load (?:the compiled graph|AOT compilation)"),
        ("compile_step", r"(?:Dynamo bytecode transform time|Compiling a graph for|saved AOT compiled function)"),
    )
)
NOT_UNDERSTOOD: Final = "not_understood"
"""The marker of a line of the engine that states a duration, or an end, in words that no marker explains."""

_DURATION = re.compile(
    r"(?<![\w.])\d+(?:\.\d+)? ?(?:s|secs?|seconds?|ms|milliseconds?|mins?|minutes?)\b"
    r"|\b(?:compil|captur|warm-?up|profil)\w{0,20}\b.{0,200}\b(?:finished|completed?|done)\b",
    flags=re.IGNORECASE,
)
# Lines that state a duration and are a part of a phase whose end is known.
_PARTS = re.compile(
    r"checkpoint shards|[Pp]refetch|RunAI Streamer|Overall time to stream|seconds? to (?:load|download)|throughput"
    r"|No available shared memory broadcast block|[Ww]aiting for"
)
# Ray 2.9 and older name a replica `application#deployment#id`.
_REPLICA_ID = re.compile(r"Replica(?:\(id='([^']+)'| (\S+#\S+))")

# vLLM's progress bar of the weight files (model_loader/weight_utils.py; in the logs of vllm issues #6689 and #6746,
# version 0.5.3): one line per file on standard error, without a stamp.
_PROGRESS: Final = "Loading safetensors checkpoint shards:"
_SHARDS = re.compile(rf"{_PROGRESS} 100% Completed \| \d+/\d+ \[(?:(\d{{1,3}}):)?(\d\d):(\d\d)<")

_QUARTER: Final = timedelta(minutes=15)
_SLACK: Final = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One log line with a marker. `stamp` is in UTC, by the clock of its container or its kubelet.

    `dialect`: `serve`, `ray`, `vllm` or `other`. `replica_id`: if the line names one. `by_kubelet`: whether the kubelet
    wrote the stamp. `process`: the rank or process that wrote it, as its prefix says; empty without one.
    """

    marker: str
    stamp: Stamp
    text: str
    dialect: str
    log: LogText
    replica_id: str | None
    by_kubelet: bool = False
    process: str = ""


@dataclass(frozen=True, slots=True)
class LogReading:
    """The entries of all logs. `unknown_lines`: number of lines of no known dialect; `notes`: assumptions that were
    made.

    `shards_s`: loading time of the weight files per log, in whole seconds, from the last line of a progress bar.
    """

    entries: tuple[LogEntry, ...]
    unknown_lines: int
    notes: tuple[str, ...]
    shards_s: tuple[tuple[LogText, int], ...] = ()

    def all(self, marker: str) -> list[LogEntry]:
        """Return every entry of a marker, ordered by stamp."""
        return sorted((entry for entry in self.entries if entry.marker == marker), key=lambda entry: entry.stamp.at)


def read_logs(logs: Iterable[LogText], submitted_at: datetime | None) -> LogReading:
    """Read every log. `submitted_at`: lower bound of all stamps; it decides the year and the time zone."""
    entries: list[LogEntry] = []
    unknown = 0
    notes: list[str] = []
    shards: list[tuple[LogText, int]] = []
    for log in logs:
        read = (raw for raw in log.text.splitlines() if raw.strip())
        lines = [line for raw in read for line in parse_lines(raw, log.received_at)]
        shards += [(log, took_s) for line in lines if (took_s := _shards_s(line.text)) is not None]
        lines = [line for line in lines if not line.text.lstrip().startswith(_PROGRESS)]
        marked = [(line, marker) for line in lines if (marker := _marker(line)) is not None]
        of_other = {id(line) for line, marker in marked if marker != NOT_UNDERSTOOD}
        unknown += sum(line.dialect == "" or (line.dialect == OTHER and id(line) not in of_other) for line in lines)
        shift = _zone_shift(
            [line for line in lines if line.dialect != OTHER or id(line) in of_other], submitted_at, log.received_at
        )
        if shift is None:
            notes.append(f"log_time: the stamps of {log.filename or log.pod} match no time zone and were not used")
            continue
        if shift:
            notes.append(f"log_time: {log.filename or log.pod} was read as {shift} from UTC")
        entries.extend(_entries(marked, log, shift))
    return LogReading(tuple(entries), unknown, tuple(notes), tuple(shards))


def _shards_s(text: str) -> int | None:
    """Return the duration of a finished progress bar."""
    match = _SHARDS.search(text)
    if match is None:
        return None
    hours, minutes, left = (int(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + left


def _marker(line: LogLine) -> str | None:
    """Return the marker of a line, or None for a line that says nothing about the start."""
    known = next((name for name, pattern in MARKERS if pattern.search(line.text)), None)
    if known or line.dialect not in ("vllm", OTHER):
        return known
    return NOT_UNDERSTOOD if _DURATION.search(line.text) and not _PARTS.search(line.text) else None


def _entries(marked: Iterable[tuple[LogLine, str]], log: LogText, shift: timedelta) -> Iterator[LogEntry]:
    for line, marker in marked:
        if line.stamp is None:
            continue
        at = line.stamp.at if line.absolute else line.stamp.at - shift
        named = _REPLICA_ID.search(line.text)
        yield LogEntry(
            marker,
            Stamp(at, line.stamp.resolution),
            line.text,
            line.dialect,
            log,
            (named.group(1) or named.group(2)) if named else None,
            line.by_kubelet,
            line.process,
        )


def _zone_shift(lines: Iterable[LogLine], submitted_at: datetime | None, read_at: datetime) -> timedelta | None:
    """Return the difference of a log's clock from UTC.

    It is the smallest shift that puts all stamps between submission and reading. Zero without stamps or submission;
    None if no shift fits.
    """
    stamps = [line.stamp.at for line in lines if line.stamp is not None and not line.absolute]
    if not stamps or submitted_at is None:
        return timedelta()
    first, last = min(stamps), max(stamps)
    shifts = sorted((k * _QUARTER for k in range(-56, 57)), key=abs)
    allowed = _SLACK + SECOND
    return next((s for s in shifts if first - s >= submitted_at - allowed and last - s <= read_at + allowed), None)
