"""An experiment's first and last tasks: draw the plan, compare the variants, judge the run."""

from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import BaseOperator, Context

from airflow_llm_provisioning.exceptions import ConfigurationError, TrialFailedError

DEFAULT_STORE = "llm_provisioning_results"
ONLY_TRIAL = "trial"


class PlanTrials(BaseOperator):
    """Draw which trial runs in which slot of which cluster, and pin the model's revision for all of them.

    Pushes every planned trial as an XCom of its own, keyed `<cluster>-<slot>`, and returns {seed, trials, model}. The
    seed is the DAG
    run's own unless given: a cleared task draws the same plan.

    :param experiment: {name, profile, setups, replicates, targets: [..]}; see `core.experiment`.
    :param seed: draws the order; None: from the DAG run.
    :param model: {model_id, revision, image} that override the profile's; empty values do not.
    :param only: {target, setup, variant, profile}: plan just this one trial, pushed under the key `trial`.
    """

    template_fields: Sequence[str] = ("experiment", "seed", "model", "only")
    template_fields_renderers = {"experiment": "json"}  # noqa: RUF012 - Airflow's name
    ui_color = "#e8e6f4"

    def __init__(
        self,
        *,
        experiment: Mapping[str, Any],
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
        from airflow_llm_provisioning.core.experiment import experiment_from
        from airflow_llm_provisioning.core.names import fingerprint

        ti = context["ti"]
        experiment = experiment_from(self.experiment)
        if self.only:
            experiment = experiment.narrowed(**self.only)
        drawn = int(fingerprint({"dag_id": ti.dag_id, "run_id": ti.run_id}, 8), 16)
        seed = int(self.seed) if self.seed not in (None, "", "None") else drawn
        model = self._model(experiment.profile)
        trials = experiment.plan(seed)
        for trial in trials:
            planned = trial.as_dict() | {
                "experiment": experiment.name,
                "target": experiment.target(trial.cell.target).as_dict(),
                "model": model,
                "image": self.model.get("image") or None,
            }
            ti.xcom_push(key=ONLY_TRIAL if self.only else slot_key(trial.cluster, trial.slot), value=planned)
            self.log.info("%s slot %d: %s, replicate %d", trial.cluster, trial.slot, trial.cell.key, trial.replicate)
        return {"seed": seed, "trials": len(trials), "model": model}

    def _model(self, profile: str) -> dict[str, Any]:
        from dataclasses import asdict

        from airflow_llm_provisioning.core.workload import workload
        from airflow_llm_provisioning.exceptions import ProvisioningError
        from airflow_llm_provisioning.gateways.hub import resolve_model

        pinned = workload(profile).model
        model_id = self.model.get("model_id") or pinned.model_id
        revision = self.model.get("revision") or (pinned.revision if model_id == pinned.model_id else None)
        try:
            return asdict(resolve_model(model_id, revision))
        except ProvisioningError as error:
            if model_id != pinned.model_id:
                raise ConfigurationError(
                    f"Model {model_id} is not the profile's own, and the hub could not tell its revision and size: "
                    f"{error}"
                ) from error
            self.log.warning("The hub was not reached; the profile's pinned revision serves. %s", error)
            return asdict(pinned)


class CompareVariants(BaseOperator):
    """Compare what a DAG run measured: one row per cloud, set-up and variant, each against its baseline.

    Returns the rows (see `core.statistics.ComparisonRow`) to XCom and keeps them in the results store.

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
        from airflow_llm_provisioning.connections import open_store
        from airflow_llm_provisioning.core.statistics import compare

        run_id = self.run_id or context["ti"].run_id
        store = open_store(self.results_conn_id)
        try:
            rows = [row.as_dict() for row in compare(store.trials(experiment=self.experiment, run_id=run_id))]
            store.save_comparison(self.experiment, run_id, rows)
        finally:
            store.close()
        for row in rows:
            self.log.info(
                "%(cloud)s %(setup)s %(variant)s: n=%(n)s of %(trials)s, %(median_s)s s, -%(reduction_pct)s %%", row
            )
        return rows


class JudgeRun(BaseOperator):
    """Fail the DAG run when a trial of it failed or left no row: Airflow's own state may be green after a cancelled
    trial.

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
        """Return {trials} when all went well."""
        from airflow_llm_provisioning.connections import open_store
        from airflow_llm_provisioning.core.result import TrialStatus

        store = open_store(self.results_conn_id)
        try:
            trials = store.trials(experiment=self.experiment, run_id=context["ti"].run_id)
        finally:
            store.close()
        # A slot that was cleared and ran again has several rows, oldest first: its last one counts.
        last = {(trial.cluster, trial.slot): trial for trial in trials}
        bad = [
            f"{trial.trial_id}: {trial.status}, {trial.reason}"
            for trial in last.values()
            if trial.status is not TrialStatus.SUCCEEDED
        ]
        missing = int(self.expected) - len(last)
        if missing > 0:
            bad.append(f"{missing} of {self.expected} trials left no row")
        if bad:
            raise TrialFailedError(
                f"Of {self.expected} trials of {self.experiment}, not all succeeded: {'; '.join(bad)}"
            )
        return {"trials": len(trials)}


def slot_key(cluster: str, slot: int) -> str:
    """Return the XCom key under which a slot's trial is found."""
    return f"{cluster}-{slot:02d}"


class Preflight(BaseOperator):
    """List everything wrong with an experiment's targets at once, and fail when a trial could not succeed.

    Returns [{target, level, sentence}] when only notes are left.

    :param experiment: {name, profile, targets: [..], ...}; see `core.experiment`.
    :param results_conn_id: the results store that the trials will write.
    """

    template_fields: Sequence[str] = ("experiment",)
    template_fields_renderers = {"experiment": "json"}  # noqa: RUF012 - Airflow's name
    ui_color = "#e8e6f4"

    def __init__(self, *, experiment: Mapping[str, Any], results_conn_id: str = DEFAULT_STORE, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.experiment = experiment
        self.results_conn_id = results_conn_id

    def execute(self, context: Context) -> list[dict[str, str]]:
        """Look, and fail with all sentences together."""
        import asyncio

        from airflow_llm_provisioning.core.experiment import experiment_from
        from airflow_llm_provisioning.operators.checking import check_experiment

        findings = asyncio.run(check_experiment(experiment_from(self.experiment), results_conn_id=self.results_conn_id))
        for finding in findings:
            self.log.warning("%s", finding)
        wrong = [str(finding) for finding in findings if finding.blocks]
        if wrong:
            raise ConfigurationError("Not ready for trials:\n" + "\n".join(wrong))
        return [{"target": item.target, "level": item.level, "sentence": item.sentence} for item in findings]
