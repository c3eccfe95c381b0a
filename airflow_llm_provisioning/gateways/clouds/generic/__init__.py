"""No cloud: a cluster that others run, reached by a plain `kubernetes` connection."""

from typing import Final

from airflow_llm_provisioning.gateways.clouds.descriptor import CloudDescriptor
from airflow_llm_provisioning.gateways.clouds.nodes import ExistingNodes

CLOUD: Final = CloudDescriptor(
    name="generic",
    title="A target without a cloud",
    opener="airflow_llm_provisioning.gateways.clouds.generic.cloud:open_generic",
    nodes=ExistingNodes(),
)
