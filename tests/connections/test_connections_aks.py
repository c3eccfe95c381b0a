"""An `azure` connection becomes AKS's gateway: fields by name, the official hook's identity, sentences when wrong."""

import json
import sys
from typing import Any

import pytest

from airflow_llm_provisioning.connections import open_cloud
from airflow_llm_provisioning.exceptions import ConfigurationError, ConnectionConfigError, MissingExtraError

pytestmark = pytest.mark.aks

EXTRA = {"subscriptionId": "sub", "tenantId": "ten", "resource_group": "rg", "registry": "reg"}


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Define the connection `azure_test`."""

    def define(extra: dict[str, Any], **fields: Any) -> None:
        value = {"conn_type": "azure", "login": "client", "password": "s3cret", "extra": extra, **fields}
        monkeypatch.setenv("AIRFLOW_CONN_AZURE_TEST", json.dumps(value))

    return define


def test_a_service_principal_becomes_an_azure_identity_object(connection: Any) -> None:
    """The hook's default object would call Entra when made and gives no tokens; the switch is ours to set."""
    from azure.identity import ClientSecretCredential

    connection(EXTRA)
    cloud = open_cloud({"cloud": "aks", "conn_id": "azure_test"})
    account = cloud._account
    assert isinstance(account.credential, ClientSecretCredential)
    assert (account.subscription_id, account.resource_group, account.tenant_id) == ("sub", "rg", "ten")
    assert account.endpoints == {}


def test_without_a_secret_the_default_identity_serves(connection: Any) -> None:
    """Managed and workload identities need no secret in Airflow."""
    from azure.identity import DefaultAzureCredential

    connection(EXTRA, login=None, password=None)
    assert isinstance(open_cloud({"cloud": "aks", "conn_id": "azure_test"})._account.credential, DefaultAzureCredential)


def test_a_reference_overrides_the_connections_names(connection: Any) -> None:
    """Several targets may share one connection."""
    connection(EXTRA)
    names = {"subscription_id": "sub2", "resource_group": "rg2", "registry_resource_group": "rg3"}
    account = open_cloud({"cloud": "aks", "conn_id": "azure_test", **names})._account
    assert (account.subscription_id, account.resource_group, account.registries_group) == ("sub2", "rg2", "rg3")


def test_a_stand_in_never_sees_a_real_credential(connection: Any) -> None:
    """Endpoints on plain HTTP get a made-up token, for any secret of the connection."""
    from airflow_llm_provisioning.gateways.clouds.aks.arm import LocalCredential

    connection({**EXTRA, "endpoints": {"arm": "http://127.0.0.1:1", "acr": "http://127.0.0.1:1"}})
    assert isinstance(open_cloud({"cloud": "aks", "conn_id": "azure_test"})._account.credential, LocalCredential)


def test_plain_http_to_elsewhere_is_refused(connection: Any) -> None:
    """A typing error must not send requests into the open."""
    connection({**EXTRA, "endpoints": {"arm": "http://example.com"}})
    with pytest.raises(ConfigurationError, match="neither https nor plain http"):
        open_cloud({"cloud": "aks", "conn_id": "azure_test"})


@pytest.mark.parametrize("field", ["subscriptionId", "resource_group"])
def test_a_missing_field_is_named(connection: Any, field: str) -> None:
    """With the connection's id and where the fields are described."""
    connection({key: value for key, value in EXTRA.items() if key != field})
    with pytest.raises(ConnectionConfigError, match=rf"'azure_test' lacks the extra {field}"):
        open_cloud({"cloud": "aks", "conn_id": "azure_test"})


def test_a_key_file_is_refused_with_what_works_instead(connection: Any) -> None:
    """azure-identity does not read them."""
    connection({**EXTRA, "key_json": {"a": 1}})
    with pytest.raises(ConnectionConfigError, match="key file"):
        open_cloud({"cloud": "aks", "conn_id": "azure_test"})


def test_an_absent_connection_and_one_of_another_type_are_told_apart(connection: Any) -> None:
    """Each sentence says what was found."""
    with pytest.raises(ConnectionConfigError, match="'nosuch' is not defined"):
        open_cloud({"cloud": "aks", "conn_id": "nosuch"})
    connection(EXTRA, conn_type="aws")
    with pytest.raises(ConnectionConfigError, match="has the type 'aws', not azure"):
        open_cloud({"cloud": "aks", "conn_id": "azure_test"})


def test_an_unknown_cloud_environment_is_refused(connection: Any) -> None:
    """A sovereign cloud's name that is misspelt must not fall back to the public one."""
    connection({**EXTRA, "cloud_environment": "AzureGermany"})
    with pytest.raises(ConfigurationError, match="AzureUSGovernment"):
        open_cloud({"cloud": "aks", "conn_id": "azure_test"})


def test_a_missing_extra_is_named(connection: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without the SDK learns what to install."""
    connection(EXTRA)
    monkeypatch.setitem(sys.modules, "airflow_llm_provisioning.gateways.clouds.aks.connection", None)
    with pytest.raises(MissingExtraError, match=r"airflow-llm-provisioning\[microsoft-azure\]"):
        open_cloud({"cloud": "aks", "conn_id": "azure_test"})


def test_a_gateway_without_a_store_creates_nothing(connection: Any) -> None:
    """It may look; what cannot write an intent must not create."""
    from airflow_llm_provisioning.gateways.store.ledger import ReadOnlyLedger

    connection(EXTRA)
    assert isinstance(open_cloud({"cloud": "aks", "conn_id": "azure_test"})._account.entries._ledger, ReadOnlyLedger)
