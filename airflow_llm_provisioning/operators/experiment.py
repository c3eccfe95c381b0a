"""An experiment's first and last tasks: look, draw the plan, compare the variants, judge the run."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context

from airflow_llm_provisioning.compat import BaseOperator
from airflow_llm_provisioning.core.names import DEFAULT_STORE
from airflow_llm_provisioning.exceptions import ConfigurationError
from airflow_llm_provisioning.operators.assets import add_event, arms_of, compared, measured, set_extra, with_outlets
from airflow_llm_provisioning.operators.links import RunLink

if TYPE_CHECKING:
    from airflow_llm_provisioning.core.experiment import Experiment
    from airflow_llm_provisioning.core.trial import Trial

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
        from airflow_llm_provisioning.core.fallbacks import told
        from airflow_llm_provisioning.trials.plan import draw_plan
        from airflow_llm_provisioning.trials.price import check_plan

        ti = context["ti"]
        experiment = self.experiment.narrowed(**self.only) if self.only else self.experiment
        for note in (*experiment.design_notes, *experiment.left_out()):
            self.log.warning("%s", note)
        for note in told(experiment.targets):
            self.log.info("%s", note)
        seed = int(self.seed) if self.seed not in (None, "", "None") else None
        check_plan(experiment)
        plan = draw_plan(experiment, dag_id=ti.dag_id, run_id=ti.run_id, seed=seed, overrides=self.model, log=self.log)
        for trial in plan.trials:
            slot = trial.slot
            key = ONLY_TRIAL if self.only else slot_key(slot.cluster, slot.number, slot.fallback)
            ti.xcom_push(key=key, value=trial.as_dict())
            self.log.info("%s slot %d: %s, replicate %d", slot.cluster, slot.number, trial.arm.label, slot.replicate)
        for key in _unused(experiment, plan.trials) if not self.only else ():
            # A task that pulls a key that is not there fails.
            ti.xcom_push(key=key, value={})
        return {"seed": plan.seed, "trials": len(plan.trials)}


class CompareVariants(BaseOperator):
    """Compare what a DAG run measured: one row per arm, each against the baseline of its stratum.

    Returns the rows (see `core.comparison.ComparisonRow`) to XCom, keeps them in the results store and writes them into
    the task's log as a table. The XCom `capacity` has what was refused by zone and hour
    (`core.capacity.capacity_rows`), where something was; `cost` what each arm costs and saves in money
    (`core.break_even.cost_rows`). Emits an event of the experiment's asset `compared`, and one of each arm that it
    measured (`operators.assets`), unless the experiment's name is a template.

    :param experiment: the experiment's name.
    :param run_id: another DAG run to compare; empty: this one.
    """

    template_fields: Sequence[str] = ("experiment", "run_id")
    operator_extra_links = (RunLink(),)
    ui_color = "#dcefe4"

    def __init__(
        self, *, experiment: str, run_id: str = "", results_conn_id: str = DEFAULT_STORE, **kwargs: Any
    ) -> None:
        super().__init__(**with_outlets(kwargs, experiment, compared, arms_of))
        self.experiment = experiment
        self.run_id = run_id
        self.results_conn_id = results_conn_id

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Compare and keep."""
        from airflow_llm_provisioning.decisions.compare import capacity_of_run, compare_run, effects_told
        from airflow_llm_provisioning.decisions.cost import cost_of_run, cost_text
        from airflow_llm_provisioning.report.log_text import told_comparison

        ti = context["ti"]
        dag_id, run_id = None if self.run_id else ti.dag_id, self.run_id or ti.run_id
        rows = compare_run(self.experiment, run_id, self.results_conn_id, dag_id=dag_id)
        if refused := capacity_of_run(self.experiment, self.run_id or ti.run_id, self.results_conn_id, dag_id=dag_id):
            ti.xcom_push(key="capacity", value=refused)
        self.log.info("%s", told_comparison(rows))
        costs = cost_of_run(self.experiment, run_id, self.results_conn_id, dag_id=dag_id)
        ti.xcom_push(key="cost", value=costs)
        for cost in costs:
            self.log.info("%s", cost_text(cost))
        for line in effects_told(self.experiment, run_id, self.results_conn_id, dag_id=dag_id):
            self.log.info("%s", line)
        set_extra(context, compared(self.experiment), {"dag_id": ti.dag_id, "run_id": run_id, "rows": rows})
        for row in rows:
            if row["n"]:
                add_event(context, arms_of(self.experiment), measured(self.experiment, row), row)
        return rows


