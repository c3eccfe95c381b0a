"""What a long operation of a cloud is made of: a verb, its steps, what a look at the cloud found, what was made.

`operation_driver.py` moves them. Every step must find what an earlier run of the same operation made: a killed
triggerer begins again with the first operation. Nothing here knows a cloud or an SDK.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final

from airflow_llm_provisioning.core.operation import KEEP_DAYS, Operation
from airflow_llm_provisioning.exceptions import CloudError, ConfigurationError, ProvisioningError

NEXT: Final = "<next>"
END: Final = "<end>"
AGAIN: Final = "<again>"


class TransientError(CloudError):
    """The cloud could not answer now, or its answer was lost: the same look may be repeated later.

    `retry_after_s`: how long the cloud asked to be left alone, None where it did not say. `refused_token`: the
    credentials were refused, not the call: the next look needs fresh ones.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None, refused_token: bool = False) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.refused_token = refused_token


class StepFailedError(CloudError):
    """A step ended badly. The message is a clause without a full stop; the driver adds the verb and the step."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at the cloud found. Made by `done`, `not_yet`, `go_to` and `finished`."""

    to: str
    words: str | None
    progress: Mapping[str, Any]


def done(words: str | None = None, /, **progress: Any) -> Look:
    """Go on to the next step in the same poll, and remember `progress`."""
    return Look(NEXT, words, progress)


def not_yet(words: str | None = None, /, **progress: Any) -> Look:
    """Look again at the next poll; `words` say where the step stands."""
    return Look(AGAIN, words, progress)


def go_to(step: str, words: str | None = None, /, **progress: Any) -> Look:
    """Go on with another step at the next poll; its time limit begins now."""
    return Look(step, words, progress)


def finished(words: str | None = None, /, **progress: Any) -> Look:
    """End the operation well: what it is for exists."""
    return Look(END, words, progress)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a verb.

    `look` is short, idempotent and safe to repeat after a crash. It raises TransientError for what passes by waiting,
    and any other ProvisioningError to end the operation. `limit_s` counts from the step's begin; None: only the verb's
    own limit counts. `what`: subject of the sentence about the limit. `timed`: its seconds are a phase of the result.
    """

    name: str
    look: Callable[[Operation], Look]
    limit_s: float | None = None
    what: str | None = None
    timed: bool = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a verb made: `made` is its own part of the result, the rest is the same for every verb.

    `seconds`: None for the time since the operation began. `phases`: name -> seconds; None for the timed steps.
    """

    made: Mapping[str, Any]
    reused: bool
    price_usd: float | None
    price_basis: str
    seconds: float | None = None
    phases: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long errors that pass by waiting are waited for, beside the step's limit.

    `limit_s`: without a single answer for so long, the operation fails; None: only the step's limit counts.
    `refused_tokens`: so many refusals of credentials in a row end it.
    """

    limit_s: float | None = None
    refused_tokens: int | None = None


class Verb(ABC):
    """One long operation of a cloud. `limit_s`: seconds the whole operation may take, None without such a limit."""

    name: ClassVar[str]
    limit_s: ClassVar[float | None] = None

    def problems(self, request: Mapping[str, Any]) -> Sequence[str]:
        """Return what is wrong with the request itself, in clauses; the cloud is not asked."""
        return ()

    @abstractmethod
    def begin(self, operation: Operation) -> Look:
        """Check everything that can be known before money is spent, and write the intents in the ledger.

        Nothing billable is begun. `finished` where what was asked for exists already, else `done`. Raises a
        ConfigurationError or CloudError that names all problems.
        """

    @abstractmethod
    def steps(self, operation: Operation) -> Sequence[Step]:
        """Return the steps in their order."""

    @abstractmethod
    def clean_up(self, operation: Operation) -> Iterable[str]:
        """Delete what must not stay after a failure; return, in words, what still stands. Repeated until nothing does.

        Never called before `begin` has ended, because nothing is begun before that.
        """

    @abstractmethod
    def outcome(self, operation: Operation, seconds: float) -> Outcome:
        """Return what the ended operation made. `seconds`: since its start."""


def started_at(operation: Operation) -> datetime:
    """Return when `start` was called."""
    return datetime.fromisoformat(str(operation.progress["started_at"]))


def keep_until(operation: Operation) -> datetime:
    """Return until when what the operation makes is to be kept: `keep_days` of the request from its start."""
    return started_at(operation) + timedelta(days=float(operation.request.get("keep_days") or KEEP_DAYS))


def raise_problems(attempt: str, problems: Iterable[str], kind: type[ProvisioningError] = ConfigurationError) -> None:
    """Raise one error that names every problem; without problems, nothing."""
    found = [problem.rstrip(".") for problem in problems]
    if found:
        raise kind(f"{attempt} cannot work: {'; '.join(found)}.")
