"""The names of Airflow that differ between its releases 3.1, 3.2 and 3.3, under one name each.

Only this file asks which Airflow is installed. 3.1 has the exceptions and the configuration outside the SDK; before 3.3
there are no retry policies, so there an error that must not be retried becomes an AirflowFailException.
"""

from collections.abc import Callable, Mapping
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

if TYPE_CHECKING or AIRFLOW >= (3, 3):
    from airflow.sdk import BaseOperator, BaseSensorOperator, ExceptionRetryPolicy, RetryAction, RetryRule

    def never_retried(error: type[Exception]) -> Mapping[str, Any]:
        """Return the argument of an operator by which this class of errors fails the task at once."""
        return {"retry_policy": ExceptionRetryPolicy(rules=[RetryRule(exception=error, action=RetryAction.FAIL)])}
else:
    from airflow import sdk

    def never_retried(error: type[Exception]) -> Mapping[str, Any]:
        """Return the argument of an operator by which this class of errors fails the task at once."""
        return {"never_retried": error}

    def _failing(execute: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(execute)
        def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return execute(self, *args, **kwargs)
            except self.never_retried as error:
                raise AirflowFailException(f"{type(error).__name__}: {error}") from error

        return wrapped

    class _FailsAtOnce:
        """Ends a task without another try after errors of one class.

        :param never_retried: the class of these errors, or an empty tuple.
        """

        def __init__(self, *, never_retried: Any = (), **kwargs: Any) -> None:
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
]
