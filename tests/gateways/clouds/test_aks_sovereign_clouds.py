"""Azure's public, US Government and China clouds: where every request goes, and for whom its token is.

The wire ends in front of the network: what azure-core would send is noted, and answered with a lost connection.
Addresses are those of azure-core and azure-identity; the registries' audience is the same in every cloud
(azure-containerregistry 1.2.0, DEFAULT_AUDIENCE).
"""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from aks_stand import RecordingLedger
from azure.core.credentials import AccessToken
from azure.core.exceptions import ServiceRequestError
from azure.core.pipeline.transport import RequestsTransport

from airflow_llm_provisioning.connections import open_cloud
from airflow_llm_provisioning.exceptions import CloudError
from airflow_llm_provisioning.gateways.clouds.aks.cloud import AksCloud

pytestmark = pytest.mark.aks

REGISTRIES = "https://containerregistry.azure.net/.default"
# Environment -> (Resource Manager, Entra, suffix of registries).
CLOUDS = {
    None: ("management.azure.com", "login.microsoftonline.com", "azurecr.io"),
    "AzurePublicCloud": ("management.azure.com", "login.microsoftonline.com", "azurecr.io"),
    "AzureUSGovernment": ("management.usgovcloudapi.net", "login.microsoftonline.us", "azurecr.us"),
    "AzureChinaCloud": ("management.chinacloudapi.cn", "login.chinacloudapi.cn", "azurecr.cn"),
}

# The audience is Resource Manager's host, but for the US Government's (azure-mgmt-core, get_arm_endpoints; azure-cli,
# cloud.py, active_directory_resource_id).
AUDIENCES = {"AzureUSGovernment": "management.core.usgovcloudapi.net"}


@dataclass
class Wire:
    """What was asked of the network. `tokens`: the scopes that tokens were asked for."""

    urls: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        """Serve as the credential."""
        self.tokens += scopes
        return AccessToken("t", int(datetime.now(UTC).timestamp()) + 3600)


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    seen = Wire()

    def send(_: Any, request: Any, **__: Any) -> None:
        seen.urls.append(str(request.url))
        raise ServiceRequestError("the test's wire ends here")

    monkeypatch.setattr(RequestsTransport, "send", send)
    return seen


def cloud_in(environment: str | None, wire: Wire) -> AksCloud:
    return AksCloud(
        wire,
        subscription_id="sub",
        resource_group="rg",
        ledger=RecordingLedger(lambda: datetime.now(UTC)),
        clock=lambda: datetime.now(UTC),
        cloud_environment=environment,
    )


@pytest.mark.parametrize("environment", CLOUDS)
def test_resource_manager_is_asked_where_the_cloud_is(environment: str | None, wire: Wire) -> None:
    """Clusters, registries, tasks and features: address and audience are the environment's own."""
    cloud = cloud_in(environment, wire)
    account, host = cloud._account, CLOUDS[environment][0]
    calls = (
        lambda: account.containers.managed_clusters.get("rg", "c1"),
        lambda: account.registries.registries.get("rg", "reg"),
        lambda: account.tasks.runs.get("rg", "reg", "ca1"),
        lambda: account.features.features.get("Microsoft.ContainerService", "x"),
    )
    for call in calls:
        with pytest.raises(ServiceRequestError):
            call()
    cloud.close()
    assert [url.split("/")[2] for url in wire.urls] == [host] * 4
    assert wire.tokens == [f"https://{AUDIENCES.get(environment, host)}/.default"] * 4


@pytest.mark.parametrize("environment", CLOUDS)
def test_a_registry_is_asked_by_its_own_name_for_the_registries_audience(environment: str | None, wire: Wire) -> None:
    """Its host comes from Resource Manager or the image, its audience is one for all clouds; it is known as Azure's."""
    cloud, host = cloud_in(environment, wire), f"reg.{CLOUDS[environment][2]}"
    with pytest.raises(ServiceRequestError):
        cloud._account.data_plane(host).digest_of_tag("a", "1")
    [evidence] = cloud.verify(["image_converted"], {"image": f"{host}/a:1"})
    cloud.close()
    assert set(wire.urls) == {f"https://{host}/oauth2/exchange"}
    assert set(wire.tokens) == {REGISTRIES}
    assert evidence.holds is None, "an Azure registry that cannot be asked is no `no`"


@pytest.mark.parametrize("environment", CLOUDS)
def test_the_clusters_audience_is_the_same_application(environment: str | None, wire: Wire) -> None:
    """AKS's server application has one id in every cloud (kubelogin, server-id)."""
    cloud = cloud_in(environment, wire)
    cloud._token("c1")
    cloud.close()
    assert wire.tokens == ["6dae42f8-4368-4678-94ff-3960e28e3630/.default"]


@pytest.mark.parametrize("environment", CLOUDS)
def test_the_connections_credential_asks_the_clouds_own_entra(
    environment: str | None, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The official hook makes it, for the environment that the connection names."""
    extra = {"subscriptionId": "sub", "tenantId": "ten", "resource_group": "rg", "registry": "reg"}
    extra |= {} if environment is None else {"cloud_environment": environment}
    value = {"conn_type": "azure", "login": "client", "password": "s3cret", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_AZURE_TEST", json.dumps(value))
    cloud: Any = open_cloud({"cloud": "aks", "conn_id": "azure_test"})
    with pytest.raises(CloudError):
        cloud._token("c1")
    cloud.close()
    assert {url.split("/")[2] for url in wire.urls} == {CLOUDS[environment][1]}
