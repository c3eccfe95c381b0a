"""How a trial is closed: the cloud is asked while its nodes live; when they are gone the trace is judged and the row
written.
"""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from airflow_llm_provisioning.core.names import LABEL_TRIAL
from airflow_llm_provisioning.core.result import TrialStatus
from airflow_llm_provisioning.core.trial import Access, Opened, Trial
from airflow_llm_provisioning.exceptions import ConflictError, ProvisioningError
from airflow_llm_provisioning.trials.delete import Deletion, Remember, delete_ray_service

if TYPE_CHECKING:
    from airflow_llm_provisioning.core.result import TrialResult
    from airflow_llm_provisioning.gateways.store import ResultsStore

States = Mapping[str, str | None]
"""`apply` and `wait` -> Airflow's state of that task of the trial; absent or None where it is not known."""

# A node that was asked for is there within ten minutes or not at all (assumed; the origin's came within five).
LATE_NODE_S: Final = 600.0


def parts(trial: Trial) -> tuple[Opened, Access]:
    """Return what an opened trial holds, or refuse one that was not opened."""
    if trial.opened is None or trial.access is None:
        raise ConflictError(f"Trial {trial.trial_id} was not opened, so it cannot be closed.")
    return trial.opened, trial.access


async def collect_evidence(trial: Trial, log: Any) -> None:
    """Put into the trace what only the cloud can tell of the trial's treatments; what cannot be told stays unknown."""
    from airflow_llm_provisioning.core.treatments import find_treatment

    known = [item for name in trial.arm.treatments if (item := find_treatment(name)) is not None]
    claims = list(dict.fromkeys(claim for item in known for claim in item.claims))
    if not claims or trial.access is None or not trial.access.cloud:
        return
    try:
        await _ask_cloud(trial, claims)
    except ProvisioningError as error:
        log.warning("The cloud could not be asked about %s, which stays unknown: %s", ", ".join(claims), error)
    except Exception:
        # An SDK may raise anything, and GPU nodes must not outlive it.
        log.warning("The cloud could not be asked about %s, which stays unknown", ", ".join(claims), exc_info=True)


async def _ask_cloud(trial: Trial, claims: list[str]) -> None:
    from airflow_llm_provisioning.connections import open_cluster, open_store, opened_cloud
    from airflow_llm_provisioning.core.cloud_facts import trial_facts
    from airflow_llm_provisioning.core.trace import encode_chunk, evidence_line

    opened, access = parts(trial)
    async with open_cluster(access.cluster) as cluster:
        nodes = await nodes_of(cluster, opened)
        at = cluster.clock()
    store = open_store(access.results_conn_id)
    try:
        facts = trial_facts(trial, nodes, store.trace(trial.trial_id))
        with opened_cloud(access.cloud or {}) as cloud:
            found = await asyncio.to_thread(cloud.verify, claims, facts.as_dict())
        lines = [evidence_line(at, **item.as_dict()) for item in found]
        store.append_trace(trial.trial_id, encode_chunk(lines))
    finally:
        store.close()


async def announce_delete(trial: Trial, log: Any) -> None:
    """Say in the trace that the delete is ours: a recorder that still runs sees it, and knows nothing of teardowns."""
    from airflow_llm_provisioning.connections import open_cluster, open_store
    from airflow_llm_provisioning.core.trace import encode_chunk, mark_line

    _, access = parts(trial)
    try:
        async with open_cluster(access.cluster) as cluster:
            mark = mark_line(cluster.clock(), "delete_started")
        store = open_store(access.results_conn_id)
        try:
            # Without a recording nothing can mistake it.
            if store.trace(trial.trial_id):
                store.append_trace(trial.trial_id, encode_chunk([mark]))
        finally:
            store.close()
    except ProvisioningError as error:
        log.warning("The trace does not say that this trial deletes its own RayService: %s", error)


async def delete_trial(trial: Trial, *, nodes_gone_s: float, remember: Remember) -> Deletion:
    """Ask for the deletion of a trial's RayService; its nodes are waited for, also those that come late."""
    opened, access = parts(trial)
    return await delete_ray_service(
        {"cluster": access.cluster, "name": opened.rayservice, "namespace": opened.namespace},
        wait_for_nodes=True,
        timeout_s=nodes_gone_s,
        trial_label=opened.labels[LABEL_TRIAL],
        remember=remember,
        late={"selector": opened.node_selector, "since": opened.at.isoformat(), "limit_s": LATE_NODE_S},
    )


