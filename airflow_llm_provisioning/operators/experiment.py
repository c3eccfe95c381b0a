"""An experiment's first and last tasks: look, draw the plan, compare the variants, judge the run."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, Context

from airflow_llm_provisioning.exceptions import ConfigurationError

if TYPE_CHECKING:
    from airflow_llm_provisioning.core.experiment import Experiment

DEFAULT_STORE = "llm_provisioning_results"
ONLY_TRIAL = "trial"


class PlanTrials(BaseOperator):
    """Draw which trial runs in which slot of which cluster, and pin each model's revision for all of them.

    Pushes every planned trial (`core.trial.Trial` as a dict) as an XCom of its own, keyed `<cluster>-<slot>`, and
    returns {seed, trials}. The seed is the DAG run's own unless given: a cleared task draws the same plan.

    :param experiment: the experiment, as `load_experiment` reads it. It is neither rendered nor stored with the DAG,
        because a manifest in it may hold anything.
    :param seed: draws the order; None: from the DAG run.
    :param model: {model_id, revision, image} that override the workload's; empty values do not.
    :param only: {target, workload, setup, variant}: plan just this one trial, pushed under the key `trial`.
    """

    template_fields: Sequence[str] = ("seed", "model", "only")
    ui_color = "#e8e6f4"

    def __init__(
        self,
        *,
        experiment: "Experiment",
        seed: int | str | None = None,
        model: Mapping[str, str] | None = None,
        only: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.experiment = experiment
        self.seed = seed
        self.model = model or {}
        self.only = only

    def execute(self, context: Context) -> dict[str, Any]:
        """Draw, and hand every slot its trial."""
        from airflow_llm_provisioning.trials.plan import draw_plan

        ti = context["ti"]
        experiment = self.experiment.narrowed(**self.only) if self.only else self.experiment
        seed = int(self.seed) if self.seed not in (None, "", "None") else None
        plan = draw_plan(experiment, dag_id=ti.dag_id, run_id=ti.run_id, seed=seed, overrides=self.model, log=self.log)
        for trial in plan.trials:
            slot = trial.slot
            key = ONLY_TRIAL if self.only else slot_key(slot.cluster, slot.number)
            ti.xcom_push(key=key, value=trial.as_dict())
            self.log.info("%s slot %d: %s, replicate %d", slot.cluster, slot.number, trial.arm.label, slot.replicate)
        return {"seed": plan.seed, "trials": len(plan.trials)}


class CompareVariants(BaseOperator):
    """Compare what a DAG run measured: one row per arm, each against the baseline of its stratum.

    Returns the rows (see `core.comparison.ComparisonRow`) to XCom and keeps them in the results store.

    :param experiment: the experiment's name.
    :param run_id: another DAG run to compare; empty: this one.
    """

    template_fields: Sequence[str] = ("experiment", "run_id")
    ui_color = "#dcefe4"

    def __init__(
        self, *, experiment: str, run_id: str = "", results_conn_id: str = DEFAULT_STORE, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.experiment = experiment
        self.run_id = run_id
        self.results_conn_id = results_conn_id

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Compare and keep."""
        from airflow_llm_provisioning.decisions.compare import compare_run

        rows = compare_run(self.experiment, self.run_id or context["ti"].run_id, self.results_conn_id)
        for row in rows:
            saved = "no reduction" if row["reduction_pct"] is None else f"{-row['reduction_pct']:+.1f} %"
            median = "no time" if row["median_s"] is None else f"{row['median_s']:.1f} s"
            self.log.info(
                "%s %s %s: n=%d of %d, %s, %s", row["cloud"], row["setup"], row["variant"], row["n"], row["trials"],
                median, saved,
            )  # fmt: skip
        return rows


class JudgeRun(BaseOperator):
    """Fail the DAG run when a trial of it failed or left no row: Airflow's own state may be green after a cancelled
    trial. Returns {trials, not_needed}; `not_needed` were skipped, because their arm had enough trials.

    :param expected: how many trials the run should have.
    """

    template_fields: Sequence[str] = ("experiment", "expected")
    ui_color = "#f2dede"

    def __init__(
        self, *, experiment: str, expected: int | str, results_conn_id: str = DEFAULT_STORE, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.experiment = experiment
        self.expected = expected
        self.results_conn_id = results_conn_id

    def execute(self, context: Context) -> dict[str, int]:
        """Judge the run."""
        from airflow_llm_provisioning.decisions.judge import judge_run

        ti = context["ti"]
        return judge_run(self.experiment, ti.dag_id, ti.run_id, int(self.expected), self.results_conn_id)


class Preflight(BaseOperator):
    """List everything wrong with an experiment's targets at once, and fail when a trial could not succeed.

    Returns [{target, level, sentence}] when only notes are left.

    :param experiment: the experiment, as `load_experiment` reads it.
    :param results_conn_id: the results store that the trials will write.
    """

    ui_color = "#e8e6f4"

    def __init__(self, *, experiment: "Experiment", results_conn_id: str = DEFAULT_STORE, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.experiment = experiment
        self.results_conn_id = results_conn_id

    def execute(self, context: Context) -> list[dict[str, str]]:
        """Look, and fail with all sentences together."""
        import asyncio

        from airflow_llm_provisioning.preparation.preflight import check_experiment

        findings = asyncio.run(check_experiment(self.experiment, results_conn_id=self.results_conn_id))
        for finding in findings:
            self.log.warning("%s", finding)
        wrong = [str(finding) for finding in findings if finding.blocks]
        if wrong:
            raise ConfigurationError("Not ready for trials:\n" + "\n".join(wrong))
        return [{"target": item.target, "level": item.level, "sentence": item.sentence} for item in findings]


def slot_key(cluster: str, slot: int) -> str:
    """Return the XCom key under which a slot's trial is found."""
    return f"{cluster}-{slot:02d}"
