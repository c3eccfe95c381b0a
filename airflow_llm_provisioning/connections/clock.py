"""The clock of who declares none."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Return the real time."""
    return datetime.now(UTC)
