"""What a request carries: the client's token with its refresh, its address, and bodies as YAML may give them."""

from datetime import date
from typing import Any

from kube_fake_api import fake_api

from airflow_llm_provisioning.gateways.kubernetes import Cluster, Credentials


async def test_the_token_is_refreshed_by_the_clients_own_hook() -> None:
    """An exec plugin of a kubeconfig and a mounted token renew it by a hook, which every request asks."""
    from kubernetes_asyncio.client import Configuration

    async with fake_api() as api:
        configuration, given = Configuration(host=api.access()().server), iter("abcdef")
        configuration.api_key["BearerToken"] = "Bearer old"

        async def refresh(own: Any) -> None:
            own.api_key["BearerToken"] = f"Bearer {next(given)}"

        configuration.refresh_api_key_hook = refresh

        async def connect() -> Credentials:
            return Credentials(configuration)

        async with Cluster(connect) as cluster:
            await cluster.list("pods", "default")
        assert api.tokens == ["Bearer a", "Bearer b"]


async def test_without_a_token_none_is_sent() -> None:
    """A client certificate or an open server needs no header, and an empty one would be refused."""
    async with fake_api() as api, Cluster.from_access(api.access()) as cluster:
        await cluster.list("pods", "default")
        assert set(api.tokens) <= {None, ""}


async def test_a_date_of_yaml_is_sent_as_text() -> None:
    """YAML reads an unquoted date as a date, which JSON does not know."""
    async with fake_api() as api, Cluster.from_access(api.access()) as cluster:
        labels = {"on": date(2026, 11, 30)}
        manifest = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "a", "namespace": "b"},
            "data": labels,
        }
        await cluster.create(manifest)
        assert api.bodies[-1]["data"] == {"on": "2026-11-30"}
