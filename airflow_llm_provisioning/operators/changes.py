"""The alarm of a nightly run: what got slower, since when, in which phase and with what."""

from collections.abc import Sequence
from typing import Any

from airflow.sdk import BaseOperator, Context

from airflow_llm_provisioning.exceptions import TrialFailedError

DEFAULT_STORE = "llm_provisioning_results"


class TellChanges(BaseOperator):
    """Tell the changes of level that this DAG run's night made it possible to see (`core.alarm`).

    Returns [{cell, since, run_id, change_pct, phase, recovered, text}], empty when nothing changed. A change is told in
    the one run that makes it certain, some nights after it began.

    :param experiment: the experiment's name.
    :param expected: run ids at which a new level was wanted; nothing is told there.
    :param fail_on_slower: fail the task, and so the DAG run, when a cell got slower.
    """

    template_fields: Sequence[str] = ("experiment", "expected")
    ui_color = "#f2dede"

    def __init__(
        self,
        *,
        experiment: str,
        expected: Sequence[str] = (),
        fail_on_slower: bool = False,
        results_conn_id: str = DEFAULT_STORE,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.experiment = experiment
        self.expected = expected
        self.fail_on_slower = fail_on_slower
        self.results_conn_id = results_conn_id

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Look at the history, and tell."""
        from airflow_llm_provisioning.decisions.changes import changes_of_run

        ti = context["ti"]
        told: list[dict[str, Any]] = []
        for today in changes_of_run(
            self.experiment, ti.dag_id, ti.run_id, self.results_conn_id, expected=self.expected
        ):
            if today.nights_until:
                self.log.info("%s: a change can be told in %d more nights", today.cell.label, today.nights_until)
            for change in today.changes:
                text = f"{today.cell.label} ({today.cell.origin}): {change}"
                self.log.warning("%s", text)
                told.append(
                    {
                        "cell": today.cell.label,
                        "since": change.at.isoformat(),
                        "run_id": change.run_id,
                        "change_pct": change.change_pct,
                        "phase": change.phase.name if change.phase else None,
                        "recovered": change.recovered,
                        "text": text,
                    }
                )
        slower = [str(row["text"]) for row in told if row["change_pct"] > 0 and not row["recovered"]]
        if slower and self.fail_on_slower:
            raise TrialFailedError("\n".join(slower))
        return told
