"""AKS: all that is known of it. Importing this loads no SDK; `cloud.py` does."""

from typing import Final

from airflow_llm_provisioning.gateways.clouds.aks.nodes import AksNodes
from airflow_llm_provisioning.gateways.clouds.descriptor import CloudDescriptor
from airflow_llm_provisioning.gateways.clouds.prices import NodePrices
from airflow_llm_provisioning.gateways.prices import list_prices

CLOUD: Final = CloudDescriptor(
    name="aks",
    title="AKS",
    opener="airflow_llm_provisioning.gateways.clouds.aks.connection:open_aks",
    requirement="airflow-llm-provisioning[microsoft-azure]",
    connection_types=("azure",),
    nodes=AksNodes(),
    node_prices=NodePrices(list_prices().regions("aks", "node"), list_prices().amounts("aks", "node")),
    # Pods with imagePullSecrets get the plain image instead of the streamed one.
    facts_by_verb={"enable_streaming": ("image_pull_secrets",)},
)
