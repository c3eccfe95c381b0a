"""Azure's clients for one subscription and resource group, and Azure's refusals as our errors.

Why it exists: the official hook's `get_conn` cannot build these clients (it passes `credentials=`), they retry by
sleeping, and they refuse plain HTTP. Here they never sleep (a poll looks once), and HTTP is allowed to this machine
only. It knows no verb: what is built, streamed or set up is said in the files beside it.
"""

import json
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Final
from urllib.parse import urlsplit

from azure.core import AzureClouds
from azure.core.credentials import AccessToken
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    DeserializationError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.core.pipeline.policies import SansIOHTTPPolicy
from azure.mgmt.containerregistry import ContainerRegistryManagementClient
from azure.mgmt.containerregistrytasks import ContainerRegistryTasksMgmtClient
from azure.mgmt.containerservice import ContainerServiceClient
from azure.mgmt.core.tools import get_arm_endpoints
from azure.mgmt.resource.features import FeatureClient
from azure.mgmt.storage import StorageManagementClient

from airflow_llm_provisioning.core.capacity import refusal_kind
from airflow_llm_provisioning.core.capacity.words import LIMIT, QUOTA, STOCK
from airflow_llm_provisioning.core.instants import retry_after_s
from airflow_llm_provisioning.exceptions import CloudError, ConfigurationError
from airflow_llm_provisioning.gateways.clouds.aks.registry import RegistryClient
from airflow_llm_provisioning.gateways.clouds.verbs import TransientError
from airflow_llm_provisioning.gateways.store.ledger import LedgerEntries

# The names that the official azure connection uses.
CLOUDS: Final[Mapping[str, Any]] = {
    "AzurePublicCloud": AzureClouds.AZURE_PUBLIC_CLOUD,
    "AzureUSGovernment": AzureClouds.AZURE_US_GOVERNMENT,
    "AzureChinaCloud": AzureClouds.AZURE_CHINA_CLOUD,
}
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")

# What every request may take. Azure's clients would sleep through a Retry-After and repeat; a poll must not, so the
# repeating is left to the caller's next poll.
AZURE_CLIENT_DEFAULTS: Final[Mapping[str, Any]] = {"retry_total": 0, "connection_timeout": 10, "read_timeout": 60}

# 409 codes under which AKS and ARM say "another operation is running, come back" (AKS troubleshooting pages:
# "OperationNotAllowed", "Another operation is in progress"; ARM: "AnotherOperationInProgress"; etag races: 412).
_IN_PROGRESS_CODES: Final = frozenset(
    {
        "OperationNotAllowed",
        "AnotherOperationInProgress",
        "OperationPreempted",
        "ConflictingConcurrentWriteNotAllowed",
        "EtagMismatch",
        "ReferencedResourceNotProvisioned",
        "CanceledAndSupersededDueToAnotherOperation",
        "RetryableError",
        "CONFLICT",  # a registry's word: the same conversion was begun a moment ago
    }
)
# "Another agentpool operation (nodepool1 - Creating) is in progress, please wait for it to finish" (cilium 25944).
_IN_PROGRESS: Final = re.compile(
    r"\bin progress\b|\bplease wait\b|\btransitioning state\b|\bbeing (?:creat|updat|upgrad|scal|delet|provision)ed\b"
    r"|\b(?:re)?try (?:again )?later\b|\bongoing operation\b",
    re.IGNORECASE,
)
# The same codes for what no waiting changes: an exhausted quota, a cluster that is stopped or failed.
_STAYS: Final = re.compile(r"quota|\bstopped\b|power state|\bfailed state\b", re.IGNORECASE)
_GROUP_GOES_CODE: Final = "ResourceGroupBeingDeleted"
# AKS says so with 400.
_NOT_READY_CODE: Final = "ControlPlaneNotReady"
# What to do about a refusal, by its code or its words; roles are the advice for every other 403.
_ADVICE: Final = (
    (re.compile(r"DisallowedByPolicy|disallowed by policy"), "A policy of the subscription forbids it."),
    (re.compile(r"aka\.ms/acr/firewall|is not allowed access"), "Let this machine through the registry's firewall."),
    (re.compile(r"ReadOnlyDisabledSubscription"), "Enable the subscription again."),
    (
        re.compile(r"FeatureNotRegistered|[Ff]eature \S+ (?:is )?not registered|registered for feature"),
        "Register that feature (`az feature register`), then its provider.",
    ),
    (
        re.compile(r"SubscriptionRegistration|SubscriptionNotRegistered"),
        "Register the resource provider (`az provider register`).",
    ),
    (re.compile(r"ScopeLocked"), "Remove the lock, or choose another resource group."),
    (re.compile(r"\bstopped\b|power state", re.IGNORECASE), "Start the cluster (`az aks start`)."),
    (
        re.compile(r"InsufficientSubnetSize|exceeds IPs available"),
        "Choose a larger subnet, fewer nodes, or fewer pods a node.",
    ),
    (re.compile(r"CountLimitReached"), "Ask for more quota in that region, or delete what is not used."),
    (
        re.compile(r"VMExtensionError_\w*Fail|VMExtensionProvisioning|Unable to establish (?:outbound )?connection"),
        "The new nodes do not reach what they need: check their outbound routes, firewalls and DNS.",
    ),
    (
        re.compile(r"\b(?:ResourceNotFound|ResourceGroupNotFound|SubscriptionNotFound|ParentResourceNotFound)\b"),
        "Check subscription, resource group and name.",
    ),
)
_OF_CAPACITY: Final = {
    QUOTA: "Ask for more quota in that region, or choose another VM size or region.",
    STOCK: "Azure has no such machines there now: try later, another zone or another VM size.",
    LIMIT: "Choose a subnet with free addresses, or raise the pool's limit.",
}
_PASSING_STATUS: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


