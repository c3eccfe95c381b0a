"""One state machine for the long operations of every cloud: checked, moved step by step, cleaned up after a failure.

A verb says what is checked before it begins, what its steps are, what must be deleted after a failure, and what it
made. The driver does the rest alike for all: time limits, errors that pass by waiting, pauses that a cloud asks for,
clean-up, the form of the result. A poll never sleeps. It knows no cloud, no SDK and no verb.

Every step must find what an earlier run of the same operation made: a killed triggerer begins again with the first
operation. A look at the cloud comes first and the time limit last, so what is done in time is done even if the look is
late.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

from airflow_llm_provisioning.core.operation import KEEP_DAYS, Operation
from airflow_llm_provisioning.exceptions import CloudError, ConfigurationError, ProvisioningError

NEXT: Final = "<next>"
END: Final = "<end>"
_AGAIN: Final = "<again>"


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
    return Look(_AGAIN, words, progress)


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


_ERRORS: Final = (ProvisioningError, LookupError, TypeError, ValueError)
_CHECKING: Final = Step("checking", lambda _: done(), limit_s=900.0)


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


@dataclass(frozen=True, slots=True)
class OperationDriver:
    """Starts and polls the verbs of one cloud.

    `title`: the cloud's name in sentences. `clock`: aware UTC, in which limits count. `translate`: a context in which
    an SDK's exceptions become TransientError, StepFailedError or CloudError; looks and clean-ups run inside it.
    """

    title: str
    verbs: Mapping[str, Verb]
    clock: Callable[[], datetime]
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    clean_up_limit_s: float = 900.0
    translate: Callable[[], AbstractContextManager[None]] = nullcontext

    def start(self, verb: str, request: Mapping[str, Any]) -> Operation:
        """Check a request and the account, write the intents, return the first operation.

        Where the cloud is too busy to answer, the checks are left to the first poll. Raises ConfigurationError or
        CloudError that names all problems.
        """
        chosen = self._verb(verb)
        raise_problems(f"{verb} on {self.title}", chosen.problems(request))
        operation = Operation(verb, dict(request), progress={"started_at": self.clock().isoformat()})
        try:
            return self._checked(chosen, operation)
        except TransientError as trouble:
            return self._waiting(operation, trouble)

    def poll(self, operation: Operation) -> Operation:
        """Look once and do what is due. Ends failed, with everything temporary deleted, rather than raise."""
        if operation.state != "running" or self.clock() < _not_before(operation):
            return operation
        verb = self._verb(operation.verb)
        if "failure" in operation.progress:
            return self._clean_up(verb, operation)
        if operation.progress.get("checked"):
            return self._advance(verb, operation)
        try:
            return self._checked(verb, operation)
        except _ERRORS as error:
            return self._stopped(verb, _CHECKING, operation, error)

    def _verb(self, name: str) -> Verb:
        if name not in self.verbs:
            raise ConfigurationError(f"{self.title} does not know {name!r}: it knows {', '.join(self.verbs)}.")
        return self.verbs[name]

    # --- moving on

    def _checked(self, verb: Verb, operation: Operation) -> Operation:
        found = verb.begin(operation)
        operation = _answered(operation).at(found.words or "starting", checked=True, **found.progress)
        return self._ended(verb, operation) if found.to == END else operation

    def _advance(self, verb: Verb, operation: Operation) -> Operation:
        """Take the steps as far as they go at this poll."""
        goes_on = True
        while goes_on:
            step = _current(verb, operation)
            operation, goes_on = self._taken(verb, step, self._entered(operation, step))
        return operation

    def _entered(self, operation: Operation, step: Step) -> Operation:
        if operation.progress.get("current") == step.name:
            return operation
        return operation.at(step.name, current=step.name, entered_at=self.clock().isoformat(), trouble=None)

    def _taken(self, verb: Verb, step: Step, operation: Operation) -> tuple[Operation, bool]:
        """Look once at a step; say whether the next one is due in the same poll."""
        try:
            with self.translate():
                found = step.look(operation)
        except _ERRORS as error:
            return self._stopped(verb, step, operation, error), False
        operation = _answered(operation).at(found.words or step.name, **found.progress)
        if found.to == _AGAIN:
            return self._within_limits(verb, step, operation), False
        operation = self._timed(step, operation)
        following = _after(verb, operation, step) if found.to == NEXT else found.to
        if following == END:
            return self._ended(verb, operation), False
        words = None if found.to == NEXT else found.words
        now = self.clock().isoformat()
        operation = operation.at(words or following, current=following, entered_at=now, trouble=None)
        return operation, found.to == NEXT

    def _timed(self, step: Step, operation: Operation) -> Operation:
        if not step.timed:
            return operation
        spent = round(self._seconds_since(operation.progress["entered_at"]), 3)
        return operation.at(operation.step, phases={**operation.progress.get("phases", {}), step.name: spent})

    def _ended(self, verb: Verb, operation: Operation) -> Operation:
        progress = operation.progress
        elapsed_s = self._seconds_since(progress["started_at"])
        outcome = verb.outcome(operation, elapsed_s)
        seconds = elapsed_s if outcome.seconds is None else outcome.seconds
        return operation.succeeded(
            **outcome.made,
            reused=outcome.reused,
            seconds=round(seconds, 3),
            price_usd=outcome.price_usd,
            price_basis=outcome.price_basis,
            phases=dict(progress.get("phases", {}) if outcome.phases is None else outcome.phases),
        )

    # --- limits and trouble

    def _seconds_since(self, instant: str) -> float:
        return (self.clock() - datetime.fromisoformat(instant)).total_seconds()

    def _stopped(self, verb: Verb, step: Step, operation: Operation, error: Exception) -> Operation:
        """Return the operation after a look that raised: waiting, or failed and being cleaned up."""
        prefix = f"{_title(operation)} failed: {step.name}"
        if isinstance(error, TransientError):
            if self._gives_up(operation, error):
                return self._failed(verb, operation, f"{str(error).rstrip('.')}. This went on for too long.")
            return self._within_limits(verb, step, self._waiting(operation, error))
        if isinstance(error, StepFailedError):
            return self._failed(verb, operation, f"{prefix}: {error}.")
        if isinstance(error, ProvisioningError):
            return self._failed(verb, operation, str(error))
        why = f"{self.title} answered in a way that was not understood ({error!r})"
        return self._failed(verb, operation, f"{prefix}: {why}.")

    def _within_limits(self, verb: Verb, step: Step, operation: Operation) -> Operation:
        progress = operation.progress
        in_step_s = self._seconds_since(progress.get("entered_at") or progress["started_at"])
        if step.limit_s is not None and in_step_s > step.limit_s:
            what = step.what or f"{_title(operation)} failed: {step.name}:"
            return self._failed(verb, operation, f"{what} did not end within {step.limit_s:g} s{_tail(operation)}")
        if verb.limit_s is not None and self._seconds_since(progress["started_at"]) > verb.limit_s:
            stood = f"{verb.name} did not end within {verb.limit_s:g} s; it stood at: {operation.step}"
            return self._failed(verb, operation, f"{stood}{_tail(operation)}")
        return operation

    def _waiting(self, operation: Operation, trouble: TransientError) -> Operation:
        now, progress = self.clock(), operation.progress
        pause = None if trouble.retry_after_s is None else (now + timedelta(seconds=trouble.retry_after_s)).isoformat()
        return operation.at(
            f"waiting: {trouble}",
            trouble=str(trouble),
            unanswered_since_at=progress.get("unanswered_since_at") or now.isoformat(),
            refused_tokens=int(progress.get("refused_tokens") or 0) + trouble.refused_token,
            not_before_at=pause,
        )

    def _gives_up(self, operation: Operation, trouble: TransientError) -> bool:
        most, refused = self.retry.refused_tokens, int(operation.progress.get("refused_tokens") or 0)
        if most is not None and trouble.refused_token and refused + 1 >= most:
            return True
        since = operation.progress.get("unanswered_since_at")
        return self.retry.limit_s is not None and since is not None and self._seconds_since(since) > self.retry.limit_s

    # --- after a failure

    def _failed(self, verb: Verb, operation: Operation, failure: str) -> Operation:
        """Begin the clean-up; `failure` is the sentence by which the operation ends."""
        now = self.clock().isoformat()
        return self._clean_up(verb, _answered(operation).at("cleaning up", failure=failure, failed_at=now))

    def _clean_up(self, verb: Verb, operation: Operation) -> Operation:
        """Delete what is temporary, again at every poll until it is gone or the limit passes; then say what is left."""
        failure = str(operation.progress["failure"])
        if not operation.progress.get("checked"):
            # Nothing is begun before the checks have ended.
            return operation.failed(failure)
        try:
            with self.translate():
                left = list(verb.clean_up(operation))
        except TransientError as trouble:
            left, operation = [f"unknown, because {trouble}"], self._waiting(operation, trouble).at("cleaning up")
        except ProvisioningError as error:
            left = [f"unknown, because {error}"]
        if not left:
            return operation.failed(failure)
        if self._seconds_since(operation.progress["failed_at"]) <= self.clean_up_limit_s:
            return operation
        still = "; ".join(item.rstrip(".") for item in left)
        return operation.failed(
            f"{failure} What it had begun could not be deleted within {self.clean_up_limit_s:g} s ({still}). It is "
            "ours by tag, and list_owned shows it: delete it by hand."
        )


def _current(verb: Verb, operation: Operation) -> Step:
    """Return the step that is due; the first one where the operation names none."""
    name, steps = operation.progress.get("current"), verb.steps(operation)
    return next((step for step in steps if step.name == name), steps[0])


def _after(verb: Verb, operation: Operation, step: Step) -> str:
    names = [item.name for item in verb.steps(operation)]
    following = names[names.index(step.name) + 1 :]
    return following[0] if following else END


def _answered(operation: Operation) -> Operation:
    """Return the operation with earlier trouble forgotten: the cloud has answered."""
    if operation.progress.get("unanswered_since_at") is None:
        return operation
    return operation.at(operation.step, unanswered_since_at=None, refused_tokens=0, not_before_at=None, trouble=None)


def _not_before(operation: Operation) -> datetime:
    instant = operation.progress.get("not_before_at")
    return datetime.fromisoformat(str(instant)) if instant else datetime.min.replace(tzinfo=UTC)


def _tail(operation: Operation) -> str:
    trouble = operation.progress.get("trouble")
    return f"; last trouble: {str(trouble).rstrip('.')}." if trouble else "."


def _title(operation: Operation) -> str:
    return operation.verb.replace("_", " ").capitalize()
