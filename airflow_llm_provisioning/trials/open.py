"""How a trial is opened: the cluster's lock and a look at what is there, what was prepared for it, what will be asked.

Creates nothing that costs. What a killed task leaves is a lock that its own DAG run can take again, and that ends by
itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_llm_provisioning.core.budget import left, smallest
from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.core.manifests import images
from airflow_llm_provisioning.core.names import LABEL_TRIAL, trial_labels
from airflow_llm_provisioning.core.ownership import owner_of
from airflow_llm_provisioning.core.prepared_objects import VERB
from airflow_llm_provisioning.core.result import Preparation, TrialResult, TrialStatus
from airflow_llm_provisioning.core.running import Step
from airflow_llm_provisioning.core.target import Target
from airflow_llm_provisioning.core.trial import Access, Opened, Prepared, Trial
from airflow_llm_provisioning.exceptions import (
    ConflictError,
    LockHeldError,
    NotReadyError,
    OverBudgetError,
    ProvisioningError,
    StoreError,
    TrialClosedError,
)
from airflow_llm_provisioning.trials.leftovers import acquire_or_explain, held_lock, left_by_others
from airflow_llm_provisioning.trials.prepared_wait import refuse_unready
from airflow_llm_provisioning.trials.price import waiting_hours
from airflow_llm_provisioning.trials.render import plan_of, render
from airflow_llm_provisioning.trials.running import tell_opened

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.kubernetes import Cluster
    from airflow_llm_provisioning.gateways.store.results import ResultsStore


async def open_trial(
    planned: Trial,
    experiment: Experiment,
    *,
    results_conn_id: str,
    may_wait: bool = False,
    await_prepared: bool = False,
    task_id: str = "",
) -> Trial:
    """Lock the cluster, write the trial's intent in the ledger, and return the opened trial. `task_id`: of the task.

    The same trial opened again is the same trial, until its row is written. A trial that cannot be opened gets its row
    before the error is raised; with `may_wait` not where another trial holds the cluster (LockHeldError), and with
    `await_prepared` not where what was prepared for it is not ready yet (NotReadyError). A task that was taken for dead
    and comes after its trial was closed gives the lock back, and leaves the row as it is.
    """
    from airflow_llm_provisioning.connections import open_cluster, open_store

    store = open_store(results_conn_id)
    cluster: Cluster | None = None
    try:
        trial = _attempt(planned, store)
        try:
            target = experiment.target(trial.target)
            async with open_cluster(target.cluster_reference()) as cluster:
                access = Access(
                    cluster=target.cluster_reference(), cloud=target.cloud_reference(), results_conn_id=results_conn_id
                )
                bounded = replace(within_budget(trial, experiment, store, cluster.clock()), access=access)
                opened = await _opened(bounded, experiment, target, store, cluster)
                if await_prepared:
                    refuse_unready(opened)
                await _lock_and_look(cluster, opened)
                await _still_open(planned, opened, store, cluster)
                intended = await _intended(opened, store, cluster)
                tell_opened(store, intended, "open", task_id=task_id, at=cluster.clock())
                return intended
        except StoreError:
            # It could not be written either, and Airflow tries again.
            raise
        except ProvisioningError as error:
            if cluster and (step := _waits_in(error, may_wait)):
                seen = replace(trial, arm=trial.arm.seen_at(cluster.origin()))
                tell_opened(store, seen, step, task_id=task_id, at=cluster.clock(), blocker=str(error))
                raise
            # A cluster that was never reached told neither its time nor whether it is simulated.
            at = cluster.clock() if cluster else datetime.now(UTC)
            status = TrialStatus.OVER_BUDGET if isinstance(error, OverBudgetError) else TrialStatus.FAILED
            row = refused(trial, cluster.origin() if cluster else "unknown", at, str(error))
            if not _is_closed(planned, trial, store):
                store.save_trial(replace(row, status=status))
            raise
    finally:
        store.close()


def _waits_in(error: ProvisioningError, may_wait: bool) -> Step | None:
    """Return in which step a trial waits for what an error says, None where it ends the trial."""
    if isinstance(error, NotReadyError):
        return "prepared"
    return "lock" if may_wait and isinstance(error, LockHeldError) else None


async def lock_wait_of(
    planned: Trial, experiment: Experiment, *, timeout_s: float, results_conn_id: str
) -> dict[str, Any]:
    """Return the arguments of `triggers.lock.LockWait` for a trial whose cluster is held; the limit counts from now."""
    from airflow_llm_provisioning.connections import open_cluster, open_store

    store = open_store(results_conn_id)
    try:
        trial_id = _attempt(planned, store).trial_id
    finally:
        store.close()
    target = experiment.target(planned.target)
    async with open_cluster(target.cluster_reference()) as cluster:
        started_at = cluster.clock().isoformat()
    return {
        "cluster": target.cluster_reference(),
        "namespace": target.namespace,
        "holder": planned.slot.lock_holder,
        "started_at": started_at,
        "timeout_s": timeout_s,
        "trial_id": trial_id,
        "results_conn_id": results_conn_id,
    }


def record_refusal(planned: Trial, event: Mapping[str, Any], *, results_conn_id: str) -> str:
    """Write the row of a trial that waited for the cluster and did not get it; return the reason.

    `event`: of `triggers.lock.LockWait`, or {error}.
    """
    from airflow_llm_provisioning.connections import open_store

    store = open_store(results_conn_id)
    try:
        trial = _attempt(planned, store)
        reason = f"Trial {trial.trial_id} was not opened. {event.get('reason') or event.get('error')}"
        at = datetime.fromisoformat(event["at"]) if event.get("at") else datetime.now(UTC)
        store.save_trial(refused(trial, event.get("origin") or "unknown", at, reason))
    finally:
        store.close()
    return reason


def _attempt(planned: Trial, store: "ResultsStore") -> Trial:
    from airflow_llm_provisioning.gateways.store.selection import Selection

    rows = store.queries.measured(Selection(run_id=planned.slot.run_id))
    return planned.attempted(sum(planned.slot.is_attempt(row.trial_id) for row in rows))


def _is_closed(planned: Trial, trial: Trial, store: "ResultsStore") -> bool:
    """Return whether the row of this attempt was written meanwhile."""
    return _attempt(planned, store).trial_id != trial.trial_id


async def _still_open(planned: Trial, trial: Trial, store: "ResultsStore", cluster: "Cluster") -> None:
    """Refuse a trial whose row was written while its lock was taken: its close has released the lock, or does so after
    the row, so one of the two sees the other.
    """
    opened = trial.opened
    assert opened is not None  # noqa: S101 - it was just made
    if _is_closed(planned, trial, store):
        own = opened.labels[LABEL_TRIAL]
        await cluster.release_lock(trial.slot.lock_holder, namespace=opened.namespace, trial=own)
        raise TrialClosedError(
            f"Trial {trial.trial_id} was opened, measured and closed by another process of this task meanwhile: this "
            "one changes nothing."
        )


def refused(trial: Trial, origin: str, at: datetime, reason: str) -> TrialResult:
    """Return the row of a trial that could not even be opened."""
    seen = replace(trial, arm=trial.arm.seen_at(origin))
    return TrialResult(trial=seen, status=TrialStatus.FAILED, opened_at=at, closed_at=at, reason=reason)


def within_budget(trial: Trial, experiment: Experiment, store: "ResultsStore", at: datetime) -> Trial:
    """Return the trial with what is left for it; raise OverBudgetError where nothing is."""
    from airflow_llm_provisioning.gateways.metering import spent
    from airflow_llm_provisioning.gateways.prices import prices_of

    budget = experiment.budget
    if budget is None:
        return trial
    slot, currency = trial.slot, prices_of(experiment.prices).currency
    month = at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    same: dict[str, Any] = {"experiment": slot.experiment, "at_most": budget.node_hour_at_most}
    used = {
        "run": spent(store, currency, run=(slot.dag_id, slot.run_id), **same),
        "month": spent(store, currency, since=month, **same),
    }
    limits = [budget.trial, *(left(getattr(budget, period), amount) for period, amount in used.items())]
    for period, amount in used.items():
        limit = getattr(budget, period)
        over = [key for key, value in left(limit, amount).as_dict().items() if value <= 0]
        if over:
            told = "; ".join(amount.within(limit, currency)) or f"all of it ({', '.join(over)})"
            raise OverBudgetError(
                f"Trial {trial.trial_id} is not opened: `budget.{period}` of experiment {slot.experiment} is used up: "
                f"{told}. Raise it, or wait for the next {period}."
            )
    own: dict[str, float] = smallest(*limits).as_dict()
    if own:
        own |= waiting_hours(experiment, trial.target, trial.served.workload)
    if own and budget.node_hour_at_most is not None:
        own["node_hour_at_most"] = budget.node_hour_at_most
    return replace(trial, budget=own)


def prepared_for(preparations: Sequence[Preparation], recipe_content: str) -> Prepared:
    """Return what the preparations of a target left for an image of this recipe; the newest counts."""
    prepared = Prepared()
    for step in preparations:
        if step.verb.startswith(VERB):
            continue
        if step.verb != "build_image" or step.content == recipe_content:
            prepared = prepared.updated(step.result)
    return prepared


async def _opened(
    trial: Trial, experiment: Experiment, target: Target, store: "ResultsStore", cluster: "Cluster"
) -> Trial:
    from airflow_llm_provisioning.gateways.autoscalers import AUTOSCALERS, nodes_gone_s
    from airflow_llm_provisioning.gateways.prepared_objects import prepared_now

    _, plan = plan_of(experiment, trial)
    made = store.preparations(target.name)
    prepared = prepared_for(made, plan.recipe.content)
    wanted = {f"{VERB}{name}" for name in trial.arm.treatments}
    if steps := await prepared_now(cluster, [row for row in made if row.verb in wanted]):
        prepared = replace(prepared, steps=steps)
    if target.nodes.volume_initialization_rate_mib_s is not None:
        # What the nodes' volumes must show, or the snapshot was not used as it was meant.
        rate = target.nodes.volume_initialization_rate_mib_s
        prepared = replace(prepared, volume_initialization_rate_mib_s=rate)
    at = cluster.clock()
    labels = trial_labels(trial.trial_id, target.name, trial.expires_at(at))
    rendered = render(experiment, trial, built_image=prepared.image, labels=labels)
    workload = rendered.workload
    opened = Opened(
        at=at,
        rayservice=rendered.manifest["metadata"]["name"],
        namespace=target.namespace,
        labels=labels,
        place=f"cluster:{target.cluster}/{target.namespace}",
        manifest_content=rendered.content,
        node_selector=AUTOSCALERS[target.nodes.autoscaler].node_selector(target.nodes),
        prepared=prepared,
        completion=workload.completion,
        nodes_gone_s=nodes_gone_s(target),
    )
    served = replace(trial.served, image=rendered.image, images=images(rendered.manifest), recipe=rendered.plan.recipe)
    return replace(trial, arm=trial.arm.seen_at(cluster.origin()), served=served, opened=opened)


async def _lock_and_look(cluster: "Cluster", trial: Trial) -> None:
    """Take the cluster's lock and refuse a name that is taken; give the lock back when refused."""
    opened, holder = trial.opened, trial.slot.lock_holder
    assert opened is not None  # noqa: S101 - it was just made
    namespace, name = opened.namespace, opened.rayservice
    held = await held_lock(cluster, holder, namespace)
    await acquire_or_explain(cluster, trial)
    found = await cluster.get("rayservices", name, namespace)
    identity = {LABEL_TRIAL: opened.labels[LABEL_TRIAL]}
    left = await left_by_others(cluster, opened)
    if not left and (found is None or (found["metadata"].get("labels") or {}).items() >= identity.items()):
        return
    # A lock that this DAG run held before is kept by a trial of it that was not deleted.
    if held is None:
        await cluster.release_lock(holder, namespace=namespace, trial=identity[LABEL_TRIAL])
    else:
        await cluster.acquire_lock(holder, namespace=namespace, duration_s=held.left_s, trial=held.trial)
    if left:
        raise ConflictError(
            f"Trial {trial.trial_id} cannot start on {cluster.name}: what an earlier trial left is not gone, and may "
            f"cost money: {left}. Clear the `close` task of that trial, which goes on until all of it is gone."
        )
    raise ConflictError(
        f"Trial {trial.trial_id} cannot start on {cluster.name}: RayService {namespace}/{name} exists and is not "
        f"this trial's. Delete it, or give the target another namespace. It belongs to {owner_of(found)}."
    )


async def _intended(trial: Trial, store: "ResultsStore", cluster: "Cluster") -> Trial:
    opened = trial.opened
    assert opened is not None  # noqa: S101 - it was just made
    try:
        entry = store.ledger.intend(
            "rayservice", opened.rayservice, opened.place, opened.labels, trial.expires_at(opened.at)
        )
    except StoreError:
        # Airflow gives a setup that fails no teardown, so the lock is given back here.
        own = opened.labels[LABEL_TRIAL]
        await cluster.release_lock(trial.slot.lock_holder, namespace=opened.namespace, trial=own)
        raise
    return replace(trial, opened=replace(opened, ledger_entry=entry))
