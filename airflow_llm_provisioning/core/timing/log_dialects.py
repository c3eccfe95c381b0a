"""The dialects of log lines: of Serve, Ray and vLLM, as text and as JSON, alone or after a kubelet's stamp.

A line becomes its stamp, its message and the process that wrote it. What a message means is not known here.

Formats: Serve's controller and replicas of ray 2.33 to 2.60 (text, and JSON with `RAY_SERVE_LOG_ENCODING=JSON`); vLLM
0.5.4 (`INFO MM-DD HH:MM:SS file.py:line] msg`), 0.10 (`[file.py:line] msg`), later (the same after `(EngineCore
pid=N)`, `(Worker_TP0 pid=N)` or `(RayWorkerWrapper pid=N, ip=A)`), and its JSON formatter. A line of another format
that begins with a date and a time is of the dialect `other`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from airflow_llm_provisioning.core.fields import mapping, number, text
from airflow_llm_provisioning.core.instants import Stamp, from_epoch_s, parse_stamp

OTHER: Final = "other"

# Control sequences of terminals (ECMA-48); of some only the end is left, as `[36m`.
_ANSI = re.compile(r"\x1b\[[0-?]{0,30}[ -/]{0,5}[@-~]|(?:^|(?<=[\s)]))\[\d{1,2}m")
_KUBELET = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,9}(?:Z|[+-]\d\d:\d\d)) (.*)", flags=re.DOTALL)
_PROCESS = re.compile(r"^(?:\(([^)]*)\)\s*)+")
_JSON = re.compile(r"(?:\([^)]{0,200}\)\s*)?\{")
_SERVE = re.compile(r"[A-Z]+ (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[,.]\d{3}) .*? --? (.*)", flags=re.DOTALL)
_RAY = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3})\s+[A-Z]+ \S+ --? (.*)", flags=re.DOTALL)
# Where a line of vLLM or Serve begins behind a progress bar, a pod's name, or another process's line without an end.
_INNER_HEAD = re.compile(
    r"(?<=[^\s()])(?=\s?(?:\([^()]{1,80}\) ?){0,3}(?:DEBUG|INFO|WARNING|ERROR) (?:\d{4}-)?\d\d-\d\d"
    r" \d\d:\d\d:\d\d[ .,])"
)
_VLLM = re.compile(r"[A-Z]+ (\d\d)-(\d\d) (\d\d:\d\d:\d\d)(?:[.,]\d+)? \[?\S+:\d+\] (.*)", flags=re.DOTALL)
# TensorRT-LLM (tensorrt_llm/logger.py): the month stands first.
_TENSORRT = re.compile(r"\[(\d\d)/(\d\d)/(\d{4})-(\d\d:\d\d:\d\d)\] (\[TRT-LLM\].*)", flags=re.DOTALL)
_DATED = re.compile(
    r".{0,40}?\b(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?\s?(?:Z|[+-]\d\d:?\d\d)?)(?=\W)(.*)", flags=re.DOTALL
)

# JSON lines: Serve (ray 2.60, serve/_private/logging_utils.py) and Ray write asctime, message and timestamp_ns; other
# formatters, vLLM's among them, use one of these names.
_MESSAGES: Final = ("message", "msg", "event", "log")
_TIMES: Final = ("asctime", "timestamp", "time", "ts", "@timestamp")
_OF_SERVE: Final = frozenset({"component_name", "component_id", "deployment", "replica", "application"})
# Seconds since 1970 have ten digits until 2286; longer numbers are milliseconds, microseconds or nanoseconds.
_EPOCH_UNITS: Final = (1.0, 1e3, 1e6, 1e9)
_LATEST_S: Final = 1e10


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line. `absolute`: its stamp has a zone or is the kubelet's. `process`: the innermost prefix in parentheses.

    `dialect`: `serve`, `ray`, `vllm`, `other`, or empty for a line without a stamp.
    """

    stamp: Stamp | None
    text: str
    dialect: str
    absolute: bool
    by_kubelet: bool = False
    process: str = ""


