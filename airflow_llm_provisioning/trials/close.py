"""How a trial is closed: it is deleted, the cluster is given back when it is seen to be gone, and the row is written.

The results store comes last: a store that does not answer holds no cluster.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from airflow_llm_provisioning.core.late_nodes import AwaitedNodes, LateNodes
from airflow_llm_provisioning.core.names import LABEL_TRIAL
from airflow_llm_provisioning.core.remains import Subject, listed, named
from airflow_llm_provisioning.core.result import TrialResult, TrialStatus
from airflow_llm_provisioning.core.running import news
from airflow_llm_provisioning.core.trial import Access, Opened, Trial
from airflow_llm_provisioning.exceptions import ConflictError, ProvisioningError, StoreError, TraceError
from airflow_llm_provisioning.trials.delete import Deletion, Remember, WaitLimits, check_gone, delete_ray_service
from airflow_llm_provisioning.trials.late import take_back
from airflow_llm_provisioning.trials.outcome import row_text
from airflow_llm_provisioning.trials.stored import with_store

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.kubernetes import Cluster
    from airflow_llm_provisioning.gateways.store.results import ResultsStore

States = Mapping[str, str | None]
"""`apply` and `wait` -> Airflow's state of that task of the trial; absent or None where it is not known."""

# A node that was asked for is there within ten minutes or not at all (assumed; the origin's came within five).
LATE_NODE_S: Final = 600.0
# Real seconds: one try to reach the store, and the pauses between the tries of one task.
STORE_LIMIT_S: Final = 20.0
STORE_PAUSES_S: Final = (2.0, 5.0, 10.0)
# Real seconds for which the API server may be away when the lock is given back.
UNLOCK_LIMIT_S: Final = 300.0

Closing = dict[str, Any]
"""What a row needs beside the trace: {closed_at: ISO instant, flags: [..], states: as `States`}; where it is known,
`nodes_gone_at`: node -> ISO instant, and `late_nodes`: names of machines that came after the delete.
"""


class UnwrittenRowError(StoreError):
    """The trial is gone, and its row could not be written. `row`: its flat summary; empty where the trace could not be
    read either.
    """

    def __init__(self, sentence: str, row: Mapping[str, Any]) -> None:
        super().__init__(sentence)
        self.row = dict(row)


def parts(trial: Trial) -> tuple[Opened, Access]:
    """Return what an opened trial holds, or refuse one that was not opened."""
    if trial.opened is None or trial.access is None:
        raise ConflictError(f"Trial {trial.trial_id} was not opened, so it cannot be closed.")
    return trial.opened, trial.access


async def delete_trial(trial: Trial, *, objects_s: float, nodes_gone_s: float | None, remember: Remember) -> Deletion:
    """Ask for the deletion of a trial's RayService; its nodes are waited for, also those that come late.

    `nodes_gone_s`: None for the target's own limit; with 0 nodes are not waited for, because nothing removes them.
    """
    opened, access = parts(trial)
    nodes_s = opened.nodes_gone_s if nodes_gone_s is None else nodes_gone_s
    late = AwaitedNodes(opened.node_selector, opened.at, LATE_NODE_S)
    return await delete_ray_service(
        {"cluster": access.cluster, "name": opened.rayservice, "namespace": opened.namespace},
        limits=WaitLimits(objects_s=objects_s, nodes_s=nodes_s or None, late=late if nodes_s else None),
        trial_label=opened.labels[LABEL_TRIAL],
        remember=remember,
    )


