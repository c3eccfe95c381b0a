"""How Kubernetes writes instants, always UTC with a Z: whole seconds (metav1.Time) or microseconds (MicroTime)."""

from datetime import UTC, datetime


def stamp(instant: datetime) -> str:
    """Return whole seconds, truncated as Go does."""
    return f"{instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='seconds')}Z"


def micro_stamp(instant: datetime) -> str:
    """Return microseconds, all six digits."""
    return f"{instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def parse_stamp(text: str | None) -> datetime | None:
    """Return the instant a stamp names; None for an absent one."""
    return datetime.fromisoformat(text) if text else None
