"""Node autoscalers: Luna, Karpenter and the clouds' own. One file each, and one line here."""

from airflow_llm_provisioning.gateways.autoscalers.base import NodeAutoscaler
from airflow_llm_provisioning.gateways.autoscalers.karpenter import Karpenter
from airflow_llm_provisioning.gateways.autoscalers.luna import Luna
from airflow_llm_provisioning.gateways.autoscalers.native import Native

AUTOSCALERS: dict[str, NodeAutoscaler] = {"luna": Luna(), "karpenter": Karpenter(), "native": Native()}
