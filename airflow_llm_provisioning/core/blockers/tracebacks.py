"""Finds the telling sentence in a traceback or a log: the exception that names a cause, without the logger's prefixes.

The dialects: Python's tracebacks (also of exception groups, and with torch's `[rank0]:`), vLLM's, Ray's and Serve's
loggers as text and as JSON, Ray's C++ (glog), and the last words of a native crash. Pure; logs are foreign input, so
each pattern reads a line once and no line is read beyond `MOST_OF_A_LINE`.
"""

import json
import re
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Final

from airflow_llm_provisioning.core import one_line
from airflow_llm_provisioning.core.blockers.sentences import (
    MOST,
    MOST_OF_A_LINE,
    MOST_READ,
    NOISE,
    follows,
    plain,
    points_elsewhere,
)
from airflow_llm_provisioning.core.fields import mapping, text

# The level and the time before each line of a traceback: vLLM's `(EngineCore_DP0 pid=274) ERROR 11-29 15:00:00
# [core.py:712] `, Serve's `ERROR 2026-05-04 12:00:00,123 llm_LLM abc -- `, loguru's `2026-05-04 12:00:00.123 | ERROR |
# module:f:1 - `, and the bars of an exception group.
_LEVEL: Final = r"(?:ERROR|CRITICAL|FATAL)"
_PREFIX: Final = re.compile(
    r"^(?:\([^()]*pid=\d+[^()]*\)\s*|\[rank\d+\]:\s?|[|+ ]{1,40}\| )*"
    rf"(?:{_LEVEL}[ :]+[\d-]{{5,10}}[ T][\d:.,]{{8,}}\s+(?:\[[^\]]*\]\s?|[\w./]+:\d+\]\s?|.{{0,120}}? -- )?"
    rf"|[\d-]{{10}}[ T][\d:.,]{{8,}} \| {_LEVEL}\s+\| \S+ - )?"
)
_EXCEPTION: Final = re.compile(
    r"^(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Exit|Died|Failure|Failed|Timeout)\w*(?:\([\w.]*\))?: "
    # What another process said stands in full behind it, and ends with its own exception.
    r"(?!Traceback \(most recent call last\))\S"
)
# Of any name, behind the frames of a traceback: `zipfile.BadZipFile: `, `Exception: `.
_ANY_EXCEPTION: Final = re.compile(r"^(?:[A-Za-z_]\w*\.)*[A-Z]\w*: (?!Traceback \(most recent call last\))\S")
# An exception without a message: the line of code before it tells most.
_BARE: Final = re.compile(r"^(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception)$")
_CODE: Final = ("assert", "raise", 'File "')
_ERROR_LINE: Final = re.compile(
    rf"^(?:\([^()]*pid=\d+[^()]*\)\s*)*(?:{_LEVEL}[ :]+[\d-]{{5,10}}[ T]|[\d-]{{10}}[ T][\d:.,]{{8,}} \| {_LEVEL}\b)"
)
# Ray's C++ processes: `[2026-05-04 12:00:00,123 E 1 2] (raylet) file.cc:99: `; I and W are no errors.
_GLOG: Final = re.compile(r"^\[[\d-]{10} [\d:,.]{8,} [ECF] [\d ]+\]\s+(?:\(\w+\) )?[\w./]+:\d+:\s+")
# TensorRT-LLM's loggers of Python and C++ (tensorrt_llm/logger.py, cpp/tensorrt_llm/common/logger.h).
_TENSORRT: Final = re.compile(
    r"^(?:\[[\d/]{10}-[\d:]{8}\] )?\[T(?:RT|ensorRT)-LLM\] ?(?:\[\w+ \d{1,5}\] ?)?\[(?:E|F|ERROR)\] ?"
)
# The last words of a native crash, and of a command that does not know its arguments.
# Rust (safetensors, tokenizers, hf_xet) and Go (init containers); Rust's message is in the next line since 1.73.
_PANIC: Final = re.compile(r"^(?:thread '[^']{0,80}' (?:\(\d+\) )?panicked at |panic: )\S")
_CRASH: Final = re.compile(r"^(?:what\(\):\s+|Fatal Python error: |\*\*\* SIG\w+ |[\w./ -]{1,60}: error: )\S")
# The next line of a log, and no continuation of an exception's message.
_LOGGED: Final = re.compile(
    r"^(?:\([^()]*pid=\d|\[rank\d|\[[WIEF]\d{4} |\[\d{4}-\d\d-\d\d|\d{4}-\d\d-\d\d[ T]\d|\{\""
    r"|(?:DEBUG|INFO|WARNING|ERROR|CRITICAL)[ :]|Process \w+:|\S{1,300}\.py:\d+: |[*]{3} |\+-|Exception ignored in)"
)
# pip, uv and conda say what failed behind `ERROR:`.
_TOOLS_ERROR: Final = re.compile(r"^(?:ERROR|error|fatal): \S")
# Ray's own line about a runtime environment's file (ray, _private/runtime_env/packaging.py).
_PACKAGE: Final = re.compile(r"Failed to download runtime_env file package \S{1,200}")
# Lines that continue an exception's message: Ray's comparison of two versions has the most.
_CONTINUES: Final = 6
# Fields of a logger that writes JSON: Serve's (ray, _private/ray_logging), vLLM's and common ones.
_MESSAGES: Final = ("message", "msg", "event")
_EXCEPTIONS: Final = ("exc_text", "exc_info", "exception", "traceback", "stack_trace")
_LEVELS: Final = ("levelname", "level", "severity")
_ERRORS: Final = frozenset({"ERROR", "CRITICAL", "FATAL"})
_MOST_OF_JSON: Final = 50_000