async def release_cluster(trial: Trial, gone: Mapping[str, Any], states: States) -> Closing:
    """Give the lock back, which needs no results store. Raises NotDeletedError, and keeps the lock, unless everything
    of the trial is seen to be gone.

    `gone`: what the wait after the delete returned. `states`: Airflow's states of the trial's tasks.
    """
    from airflow_llm_provisioning.connections import open_cluster
    from airflow_llm_provisioning.gateways.kubernetes.outage import through_outages

    opened, access = parts(trial)
    check_gone(gone, {"name": opened.rayservice, "namespace": opened.namespace})

    async def look_and_unlock(cluster: "Cluster") -> str:
        if left := named(await remains_of_trial(cluster, opened)):
            check_gone({**gone, "gone": False, "why": listed(left)}, {"name": opened.rayservice})
        own = opened.labels[LABEL_TRIAL]
        await cluster.release_lock(trial.slot.lock_holder, namespace=opened.namespace, trial=own)
        return cluster.clock().isoformat()

    closed_at = await through_outages(lambda: open_cluster(access.cluster), look_and_unlock, limit_s=UNLOCK_LIMIT_S)
    late = list((gone.get("late") or {}).get("nodes") or ())
    ended = {"nodes_gone_at": dict(gone.get("nodes_gone_at") or {}), "late_nodes": late}
    return {"closed_at": closed_at, "flags": _flags(gone), "states": dict(states), **ended}


async def write_row(trial: Trial, closing: Closing, log: Any) -> TrialResult:
    """Judge the trace, write the row and close the ledger's entry.

    A store that cannot be reached is said at once and tried again, for a bounded time; then the error is an
    UnwrittenRowError, with what the row would have said.
    """
    opened, access = parts(trial)
    made: list[TrialResult] = []

    def write(store: "ResultsStore") -> TrialResult:
        row, analysis = _judged(store, trial, closing)
        made[:] = [row]
        store.save_trial(row, analysis)
        if opened.ledger_entry is not None:
            store.ledger.gone(opened.ledger_entry)
        return row

    for pause_s in (*STORE_PAUSES_S, None):
        try:
            row = await with_store(access.results_conn_id, write, limit_s=STORE_LIMIT_S)
            break
        except StoreError as error:
            if pause_s is None:
                raise UnwrittenRowError(_unwritten(trial, error), made[0].summary() if made else {}) from error
            log.warning("The row of trial %s is tried again in %g s: %s", trial.trial_id, pause_s, error)
        await asyncio.sleep(pause_s)
    log.info("%s", row_text(row))
    await _look_again(trial, log)
    return row


async def _look_again(trial: Trial, log: Any) -> None:
    """Undo what a process that was taken for dead has done between the release and the row: it looks for the row after
    it has taken the lock, and for the lock after it has created the RayService.
    """
    from airflow_llm_provisioning.connections import open_cluster

    opened, access = parts(trial)
    own = opened.labels.get(LABEL_TRIAL)
    if own is None:
        # Opened by version 0.1, whose locks name no trial.
        return
    try:
        async with open_cluster(access.cluster) as cluster:
            await cluster.release_lock(trial.slot.lock_holder, namespace=opened.namespace, trial=own)
            if await take_back(cluster, trial):
                log.warning(
                    "RayService %s was created after trial %s was closed, by a task that was taken for dead. It is "
                    "deleted again.",
                    opened.rayservice,
                    trial.trial_id,
                )
    except ProvisioningError as error:
        log.warning("Trial %s is closed, and what came after was not seen; it expires. %s", trial.trial_id, error)


def _unwritten(trial: Trial, why: StoreError) -> str:
    return (
        f"Trial {trial.trial_id} is deleted and its cluster is free, but its row could not be written: {why} What it "
        "would say is kept in this task's XCom `unwritten_row`, and its recording in the store. Clear this task when "
        "the results store answers: it writes the row from both."
    )


async def record_unclosed(trial: Trial, states: States, error: ProvisioningError) -> None:
    """Write the row of a trial that was not seen to be gone: what was measured is kept, and what is left is said. Its
    ledger entry stays open and its lock stays held. A later try replaces the row.
    """
    opened, access = parts(trial)
    at = max(datetime.now(UTC), opened.at)
    flags = [f"not closed, so something may be left: {error}"]
    closing = {"closed_at": at.isoformat(), "flags": flags, "states": dict(states)}

    def write(store: "ResultsStore") -> None:
        row, analysis = _judged(store, trial, closing)
        ended = "succeeded" if row.status is TrialStatus.SUCCEEDED else f"{row.status}: {row.reason}"
        reason = f"not deleted: {error} The deployment itself: {ended}"
        store.save_trial(replace(row, status=TrialStatus.NOT_DELETED, reason=reason), analysis)
        store.progress.change(trial.trial_id, news("not_deleted", "not deleted", str(error), None))

    await with_store(access.results_conn_id, write, limit_s=STORE_LIMIT_S)


