"""What the long operations on AKS have in common: their shape, their deadlines, Azure's spelling of our tags.

Why it exists: every verb is polled alike, survives a crash alike and gives up alike; only its steps differ. It asks
Azure nothing.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from airflow_llm_provisioning.core.names import LABEL_MANAGED_BY, OWNER
from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.exceptions import CloudError, ConfigurationError


class Verb(Protocol):
    """One long operation. Every method looks once and does one step; none waits."""

    def problems(self, request: Mapping[str, Any]) -> Sequence[str]:
        """Return what is wrong with a request whatever Azure says, in clauses."""
        ...

    def check(self, operation: Operation) -> Operation:
        """Ask Azure everything that can be known before money is spent, write the intent, return where to begin.

        Raises a CloudError that names all problems.
        """
        ...

    def step(self, operation: Operation) -> Operation:
        """Look once and do the next step if it is due. Raises a CloudError where it cannot go on."""
        ...

    def undo(self, operation: Operation) -> bool:
        """Delete what must not stay after a failure. Return whether it is all gone; called again until it is."""
        ...


def within(operation: Operation, now: datetime, step: str, limit_s: float, **progress: Any) -> Operation:
    """Return the operation moved on to `step`, with a deadline `limit_s` from now."""
    deadline = (now + timedelta(seconds=limit_s)).isoformat()
    return operation.at(step, deadline_at=deadline, limit_s=limit_s, **progress)


def require_time_left(operation: Operation, now: datetime, what: str) -> None:
    """Raise a CloudError if the step's deadline has passed; `what` was not reached in time."""
    deadline = operation.progress.get("deadline_at")
    if deadline is not None and now > datetime.fromisoformat(str(deadline)):
        limit = operation.progress.get("limit_s")
        raise CloudError(f"{what} did not end within {limit:g} s, the limit of this step.")


def word(value: Any, absent: str = "?") -> str:
    """Return an SDK's enumeration member, or the string it may also be, as Azure writes it."""
    return absent if value is None else str(getattr(value, "value", value))


def began_at(operation: Operation) -> datetime:
    """Return when `start` was called."""
    return datetime.fromisoformat(str(operation.progress["began_at"]))


def raise_problems(attempt: str, problems: Sequence[str], kind: type[Exception] = ConfigurationError) -> None:
    """Raise one error that names every problem; none, no error."""
    if problems:
        raise kind(f"{attempt} cannot work: {'; '.join(problems)}.")


# A tag's name may not hold <, >, %, &, \, ? and / (Azure Resource Manager, "Use tags", limitations).
_NOT_IN_TAG_NAMES: Final = re.compile(r"[<>%&\\?/]")


def azure_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Return our tags under names that Azure accepts: `llm-provisioning/content` -> `llm-provisioning_content`."""
    return {_NOT_IN_TAG_NAMES.sub("_", key): value for key, value in tags.items()}


def is_ours(tags: Mapping[str, str] | None) -> bool:
    """Return whether Azure tags, or an image's labels, say that it is ours."""
    tags = tags or {}
    return OWNER in (tags.get(LABEL_MANAGED_BY), tags.get(next(iter(azure_tags({LABEL_MANAGED_BY: ""})))))


@dataclass(frozen=True, slots=True)
class ImageName:
    """A reference taken apart: `myregistry.azurecr.io/ray-serving:r-1`, by tag or by digest."""

    login_server: str
    repository: str
    tag: str | None
    digest: str | None = None

    @property
    def registry(self) -> str:
        """The registry's name as an ARM object."""
        return self.login_server.partition(".")[0]

    @classmethod
    def parse(cls, reference: str) -> "ImageName":
        """Take a reference apart; the host is "" where it names none."""
        rest, _, digest = reference.partition("@")
        host, slash, path = rest.partition("/")
        if not slash or not ("." in host or ":" in host or host == "localhost"):
            host, path = "", rest
        repository, _, tag = path.partition(":")
        return cls(host, repository, tag or None, digest or None)
