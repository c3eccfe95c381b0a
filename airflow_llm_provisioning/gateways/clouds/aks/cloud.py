"""AKS's gateway: builds in ACR, converts for Artifact Streaming, sets up agent pools, deletes what is ours.

The steps of the long operations are in the files beside it. It never sees an Airflow connection.

How ownership is marked: agent pools carry our tags. A registry's artifacts have no Azure tags, so an image carries the
same marks as labels in its own configuration (`LABEL`, written by the build): they travel with it, need no ledger, and
a foreign image of the same repository lacks them. A streaming artifact is made by the registry and cannot be labelled;
it belongs to the image it refers to, and is listed and deleted as that image's.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import yaml

from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.exceptions import CloudError
from airflow_llm_provisioning.gateways.clouds.aks.arm import AzureAccount, azure_errors
from airflow_llm_provisioning.gateways.clouds.aks.build import BuildImage
from airflow_llm_provisioning.gateways.clouds.aks.evidence import StreamingEvidence
from airflow_llm_provisioning.gateways.clouds.aks.node_pool import SetUpNodePool
from airflow_llm_provisioning.gateways.clouds.aks.owned import OwnedOnAzure
from airflow_llm_provisioning.gateways.clouds.aks.streaming import EnableStreaming
from airflow_llm_provisioning.gateways.clouds.base import ClusterAccess, Evidence, Owned
from airflow_llm_provisioning.gateways.clouds.operation_driver import OperationDriver
from airflow_llm_provisioning.gateways.clouds.verbs import RetryPolicy, Verb
from airflow_llm_provisioning.gateways.store.ledger import Ledger, LedgerEntries

# The application that Entra-integrated AKS API servers accept tokens for (AKS docs, kubelogin-authentication).
AKS_SERVER_SCOPE: Final = "6dae42f8-4368-4678-94ff-3960e28e3630/.default"
# How long Azure may keep answering "not now" before the operation gives up, and how often it may refuse our token.
UNANSWERED_LIMIT_S: Final = 900.0
REFUSED_TOKENS: Final = 3
# AKS refuses to delete a pool that it still creates.
CLEAN_UP_LIMIT_S: Final = 1800.0


class AksCloud:
    """One subscription and resource group. `registry`: the container registry's name, where images are built to.

    `credential`: an azure-identity object. `endpoints`: {"arm": url, "acr": url} of a stand-in; None means Azure.
    `cloud_environment`: AzurePublicCloud (default), AzureUSGovernment or AzureChinaCloud, as the connection has it.
    """

    name = "aks"

    def __init__(
        self,
        credential: Any,
        *,
        subscription_id: str,
        resource_group: str,
        ledger: Ledger,
        clock: Callable[[], datetime],
        registry: str | None = None,
        registry_resource_group: str | None = None,
        endpoints: Mapping[str, str] | None = None,
        tenant_id: str | None = None,
        cloud_environment: str | None = None,
    ) -> None:
        self.place = f"cloud:aks/{subscription_id}/{resource_group}"
        self._account = AzureAccount(
            credential=credential,
            subscription_id=subscription_id,
            resource_group=resource_group,
            clock=clock,
            entries=LedgerEntries(ledger, self.place),
            endpoints=dict(endpoints or {}),
            registry_group=registry_resource_group,
            tenant_id=tenant_id,
            cloud_environment=cloud_environment,
        )
        verbs: tuple[Verb, ...] = (
            BuildImage(self._account, registry),
            EnableStreaming(self._account),
            SetUpNodePool(self._account),
        )
        retry = RetryPolicy(limit_s=UNANSWERED_LIMIT_S, refused_tokens=REFUSED_TOKENS)
        self._driver = OperationDriver(
            "AKS", {verb.name: verb for verb in verbs}, clock, retry=retry, clean_up_limit_s=CLEAN_UP_LIMIT_S
        )
        self._evidence = StreamingEvidence(self._account)
        self._owned = OwnedOnAzure(self._account)

    def close(self) -> None:
        """Close every connection to Azure."""
        self._account.close()

    def verbs(self) -> Sequence[str]:
        """Return the long operations AKS knows."""
        return tuple(self._driver.verbs)

    def start(self, verb: str, request: Mapping[str, Any]) -> Operation:
        """Check the request and Azure's side of it, write the intent, begin."""
        return self._driver.start(verb, request)

    def poll(self, operation: Operation) -> Operation:
        """Look once and do the next step if it is due."""
        return self._driver.poll(operation)

    def cluster_access(self, cluster: str) -> ClusterAccess:
        """Return server, certificate and token of a cluster.

        A cluster with Entra integration answers with an exec entry for kubelogin; a token for its server application is
        put there instead, so that no binary is needed.
        """
        config = self._kube_config(cluster)
        server = config["clusters"][0]["cluster"]
        user = config["users"][0]["user"]
        token, expires_at = user.get("token"), None
        if token is None:
            minted = self._token(cluster)
            token, expires_at = minted.token, datetime.fromtimestamp(minted.expires_on, UTC)
        ca = server.get("certificate-authority-data")
        return ClusterAccess(server["server"], _decoded(ca), token, expires_at)

    def kube_config(self, cluster: str) -> dict[str, Any]:
        """Return a kubeconfig with a bearer token, as KubernetesHook(config_dict=...) takes it. Holds a secret."""
        config = self._kube_config(cluster)
        user = config["users"][0]["user"]
        if user.get("token") is None:
            config["users"][0]["user"] = {"token": self._token(cluster).token}
        return config

    def verify(self, claims: Sequence[str], facts: Mapping[str, Any]) -> list[Evidence]:
        """Say for each claim whether it holds: what the pool, the image and the pull tell."""
        return [self._evidence.answer(claim, facts) for claim in claims]

    def list_owned(self) -> list[Owned]:
        """Return our agent pools, images and their streaming artifacts. Raises rather than return part."""
        return self._owned.list()

    def stands(self, kind: str, name: str) -> bool | None:
        """Return whether a thing exists that carries no mark of its own; None for what `list_owned` tells."""
        return self._owned.stands(kind, name)

    def exists(self, kind: str, identity: str) -> bool | None:
        """Return whether a thing exists under Azure's own name, with any marks; None for another name."""
        return self._owned.exists(kind, identity)

    def delete_owned(self, owned: Owned) -> None:
        """Delete one thing of ours; gone already is success; a thing that does not say it is ours is refused."""
        self._owned.delete(owned)

    def _kube_config(self, cluster: str) -> dict[str, Any]:
        group = self._account.resource_group
        with azure_errors(f"Asking for the kubeconfig of AKS cluster {cluster} in resource group {group}"):
            found = self._account.containers.managed_clusters.list_cluster_user_credentials(
                group, cluster, format="exec"
            )
        if not found.kubeconfigs:
            raise CloudError(f"AKS gave no kubeconfig for cluster {cluster!r}: it may still be created.")
        config: dict[str, Any] = yaml.safe_load(bytes(found.kubeconfigs[0].value).decode())
        return config

    def _token(self, cluster: str) -> Any:
        with azure_errors(f"Asking Entra for a token for AKS cluster {cluster}"):
            return self._account.credential.get_token(AKS_SERVER_SCOPE)


def _decoded(data: str | None) -> str | None:
    return base64.b64decode(data).decode() if data else None
