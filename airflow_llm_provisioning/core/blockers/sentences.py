"""Takes the telling sentence out of a message, a traceback or a log, without colour codes and prefixes."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from airflow_llm_provisioning.core import one_line

# The level and the time before each line of a traceback: vLLM's `(EngineCore_DP0 pid=274) ERROR 11-29 15:00:00
# [core.py:712] ` and Serve's `ERROR 2026-05-04 12:00:00,123 llm_LLM abc -- `.
_PREFIX: Final = re.compile(
    r"^(?:\([^()]*pid=\d+[^()]*\)\s*)*"
    r"(?:(?:ERROR|CRITICAL|FATAL)[ :]+[\d-]{5,10}[ T][\d:.,]{8,}\s+(?:\[[^\]]*\]\s?|[\w./]+:\d+\]\s?|.{0,120}? -- )?)?"
)
_EXCEPTION: Final = re.compile(
    r"^(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Exit|Died|Failure|Failed|Timeout)\w*(?:\([\w.]*\))?: "
    # What another process said stands in full behind it, and ends with its own exception.
    r"(?!Traceback \(most recent call last\))\S"
)
# pip, and others, say what failed behind `ERROR:`.
_TOOLS_ERROR: Final = re.compile(r"^(?:ERROR|error|fatal): \S")
_BARE: Final = re.compile(r"^(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception)$")
_ERROR_LINE: Final = re.compile(r"^(?:\([^()]*pid=\d+[^()]*\)\s*)*(?:ERROR|CRITICAL|FATAL)[ :]+[\d-]{5,10}[ T]")
# Exceptions that only say that another process has failed: vLLM V1's front end, Ray's actors and tasks.
_POINTS_ELSEWHERE: Final = re.compile(
    r"engine core initialization failed|root cause|enginecore encountered an issue|enginedeaderror"
    r"|workerproc initialization failed|raytaskerror|actordiederror|rayactorerror|actorunavailableerror"
    r"|failed core proc|actor (?:died|is dead)|worker (?:died|crashed)|keyboardinterrupt|systemexit|cancellederror",
    re.IGNORECASE,
)
_NOISE: Final = re.compile(r"^(?:File \"|Traceback|During handling|The above exception|\^+$|~*\^+~*$|\(?\w*pid=)")
# Quoted; an address; a digest; a reference of an image, with a slash or as name:tag. Possessive, so that a long text
# without a name is read once.
_NAMES: Final = re.compile(
    r""""[^"\n]{1,500}"|\bhttps?://\S++|\bsha256:[0-9a-f]{4,64}"""
    r"""|(?<![\w./:-])[\w.-]++(?::\d{1,5}(?=/))?+(?:(?:/[\w.@-]++)++(?::[\w.-]++)?+|:\w[\w.-]*+)"""
)
# Lines that continue an exception's message: Ray's comparison of two versions has the most.
_CONTINUES: Final = 6
MOST: Final = 500
# The patterns look at each line several times; a line of a megabyte must not stop the triggerer.
_MOST_OF_A_LINE: Final = 2000
MOST_READ: Final = 100_000


def plain(message: str, most: int = MOST) -> str:
    """Return a message on one line, without colour codes, of at most `most` characters."""
    return one_line.plain(message, most)


@lru_cache(maxsize=512)
def without_names(message: str) -> str:
    """Return a message without the names in it: quoted texts, addresses, image references and digests. They may
    contain every word (`ray-timeout:1`) and number (the account 714290001234) by which an answer is told.
    """
    return _NAMES.sub("_", message[:MOST_READ])


def first_line(message: str) -> str:
    """Return the first line that is not empty."""
    return next((plain(line) for line in message.splitlines() if line.strip()), "")


def last_line(log: str) -> str:
    """Return the last line of a log that says something; empty if none does."""
    lines = (plain(line[:_MOST_OF_A_LINE]) for line in reversed(log.splitlines()))
    return next((line for line in lines if any(map(str.isalpha, line)) and not _NOISE.match(line)), "")


@lru_cache(maxsize=512)
def points_elsewhere(sentence: str) -> bool:
    """Return whether a sentence says only that the cause is in another process."""
    return bool(_POINTS_ELSEWHERE.search(sentence))


def failure_of(message: str) -> str:
    """Return what failed, from a message of Serve: its first line and its exception, else its beginning and its end."""
    lines = [line.strip()[:_MOST_OF_A_LINE] for line in one_line.ANSI.sub("", message).splitlines() if line.strip()]
    found = list(_exceptions(lines))
    told = [line for line in lines if _TOOLS_ERROR.match(line)]
    if found and told and "SubprocessCalledProcessError" in found[-1]:
        # Ray tells the command that failed; what failed in it is in its output (pip, uv, conda).
        return plain(f"{plain(lines[0], 200)} ... {plain(' '.join(told[-2:]), 280)}")
    if not found:
        whole = plain(" ".join(lines), MOST_READ)
        return whole if len(whole) <= MOST else f"{whole[: MOST // 2]} ... {whole[-MOST // 2 :]}"
    telling = next((one for one in reversed(found) if not points_elsewhere(one)), found[-1])
    opening = plain(lines[0], 200)
    return plain(telling) if telling.startswith(lines[0]) else f"{opening} ... {plain(telling)}"


def root_error_of(log: str) -> str:
    """Return the last exception of a log that names a cause itself, else its last ERROR line; empty without one."""
    lines = [line[:_MOST_OF_A_LINE] for line in one_line.ANSI.sub("", log).splitlines()]
    bare = [_PREFIX.sub("", line, count=1).strip() for line in lines]
    found = [one for one in _exceptions(bare) if not points_elsewhere(one)]
    if found:
        return plain(found[-1])
    errors = (bare[number] for number, line in enumerate(lines) if _ERROR_LINE.match(line))
    telling = [line for line in errors if line and not points_elsewhere(line) and not _NOISE.match(line)]
    return plain(telling[-1]) if telling else ""


def _exceptions(lines: list[str]) -> Iterator[str]:
    """Yield the exceptions at line starts, each with the lines after it that continue its message; of one without a
    message, as a failed assertion, the line of code before it.
    """
    for number, line in enumerate(lines):
        if number and _BARE.match(line.strip()) and lines[number - 1].strip().startswith(("assert", "raise")):
            yield f"{line.strip()}: {lines[number - 1].strip()}"
        elif _EXCEPTION.match(line):
            more: list[str] = []
            for after in lines[number + 1 : number + 1 + _CONTINUES]:
                if not after or _NOISE.match(after) or _EXCEPTION.match(after):
                    break
                more.append(after)
            yield " ".join([line, *more])
