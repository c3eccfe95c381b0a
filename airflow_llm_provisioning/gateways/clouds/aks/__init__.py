"""AKS: builds in ACR, converts for Artifact Streaming, sets up agent pools, opens clusters, deletes what is ours.

The steps of the long operations are in the files `aks_*` beside it. It never sees an Airflow connection.

How ownership is marked: agent pools carry our tags. A registry's artifacts have no Azure tags, so an image carries the
same marks as labels in its own configuration (`LABEL`, written by the build): they travel with it, need no ledger, and
a foreign image of the same repository lacks them. A streaming artifact is made by the registry and cannot be labelled;
it belongs to the image it refers to, and is listed and deleted as that image's.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import yaml

from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.exceptions import CloudError, ConfigurationError, ProvisioningError
from airflow_llm_provisioning.gateways.clouds.aks.arm import AzureAccount, BusyError, asking
from airflow_llm_provisioning.gateways.clouds.aks.build import BuildImage
from airflow_llm_provisioning.gateways.clouds.aks.evidence import StreamingEvidence
from airflow_llm_provisioning.gateways.clouds.aks.node_pool import SetUpNodePool
from airflow_llm_provisioning.gateways.clouds.aks.owned import OwnedOnAzure
from airflow_llm_provisioning.gateways.clouds.aks.steps import Verb, raise_problems
from airflow_llm_provisioning.gateways.clouds.aks.streaming import EnableStreaming
from airflow_llm_provisioning.gateways.clouds.base import ClusterAccess, Evidence, Owned
from airflow_llm_provisioning.gateways.ledger import Ledger

# The application that Entra-integrated AKS API servers accept tokens for (AKS docs, kubelogin-authentication).
AKS_SERVER_SCOPE: Final = "6dae42f8-4368-4678-94ff-3960e28e3630/.default"
# How long Azure may keep answering "not now" before the operation gives up, and how often it may refuse our token.
BUSY_LIMIT_S: Final = 900
REFUSED_TOKENS: Final = 3
UNDO_LIMIT_S: Final = 1800


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
        self._account = AzureAccount(
            credential=credential,
            subscription_id=subscription_id,
            resource_group=resource_group,
            clock=clock,
            ledger=ledger,
            endpoints=dict(endpoints or {}),
            registry_group=registry_resource_group,
            tenant_id=tenant_id,
            cloud_environment=cloud_environment,
        )
        self._verbs: Mapping[str, Verb] = {
            "build_image": BuildImage(self._account, registry),
            "enable_streaming": EnableStreaming(self._account),
            "set_up_node_pool": SetUpNodePool(self._account),
        }
        self._evidence = StreamingEvidence(self._account)
        self._owned = OwnedOnAzure(self._account)

    def close(self) -> None:
        """Close every connection to Azure."""
        self._account.close()

    def verbs(self) -> Sequence[str]:
        """Return the long operations AKS knows."""
        return tuple(self._verbs)

    def start(self, verb: str, request: Mapping[str, Any]) -> Operation:
        """Check the request and Azure's side of it, write the intent, begin.

        Raises ConfigurationError or CloudError naming all problems. Where Azure is too busy to answer, the check is
        left to the first poll; nothing billable happens before it.
        """
        steps = self._verb(verb)
        raise_problems(f"{verb} on AKS", steps.problems(request))
        operation = Operation(verb, dict(request), progress={"began_at": self._account.clock().isoformat()})
        try:
            return self._advance(steps, operation)
        except BusyError as busy:
            return self._later(operation, busy)

    def poll(self, operation: Operation) -> Operation:
        """Look once and do the next step if it is due."""
        if operation.state != "running":
            return operation
        steps = self._verb(operation.verb)
        if self._account.clock() < _not_before(operation):
            return operation
        try:
            if operation.progress.get("failing"):
                return _calm(self._undo(steps, operation))
            return _calm(self._advance(steps, operation))
        except BusyError as busy:
            if not self._patient(operation, busy):
                return self._give_up(steps, operation, f"{busy} Azure kept answering so.")
            return self._later(operation, busy)
        except ProvisioningError as error:
            return self._give_up(steps, operation, str(error))

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

    def delete_owned(self, owned: Owned) -> None:
        """Delete one thing of ours; gone already is success; a thing that does not say it is ours is refused."""
        self._owned.delete(owned)

    def _verb(self, verb: str) -> Verb:
        if verb not in self._verbs:
            raise ConfigurationError(f"AKS has no operation {verb!r}: it knows {', '.join(self._verbs)}.")
        return self._verbs[verb]

    def _advance(self, steps: Verb, operation: Operation) -> Operation:
        if operation.progress.get("checked"):
            return steps.step(operation)
        checked = steps.check(operation)
        return checked.at(checked.step, checked=True) if checked.state == "running" else checked

    def _later(self, operation: Operation, busy: BusyError) -> Operation:
        now = self._account.clock()
        pause_s = busy.retry_after_s or 0.0
        return operation.at(
            f"waiting: {busy}",
            busy_since_at=operation.progress.get("busy_since_at") or now.isoformat(),
            refused_tokens=int(operation.progress.get("refused_tokens") or 0) + busy.refused_token,
            not_before_at=(now + timedelta(seconds=pause_s)).isoformat(),
        )

    def _patient(self, operation: Operation, busy: BusyError) -> bool:
        if busy.refused_token and int(operation.progress.get("refused_tokens") or 0) + 1 >= REFUSED_TOKENS:
            return False
        since = operation.progress.get("busy_since_at")
        limit = timedelta(seconds=BUSY_LIMIT_S)
        return since is None or self._account.clock() - datetime.fromisoformat(since) <= limit

    def _give_up(self, steps: Verb, operation: Operation, why: str) -> Operation:
        if operation.progress.get("failing"):
            return operation.failed(f"{operation.progress['failing']} Cleaning up after it failed too: {why}")
        limit_at = (self._account.clock() + timedelta(seconds=UNDO_LIMIT_S)).isoformat()
        failing = _calm(operation).at("cleaning up", failing=why, undo_until_at=limit_at)
        try:
            return self._undo(steps, failing)
        except BusyError as busy:
            return self._later(failing, busy)
        except ProvisioningError as error:
            return failing.failed(f"{why} Cleaning up after it failed too: {error}")

    def _undo(self, steps: Verb, operation: Operation) -> Operation:
        why = str(operation.progress["failing"])
        if steps.undo(operation):
            return operation.failed(why)
        if self._account.clock() > datetime.fromisoformat(str(operation.progress["undo_until_at"])):
            return operation.failed(
                f"{why} What it had begun could not be removed in {UNDO_LIMIT_S} s; list_owned shows it."
            )
        return operation

    def _kube_config(self, cluster: str) -> dict[str, Any]:
        group = self._account.resource_group
        with asking(f"Asking for the kubeconfig of AKS cluster {cluster} in resource group {group}"):
            found = self._account.containers.managed_clusters.list_cluster_user_credentials(
                group, cluster, format="exec"
            )
        if not found.kubeconfigs:
            raise CloudError(f"AKS gave no kubeconfig for cluster {cluster!r}: it may still be created.")
        config: dict[str, Any] = yaml.safe_load(bytes(found.kubeconfigs[0].value).decode())
        return config

    def _token(self, cluster: str) -> Any:
        with asking(f"Asking Entra for a token for AKS cluster {cluster}"):
            return self._account.credential.get_token(AKS_SERVER_SCOPE)


def _not_before(operation: Operation) -> datetime:
    instant = operation.progress.get("not_before_at")
    return datetime.fromisoformat(str(instant)) if instant else datetime.min.replace(tzinfo=UTC)


def _calm(operation: Operation) -> Operation:
    """Return the operation with Azure's earlier refusals forgotten: it has answered."""
    if operation.progress.get("busy_since_at") is None:
        return operation
    return operation.at(operation.step, busy_since_at=None, refused_tokens=0, not_before_at=None)


def _decoded(data: str | None) -> str | None:
    return base64.b64decode(data).decode() if data else None
