"""A text from outside, made fit to stand inside a sentence.

Clusters and client libraries repeat what they were given: names of any length, with any character.
"""

import re
from typing import Final

from airflow_llm_provisioning.core.secrets import redacted_text

MOST: Final = 600
# Colours and other commands to a terminal (ECMA-48, 5.4: control sequences).
ANSI: Final = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


def one_line(text: str, most: int = MOST) -> str:
    """Return a text without secrets, as `plain` does."""
    return plain(redacted_text(text), most)


def plain(text: str, most: int = MOST) -> str:
    """Return a text on one line, without colour codes and control characters, of at most `most` characters."""
    shown = ANSI.sub("", text)
    if not shown.isprintable():
        shown = "".join(letter if letter.isprintable() else " " for letter in shown)
    line = " ".join(shown.split())
    return line if len(line) <= most else f"{line[: most - 4].rstrip()} ..."
