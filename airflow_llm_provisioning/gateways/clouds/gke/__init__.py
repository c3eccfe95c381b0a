"""GKE: all that is known of it. Importing this loads no SDK; `cloud.py` does."""

from typing import Final

from airflow_llm_provisioning.gateways.clouds.descriptor import CloudDescriptor
from airflow_llm_provisioning.gateways.clouds.gke.nodes import GkeNodes
from airflow_llm_provisioning.gateways.clouds.gke.prices import NODE_PRICES

CLOUD: Final = CloudDescriptor(
    name="gke",
    title="GKE",
    opener="airflow_llm_provisioning.gateways.clouds.gke.connection:open_gke",
    requirement="airflow-llm-provisioning[google]",
    connection_types=("google_cloud_platform",),
    nodes=GkeNodes(),
    node_prices=NODE_PRICES,
)