# What a body that is not what it should be raises: azure-core's own DecodeError is an HttpResponseError.
_UNREADABLE: Final = (DeserializationError, ValueError, LookupError, TypeError, AttributeError)


@contextmanager
def azure_errors(attempt: str) -> Iterator[None]:
    """Turn Azure's exceptions inside into a TransientError (ask again) or a CloudError (no), naming the `attempt`.

    A lost reply is a TransientError too: before asking again, look whether the request had arrived.
    """
    try:
        yield
    except HttpResponseError as error:
        raise _refusal(attempt, error) from error
    except (ServiceRequestError, ServiceResponseError) as error:
        raise TransientError(f"{attempt}: no answer from Azure ({error}).") from error
    except ClientAuthenticationError as error:
        raise CloudError(f"{attempt}: no token could be had: {error}. Check the connection's credentials.") from error
    except AzureError as error:
        raise CloudError(f"{attempt}: {error}") from error
    except _UNREADABLE as error:
        raise CloudError(f"{attempt}: Azure's answer cannot be decoded ({error!r}).") from error


def is_absent(error: BaseException | None) -> bool:
    """Return whether a CloudError of `azure_errors` means that the object does not exist."""
    cause = error.__cause__ if error is not None else None
    return isinstance(cause, HttpResponseError) and cause.status_code == 404


def _refusal(attempt: str, error: HttpResponseError) -> CloudError:
    status = error.status_code
    if status is None:
        return CloudError(f"{attempt}: {error.message}. Check the connection's credentials and roles.")
    code, message = _code_and_message(error)
    said = f"{attempt}: Azure answered {status} {code}: {message}"
    if status == 401:
        return TransientError(said, refused_token=True)
    if status in _PASSING_STATUS or _in_progress(status, code, message):
        return TransientError(said, retry_after_s=_retry_after_s(error))
    told = [said, _advice(status, code, message)]
    return CloudError(" ".join(part for part in told if part))


def _advice(status: int, code: str, message: str) -> str:
    """Return what the user can do about a refusal; empty where Azure's own sentence must do."""
    words = f"{code}: {message}"
    if found := next((advice for pattern, advice in _ADVICE if pattern.search(words)), ""):
        return found
    if refused := refusal_kind(message, code):
        return _OF_CAPACITY.get(refused, _OF_CAPACITY[STOCK])
    return "Give the connection's identity the roles that docs/aks.md lists." if status == 403 else ""


def _in_progress(status: int, code: str, message: str) -> bool:
    if status == 412 or code == _NOT_READY_CODE:
        return True
    busy = code in _IN_PROGRESS_CODES or _IN_PROGRESS.search(message) is not None
    return status == 409 and busy and code != _GROUP_GOES_CODE and _STAYS.search(message) is None


def _code_and_message(error: HttpResponseError) -> tuple[str, str]:
    detail = error.error
    code, message = getattr(detail, "code", None), getattr(detail, "message", None)
    if code is None:
        code, message = _registry_error(error)
    # AKS puts its own reason into `details` of a refusal that says little itself.
    inner = [str(item.message) for item in getattr(detail, "details", None) or () if getattr(item, "message", None)]
    told = " ".join([str(message or _plain_text(error) or error.message or ""), *(f"({text})" for text in inner)])
    told = " ".join(told.split())
    return str(code or error.reason or "?"), told


def _plain_text(error: HttpResponseError) -> str | None:
    """Return a body that is a line of text, as `404 page not found`; None for JSON, HTML and what cannot be read."""
    try:
        text = str(error.response.text()).strip() if error.response is not None and error.error is None else ""
    except (AttributeError, ValueError):
        return None
    return text[:200] if text and text[0] not in "<{[" else None


def _registry_error(error: HttpResponseError) -> tuple[str | None, str | None]:
    """Read {"errors": [{code, message}]}, as registries answer (OCI distribution specification, error codes)."""
    try:
        first = json.loads(error.response.text())["errors"][0]
        return first.get("code"), first.get("message")
    except (AttributeError, KeyError, IndexError, TypeError, ValueError):
        return None, None


