"""The names of Airflow that differ between its releases 3.1, 3.2 and 3.3, under one name each.

Only this file asks which Airflow is installed. 3.1 has the exceptions and the configuration outside the SDK; before 3.3
there are no retry policies, so there an error that must not be retried becomes an AirflowFailException, and errors
cannot be told apart from killed workers when tries are counted.
"""

from collections.abc import Callable, Collection, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

from airflow import __version__

AIRFLOW: Final = tuple(int(part) for part in __version__.split(".")[:2])

if TYPE_CHECKING or AIRFLOW >= (3, 2):
    from airflow.sdk import conf
    from airflow.sdk.exceptions import (
        AirflowException,
        AirflowFailException,
        AirflowNotFoundException,
        AirflowRuntimeError,
        AirflowSensorTimeout,
        AirflowSkipException,
    )

    # `retry_exponential_backoff`: each delay is twice the last one.
    DOUBLING: Any = 2.0
    # The module that parses DAG files, which is imported for its own sake.
    DAG_BAG: Final = "airflow.dag_processing.dagbag"
else:
    from airflow.configuration import conf
    from airflow.exceptions import (
        AirflowException,
        AirflowFailException,
        AirflowNotFoundException,
        AirflowSensorTimeout,
        AirflowSkipException,
    )
    from airflow.sdk.exceptions import AirflowRuntimeError

    DOUBLING = True
    DAG_BAG = "airflow.models.dagbag"

if TYPE_CHECKING or AIRFLOW >= (3, 3):
    from airflow.sdk import BaseOperator, BaseSensorOperator, RetryDecision, RetryPolicy

    # Where a task keeps from try to try how many errors it had.
    _ERRORS: Final = "errors_without_a_sentence"

    class ErrorRetryPolicy(RetryPolicy):
        """Ends a task at once after errors of one class, and after so many others. Killed workers do not count: Airflow
        asks a policy in the worker, after an exception only.
        """

        def __init__(self, final: type[Exception], but: tuple[type[Exception], ...], others: int | None) -> None:
            self._final, self._but, self._others = final, but, others

        def evaluate(
            self, exception: BaseException, try_number: int, max_tries: int, context: Any = None
        ) -> RetryDecision:
            """Decide by the class of the error, and by what the task has kept of earlier tries."""
            if isinstance(exception, self._final) and not isinstance(exception, self._but):
                return RetryDecision.fail("this error would come again")
            kept = (context or {}).get("task_state_store")
            if kept is None or self._others is None:
                return RetryDecision.default()
            count = int(kept.get(_ERRORS) or 0) + 1
            # The next run of a cleared task begins anew.
            kept.set(_ERRORS, 0 if count >= self._others else count)
            if count >= self._others:
                return RetryDecision.fail(f"it is the {count}th error of this task; killed workers are not counted")
            return RetryDecision.default()

    def never_retried(
        error: type[Exception], *, but: tuple[type[Exception], ...] = (), others: int | None = None
    ) -> Mapping[str, Any]:
        """Return the argument of an operator by which this class of errors fails the task at once, and any others the
        `others`-th time. `but`: classes of these errors that count as others. A killed worker is no error.
        """
        return {"retry_policy": ErrorRetryPolicy(error, but, others)}
else:
    from airflow import sdk

    def never_retried(
        error: type[Exception], *, but: tuple[type[Exception], ...] = (), others: int | None = None
    ) -> Mapping[str, Any]:
        """Return the argument of an operator by which this class of errors fails the task at once. `but`: classes of
        these errors that do not. `others` is not known here: errors and killed workers count alike.
        """
        return {"never_retried": (error, but)}

    def _failing(execute: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(execute)
        def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return execute(self, *args, **kwargs)
            except self.never_retried[0] as error:
                if isinstance(error, self.never_retried[1]):
                    raise
                raise AirflowFailException(f"{type(error).__name__}: {error}") from error

        return wrapped

    class _FailsAtOnce:
        """Ends a task without another try after errors of one class.

        :param never_retried: the class of these errors, and those classes of them that are retried all the same.
        """

        def __init__(self, *, never_retried: Any = ((), ()), **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.never_retried = never_retried

        def __init_subclass__(cls, **kwargs: Any) -> None:
            super().__init_subclass__(**kwargs)
            if "execute" in vars(cls):
                cls.execute = _failing(vars(cls)["execute"])

        @_failing
        def resume_execution(self, *args: Any, **kwargs: Any) -> Any:
            return super().resume_execution(*args, **kwargs)

    class BaseOperator(_FailsAtOnce, sdk.BaseOperator):
        """An operator whose task can end at once."""

    class BaseSensorOperator(_FailsAtOnce, sdk.BaseSensorOperator):
        """A sensor whose task can end at once."""


def teams_of(dag_ids: Collection[str]) -> Mapping[str, str | None]:
    """Return the team of every DAG that has one. Airflow 3.1 has no teams. Only the API server may ask."""
    from airflow.models.dag import DagModel

    if AIRFLOW < (3, 2) or not dag_ids:
        return {}
    return DagModel.get_dag_id_to_team_name_mapping(list(dag_ids))


__all__ = [
    "AIRFLOW",
    "DOUBLING",
    "AirflowException",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowRuntimeError",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "BaseOperator",
    "BaseSensorOperator",
    "conf",
    "never_retried",
    "teams_of",
]