def parse_lines(raw: str, received_at: datetime) -> list[LogLine]:
    """Parse one line as it was read: more than one if processes wrote into each other's. `received_at`: decides the
    year of a stamp that has none. A kubelet's stamp is of the end of the line, so it is the last one's.
    """
    plain = _ANSI.sub("", raw)
    outer = _KUBELET.fullmatch(plain)
    kubelet = parse_stamp(outer.group(1)) if outer else None
    body = outer.group(2) if outer else plain
    parts = [body] if _JSON.match(body) else [part for part in _INNER_HEAD.split(body) if part.strip()]
    found = [_with_process(part.strip(" "), received_at) for part in parts or [body]]
    if kubelet is not None:
        last = found[-1]
        found[-1] = replace(last, stamp=kubelet, absolute=True, by_kubelet=True, dialect=last.dialect or OTHER)
    return found


def _with_process(body: str, received_at: datetime) -> LogLine:
    prefix = _PROCESS.match(body)
    inner = _inner(body[prefix.end() :] if prefix else body, received_at)
    return replace(inner, process=prefix.group(1)) if prefix else inner


def _inner(body: str, received_at: datetime) -> LogLine:
    for dialect, pattern in (("serve", _SERVE), ("ray", _RAY)):
        match = pattern.fullmatch(body)
        if match:
            return LogLine(parse_stamp(match.group(1)), match.group(2), dialect, absolute=False)
    match = _VLLM.fullmatch(body)
    if match:
        month, day, clock, message = match.groups()
        return LogLine(_with_year(f"{month}-{day}T{clock}Z", received_at), message, "vllm", absolute=False)
    match = _TENSORRT.fullmatch(body)
    if match:
        month, day, year, clock, message = match.groups()
        stamp = parse_stamp(f"{year}-{month}-{day}T{clock}Z")
        return LogLine(stamp, message, OTHER if stamp else "", absolute=False)
    if body.lstrip().startswith("{"):
        found = _structured(body, received_at)
        if found is not None:
            return found
    match = _DATED.fullmatch(body)
    stamp = parse_stamp(match.group(1)) if match else None
    if match and stamp:
        return LogLine(stamp, match.group(2).strip(), OTHER, absolute=_zoned(match.group(1)))
    return LogLine(None, body, "", absolute=False)


def _structured(body: str, received_at: datetime) -> LogLine | None:
    """Parse a line that is a JSON object; None for another one, or without a message."""
    try:
        told = mapping(json.loads(body))
    except (ValueError, RecursionError):
        return None
    message = next((text(told[key]) for key in _MESSAGES if text(told.get(key))), "")
    if not message:
        return None
    stamp, absolute = _stamp_of(told)
    dialect = "serve" if _OF_SERVE & told.keys() else "vllm"
    if not message.startswith("{"):
        # A container runtime or a collector of logs wraps whole lines of the engine.
        inner = _with_process(_ANSI.sub("", message).rstrip(), received_at)
        if inner.dialect:
            return replace(inner, stamp=stamp, absolute=absolute) if stamp and absolute else inner
    return LogLine(stamp, message, dialect if stamp else "", absolute)


def _stamp_of(told: Mapping[str, Any]) -> tuple[Stamp | None, bool]:
    """Return the stamp of a JSON line and whether it has a zone; an epoch is in UTC."""
    epoch = number(told.get("timestamp_ns"))
    if epoch is not None:
        return _from_epoch(epoch), True
    for key in _TIMES:
        value = told.get(key)
        stamp = _from_epoch(number(value)) if number(value) is not None else parse_stamp(value)
        if stamp is not None:
            return stamp, number(value) is not None or _zoned(text(value))
    return None, False


def _from_epoch(value: float | None) -> Stamp | None:
    units = [unit for unit in _EPOCH_UNITS if value is not None and 0 < value / unit < _LATEST_S]
    found = from_epoch_s(value / units[0]) if value is not None and units else None
    # A float of nanoseconds is exact to less than a microsecond; loggers round to milliseconds.
    return Stamp(found.at, timedelta(milliseconds=1)) if found else None


def _zoned(stamp: str) -> bool:
    return stamp.strip()[-1:] in ("Z", "z") or bool(re.search(r"[+-]\d\d:?\d\d$", stamp.strip()[19:]))


def _with_year(stamp: str, received_at: datetime) -> Stamp | None:
    """Add the year that puts the stamp nearest to the time of reading: a log may cross New Year."""
    years = (received_at.year - 1, received_at.year, received_at.year + 1)
    stamps = [found for year in years if (found := parse_stamp(f"{year}-{stamp}"))]
    return min(stamps, key=lambda found: abs(found.at - received_at), default=None)
