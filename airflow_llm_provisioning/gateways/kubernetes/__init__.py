"""The Kubernetes API as this package uses it: plain dicts in and out, one error tree, one clock.

The Kubernetes client (kubernetes_asyncio) stays inside `transport`; nothing here knows Airflow, clouds or trials.
"""

from airflow_llm_provisioning.gateways.kubernetes.cluster import Cluster
from airflow_llm_provisioning.gateways.kubernetes.credentials import Credentials

__all__ = ["Cluster", "Credentials"]