async def close_trial(trial: Trial, gone: Mapping[str, Any], states: States, log: Any) -> dict[str, Any]:
    """Judge the trace, write the row, close the ledger's entry, give the lock back; return the row's flat summary.

    `gone`: what the wait after the delete returned. `states`: Airflow's states of the trial's tasks.
    """
    from airflow_llm_provisioning.connections import open_cluster, open_store

    opened, access = parts(trial)
    store = open_store(access.results_conn_id)
    try:
        async with open_cluster(access.cluster) as cluster:
            left = await left_over(cluster, opened)
            row = _save(store, trial, states, cluster.clock(), _flags(gone, left))
            if not left and opened.ledger_entry is not None:
                store.ledger.gone(opened.ledger_entry)
            await cluster.release_lock(trial.slot.lock_holder, namespace=opened.namespace)
    finally:
        store.close()
    log.info(
        "Trial %s %s: %s s, start %s, treatments %s", row.trial_id, row.status, row.total_s, row.start, row.applied
    )
    return row.summary()


def record_unclosed(trial: Trial, states: States, error: ProvisioningError) -> None:
    """Write the row of a trial that could not be closed: what was measured is kept, and that something may be left is
    said. Its ledger entry stays open, and its lock ends by itself. A later try replaces the row.
    """
    from airflow_llm_provisioning.connections import open_store

    opened, access = parts(trial)
    store = open_store(access.results_conn_id)
    try:
        at = max(datetime.now(UTC), opened.at)
        _save(store, trial, states, at, [f"not closed, so something may be left: {error}"])
    finally:
        store.close()


def _save(store: "ResultsStore", trial: Trial, states: States, closed_at: datetime, flags: list[str]) -> "TrialResult":
    """Judge the trace and write the row, with everything that was computed beside it, so that a replay can compare."""
    from airflow_llm_provisioning.core.judging import judge_trace, trial_row
    from airflow_llm_provisioning.core.replay import result_text
    from airflow_llm_provisioning.gateways.analysis_version import analysis_version

    trial_id = trial.trial_id
    judgement = judge_trace(store.trace(trial_id), trial.arm.treatments)
    row = trial_row(
        trial,
        judgement,
        outcomes=[*_silent_end(states), *store.outcomes(trial_id)],
        wait_state=states.get("wait"),
        closed_at=closed_at,
        flags=flags,
        analysis_version=analysis_version(),
    )
    store.save_trial(row, result_text(judgement.as_dict()))
    return row


def _silent_end(states: States) -> list[dict[str, Any]]:
    """Return the outcome of an apply that could not note one itself; what it did note outweighs this."""
    if states.get("apply") != "failed":
        return []
    reason = (
        "its task failed without a word: the worker was killed at every try, or somebody marked it failed; whether the "
        "RayService was created is not known"
    )
    return [{"step": "apply", "status": TrialStatus.ABORTED, "reason": reason}]


async def nodes_of(cluster: Any, opened: Opened) -> list[dict[str, Any]]:
    """Return the nodes that the trial's pods are on now."""
    pods, _ = await cluster.list("pods", opened.namespace, labels=f"{LABEL_TRIAL}={opened.labels[LABEL_TRIAL]}")
    named = sorted({pod["spec"]["nodeName"] for pod in pods if pod["spec"].get("nodeName")})
    found = [await cluster.get("nodes", name) for name in named]
    return [node for node in found if node is not None]


async def left_over(cluster: Any, opened: Opened) -> list[str]:
    """List again by label what still exists of the trial: only an empty answer is clean."""
    selector = f"{LABEL_TRIAL}={opened.labels[LABEL_TRIAL]}"
    left: list[str] = []
    for resource in ("rayservices", "pods"):
        items, _ = await cluster.list(resource, opened.namespace, labels=selector)
        left += [f"{resource}/{item['metadata']['name']}" for item in items]
    return left


def _flags(gone: Mapping[str, Any], left: list[str]) -> list[str]:
    flags = []
    if gone.get("nodes_gone") is False:
        flags.append(f"nodes still there {gone['waited_s']:.0f} s after the delete: the next trial may start warm")
    if gone.get("late"):
        flags.append(_late_flag(gone["late"], gone["waited_s"]))
    if left:
        flags.append(f"left over after the delete: {', '.join(left)}")
    return flags


def _late_flag(late: Mapping[str, Any], waited_s: float) -> str:
    """Say what became of the nodes that pods waited for when they were deleted."""
    waiting = f"deleted while {', '.join(late['pods'])} had no node: "
    if late["nodes"] is None:
        return f"{waiting}one may still come, and the next trial may start warm"
    if not late["nodes"]:
        return f"{waiting}none was seen to come within {late['limit_s']:.0f} s of the delete"
    came = ", ".join(f"{name} ({made_s:+.0f} s)" for name, made_s in late["nodes"].items())
    if late["gone"]:
        return f"{waiting}made all the same, counted from the delete, and gone again: {came}"
    return f"{waiting}still there {waited_s:.0f} s after the delete: {came}; the next trial may start warm"
