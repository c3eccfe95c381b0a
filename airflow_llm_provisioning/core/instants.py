"""Stamps as API servers, kubelets, Ray and Serve write them: an instant and its resolution.

A stamp of whole seconds was truncated, so its instant lies in [at, at + resolution). This module does not know which
clock wrote a stamp.
"""

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from airflow_llm_provisioning.core.fields import number

MICROSECOND: Final = timedelta(microseconds=1)
SECOND: Final = timedelta(seconds=1)

_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?\s*(Z|z|[+-]\d\d:?\d\d)?", flags=re.ASCII
)
_FINEST_DIGITS: Final = 6
# A longer text is no stamp, or one in many blanks, and is not remembered.
_STAMP_CHARACTERS: Final = 64
# Go writes year 1 for "never". Instants outside these limits do not belong to a deployment.
_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Stamp:
    """An instant as a clock wrote it; `resolution` is the width of the truncated part."""

    at: datetime
    resolution: timedelta

    @property
    def until(self) -> datetime:
        """The last instant (in that clock) that the stamp can mean."""
        return self.at + max(self.resolution - MICROSECOND, timedelta())


def parse_stamp(value: Any) -> Stamp | None:
    """Parse RFC 3339 text (any number of fraction digits; no zone means UTC). None for anything else."""
    if not isinstance(value, str):
        return None
    return _parsed(value) if len(value) <= _STAMP_CHARACTERS else _parsed.__wrapped__(value)


# An object repeats its stamps in every version.
@lru_cache(maxsize=4096)
def _parsed(value: str) -> Stamp | None:
    match = _RFC3339.fullmatch(value.strip())
    if match is None:
        return None
    day, clock, fraction, zone = match.groups()
    digits = (fraction or "")[:_FINEST_DIGITS]
    try:
        at = datetime.fromisoformat(f"{day}T{clock}{_zone(zone)}").astimezone(UTC)
        at += timedelta(microseconds=int(digits.ljust(_FINEST_DIGITS, "0")))
    except (ValueError, OverflowError):
        return None
    if not _EARLIEST <= at < _LATEST:
        return None
    return Stamp(at, timedelta(microseconds=10 ** (_FINEST_DIGITS - len(digits))))


def parse_instant(value: Any) -> datetime | None:
    """Parse RFC 3339 text as an instant, or return None."""
    stamp = parse_stamp(value)
    return stamp.at if stamp else None


def from_epoch_s(value: Any) -> Stamp | None:
    """Convert seconds since 1970 (Serve's `start_time_s`) to a stamp of microseconds; None for 0 and below."""
    since = number(value)
    if since is None or not 0 < since < _LATEST.timestamp():
        return None
    return Stamp(datetime.fromtimestamp(since, UTC), MICROSECOND)


def format_instant(at: datetime) -> str:
    """Return an instant as RFC 3339 UTC with microseconds; the length is constant."""
    # A third of strftime's time.
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def microseconds(span: timedelta) -> int:
    """Return a span as whole microseconds, exactly."""
    return span // MICROSECOND


def seconds(span: timedelta) -> float:
    """Return a span in seconds, as the nearest float."""
    return microseconds(span) / 1_000_000


def _zone(zone: str | None) -> str:
    return "+00:00" if zone is None or zone in "Zz" else zone


def retry_after_s(header: str | None) -> float | None:
    """Return the seconds of a `Retry-After`; None where it is absent, a date, or no number to wait for (RFC 9110,
    10.2.3).
    """
    try:
        found = float(header or "")
    except ValueError:
        return None
    return found if math.isfinite(found) and found >= 0 else None