def failure_of(message: str) -> str:
    """Return what failed, from a message of Serve: its first line and its exception, else its beginning and its end."""
    lines = [line.strip()[:MOST_OF_A_LINE] for line in one_line.ANSI.sub("", message).splitlines() if line.strip()]
    found = list(_exceptions([_parted(line) for line in lines]))
    told = [line for line in lines if _TOOLS_ERROR.match(line)]
    if found and told and "SubprocessCalledProcessError" in found[-1]:
        # Ray tells the command that failed; what failed in it is in its output.
        return plain(f"{plain(lines[0], 200)} ... {plain(' '.join(told[-2:]), 280)}")
    if not found:
        whole = plain(" ".join(lines), MOST_READ)
        return whole if len(whole) <= MOST else f"{whole[: MOST // 2]} ... {whole[-MOST // 2 :]}"
    telling = _telling(found) or found[-1]
    # Which address it was is not in the exception behind it.
    package = next(filter(None, map(_PACKAGE.match, lines)), None)
    opening = plain(f"{lines[0]} ... {package.group()}" if package else lines[0], 300 if package else 200)
    return plain(telling) if telling.startswith(lines[0]) else f"{opening} ... {plain(telling)}"


def root_error_of(log: str) -> str:
    """Return the last exception of a log that names a cause itself, else its last ERROR line; empty without one."""
    read = [part for line in one_line.ANSI.sub("", log).splitlines() for part in _unfolded(line)]
    if telling := _telling(list(_exceptions([(head, line) for head, line, _ in read]))):
        return plain(telling)
    errors = [line for _, line, error in read if error and not points_elsewhere(line) and not NOISE.match(line)]
    return plain(_last([one for one in errors if not follows(one)]) or _last(errors))


def _telling(found: Sequence[str]) -> str:
    """Return the last exception that names a cause itself, rather one that follows no other."""
    own = [one for one in found if not points_elsewhere(one)]
    return _last([one for one in own if not follows(one)]) or _last(own)


def _last(found: Sequence[str]) -> str:
    return found[-1] if found else ""


def _parted(line: str) -> tuple[str, str]:
    """Return the prefix of a line, which all lines of one record share, and the rest."""
    head = _PREFIX.match(line)
    return (head.group(), line[head.end() :]) if head else ("", line)


def _unfolded(line: str) -> Iterator[tuple[str, str, bool]]:
    """Yield a line of a log as its prefix, the rest, and whether it is one of an error; of JSON, what it holds."""
    told = _of_json(line) if line.startswith("{") else None
    if told is None:
        cut = line[:MOST_OF_A_LINE]
        error = _GLOG.match(cut) or _TENSORRT.match(cut)
        head, rest = (error.group(), cut[error.end() :]) if error else _parted(cut)
        bare = rest.strip()
        yield head, bare, bool(bare and (error or _ERROR_LINE.match(cut) or _CRASH.match(bare)))
        return
    for part in told:
        # The other lines of a traceback are no error of their own.
        yield "", part, part == told[0]


def _of_json(line: str) -> list[str] | None:
    """Return message and traceback of a JSON line of an error; empty for another level, None for no such line."""
    try:
        told = mapping(json.loads(line[:_MOST_OF_JSON]))
    except (ValueError, RecursionError):
        return None
    if not any(text(told.get(key)) for key in (*_MESSAGES, *_EXCEPTIONS)):
        return None
    if not any(text(told.get(key)).upper() in _ERRORS for key in _LEVELS):
        return []
    parts = [text(told.get(key)) for key in (*_MESSAGES, *_EXCEPTIONS)]
    return [one.strip()[:MOST_OF_A_LINE] for part in parts for one in part.splitlines() if one.strip()]


def _exceptions(read: list[tuple[str, str]]) -> Iterator[str]:
    """Yield the exceptions at line starts, each with the lines after it that continue its message; of one without a
    message, as a failed assertion, the line of code before it. `read`: prefix and rest of each line.
    """
    lines = [line for _, line in read]
    for number, line in enumerate(lines):
        if number and _BARE.match(line) and lines[number - 1].strip().startswith(_CODE):
            yield f"{line}: {lines[number - 1].strip()}"
        elif _EXCEPTION.match(line) or (_ANY_EXCEPTION.match(line) and _follows_frames(lines, number)):
            yield " ".join([line, *_continued(_record(read, number))])
        elif _PANIC.match(line):
            yield " ".join(lines[number : number + 2])


def _follows_frames(lines: list[str], number: int) -> bool:
    """Return whether the frames of a traceback stand before a line: a place, its code, and marks below the code."""
    return any(line.startswith('File "') for line in lines[max(number - 3, 0) : number])


def _record(read: list[tuple[str, str]], number: int) -> list[str]:
    """Return the next lines that belong to the same record: they have its prefix or none; those of another process, and
    of the next record, have another one.
    """
    own = ("", read[number][0].strip())
    following = read[number + 1 : number + 1 + _CONTINUES]
    return [line for _, line in takewhile(lambda part: part[0].strip() in own, following)]


def _continued(lines: list[str]) -> Iterator[str]:
    for number, line in enumerate(lines):
        # The hub's exceptions have an empty line after the first one.
        if not line and number == 0:
            continue
        if not line or NOISE.match(line) or _EXCEPTION.match(line) or _LOGGED.match(line):
            return
        yield line
