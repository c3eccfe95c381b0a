"""The state machine of every long operation, with a verb that does as a test says; time is moved by hand."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.exceptions import CloudError, ConfigurationError
from airflow_llm_provisioning.gateways.clouds.operation_driver import OperationDriver
from airflow_llm_provisioning.gateways.clouds.verbs import (
    Look,
    Outcome,
    RetryPolicy,
    Step,
    StepFailedError,
    TransientError,
    Verb,
    done,
    finished,
    go_to,
    not_yet,
)

Answer = Look | Exception


@dataclass
class Clock:
    at: datetime = datetime(2026, 3, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at

    def move(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@dataclass
class Scripted(Verb):
    """A verb whose looks are given beforehand, by step; the last answer of each stays."""

    name = "build_image"
    limit_s = 1000.0
    looks: dict[str, list[Answer]] = field(default_factory=dict)
    left: list[list[str] | Exception] = field(default_factory=lambda: [[]])
    wrong: tuple[str, ...] = ()
    calls: list[str] = field(default_factory=list)
    limit_of_step_s: float | None = 100.0

    def problems(self, request: Mapping[str, Any]) -> Sequence[str]:
        return self.wrong

    def begin(self, operation: Operation) -> Look:
        return self._answer("begin")

    def steps(self, operation: Operation) -> Sequence[Step]:
        names = [name for name in self.looks if name != "begin"]
        return [Step(name, self._look(name), self.limit_of_step_s) for name in names]

    def clean_up(self, operation: Operation) -> Iterable[str]:
        self.calls.append("clean_up")
        left = self.left.pop(0) if len(self.left) > 1 else self.left[0]
        if isinstance(left, Exception):
            raise left
        return left

    def outcome(self, operation: Operation, seconds: float) -> Outcome:
        return Outcome({"image": operation.progress.get("image")}, False, 0.5, "list price")

    def _look(self, name: str) -> Callable[[Operation], Look]:
        return lambda _: self._answer(name)

    def _answer(self, name: str) -> Look:
        self.calls.append(name)
        answers = self.looks.get(name, [done()])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def driver(verb: Scripted, clock: Clock, **options: Any) -> OperationDriver:
    return OperationDriver("Toy", {verb.name: verb}, clock.now, **options)


def begun(verb: Scripted, clock: Clock, **options: Any) -> tuple[OperationDriver, Operation]:
    driving = driver(verb, clock, **options)
    return driving, driving.start("build_image", {"recipe": 1})


def test_steps_that_are_done_at_once_are_passed_in_one_poll() -> None:
    """The result has the verb's own part, and the same envelope for every verb of every cloud."""
    clock, verb = Clock(), Scripted({"one": [done(image="i")], "two": [not_yet("under way"), done()]})
    driving, operation = begun(verb, clock)
    assert (operation.state, verb.calls) == ("running", ["begin"])
    operation = driving.poll(operation)
    assert (operation.step, verb.calls) == ("under way", ["begin", "one", "two"])
    clock.move(30)
    ended = driving.poll(operation)
    assert ended.result == {
        "image": "i",
        "reused": False,
        "seconds": 30.0,
        "price_usd": 0.5,
        "price_basis": "list price",
        "phases": {"one": 0.0, "two": 30.0},
    }
    assert driving.poll(ended) is ended


def test_what_exists_already_ends_the_operation_at_its_start() -> None:
    """No poll is needed."""
    _, operation = begun(Scripted({"begin": [finished(image="there")]}), Clock())
    assert operation.state == "succeeded"
    assert (operation.result or {})["image"] == "there"


def test_a_look_comes_before_the_limit() -> None:
    """What is done in time is done, even if there was no look before the limit had passed."""
    clock, verb = Clock(), Scripted({"one": [not_yet(), done()]})
    driving, operation = begun(verb, clock)
    operation = driving.poll(operation)
    clock.move(999)
    assert driving.poll(operation).state == "succeeded"


def test_past_its_limit_a_step_ends_the_operation_and_is_cleaned_up() -> None:
    """One sentence with the step, the limit and the last trouble."""
    clock, verb = Clock(), Scripted({"one": [TransientError("Toys were busy.")]})
    driving, operation = begun(verb, clock)
    clock.move(1)
    operation = driving.poll(operation)
    assert operation.step == "waiting: Toys were busy."
    clock.move(101)
    ended = driving.poll(operation)
    assert ended.error == "Build image failed: one: did not end within 100 s; last trouble: Toys were busy."
    assert verb.calls[-1] == "clean_up"


