"""A text from outside, made fit to stand inside a sentence.

Clusters and client libraries repeat what they were given: names of any length, with any character.
"""

import re
from typing import Final

from airflow_llm_provisioning.core.secrets import redacted_text

MOST: Final = 600
_CUT: Final = " ... "
# Colours and other commands to a terminal (ECMA-48, 5.4: control sequences).
ANSI: Final = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


def one_line(text: str, most: int = MOST) -> str:
    """Return a text without secrets, as `plain` does."""
    return plain(redacted_text(text), most)


def plain(text: str, most: int = MOST) -> str:
    """Return a text on one line, without colour codes and control characters, of at most `most` characters.

    Of a longer one the middle is left out: what was tried is said first, and the cause last, as in `failed to pull
    IMAGE: failed to resolve reference IMAGE: 401 Unauthorized`.
    """
    shown = ANSI.sub("", text)
    if not shown.isprintable():
        shown = "".join(letter if letter.isprintable() else " " for letter in shown)
    return shortened(" ".join(shown.split()), most)


def shortened(text: str, most: int = MOST) -> str:
    """Return a text of at most `most` characters: its beginning and its end."""
    if len(text) <= most:
        return text
    half = (most - len(_CUT)) // 2
    return f"{text[:half].rstrip()}{_CUT}{text[-half:].lstrip()}"
