"""Numbers that options take. A refusal says what was given and what is meant."""

import argparse
import math
from typing import Final

# What a database counts with, less than 64 bits.
_MOST: Final = 10**15


def positive(text: str) -> int:
    """Read a number of rows."""
    try:
        number = int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from error
    if not 1 <= number <= _MOST:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more" if number < 1 else f"{text} is too large")
    return number


def seconds(text: str) -> float:
    """Read a number of seconds, 0 or more."""
    try:
        number = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds") from error
    if not (math.isfinite(number) and number >= 0):
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds: give 0 or more")
    return number
