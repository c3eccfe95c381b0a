"""What is asked and said while the deployment of a trial still exists. A failure here does not stop the delete."""

from typing import TYPE_CHECKING, Any, Final

from airflow_llm_provisioning.core.names import LABEL_TRIAL
from airflow_llm_provisioning.core.trial import Opened, Trial
from airflow_llm_provisioning.exceptions import CloudError, ProvisioningError
from airflow_llm_provisioning.trials.close import parts
from airflow_llm_provisioning.trials.stored import with_store

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.store.results import ResultsStore

# Real seconds for the results store before a delete: GPU nodes run on meanwhile.
STORE_LIMIT_S: Final = 10.0
# The same for the cloud: what it does not tell by then stays unknown. Its clients retry for minutes.
CLOUD_LIMIT_S: Final = 60.0


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
    from airflow_llm_provisioning.connections import open_cluster, opened_cloud
    from airflow_llm_provisioning.core.cloud_facts import trial_facts
    from airflow_llm_provisioning.core.trace import encode_chunk, evidence_line
    from airflow_llm_provisioning.gateways.bounded import within

    opened, access = parts(trial)
    async with open_cluster(access.cluster) as cluster:
        nodes = await nodes_of(cluster, opened)
        at = cluster.clock()
    chunks = await with_store(access.results_conn_id, lambda store: store.trace(trial.trial_id), limit_s=STORE_LIMIT_S)
    facts = trial_facts(trial, nodes, chunks)
    with opened_cloud(access.cloud or {}) as cloud:
        try:
            found = await within(CLOUD_LIMIT_S, lambda: cloud.verify(claims, facts.as_dict()))
        except TimeoutError as error:
            raise CloudError(f"The cloud did not answer within {CLOUD_LIMIT_S:.0f} s.") from error
    chunk = encode_chunk([evidence_line(at, **item.as_dict()) for item in found])
    await with_store(
        access.results_conn_id, lambda store: store.append_trace(trial.trial_id, chunk), limit_s=STORE_LIMIT_S
    )


async def announce_delete(trial: Trial, log: Any) -> None:
    """Say in the trace that the delete is ours: a recorder that still runs sees it, and knows nothing of teardowns."""
    from airflow_llm_provisioning.connections import open_cluster
    from airflow_llm_provisioning.core.trace import encode_chunk, mark_line

    _, access = parts(trial)

    def append(store: "ResultsStore") -> None:
        # Without a recording nothing can mistake it.
        if store.trace(trial.trial_id):
            store.append_trace(trial.trial_id, encode_chunk([mark]))

    try:
        async with open_cluster(access.cluster) as cluster:
            mark = mark_line(cluster.clock(), "delete_started")
        await with_store(access.results_conn_id, append, limit_s=STORE_LIMIT_S)
    except ProvisioningError as error:
        log.warning("The trace does not say that this trial deletes its own RayService: %s", error)


async def nodes_of(cluster: Any, opened: Opened) -> list[dict[str, Any]]:
    """Return the nodes that the trial's pods are on now."""
    pods, _ = await cluster.list("pods", opened.namespace, labels=f"{LABEL_TRIAL}={opened.labels[LABEL_TRIAL]}")
    named = sorted({pod["spec"]["nodeName"] for pod in pods if pod["spec"].get("nodeName")})
    found = [await cluster.get("nodes", name) for name in named]
    return [node for node in found if node is not None]
