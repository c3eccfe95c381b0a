"""The Kubernetes API as this package uses it: plain dicts, one error tree, one clock.

The Kubernetes client (kubernetes_asyncio) is used in `transport` only. This package does not know Airflow, clouds or
trials.
"""

from airflow_llm_provisioning.gateways.kubernetes.cluster import Cluster
from airflow_llm_provisioning.gateways.kubernetes.credentials import Credentials

__all__ = ["Cluster", "Credentials"]
