"""How a trial is opened: the cluster's lock and a look at what is there, what was prepared for it, what will be asked.

Creates nothing that costs.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_llm_provisioning.core.names import LABEL_TRIAL
from airflow_llm_provisioning.exceptions import ConflictError

if TYPE_CHECKING:
    from airflow_llm_provisioning.core.experiment import Target
    from airflow_llm_provisioning.gateways.kubernetes import Cluster
    from airflow_llm_provisioning.gateways.store import ResultsStore

# The lock outlives the deployment's time limit by the teardown's.
LOCK_MARGIN_S = 3600
# What a trial needs of the preparations' results.
_PREPARED = ("image", "digest", "size_bytes", "snapshot_id", "volume_gib", "volume_initialization_rate_mib_s", "pool")


async def lock_and_look(cluster: "Cluster", trial: Mapping[str, Any]) -> None:
    """Take the cluster's lock and refuse a name that is taken; give the lock back when refused."""
    namespace, name = trial["namespace"], trial["rayservice"]
    await cluster.acquire_lock(trial["lock_holder"], namespace=namespace, duration_s=trial["timeout_s"] + LOCK_MARGIN_S)
    found = await cluster.get("rayservices", name, namespace)
    if found is None or (found["metadata"].get("labels") or {}).items() >= _identity(trial).items():
        return
    await cluster.release_lock(trial["lock_holder"], namespace=namespace)
    raise ConflictError(
        f"Trial {trial['trial_id']} cannot start on {cluster.name}: RayService {namespace}/{name} exists and is not "
        "this trial's. Delete it, or give the target another namespace."
    )


def _identity(trial: Mapping[str, Any]) -> dict[str, str]:
    return {LABEL_TRIAL: trial["labels"][LABEL_TRIAL]}


def prepared_for(store: "ResultsStore", target: "Target", recipe_content: str) -> dict[str, Any]:
    """Return what the preparations of a target left: image, digest, snapshot_id, ... of this recipe, newest last."""
    prepared: dict[str, Any] = {}
    for step in store.preparations(target.name):
        if step.verb == "build_image" and step.content != recipe_content:
            continue
        prepared |= {key: step.result[key] for key in _PREPARED if step.result.get(key) is not None}
    return prepared


def completion_request(model: str) -> dict[str, Any]:
    """Return the request whose valid answer proves that the model serves (OpenAI's chat completions, as vLLM speaks
    it).
    """
    return {
        "path": "/v1/chat/completions",
        "body": {
            "model": model,
            "messages": [{"role": "user", "content": "Say one word."}],
            "max_tokens": 8,
            "temperature": 0,
        },
        "expect_model": model,
    }
