"""A trial's first and last task. Opening is trivial on purpose: Airflow gives a setup that fails no teardown."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowSkipException

from airflow_llm_provisioning.core.names import LABEL_TRIAL
from airflow_llm_provisioning.exceptions import ProvisioningError, StoreError
from airflow_llm_provisioning.operators.ray_service import delete_ray_service
from airflow_llm_provisioning.operators.waiting import WaitingOperator
from airflow_llm_provisioning.triggers.base import raise_error

if TYPE_CHECKING:
    from airflow_llm_provisioning.core.experiment import Target
    from airflow_llm_provisioning.gateways.kubernetes import Cluster
    from airflow_llm_provisioning.gateways.store import ResultsStore

# The Service of the origin's experiment is `llm-model-serve-serve-svc`; KubeRay makes it from this name.
RAYSERVICE = "llm-model-serve"
DEFAULT_STORE = "llm_provisioning_results"
# A node that was asked for is there within ten minutes or not at all (assumed; the origin's came within five).
LATE_NODE_S = 600.0
# What a teardown remembers from one try to the next.
_NODES = "nodes"
_UNPLACED = "unplaced"


class OpenTrial(BaseOperator):
    """Lock the cluster, write the trial's intent in the ledger, and return everything the trial's other tasks need.

    Creates nothing that costs: what it leaves behind when it is killed is a lock that its own DAG run can take again
    and that
    ends by itself. The same trial opened again is the same trial, until its row is written.

    Returns the trial: {trial_id, cluster_ref, manifest, rayservice, namespace, target, setup, variant, ..., opened_at}.

    :param planned: one trial of `PlanTrials`.
    :param timeout_s: how long the deployment may take until its endpoint is ready, in the cluster's clock.
    :param results_conn_id: connection of the results store.
    """

    template_fields: Sequence[str] = ("planned", "timeout_s")
    template_fields_renderers = {"planned": "json"}  # noqa: RUF012 - Airflow's name
    ui_color = "#e8e6f4"

    def __init__(
        self,
        *,
        planned: Mapping[str, Any],
        timeout_s: float | str = 3600,
        results_conn_id: str = DEFAULT_STORE,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.planned = planned
        self.timeout_s = timeout_s
        self.results_conn_id = results_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Open the trial, or record why it could not be opened."""
        if not self.planned:
            # It runs after a failed trial too, so a plan that failed must be told apart here.
            raise AirflowSkipException("No trial is planned for this slot: look at what the plan task said.")
        from airflow_llm_provisioning.connections import open_store
        from airflow_llm_provisioning.core.trial import TrialPlan

        store = open_store(self.results_conn_id)
        try:
            ti = context["ti"]
            plan = TrialPlan.draw(self.planned, dag_id=ti.dag_id, run_id=ti.run_id, timeout_s=float(self.timeout_s))
            plan = plan.numbered(sum(plan.same_slot(row.trial_id) for row in store.trials(run_id=ti.run_id)))
            return asyncio.run(self._open(plan, store))
        finally:
            store.close()

    async def _open(self, plan: "Any", store: "ResultsStore") -> dict[str, Any]:
        from airflow_llm_provisioning.connections import open_cluster
        from airflow_llm_provisioning.core.experiment import Target
        from airflow_llm_provisioning.operators.opening import lock_and_look

        cluster: Cluster | None = None
        try:
            target = Target.from_dict(self.planned["target"])
            async with open_cluster(target.cluster_reference()) as cluster:
                trial = self._trial(plan, target, store, cluster)
                await lock_and_look(cluster, trial)
                try:
                    trial["ledger_entry"] = store.ledger.intend(
                        "rayservice",
                        trial["rayservice"],
                        trial["place"],
                        trial["labels"],
                        plan.expires_at(datetime.fromisoformat(trial["opened_at"])),
                    )
                except StoreError:
                    # A setup that fails gets no teardown: nobody else would give it back.
                    await cluster.release_lock(trial["lock_holder"], namespace=trial["namespace"])
                    raise
        except ProvisioningError as error:
            # A cluster that was never reached told neither its time nor whether it is simulated.
            at = cluster.clock() if cluster else datetime.now(UTC)
            origin = cluster.origin() if cluster else "unknown"
            store.save_trial(plan.refused(self.planned, origin=origin, opened_at=at, closed_at=at, reason=str(error)))
            raise
        self.log.info("Opened trial %s on %s", plan.trial_id, cluster.name)
        return trial

    def _trial(self, plan: Any, target: "Target", store: "ResultsStore", cluster: "Cluster") -> dict[str, Any]:
        from airflow_llm_provisioning.core.manifest import ray_service
        from airflow_llm_provisioning.core.names import trial_labels
        from airflow_llm_provisioning.core.treatments import plan_serving, serving, treatments_of
        from airflow_llm_provisioning.core.workload import ScalingSetup, workload_from
        from airflow_llm_provisioning.gateways.autoscalers import AUTOSCALERS
        from airflow_llm_provisioning.operators.opening import completion_request, prepared_for

        planned = self.planned
        served = workload_from(planned)
        serving_plan = plan_serving(served, planned["variant"], target.cloud)
        prepared = prepared_for(store, target, serving_plan.recipe.content)
        if target.nodes.volume_initialization_rate_mib_s is not None:
            # What the nodes' volumes must show, or the snapshot was not used as it was meant.
            prepared["volume_initialization_rate_mib_s"] = target.nodes.volume_initialization_rate_mib_s
        pods = serving(serving_plan, planned.get("image") or prepared.get("image"), override=planned.get("image"))
        autoscaler = AUTOSCALERS[target.nodes.autoscaler]
        opened_at = cluster.clock()
        labels = trial_labels(plan.trial_id, target.name, plan.expires_at(opened_at))
        manifest = ray_service(
            RAYSERVICE,
            served,
            ScalingSetup(planned["setup"]),
            pods,
            head=autoscaler.placement(target.nodes, "head"),
            worker=autoscaler.placement(target.nodes, "worker"),
            labels=labels,
            namespace=target.namespace,
        )
        return {
            **{
                key: planned[key]
                for key in ("cloud", "cluster", "setup", "variant", "profile", "replicate", "slot", "seed")
            },
            "trial_id": plan.trial_id,
            "experiment": planned["experiment"],
            "dag_id": plan.dag_id,
            "run_id": plan.run_id,
            "target": target.name,
            "treatments": [treatment.name for treatment in treatments_of(planned["variant"], target.cloud)],
            "rayservice": RAYSERVICE,
            "namespace": target.namespace,
            "model": {
                "model_id": served.model.model_id,
                "revision": served.model.revision,
                "source": served.model.source,
                "weight_bytes": served.model.weight_bytes,
            },
            "image": pods.image,
            "recipe": serving_plan.recipe.as_dict(),
            "prepared": prepared,
            "manifest": manifest,
            "labels": labels,
            "node_selector": autoscaler.node_selector(target.nodes),
            "cluster_ref": target.cluster_reference(),
            "cloud_ref": target.cloud_reference(),
            "place": f"cluster:{target.cluster}/{target.namespace}",
            "lock_holder": plan.lock_holder,
            "timeout_s": plan.timeout_s,
            "origin": cluster.origin(),
            "opened_at": opened_at.isoformat(),
            "results_conn_id": self.results_conn_id,
            "completion": completion_request(served.served_name),
        }


