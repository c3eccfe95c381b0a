"""How what an operation makes is named, tagged and dated: by content, so that the next one finds it.

An expiry is only ever moved later: whoever uses a thing again, keeps it for as long as the one who asks longest.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from airflow_llm_provisioning.core.names import LABEL_EXPIRES, expiry, fingerprint, preparation_tags, read_expiry
from airflow_llm_provisioning.core.operation import Operation

KEEP_DAYS: Final = 30
NAME_PREFIX: Final = "llm-provisioning-"


def begun(verb: str, request: Mapping[str, Any], content: str, now: datetime, **progress: Any) -> Operation:
    """Return the first operation: whoever begins again from it makes the same names, tags and client tokens."""
    return Operation(verb, dict(request)).at(
        "starting",
        content=content,
        started_at=now.isoformat(),
        expires_at=(now + timedelta(days=float(request.get("keep_days") or KEEP_DAYS))).isoformat(),
        token=fingerprint({"content": content, "at": now.isoformat()}, 32),
        **progress,
    )


def name_of(operation: Operation) -> str:
    """Return the name of what an operation makes."""
    return f"{NAME_PREFIX}{operation.progress['content']}"


def expires_at(operation: Operation, lifetime: timedelta | None = None) -> datetime:
    """Return when what an operation makes may be deleted: `lifetime` after its start, or as long as was asked for."""
    if lifetime is None:
        return datetime.fromisoformat(operation.progress["expires_at"]).astimezone(UTC)
    return (datetime.fromisoformat(operation.progress["started_at"]) + lifetime).astimezone(UTC)


def tags_of(operation: Operation, lifetime: timedelta | None = None) -> dict[str, str]:
    """Return the tags of what an operation makes."""
    tags = preparation_tags(
        operation.progress["content"], expires_at(operation, lifetime), operation.request.get("target")
    )
    return {"Name": name_of(operation), **tags}


def later_expiry(tags: Mapping[str, str], operation: Operation) -> dict[str, str]:
    """Return the expiry tag to write so that a thing outlives this operation's wish; nothing where it does already."""
    now_until, wanted = read_expiry(tags.get(LABEL_EXPIRES, "")), expiry(expires_at(operation))
    if now_until is not None and expiry(now_until) >= wanted:
        return {}
    return {LABEL_EXPIRES: wanted}


def seconds_since_start(operation: Operation, now: datetime) -> float:
    """Return how long the operation has taken; one that reused what was there took none."""
    if operation.progress.get("reused"):
        return 0.0
    return round((now - datetime.fromisoformat(operation.progress["started_at"])).total_seconds(), 3)
