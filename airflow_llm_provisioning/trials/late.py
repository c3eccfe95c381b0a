"""What a process creates after its trial was closed: one that Airflow took for dead, and that went on.

It looks for the trial's lock after it has created the RayService; the close looks for the RayService after it has
given the lock back. So one of them sees the other, and takes back what was created.
"""

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from airflow_llm_provisioning.core.names import LABEL_TRIAL
from airflow_llm_provisioning.core.ownership import labels_of
from airflow_llm_provisioning.core.trial import Trial
from airflow_llm_provisioning.exceptions import ConfigurationError, StoreError
from airflow_llm_provisioning.trials.stored import with_store

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.kubernetes import Cluster
    from airflow_llm_provisioning.gateways.store.results import ResultsStore

# Real seconds for which the ledger is tried: a GPU is paid for meanwhile.
STORE_LIMIT_S: Final = 20.0


async def take_back(cluster: "Cluster", trial: Trial) -> bool:
    """Delete a closed trial's RayService; False if there is none. The ledger's entry, which the close has closed, is
    opened anew before: the reaper closes it once the RayService is seen to be gone.
    """
    opened, access = trial.opened, trial.access
    if opened is None or access is None:
        return False
    name, namespace, own = opened.rayservice, opened.namespace, opened.labels.get(LABEL_TRIAL)
    found = await cluster.get("rayservices", name, namespace)
    if found is None or own is None or labels_of(found).get(LABEL_TRIAL) != own:
        return False

    def intend(store: "ResultsStore") -> None:
        store.ledger.intend("rayservice", name, opened.place, opened.labels, trial.expires_at(opened.at))

    # A store that is away must not keep it running: its label and its expiry tell the reaper too.
    with suppress(StoreError, ConfigurationError):
        await with_store(access.results_conn_id, intend, limit_s=STORE_LIMIT_S)
    return bool(await cluster.delete("rayservices", name, namespace, uid=found["metadata"]["uid"]))
