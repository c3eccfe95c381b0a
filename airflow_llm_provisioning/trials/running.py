"""What a trial's tasks write about it while it runs. It is information only: a store that is away stops no trial."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from airflow_llm_provisioning.core.progress import Expected
from airflow_llm_provisioning.core.running import Step, begun, news
from airflow_llm_provisioning.core.trial import Trial
from airflow_llm_provisioning.exceptions import StoreError

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.store.results import ResultsStore

# Real seconds for which a task tries to tell where its trial is.
LIMIT_S: Final = 10.0


def tell_opened(
    store: "ResultsStore", trial: Trial, step: Step, *, task_id: str, at: datetime, blocker: str | None = None
) -> None:
    """Add a trial to the running ones. `at`: of the cluster's clock."""
    try:
        values = begun(trial, step, task_id=task_id, at=at, expected=_expected(store, trial))
        store.progress.begin({**values, **news(step, _PHASES[step], blocker, 0.0)})
    except StoreError:
        return


async def tell_step(trial: Trial, step: Step, log: Any, *, task_id: str = "", blocker: str | None = None) -> Expected:
    """Write which step a trial is in, by which task; return what is expected of it."""

    def write(store: "ResultsStore") -> Expected:
        values: Mapping[str, Any] = news(step, _PHASES[step], blocker, None)
        store.progress.change(trial.trial_id, {**values, **({"task_id": task_id} if task_id else {})})
        return _expected(store, trial)

    return await _tolerant(trial, write, log) or Expected()


async def _tolerant(trial: Trial, work: "Callable[[ResultsStore], Expected]", log: Any) -> Expected | None:
    from airflow_llm_provisioning.trials.stored import with_store

    if trial.access is None:
        return None
    try:
        return await with_store(trial.access.results_conn_id, work, limit_s=LIMIT_S)
    except StoreError as error:
        log.warning("The progress of trial %s cannot be written to the results store: %s", trial.trial_id, error)
        return None


def _expected(store: "ResultsStore", trial: Trial) -> Expected:
    size_bytes = trial.opened.prepared.size_bytes if trial.opened else None
    return store.progress.expected(trial.arm.key, size_bytes)


_PHASES: Final[Mapping[str, str]] = {
    "lock": "waits for its cluster",
    "prepared": "waits for what was prepared",
    "open": "opened",
    "wait": "deployment",
    "delete": "deletion",
    "not_deleted": "not deleted",
}
