"""The alarm of a nightly run: what got slower, since when, in which phase and with what."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context

from airflow_llm_provisioning.compat import BaseOperator
from airflow_llm_provisioning.core.names import DEFAULT_STORE
from airflow_llm_provisioning.exceptions import ConfigurationError, TrialFailedError
from airflow_llm_provisioning.operators.assets import add_event, changes_of, regressed, with_outlets
from airflow_llm_provisioning.operators.links import RunLink

if TYPE_CHECKING:
    from airflow_llm_provisioning.core.alarm import Change
    from airflow_llm_provisioning.core.expected import ExpectedChange
    from airflow_llm_provisioning.decisions.changes import CellToday


class TellChanges(BaseOperator):
    """Tell the changes of level that this DAG run's night made it possible to see (`core.alarm`).

    Returns [{cell, since, run_id, change_pct, phase, recovered, again, phase_only, text}], empty when nothing changed.
    A change is told in the run that makes it certain, some nights after it began. A slower level is told `again` every
    night until it is acknowledged, is declared as expected, or is gone. `phase_only`: a phase changed and the total did
    not.

    Emits an event of the asset `regressed` of the experiment (`operators.assets`) if a slower total is told, and none
    otherwise; a task that fails emits none either.

    :param experiment: the experiment's name.
    :param expected: new levels that are wanted; nothing is told there. Each is {since | run | digest, arm, why} as in
        an experiment file, or a text that is a date, the id of a DAG run or an image digest.
    :param fail_on_slower: fail the task, and so the DAG run, as long as a slower total is told.
    """

    template_fields: Sequence[str] = ("experiment", "expected")
    operator_extra_links = (RunLink(),)
    ui_color = "#f2dede"

    def __init__(
        self,
        *,
        experiment: str,
        expected: Sequence[str | Mapping[str, Any]] = (),
        fail_on_slower: bool = False,
        results_conn_id: str = DEFAULT_STORE,
        **kwargs: Any,
    ) -> None:
        super().__init__(**with_outlets(kwargs, experiment, changes_of))
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
            self.experiment, ti.dag_id, ti.run_id, self.results_conn_id, expected=self._expected()
        ):
            if today.nights_until:
                self.log.info("%s: a change can be told in %d more nights", today.cell.label, today.nights_until)
            told += [_row(today, change) for change in today.changes]
            told += [_row(today, change, again=True) for change in [today.standing] if change is not None]
            told += [_row(today, change, phase_only=True) for changes in today.phases.values() for change in changes]
        for row in told:
            self.log.warning("%s", row["text"])
        slower = [row for row in told if row["change_pct"] > 0 and not (row["recovered"] or row["phase_only"])]
        if slower and self.fail_on_slower:
            raise TrialFailedError("\n".join(row["text"] for row in slower))
        if slower:
            extra = {"dag_id": ti.dag_id, "run_id": ti.run_id, "changes": slower}
            add_event(context, changes_of(self.experiment), regressed(self.experiment), extra)
        return told

    def _expected(self) -> list["ExpectedChange"]:
        from airflow_llm_provisioning.core.expected import expected_from

        try:
            return [expected_from(item) for item in self.expected]
        except ValueError as error:
            raise ConfigurationError(f"TellChanges of {self.experiment}: `expected`: {error}") from error


def _row(today: "CellToday", change: "Change", *, again: bool = False, phase_only: bool = False) -> dict[str, Any]:
    where = f"{today.cell.label} ({today.cell.origin})"
    if phase_only and change.phase is not None:
        where += f", phase {change.phase.name}"
    still = "still, and not acknowledged. " if again else ""
    return {
        "cell": today.cell.label,
        "since": change.at.isoformat(),
        "run_id": change.run_id,
        "change_pct": change.change_pct,
        "phase": change.phase.name if change.phase else None,
        "recovered": change.recovered,
        "again": again,
        "phase_only": phase_only,
        "text": f"{where}: {still}{change}",
    }
