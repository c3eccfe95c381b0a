"""EKS: all that is known of it. Importing this loads no SDK; `cloud.py` does."""

from typing import Final

from airflow_llm_provisioning.gateways.clouds.descriptor import CloudDescriptor
from airflow_llm_provisioning.gateways.clouds.eks.nodes import EksNodes
from airflow_llm_provisioning.gateways.clouds.eks.prices import NODE_PRICES

CLOUD: Final = CloudDescriptor(
    name="eks",
    title="EKS",
    opener="airflow_llm_provisioning.gateways.clouds.eks.connection:open_eks",
    requirement="airflow-llm-provisioning[amazon]",
    connection_types=("aws",),
    nodes=EksNodes(),
    node_prices=NODE_PRICES,
)
