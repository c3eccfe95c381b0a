"""One step of vLLM's start: a wait and the line at its end."""

from dataclasses import dataclass

from packaging.version import InvalidVersion, Version


@dataclass(frozen=True, slots=True)
class Step:
    """Wait `wait_s`, then print `message` as `file` does (nothing for an empty one)."""

    wait_s: float
    file: str = ""
    message: str = ""
    level: str = "INFO"


def release(text: str) -> Version:
    """Return a vLLM version; one that cannot be read counts as the first."""
    try:
        return Version(text)
    except InvalidVersion:
        return Version("0")