class CloseTrial(WaitingOperator):
    """End a trial whatever happened to it: verify, delete, wait until its nodes are gone, analyse the trace, write
    the row, unlock.

    Safe to repeat. The row carries the trial's own status: Airflow's may be green after a cancelled run.

    Returns the row's flat summary.

    :param trial: the dict that `OpenTrial` returned.
    :param apply_task_id, wait_task_id: the trial's other tasks, asked for their state where nothing else tells how it
    ended.
    :param nodes_gone_s: how long to wait for the nodes to go, in the cluster's clock; afterwards the next trial is
    not cold.
    """

    template_fields: Sequence[str] = ("trial",)
    template_fields_renderers = {"trial": "json"}  # noqa: RUF012 - Airflow's name
    ui_color = "#f3e3da"

    def __init__(
        self,
        *,
        trial: Mapping[str, Any],
        apply_task_id: str | None = None,
        wait_task_id: str | None = None,
        nodes_gone_s: float = 1800,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.trial = trial
        self.apply_task_id = apply_task_id
        self.wait_task_id = wait_task_id
        self.nodes_gone_s = nodes_gone_s

    def execute(self, context: Context) -> Any:
        """Collect what only the living deployment can tell, then delete it."""
        from airflow_llm_provisioning.operators.closing import announce_delete, collect_evidence

        trial = self.trial
        asyncio.run(collect_evidence(trial, self.log))
        asyncio.run(announce_delete(trial, self.log))
        rayservice = {"cluster": trial["cluster_ref"], "name": trial["rayservice"], "namespace": trial["namespace"]}
        with self._recorded(context):
            wait = asyncio.run(
                delete_ray_service(
                    rayservice,
                    wait_for_nodes=True,
                    timeout_s=self.nodes_gone_s,
                    trial_label=trial["labels"][LABEL_TRIAL],
                    remember=lambda *found: _with_earlier_tries(context, *found),
                    late={
                        "selector": trial.get("node_selector"),
                        "since": trial["opened_at"],
                        "limit_s": LATE_NODE_S,
                    },
                )
            )
        return self.wait_for(context, wait, at_most=timedelta(seconds=self.nodes_gone_s + 300))

    def resume(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Write the row and give the cluster back."""
        from airflow_llm_provisioning.operators.closing import close

        with self._recorded(context):
            raise_error(event)
            return asyncio.run(close(self.trial, event, self._states(context), self.log))

    @contextmanager
    def _recorded(self, context: Context) -> Iterator[None]:
        """Whatever keeps the trial from being closed, it gets its row."""
        from airflow_llm_provisioning.operators.closing import record_unclosed

        try:
            yield
        except StoreError:
            raise
        except ProvisioningError as error:
            try:
                record_unclosed(self.trial, self._states(context), error)
            except StoreError as unwritable:
                self.log.error("The trial's row could not be written either: %s", unwritable)
            raise

    def _states(self, context: Context) -> dict[str, str | None]:
        """Return Airflow's states of the trial's other tasks, as far as they are named."""
        ti = context["ti"]
        asked = {"apply": self.apply_task_id, "wait": self.wait_task_id}
        named = [task_id for task_id in asked.values() if task_id]
        if not named:
            return {}
        found = ti.get_task_states(dag_id=ti.dag_id, task_ids=named, run_ids=[ti.run_id])
        states = {task_id: str(state) for run in found.values() for task_id, state in run.items() if state}
        return {step: states.get(task_id or "") for step, task_id in asked.items()}


def _with_earlier_tries(
    context: Context, nodes: dict[str, str], unplaced: list[str]
) -> tuple[dict[str, str], list[str]]:
    """Return nodes and pods without one, with those that an earlier try of this task found, and keep them all for the
    next.
    """
    state = context.get("task_state_store")
    if state is None:
        return nodes, unplaced
    known_nodes: Any = state.get(_NODES)
    known_pods: Any = state.get(_UNPLACED)
    together: dict[str, str] = {**(known_nodes or {}), **nodes}
    waiting: list[str] = sorted({*(known_pods or []), *unplaced})
    state.set(_NODES, {**together})
    state.set(_UNPLACED, [*waiting])
    return together, waiting