def _judged(store: "ResultsStore", trial: Trial, closing: Closing) -> tuple[TrialResult, str]:
    """Judge the trace; return the row, and everything that was computed beside it, so that a replay can compare."""
    from airflow_llm_provisioning.core.judging import judge_trace, trial_row
    from airflow_llm_provisioning.core.replay import result_text
    from airflow_llm_provisioning.gateways.store.analysis_version import analysis_version

    trial_id, states = trial.trial_id, closing["states"]
    chunks = store.trace(trial_id)
    judgement = judge_trace(chunks, trial.arm.treatments)
    row = trial_row(
        trial,
        judgement,
        outcomes=[*_silent_end(states), *store.outcomes(trial_id)],
        wait_state=states.get("wait"),
        closed_at=datetime.fromisoformat(closing["closed_at"]),
        flags=closing["flags"],
        analysis_version=analysis_version(),
    )
    return replace(row, cost=_cost(trial, chunks, closing)), result_text(judgement.as_dict())


def _cost(trial: Trial, chunks: Sequence[bytes], closing: Closing) -> dict[str, Any] | None:
    """Return what the trial's machines cost; None without a readable recording of its RayService."""
    from airflow_llm_provisioning.core.cost import nodes_used, priced
    from airflow_llm_provisioning.core.prices import PriceBook
    from airflow_llm_provisioning.core.trace import TraceView, decode_trace
    from airflow_llm_provisioning.gateways.prices import prices_of

    try:
        view = TraceView(decode_trace(chunks).lines)
    except TraceError:
        return None
    if view.rayservice is None:
        return None
    own = trial.pricing.get("prices")
    gone_at = {name: datetime.fromisoformat(at) for name, at in (closing.get("nodes_gone_at") or {}).items()}
    return priced(
        nodes_used(view, gone_at),
        prices_of(PriceBook.from_dict(own) if own else None),
        trial.stratum.cloud,
        closed_at=datetime.fromisoformat(closing["closed_at"]),
        disk_gib=trial.pricing.get("disk_gib"),
        late=closing.get("late_nodes") or (),
    )


def _silent_end(states: States) -> list[dict[str, Any]]:
    """Return the outcome of an apply that could not note one itself; what it did note outweighs this."""
    if states.get("apply") != "failed":
        return []
    reason = (
        "its task failed without a word: the worker was killed at every try, or somebody marked it failed; whether the "
        "RayService was created is not known"
    )
    return [{"step": "apply", "status": TrialStatus.ABORTED, "reason": reason}]


async def remains_of_trial(cluster: "Cluster", opened: Opened) -> list[dict[str, Any]]:
    """List again by label what still exists of the trial: only an empty answer is clean."""
    from airflow_llm_provisioning.gateways.remains import remains_of

    label = opened.labels[LABEL_TRIAL]
    return await remains_of(cluster, Subject(name=opened.rayservice, namespace=opened.namespace, trial=label))


def _flags(gone: Mapping[str, Any]) -> list[str]:
    flags = []
    if gone.get("nodes_gone") is None:
        flags.append("nodes were not waited for, because nothing removes them: the next trial starts warm")
    if gone.get("nodes_gone") is False:
        why = f" ({gone['nodes_why']})" if gone.get("nodes_why") else ""
        flags.append(f"nodes still there {gone['waited_s']:.0f} s after the delete{why}: the next trial may start warm")
    if gone.get("late"):
        flags.append(LateNodes.from_dict(gone["late"]).flag(gone["waited_s"]))
    return flags
