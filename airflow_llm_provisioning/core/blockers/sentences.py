"""Makes one sentence of a message, without colour codes; `tracebacks` finds the telling one in several lines."""

import re
from functools import lru_cache
from typing import Final

from airflow_llm_provisioning.core import one_line

# Exceptions that only say that another process has failed: vLLM V1's front end, Ray's actors and tasks.
_POINTS_ELSEWHERE: Final = re.compile(
    r"engine core initialization failed|root cause|enginecore encountered an issue|enginedeaderror"
    r"|workerproc initialization failed|(?:enginecore|workerproc) failed to start\.?$"
    r"|raytaskerror|actordiederror|rayactorerror|actorunavailableerror"
    r"|failed core proc|actor (?:died|is dead)|worker (?:died|crashed)|keyboardinterrupt|systemexit|cancellederror",
    re.IGNORECASE,
)
# What a rank says when another one has ended before it (torch's process groups, NCCL, sockets and pipes).
_FOLLOWS: Final = re.compile(
    r"DistNetworkError|DistStoreError|ncclRemoteError|remote process exited|recvValue failed|Broken ?pipe|ChannelError"
    r"|Connection ?(?:reset|aborted|closed)|^EOFError|collective operation timeout|Socket ?closed",
    re.IGNORECASE,
)
NOISE: Final = re.compile(
    r"^(?:File \"|Traceback|During handling|The above exception|\^+$|~*\^+~*$|\(?\w*pid=|note: run with `RUST)"
)
# Quoted; an address; a digest; a reference of an image, with a slash or as name:tag. Possessive, so that a long text
# without a name is read once.
_NAMES: Final = re.compile(
    r""""[^"\n]{1,500}"|\bhttps?://\S++|\bsha256:[0-9a-f]{4,64}"""
    r"""|(?<![\w./:-])[\w.-]++(?::\d{1,5}(?=/))?+(?:(?:/[\w.@-]++)++(?::[\w.-]++)?+|:\w[\w.-]*+)"""
)
MOST: Final = 500
# The patterns look at each line several times; a line of a megabyte must not stop the triggerer.
MOST_OF_A_LINE: Final = 2000
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
    lines = (plain(line[:MOST_OF_A_LINE]) for line in reversed(log.splitlines()))
    return next((line for line in lines if any(map(str.isalpha, line)) and not NOISE.match(line)), "")


@lru_cache(maxsize=512)
def points_elsewhere(sentence: str) -> bool:
    """Return whether a sentence says only that the cause is in another process."""
    return bool(_POINTS_ELSEWHERE.search(sentence))


@lru_cache(maxsize=512)
def follows(sentence: str) -> bool:
    """Return whether an error is mostly the consequence of another one, in another process or before it."""
    return bool(_FOLLOWS.search(sentence))
