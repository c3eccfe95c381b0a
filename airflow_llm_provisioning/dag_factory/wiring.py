"""What all tasks of the experiment share: their retries, their results as arguments, their groups' names."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from airflow.sdk import BaseOperator

from airflow_llm_provisioning.compat import never_retried
from airflow_llm_provisioning.core.names import fingerprint
from airflow_llm_provisioning.exceptions import ProvisioningError, StoreError

# A task whose worker was killed finds again what it began. What failed with a sentence would fail with it again, and a
# trial that was measured as failed must not be measured twice. A store that did not answer may answer the next time.
SURVIVES_ITS_WORKER: Final[Mapping[str, Any]] = {
    "retries": 2,
    "retry_delay": timedelta(seconds=10),
    **never_retried(ProvisioningError, but=(StoreError,)),
}
# Airflow counts a killed worker as a try (airflow 3.3, TaskInstance.is_eligible_to_retry: a retry policy is asked in
# the worker only). What must be done before any trial begins outlasts many kills, and costs nothing while it waits. An
# error that no sentence explains is not tried so often: it ends the task the third time.
OUTLASTS_KILLS: Final[Mapping[str, Any]] = {
    **SURVIVES_ITS_WORKER,
    "retries": 20,
    **never_retried(ProvisioningError, but=(StoreError,), others=3),
}


def group_key(name: str) -> str:
    """Return a name as the id of a task group: letters, digits, hyphens and underscores; what had to change is told
    apart by a hash.
    """
    clean = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:100]
    return clean if clean == name else f"{clean}_{fingerprint({'name': name}, 6)}"


def output(task: BaseOperator) -> Any:
    """Return a task's result as an argument of another: a reference now, a dict when that runs."""
    return task.output
