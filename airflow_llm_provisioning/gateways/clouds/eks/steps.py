"""How a long operation on AWS moves: step by step, each with a deadline, and cleaned up whatever happens.

A step looks at AWS, finds or creates what it needs, and says whether it is done. It must find what an earlier life of
the same operation made. Throttling, lost connections and expired tokens are waited out within the step's deadline;
anything else ends the operation, after everything temporary is deleted. This file knows no verb.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.exceptions import CloudError, ProvisioningError
from airflow_llm_provisioning.gateways.clouds.eks.aws import AWS_ERRORS, Aws, in_words, kind_of

CLEAN_UP_DEADLINE_S: Final = 900.0


class StepFailedError(CloudError):
    """A step ended badly; the message becomes the operation's error."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one look found: whether the step is done, and what to remember."""

    done: bool
    progress: Mapping[str, Any] = field(default_factory=dict)


def done(**progress: Any) -> Look:
    """Return: go on to the next step, remembering this."""
    return Look(True, progress)


def not_yet(**progress: Any) -> Look:
    """Return: look again later, remembering this."""
    return Look(False, progress)


@dataclass(frozen=True, slots=True)
class Step:
    """One step. `look` is short, idempotent, and safe to repeat after a crash."""

    name: str
    deadline_s: float
    look: Callable[[Operation], Look]


@dataclass(frozen=True, slots=True)
class Procedure:
    """The steps of one verb. `clean_up` deletes what is temporary and returns, in words, what still stands.

    `finish` turns the progress into the result.
    """

    steps: Sequence[Step]
    clean_up: Callable[[Operation], Sequence[str]]
    finish: Callable[[Operation], Mapping[str, Any]]
    clock: Callable[[], datetime]
    aws: Aws

    def poll(self, operation: Operation) -> Operation:
        """Look once at the current step; steps that are done at once are passed in the same poll."""
        if operation.state != "running":
            return operation
        while "failure" not in operation.progress:
            step = self._current(operation)
            if step is None:
                return operation.succeeded(**self.finish(operation))
            operation = self._enter(operation, step)
            look = self._look(step, operation)
            if isinstance(look, str):
                operation = self._fail(operation, look)
                break
            operation = operation.at(step.name, **look.progress)
            if not look.done:
                return self._check_deadline(step, operation)
            operation = self._leave(operation, step)
        return self._cleaned_up(operation)

    def _current(self, operation: Operation) -> Step | None:
        passed = operation.progress.get("passed", [])
        return next((step for step in self.steps if step.name not in passed), None)

    def _enter(self, operation: Operation, step: Step) -> Operation:
        if operation.step == step.name and "entered_at" in operation.progress:
            return operation
        return operation.at(step.name, entered_at=self.clock().isoformat(), trouble=None)

    def _leave(self, operation: Operation, step: Step) -> Operation:
        phases = {**operation.progress.get("phases", {}), step.name: round(self._since_entry(operation), 3)}
        passed = [*operation.progress.get("passed", []), step.name]
        return operation.at(step.name, phases=phases, passed=passed, trouble=None)

    def _since_entry(self, operation: Operation) -> float:
        return (self.clock() - datetime.fromisoformat(operation.progress["entered_at"])).total_seconds()

    def _look(self, step: Step, operation: Operation) -> Look | str:
        """Return what the step found, or the sentence by which the operation fails."""
        try:
            return step.look(operation)
        except AWS_ERRORS as error:
            kind = kind_of(error)
            if kind == "permanent":
                return f"{step.name}: {in_words(error)}"
            if kind == "expired":
                self.aws.renew()
            return not_yet(trouble=in_words(error))
        except ProvisioningError as error:
            return f"{step.name}: {error}"
        except (LookupError, TypeError, ValueError) as error:
            return f"{step.name}: AWS answered in a way that was not understood ({error!r})"

    def _check_deadline(self, step: Step, operation: Operation) -> Operation:
        if self._since_entry(operation) <= step.deadline_s:
            return operation
        trouble = operation.progress.get("trouble")
        reason = f"; last trouble: {trouble}" if trouble else ""
        return self._cleaned_up(self._fail(operation, f"{step.name}: not done within {step.deadline_s:.0f} s{reason}"))

    def _fail(self, operation: Operation, failure: str) -> Operation:
        return operation.at("cleaning up", failure=failure, failed_at=self.clock().isoformat())

    def _cleaned_up(self, operation: Operation) -> Operation:
        """Delete what is temporary; stay at it until it is gone or the deadline passes, then say what is left."""
        failure = operation.progress["failure"]
        try:
            left = list(self.clean_up(operation))
        except AWS_ERRORS as error:
            if kind_of(error) == "expired":
                self.aws.renew()
            left = [f"what could not be looked at, because {in_words(error)}"]
        except ProvisioningError as error:
            left = [str(error)]
        if not left:
            return operation.failed(f"{_verb(operation)} failed: {failure}.")
        waited = self.clock() - datetime.fromisoformat(operation.progress["failed_at"])
        if waited.total_seconds() <= CLEAN_UP_DEADLINE_S:
            return operation
        return operation.failed(
            f"{_verb(operation)} failed: {failure}. Still there and ours by tag: {'; '.join(left)}. "
            "List and delete what is owned."
        )


def _verb(operation: Operation) -> str:
    return operation.verb.replace("_", " ").capitalize()