def test_the_whole_operation_has_a_limit_too() -> None:
    """Where no step has one, the sentence says where the operation stood."""
    clock, verb = Clock(), Scripted({"one": [not_yet("counting")]}, limit_of_step_s=None)
    driving, operation = begun(verb, clock)
    clock.move(1001)
    assert driving.poll(operation).error == "build_image did not end within 1000 s; it stood at: counting."


def test_a_jump_ends_the_poll_and_begins_the_limit_anew() -> None:
    """A step may lead back to another one."""
    clock, verb = Clock(), Scripted({"one": [not_yet(), go_to("two", "on")], "two": [go_to("one"), done()]})
    driving, operation = begun(verb, clock)
    operation = driving.poll(operation)
    clock.move(90)
    operation = driving.poll(operation)
    assert (operation.step, operation.progress["current"], verb.calls[-1]) == ("on", "two", "one")
    clock.move(90)
    operation = driving.poll(operation)
    assert (operation.state, operation.progress["current"]) == ("running", "one")


def test_a_start_while_the_cloud_is_busy_leaves_the_checks_to_the_first_poll() -> None:
    """It neither blocks nor fails, and no step is taken before the checks have ended."""
    clock, verb = Clock(), Scripted({"begin": [TransientError("busy"), done()], "one": [done()]})
    driving, operation = begun(verb, clock)
    assert operation.state == "running"
    operation = driving.poll(operation)
    assert verb.calls == ["begin", "begin"]
    assert driving.poll(operation).state == "succeeded"


def test_checks_that_fail_raise_at_the_start_and_end_the_operation_in_a_poll() -> None:
    """A trigger must see an end, and nothing was begun that could be cleaned up."""
    verb = Scripted({"begin": [CloudError("There is no cluster c.")]})
    with pytest.raises(CloudError, match="no cluster c"):
        begun(verb, Clock())
    late = Scripted({"begin": [TransientError("busy"), CloudError("There is no cluster c.")]})
    driving, operation = begun(late, Clock())
    assert driving.poll(operation).error == "There is no cluster c."
    assert "clean_up" not in late.calls


def test_checks_that_are_never_answered_end() -> None:
    """Even where neither verb nor cloud has a limit of its own."""
    clock, verb = Clock(), Scripted({"begin": [TransientError("busy")]})
    driving, operation = begun(verb, clock)
    clock.move(901)
    assert driving.poll(operation).error == (
        "Build image failed: checking: did not end within 900 s; last trouble: busy."
    )


def test_problems_of_the_request_are_all_named() -> None:
    """In one sentence, before the cloud is asked."""
    verb = Scripted(wrong=("`pool` is missing", "`cluster` is missing."))
    with pytest.raises(ConfigurationError, match="build_image on Toy cannot work: `pool` is missing; `cluster` is m"):
        begun(verb, Clock())
    assert verb.calls == []


def test_an_unknown_verb_is_refused_with_the_known_ones() -> None:
    """At the start and in a poll."""
    driving = driver(Scripted(), Clock())
    for attempt in (lambda: driving.start("fly", {}), lambda: driving.poll(Operation("fly", {}))):
        with pytest.raises(ConfigurationError, match="Toy does not know 'fly': it knows build_image"):
            attempt()


def test_nothing_is_asked_before_the_time_that_the_cloud_named() -> None:
    """A poll never sleeps: it does nothing until then."""
    clock, verb = Clock(), Scripted({"one": [TransientError("429", retry_after_s=60), done()]})
    driving, operation = begun(verb, clock)
    operation = driving.poll(operation)
    calls = list(verb.calls)
    assert driving.poll(operation) is operation
    assert verb.calls == calls
    clock.move(61)
    assert driving.poll(operation).state == "succeeded"


