"""The only reader of Airflow connections. Extras are read by name; none is ever spread into a call.

Each function opens one gateway: the official provider's hook gives the credentials, the gateway gets objects and never
sees a connection. Cloud SDKs and hooks are imported inside the functions, so that a missing extra hurts only who needs
it, and importing this package costs nothing. One file per cloud; the rest of the project imports from here.
"""

from airflow_llm_provisioning.connections.aks import aks_cloud
from airflow_llm_provisioning.connections.cloud import open_cloud
from airflow_llm_provisioning.connections.cluster import cluster_clock, open_cluster
from airflow_llm_provisioning.connections.eks import eks_cloud
from airflow_llm_provisioning.connections.gke import gke_cloud
from airflow_llm_provisioning.connections.store import DEFAULT_STORE, default_store_file, open_store, store_url

__all__ = [
    "DEFAULT_STORE",
    "aks_cloud",
    "cluster_clock",
    "default_store_file",
    "eks_cloud",
    "gke_cloud",
    "open_cloud",
    "open_cluster",
    "open_store",
    "store_url",
]
