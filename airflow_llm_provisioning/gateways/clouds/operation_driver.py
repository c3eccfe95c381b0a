"""One state machine for the long operations of every cloud: checked, moved step by step, cleaned up after a failure.

A verb says what is checked before it begins, what its steps are, what must be deleted after a failure, and what it
made (`verbs.py`). The driver does the rest alike for all: time limits, errors that pass by waiting, pauses that a cloud
asks for, clean-up, the form of the result. A poll never sleeps. It knows no cloud, no SDK and no verb.

A look at the cloud comes first and the time limit last, so what is done in time is done even if the look is late.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.exceptions import CloudError, ConfigurationError, ProvisioningError
from airflow_llm_provisioning.gateways.clouds.verbs import (
    AGAIN,
    END,
    NEXT,
    RetryPolicy,
    Step,
    StepFailedError,
    TransientError,
    Verb,
    done,
    raise_problems,
)

_CHECKING: Final = Step("checking", lambda _: done(), limit_s=900.0)


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
        except ProvisioningError:
            raise
        except Exception as error:
            why = f"{self.title} answered in a way that was not understood ({error!r})"
            raise CloudError(f"{_title(operation)} could not begin: {why}.") from error

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
        except Exception as error:  # noqa: BLE001  # any error of an SDK: what was begun must be cleaned up
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
        except Exception as error:  # noqa: BLE001  # as above
            return self._stopped(verb, step, operation, error), False
        operation = _answered(operation).at(found.words or step.name, **found.progress)
        if found.to == AGAIN:
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
        except Exception as error:  # noqa: BLE001  # as above: the failure itself must still be told
            left = [f"unknown, because {self.title} answered in a way that was not understood ({error!r})"]
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