def _retry_after_s(error: HttpResponseError) -> float | None:
    headers = getattr(error.response, "headers", None) or {}
    return retry_after_s(headers.get("Retry-After"))


class LocalCredential:
    """Replaces an azure-identity object for a stand-in on this machine: no real service is asked."""

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        """Return a made-up token for an hour."""
        return AccessToken(f"local-{uuid.uuid4().hex}", int(time.time()) + 3600)


class LoopbackToken(SansIOHTTPPolicy):  # type: ignore[misc]  # the SDK's classes are untyped here
    """Adds the credential's bearer token without insisting on TLS. Only ever given to a client of this machine."""

    def __init__(self, credential: Any, scope: str) -> None:
        super().__init__()
        self._credential = credential
        self._scope = scope

    def on_request(self, request: Any) -> None:
        """Authorize one request."""
        request.http_request.headers["Authorization"] = f"Bearer {self._credential.get_token(self._scope).token}"


def check_endpoints(endpoints: Mapping[str, str]) -> None:
    """Refuse endpoints that would carry a token in the clear, and those that are not used."""
    problems = [f"{name!r} is not one of arm, acr" for name in endpoints if name not in ("arm", "acr")]
    for name, url in endpoints.items():
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
            problems.append(f"{name} = {url!r} is neither https nor plain http to this machine")
    if problems:
        raise ConfigurationError(f"The Azure endpoints cannot be used: {'; '.join(problems)}.")


@dataclass(slots=False)
class AzureAccount:
    """One subscription and resource group: its clients (made when first asked), clock and ledger entries.

    `credential`: any azure-identity object. `endpoints`: `arm` and `acr` of a stand-in; absent means Azure.
    `registry_group`: the resource group of the container registry. `cloud_environment`: a name of CLOUDS.
    """

    credential: Any
    subscription_id: str
    resource_group: str
    clock: Callable[[], datetime]
    entries: LedgerEntries
    endpoints: Mapping[str, str] = field(default_factory=dict)
    registry_group: str | None = None
    tenant_id: str | None = None
    cloud_environment: str | None = None

    def __post_init__(self) -> None:
        check_endpoints(self.endpoints)
        if self.cloud_environment is not None and self.cloud_environment not in CLOUDS:
            raise ConfigurationError(
                f"Azure cloud environment {self.cloud_environment!r} is unknown: choose one of {', '.join(CLOUDS)}."
            )
        self._registries: dict[str, RegistryClient] = {}

    @property
    def registries_group(self) -> str:
        """The resource group that holds the registry."""
        return self.registry_group or self.resource_group

    @cached_property
    def containers(self) -> Any:
        """Managed clusters and agent pools."""
        return self._client(ContainerServiceClient)

    @cached_property
    def registries(self) -> Any:
        """Container registries as ARM objects."""
        return self._client(ContainerRegistryManagementClient)

    @cached_property
    def tasks(self) -> Any:
        """ACR Tasks: they left the registry package in its version 15."""
        return self._client(ContainerRegistryTasksMgmtClient)

    @cached_property
    def features(self) -> Any:
        """Preview features of the subscription."""
        return self._client(FeatureClient)

    @cached_property
    def storage(self) -> Any:
        """Storage accounts as ARM objects."""
        return self._client(StorageManagementClient)

    def data_plane(self, login_server: str) -> RegistryClient:
        """Return the client of one registry's own API (`<name>.azurecr.io`)."""
        if login_server not in self._registries:
            self._registries[login_server] = RegistryClient(
                self.credential,
                login_server,
                endpoint=self.endpoints.get("acr"),
                tenant_id=self.tenant_id,
                options=AZURE_CLIENT_DEFAULTS,
            )
        return self._registries[login_server]

    def close(self) -> None:
        """Close every connection that was opened."""
        for name in ("containers", "registries", "tasks", "features", "storage"):
            if name in self.__dict__:
                self.__dict__.pop(name).close()
        for client in self._registries.values():
            client.close()
        self._registries.clear()

    def _client(self, kind: Any) -> Any:
        arm = self.endpoints.get("arm")
        options: dict[str, Any] = {**AZURE_CLIENT_DEFAULTS}
        if arm is not None:
            options["base_url"] = arm.rstrip("/")
            options["credential_scopes"] = [f"{arm.rstrip('/')}/.default"]
            if arm.startswith("http://"):
                options["authentication_policy"] = LoopbackToken(self.credential, options["credential_scopes"][0])
        else:
            options["cloud_setting"] = cloud = CLOUDS[self.cloud_environment or "AzurePublicCloud"]
            options["credential_scopes"] = get_arm_endpoints(cloud)["credential_scopes"]
        return kind(self.credential, self.subscription_id, **options)
