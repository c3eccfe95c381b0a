"""The only reader of Airflow connections. Extras are read by name; none is ever spread into a call.

Each function opens one gateway: the official provider's hook gives the credentials, the gateway gets objects. A cloud's
own opener is in its folder and is given a reader of connections. SDKs and hooks are imported inside functions, so a
missing extra only concerns those who need it, and importing this package costs nothing.
"""

from airflow_llm_provisioning.connections.cloud import open_cloud, opened_cloud
from airflow_llm_provisioning.connections.cluster import cluster_clock, open_cluster
from airflow_llm_provisioning.connections.store import (
    default_store_file,
    open_store,
    store_url,
    stored_url,
)
from airflow_llm_provisioning.core.names import DEFAULT_STORE

__all__ = [
    "DEFAULT_STORE",
    "cluster_clock",
    "default_store_file",
    "open_cloud",
    "open_cluster",
    "open_store",
    "opened_cloud",
    "store_url",
    "stored_url",
]
