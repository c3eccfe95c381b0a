"""Deploy and delete a RayService on any cluster: useful alone, without experiment, target or results store."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context

from airflow_llm_provisioning.core.names import fingerprint
from airflow_llm_provisioning.core.ownership import run_label
from airflow_llm_provisioning.exceptions import ConfigurationError, ProvisioningError
from airflow_llm_provisioning.operators.confidential import (
    FILE_ENDS,
    Confidential,
    ConfidentialFields,
    ManifestTemplate,
    given,
)
from airflow_llm_provisioning.operators.links import TrialLink
from airflow_llm_provisioning.operators.waiting import WaitingOperator
from airflow_llm_provisioning.triggers.base import raise_error
from airflow_llm_provisioning.triggers.pods_gone import PodsGoneWait

if TYPE_CHECKING:
    import jinja2

    from airflow_llm_provisioning.core.experiment import Experiment


class ApplyRayService(ConfidentialFields):
    """Apply a RayService manifest and return at once; `WaitServeEndpoint` waits for it.

    Alone it applies server-side: applying twice in one DAG run changes the same object; what a trial or another DAG run
    applied is refused, because that run waits for it and will delete it. With `trial` (the dict that `OpenTrial`
    returns) it renders the trial's manifest and creates it: a restarted task finds the object of its own trial and
    re-attaches; another owner's of that name is refused.

    Returns {cluster, name, namespace, uid, generation, applied_at, replied_at, reattached}; the instants are ISO, in
    the cluster's clock, and bound the submission.

    :param manifest: the RayService, as a dict, YAML text, or the path of a `.yaml` file; not with `trial`. What names
        something of the task's context (`{{ params.x }}`) is rendered; other braces, as a chat template's, stay.
        Airflow stores it without secrets, and of a file only the path.
    :param cluster: Airflow connection id, or {conn_id, cluster_name, namespace, ...} as `connections.open_cluster`
        takes it.
    :param namespace: overrides the manifest's.
    :param trial: the trial this deployment belongs to.
    :param experiment: the trial's experiment, as `load_experiment` reads it; needed with `trial`.
    :param take_over: change a RayService that another DAG run applied; not with `trial`.
    """

    template_fields: Sequence[str] = ("manifest", "cluster", "namespace", "trial")
    confidential_fields = ("manifest",)
    operator_extra_links = (TrialLink(),)
    template_fields_renderers = {"manifest": "yaml", "trial": "json", "cluster": "json"}  # noqa: RUF012 - Airflow's name
    ui_color = "#dcefe4"

    def __init__(
        self,
        *,
        manifest: Mapping[str, Any] | str | None = None,
        cluster: Mapping[str, Any] | str = "kubernetes_default",
        namespace: str | None = None,
        trial: Mapping[str, Any] | None = None,
        experiment: "Experiment | None" = None,
        take_over: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.take_over = take_over
        self.manifest = self.confidential(manifest)
        self.cluster = cluster
        self.namespace = namespace
        self.trial = trial
        self.experiment = experiment

    def execute(self, context: Context) -> dict[str, Any]:
        """Apply, and say what was applied and when."""
        from airflow_llm_provisioning.trials.entry import check_open
        from airflow_llm_provisioning.trials.outcome import note_failure

        check_open(self.trial)
        try:
            done = asyncio.run(self._of_trial(self.trial) if self.trial else self._alone(context))
        except ProvisioningError as error:
            note_failure(self.trial, "apply", error, self.log)
            raise
        told = "re-attached" if done["reattached"] else "applied"
        self.log.info("RayService %s/%s %s", done["namespace"], done["name"], told)
        return done

    def rendered_field(self, name: str, given: Any, context: Context, jinja_env: "jinja2.Environment") -> Confidential:
        """Return the manifest after rendering; a file is read now, and only its path is shown."""
        from jinja2 import TemplateNotFound

        template = ManifestTemplate(lambda item: self.render_template(item, context, jinja_env), context, jinja_env)
        value = template.rendered(given)
        if not isinstance(value, str) or "\n" in value or not value.endswith(FILE_ENDS) or jinja_env.loader is None:
            return Confidential(value)
        try:
            text = jinja_env.loader.get_source(jinja_env, value)[0]
        except TemplateNotFound:
            return Confidential(value)
        return Confidential(template.rendered(text), shown=value)

    async def _of_trial(self, data: Mapping[str, Any]) -> dict[str, Any]:
        from airflow_llm_provisioning.core.trial import Trial
        from airflow_llm_provisioning.trials.apply import apply_of_trial
        from airflow_llm_provisioning.trials.close import parts
        from airflow_llm_provisioning.trials.render import changes, render_again

        trial = Trial.from_dict(data)
        if self.experiment is None:
            raise ConfigurationError(
                f"Trial {trial.trial_id} cannot be applied without its experiment: give ApplyRayService the same "
                "`experiment` as OpenTrial."
            )
        _, access = parts(trial)
        rendered = render_again(self.experiment, trial)
        told = changes(self.experiment, trial, rendered.manifest)
        self.log.info("Changed in the workload's own manifest:\n%s", told)
        return await apply_of_trial(rendered.manifest, access.cluster, trial, companions=rendered.companions)

    async def _alone(self, context: Context) -> dict[str, Any]:
        from airflow_llm_provisioning.core.manifest import parse_manifest
        from airflow_llm_provisioning.core.manifests import check_ray_service
        from airflow_llm_provisioning.trials.apply import apply_alone
        from airflow_llm_provisioning.trials.delete import cluster_reference

        manifest = parse_manifest(given(self.manifest) or "")
        check_ray_service(manifest)
        namespace = self.namespace or manifest["metadata"].get("namespace") or "default"
        placed = {**manifest, "metadata": {**manifest["metadata"], "namespace": namespace}}
        return await apply_alone(
            placed,
            cluster_reference(self.cluster),
            task=_task_identity(context),
            run=run_label(context["ti"].dag_id, context["ti"].run_id),
            take_over=self.take_over,
        )


class DeleteRayService(WaitingOperator):
    """Delete a RayService and wait until it, its RayClusters, pods and Services (and, if asked, the nodes they ran on)
    are gone.

    Gone already is success. Returns {deleted, gone, left, why, pods_gone, nodes_gone, waited_s}; `nodes_gone` is None
    where nodes were not waited for. A node that stays beyond the limit is reported, not an error: it may serve others.
    Raises NotDeletedError where something else is left: which objects, and what they wait for.

    :param rayservice: {name, namespace, cluster, uid} as `ApplyRayService` returns it; `uid` may be missing.
    :param wait_for_nodes: wait for the nodes as well, so that what comes next starts cold. Leave it out where no node
        autoscaler removes nodes.
    :param timeout_s: at most this long, in the cluster's clock.
    :param take_over: delete it also if a trial or another DAG run applied it.
    """

    template_fields: Sequence[str] = ("rayservice",)
    operator_extra_links = (TrialLink(),)
    template_fields_renderers = {"rayservice": "json"}  # noqa: RUF012 - Airflow's name
    ui_color = "#f3e3da"

    def __init__(
        self,
        *,
        rayservice: Mapping[str, Any],
        wait_for_nodes: bool = False,
        timeout_s: float = 900,
        take_over: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.take_over = take_over
        self.rayservice = rayservice
        self.wait_for_nodes = wait_for_nodes
        self.timeout_s = timeout_s

    def execute(self, context: Context) -> Any:
        """Delete, then wait."""
        from airflow_llm_provisioning.trials.delete import WaitLimits, delete_ray_service
        from airflow_llm_provisioning.trials.entry import check_owner

        if not self.take_over:
            run = run_label(context["ti"].dag_id, context["ti"].run_id)
            asyncio.run(check_owner(self.rayservice, run=run, limit_s=self.timeout_s))
        limits = WaitLimits(objects_s=self.timeout_s, nodes_s=self.timeout_s if self.wait_for_nodes else None)
        deletion = asyncio.run(delete_ray_service(self.rayservice, limits=limits))
        wait = PodsGoneWait(**deletion.as_arguments())
        return self.wait_for(context, wait, at_most=timedelta(seconds=self.timeout_s + 120))

    def resume(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Return what is gone, or name what is not."""
        from airflow_llm_provisioning.trials.delete import check_gone

        raise_error(event)
        check_gone(event, self.rayservice)
        return event


def _task_identity(context: Context) -> str:
    ti = context["ti"]
    return fingerprint({"dag": ti.dag_id, "run": ti.run_id, "task": ti.task_id, "map": ti.map_index})