def test_an_outage_is_forgotten_once_the_cloud_answers() -> None:
    """Only silence without a single answer counts against the policy's limit."""
    busy, retry = TransientError("503"), RetryPolicy(limit_s=50)
    clock, verb = Clock(), Scripted({"one": [busy, not_yet(), busy, busy, busy]}, limit_of_step_s=None)
    driving, operation = begun(verb, clock, retry=retry)
    for _ in range(4):
        operation = driving.poll(operation)
        clock.move(40)
    assert operation.state == "running"
    ended = driving.poll(operation)
    assert ended.error == "503. This went on for too long."


def test_credentials_that_are_refused_again_and_again_end_it() -> None:
    """So many refusals in a row are no bad luck."""
    refused = TransientError("401", refused_token=True)
    verb = Scripted({"one": [refused]})
    driving, operation = begun(verb, Clock(), retry=RetryPolicy(refused_tokens=3))
    states = []
    while operation.state == "running":
        operation = driving.poll(operation)
        states.append(operation.state)
    assert states == ["running", "running", "failed"]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (CloudError("The run ended Failed."), "The run ended Failed."),
        (StepFailedError("the run ended FAILED"), "Build image failed: one: the run ended FAILED."),
        (
            KeyError("state"),
            "Build image failed: one: Toy answered in a way that was not understood (KeyError('state')).",
        ),
    ],
)
def test_a_failure_is_one_sentence(error: Exception, sentence: str) -> None:
    """A sentence stays as it is; a clause and an answer that is not understood get the verb and the step."""
    driving, operation = begun(Scripted({"one": [error]}), Clock())
    ended = driving.poll(operation)
    assert (ended.state, ended.error) == ("failed", sentence)


def test_cleaning_up_is_repeated_until_nothing_is_left() -> None:
    """Trouble while cleaning up changes neither the reason nor the end."""
    verb = Scripted(
        {"one": [CloudError("Broken.")]}, left=[["pool p"], TransientError("busy"), CloudError("no deletes"), []]
    )
    driving, operation = begun(verb, Clock())
    steps = []
    while operation.state == "running":
        operation = driving.poll(operation)
        steps.append(operation.step)
    assert steps == ["cleaning up"] * 4
    assert operation.error == "Broken."
    assert verb.calls.count("one") == 1


def test_what_cannot_be_deleted_is_named() -> None:
    """Past its own limit the clean-up says what stands and where it is listed."""
    clock, verb = Clock(), Scripted({"one": [CloudError("Broken.")]}, left=[["pool p", "build b"]])
    driving, operation = begun(verb, clock, clean_up_limit_s=60)
    operation = driving.poll(operation)
    clock.move(61)
    assert driving.poll(operation).error == (
        "Broken. What it had begun could not be deleted within 60 s (pool p; build b). It is ours by tag, and "
        "list_owned shows it: delete it by hand."
    )


class SdkOddityError(Exception):
    """What an SDK raises outside of every tree of errors, as protobuf's ParseError."""


def test_an_error_of_any_class_is_a_sentence_and_is_cleaned_up() -> None:
    """A look, the checks of a poll, and the clean-up itself: none lets an SDK's own exception out of a poll."""
    clock, verb = Clock(), Scripted({"one": [SdkOddityError("no value")]})
    driving, operation = begun(verb, clock)
    ended = driving.poll(operation)
    assert (ended.state, verb.calls[-1]) == ("failed", "clean_up")
    assert "Toy answered in a way that was not understood (SdkOddityError('no value'))" in str(ended.error)
    checking = Scripted({"begin": [TransientError("busy"), SdkOddityError("no value")], "one": [done()]})
    driving, operation = begun(checking, clock)
    assert "not understood" in str(driving.poll(operation).error)
    stuck = Scripted({"one": [CloudError("broken.")]}, left=[SdkOddityError("no value")])
    driving, operation = begun(stuck, clock)
    operation = driving.poll(operation)
    clock.move(901)
    error = str(driving.poll(operation).error)
    assert error.startswith("broken.")
    assert "unknown, because Toy answered in a way that was not understood" in error


def test_an_error_of_any_class_at_the_start_is_a_sentence_too() -> None:
    """Nothing was begun: the caller gets one error of this package, which names the verb."""
    with pytest.raises(CloudError, match=r"Build image could not begin: Toy answered .* \(SdkOddityError"):
        begun(Scripted({"begin": [SdkOddityError("no value")], "one": [done()]}), Clock())
