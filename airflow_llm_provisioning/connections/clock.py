"""Clock of a cluster that declares none (UTC)."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Return the real time."""
    return datetime.now(UTC)
