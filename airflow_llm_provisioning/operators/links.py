"""Extra links from tasks to the page "LLM deployments".

Airflow asks for a link in the task's own process at the end of each of its parts, also of a deferral, and keeps the
answer as an XCom (airflow.sdk 1.3, task_runner.finalize). So a link follows from what the task has, and reads nothing.
"""

from typing import Any

from airflow.sdk import BaseOperatorLink

from airflow_llm_provisioning.compat import BaseOperator
from airflow_llm_provisioning.core.page_links import owned_link, run_link, target_link, trial_link


class TrialLink(BaseOperatorLink):
    """To the trial of an operator (`trial`, a dict; or `opened_trial_id`); without one to what exists."""

    name = "LLM deployment"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Return the address."""
        trial = getattr(operator, "trial", None) or getattr(operator, "planned", None)
        named = trial.get("trial_id") if isinstance(trial, dict) else None
        trial_id = getattr(operator, "opened_trial_id", None) or named
        return trial_link(str(trial_id), _root()) if trial_id else owned_link(_root())


class RunLink(BaseOperatorLink):
    """To the results of a DAG run; an operator may name another `run_id`."""

    name = "LLM results"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Return the address."""
        run_id = getattr(operator, "run_id", "") or ti_key.run_id
        return run_link(str(getattr(operator, "experiment", "")), ti_key.dag_id, str(run_id), _root())


class TargetLink(BaseOperatorLink):
    """To the target that an operator prepares."""

    name = "LLM target"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Return the address."""
        target = getattr(operator, "target", "")
        name = target.get("name") if isinstance(target, dict) else target
        return target_link(str(name or ""), _root())


def _root() -> str:
    """Return the path of Airflow's base URL, empty if it has none."""
    from urllib.parse import urlsplit

    from airflow_llm_provisioning.compat import conf

    return urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")
