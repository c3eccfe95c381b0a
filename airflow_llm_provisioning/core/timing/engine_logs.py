"""Reads the log lines about the start of a model: Serve controller, replicas, autoscaler and vLLM.

Lines of several dialects become (marker, stamp, text). Lines of no known dialect are counted and otherwise ignored. The
stamps have no time zone, and those of vLLM no year. Containers run in UTC; a log that cannot be in UTC is shifted by
whole quarters of an hour.

Formats: Serve controller and replica of ray 2.33 and 2.60; vLLM 0.5.4 (`INFO MM-DD HH:MM:SS file.py:line] msg`), 0.10
(`[file.py:line] msg`) and 0.33 (the same after `(EngineCore pid=N)`); recordings of ray 2.60.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from airflow_llm_provisioning.core.instants import SECOND, Stamp, parse_stamp
from airflow_llm_provisioning.core.trace.objects import LogText

MARKERS: Final[tuple[tuple[str, re.Pattern[str]], ...]] = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        ("controller_deploying", r"Deploying new app '"),
        ("controller_building", r"(?:Importing and building app '|Building application ')"),
        ("controller_built", r"(?:Imported and built app '.*' successfully|Built application '.*' successfully)"),
        ("controller_adding", r"Adding \d+ replicas? to "),
        ("controller_started", r"Replica\(id='.*started successfully on node"),
        ("autoscaler_adding", r"Adding \d+ node\(s\) of type "),
        ("replica_initialising", r"Started initializing replica"),
        ("replica_initialised", r"Finished initializing replica"),
        ("engine_starting", r"Initializing an? (?:V1 )?LLM engine"),
        ("load_started", r"Starting to load model "),
        ("weights_downloaded", r"(?:Time spent downloading weights for|Weights downloaded in )"),
        (
            "model_loaded",
            r"(?:Model loading took |Loading model weights took [0-9.]+ GB|Model loaded in )",
        ),
        ("compiled", r"torch\.compile (?:took|takes) [0-9.]+ ?s(?:econds)? in total"),
        ("graphs_captured", r"Graph capturing finished in "),
        ("engine_ready", r"init engine \(.*\) took "),
        ("shards_loaded", r"Loading weights took [0-9.]+ seconds"),
    )
)

_ANSI = re.compile(r"\x1b\[[0-9;]*m|(?<=\s)\[\d{1,2}m")
_KUBELET = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z) (.*)", flags=re.DOTALL)
_PROCESS = re.compile(r"^(?:\([^)]*\)\s*)+")
_SERVE = re.compile(r"[A-Z]+ (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[,.]\d{3}) .*? --? (.*)", flags=re.DOTALL)
_RAY = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3})\s+[A-Z]+ \S+ --? (.*)", flags=re.DOTALL)
_VLLM = re.compile(r"[A-Z]+ (\d\d)-(\d\d) (\d\d:\d\d:\d\d) \[?\S+:\d+\] (.*)", flags=re.DOTALL)
_REPLICA_ID = re.compile(r"Replica\(id='([^']+)'")

# vLLM's progress bar of the weight files (model_loader/weight_utils.py; in the logs of vllm issues #6689 and #6746,
# version 0.5.3): one line per file on standard error, without a stamp.
_PROGRESS: Final = "Loading safetensors checkpoint shards:"
_SHARDS = re.compile(rf"{_PROGRESS} 100% Completed \| \d+/\d+ \[(?:(\d{{1,3}}):)?(\d\d):(\d\d)<")

_QUARTER: Final = timedelta(minutes=15)
_SLACK: Final = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One log line with a known marker. `stamp` is in UTC, by the clock of its container or its kubelet.

    `dialect`: `serve`, `ray` or `vllm`. `replica_id`: if the line names one. `by_kubelet`: whether the kubelet wrote
    the stamp.
    """

    marker: str
    stamp: Stamp
    text: str
    dialect: str
    log: LogText
    replica_id: str | None
    by_kubelet: bool = False


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


@dataclass(frozen=True, slots=True)
class _Line:
    stamp: Stamp | None
    text: str
    dialect: str
    absolute: bool


def read_logs(logs: Iterable[LogText], submitted_at: datetime | None) -> LogReading:
    """Read every log. `submitted_at`: lower bound of all stamps; it decides the year and the time zone."""
    entries: list[LogEntry] = []
    unknown = 0
    notes: list[str] = []
    shards: list[tuple[LogText, int]] = []
    for log in logs:
        lines = [_parse(raw, log.received_at) for raw in log.text.splitlines() if raw.strip()]
        shards += [(log, took_s) for line in lines if (took_s := _shards_s(line.text)) is not None]
        lines = [line for line in lines if not line.text.lstrip().startswith(_PROGRESS)]
        unknown += sum(1 for line in lines if line.dialect == "")
        shift = _zone_shift(lines, submitted_at, log.received_at)
        if shift is None:
            notes.append(f"log_time: the stamps of {log.filename or log.pod} match no time zone and were not used")
            continue
        if shift:
            notes.append(f"log_time: {log.filename or log.pod} was read as {shift} from UTC")
        entries.extend(_entries(lines, log, shift))
    return LogReading(tuple(entries), unknown, tuple(notes), tuple(shards))


def _shards_s(text: str) -> int | None:
    """Return the duration of a finished progress bar."""
    match = _SHARDS.search(text)
    if match is None:
        return None
    hours, minutes, left = (int(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + left


def _entries(lines: Iterable[_Line], log: LogText, shift: timedelta) -> Iterator[LogEntry]:
    for line in lines:
        marker = next((name for name, pattern in MARKERS if pattern.search(line.text)), None)
        if marker is None or line.stamp is None:
            continue
        at = line.stamp.at if line.absolute else line.stamp.at - shift
        named = _REPLICA_ID.search(line.text)
        stamp = Stamp(at, line.stamp.resolution)
        yield LogEntry(marker, stamp, line.text, line.dialect, log, named.group(1) if named else None, line.absolute)


def _parse(raw: str, received_at: datetime) -> _Line:
    plain = _ANSI.sub("", raw)
    outer = _KUBELET.fullmatch(plain)
    kubelet = parse_stamp(outer.group(1)) if outer else None
    body = _PROCESS.sub("", outer.group(2) if outer else plain)
    inner = _inner(body, received_at)
    if kubelet is not None:
        return _Line(kubelet, inner.text, inner.dialect, absolute=True)
    return inner


def _inner(body: str, received_at: datetime) -> _Line:
    for dialect, pattern in (("serve", _SERVE), ("ray", _RAY)):
        match = pattern.fullmatch(body)
        if match:
            return _Line(parse_stamp(match.group(1)), match.group(2), dialect, absolute=False)
    match = _VLLM.fullmatch(body)
    if match:
        month, day, clock, message = match.groups()
        return _Line(_with_year(f"{month}-{day}T{clock}Z", received_at), message, "vllm", absolute=False)
    return _Line(None, body, "", absolute=False)


def _with_year(text: str, received_at: datetime) -> Stamp | None:
    """Add the year that puts the stamp nearest to the time of reading: a log may cross New Year."""
    years = (received_at.year - 1, received_at.year, received_at.year + 1)
    stamps = [stamp for year in years if (stamp := parse_stamp(f"{year}-{text}"))]
    return min(stamps, key=lambda stamp: abs(stamp.at - received_at), default=None)


def _zone_shift(lines: Iterable[_Line], submitted_at: datetime | None, read_at: datetime) -> timedelta | None:
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