class JudgeRun(BaseOperator):
    """Fail the DAG run when a trial of it failed or left no row, because Airflow's own state may be green after a
    cancelled trial; and when a gate does not pass.

    Returns {trials, not_needed, no_capacity, gates}, numbers, and `serves_slower`, sentences; `not_needed` were
    skipped, because their arm had enough trials; `no_capacity` got no machine, which fails the run only if the
    experiment says so. A gate passes only if enough trials show it: slower, undecided, no capacity and not judged fail
    the task with a sentence. An arm that serves slower than its baseline is told in any case.

    :param expected: how many trials the run should have.
    :param gates: [{arm, max_seconds | against, max_slower, max_serving_slower}], as in an experiment file; `arm`: the
        arm's key or `TARGET/WORKLOAD/SETUP/VARIANT`, `against`: another run of this DAG or `previous`.
    :param arm: one more gate, with the next three parameters as in `llm-provisioning gate`.
    :param max_seconds: the median total may be at most this.
    :param against: the run to compare with.
    :param max_slower: per cent that it may be slower than that run; default 5.
    """

    template_fields: Sequence[str] = ("experiment", "expected", "gates", "arm", "max_seconds", "against", "max_slower")
    operator_extra_links = (RunLink(),)
    ui_color = "#f2dede"

    def __init__(
        self,
        *,
        experiment: str,
        expected: int | str,
        gates: Sequence[Mapping[str, Any]] = (),
        arm: str | None = None,
        max_seconds: float | str | None = None,
        against: str | None = None,
        max_slower: float | str | None = None,
        results_conn_id: str = DEFAULT_STORE,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.experiment = experiment
        self.expected = expected
        self.gates = gates
        self.arm = arm
        self.max_seconds = max_seconds
        self.against = against
        self.max_slower = max_slower
        self.results_conn_id = results_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Judge the run."""
        from airflow_llm_provisioning.decisions.judge import judge_run
        from airflow_llm_provisioning.report.log_text import told_judgement

        ti = context["ti"]
        own = {key: getattr(self, key) for key in ("arm", "max_seconds", "against", "max_slower")}
        gates = [*self.gates, *([own] if any(value is not None for value in own.values()) else [])]
        judged = judge_run(self.experiment, ti.dag_id, ti.run_id, int(self.expected), self.results_conn_id, gates=gates)
        self.log.info("%s", told_judgement(judged))
        for sentence in judged["no_capacity"]:
            self.log.warning("No failure of the workload: %s", sentence)
        for sentence in judged["serves_slower"]:
            self.log.warning("Serves slower: %s", sentence)
        return {**judged, "gates": len(judged["gates"]), "no_capacity": len(judged["no_capacity"])}


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


def slot_key(cluster: str, slot: int, fallback: int = 0) -> str:
    """Return the XCom key under which the trial of a slot, or of one of its fallbacks, is found."""
    return f"{cluster}-{slot:02d}" + (f"-f{fallback}" if fallback else "")


def _unused(experiment: "Experiment", trials: Iterable["Trial"]) -> Iterator[str]:
    """Yield the keys of fallback slots that have no trial, because the trial drawn before them has fewer fallbacks."""
    planned = {slot_key(trial.slot.cluster, trial.slot.number, trial.slot.fallback) for trial in trials}
    for cluster, fallbacks in experiment.fallback_slots().items():
        keys = (
            slot_key(cluster, slot, at + 1) for slot in range(experiment.slots()[cluster]) for at in range(fallbacks)
        )
        yield from (key for key in keys if key not in planned)
