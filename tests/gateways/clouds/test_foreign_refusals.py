"""What the clouds say when they refuse, as public reports quote it: what passes by waiting, and what to do."""

import json
from typing import Any

import pytest
import requests
from azure.core.exceptions import HttpResponseError
from azure.mgmt.core.exceptions import ARMErrorFormat
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ProxyConnectionError,
    ReadTimeoutError,
    SSLError,
)
from google.api_core import exceptions as google

from airflow_llm_provisioning.exceptions import CloudError
from airflow_llm_provisioning.gateways.clouds.aks.arm import azure_errors
from airflow_llm_provisioning.gateways.clouds.eks.aws import cloud_error, kind_of
from airflow_llm_provisioning.gateways.clouds.gke.errors import google_errors
from airflow_llm_provisioning.gateways.clouds.verbs import TransientError

PASSES = "passes"


def of_google(code: int, message: str, status: str = "", reason: str = "") -> google.GoogleAPICallError:
    """Return what Google's client raises for an answer; `reason` as Compute Engine has it."""
    answer = requests.Response()
    answer.status_code = code
    answer.request = requests.Request("POST", "https://container.googleapis.com/v1/x").prepare()
    error: dict[str, Any] = {"code": code, "message": message, **({"status": status} if status else {})}
    if reason:
        error["errors"] = [{"domain": "usageLimits", "reason": reason, "message": message}]
    answer._content = json.dumps({"error": error}).encode()
    return google.from_http_response(answer)


GOOGLE = [
    (400, 'Cluster "c" is in state RECONCILING, retry later.', "FAILED_PRECONDITION", PASSES),
    (400, "Node pool gpu is already being modified by operation-9.", "FAILED_PRECONDITION", PASSES),
    (400, "The resource 'projects/p/zones/z/disks/d' is not ready", "", PASSES),
    (403, "Rate Limit Exceeded", "", PASSES),
    (403, "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute' of service 'x'", "", PASSES),
    (409, "There were concurrent policy changes. Please retry the whole read-modify-write.", "ABORTED", PASSES),
    (499, "The operation was cancelled.", "CANCELLED", PASSES),
    (429, "Quota exceeded for quota metric 'Requests' and limit 'Requests per minute'", "RESOURCE_EXHAUSTED", PASSES),
    (
        429,
        'Insufficient project quota to satisfy request: resource "CPUS_ALL_REGIONS".',
        "RESOURCE_EXHAUSTED",
        "more quota",
    ),
    (
        403,
        'Insufficient regional quota to satisfy request: resource "NVIDIA_L4_GPUS".',
        "PERMISSION_DENIED",
        "more quota",
    ),
    (400, "The zone 'projects/p/zones/z' does not have enough resources available to fulfill it.", "", "another zone"),
    (400, "The disk resource 'd' is already being used by 'i'", "", "docs/gke.md"),
    (403, "This API method requires billing to be enabled.", "PERMISSION_DENIED", "Enable billing"),
    (403, "Request is prohibited by organization's policy.", "PERMISSION_DENIED", "policy of the organisation"),
    (
        412,
        "Constraint constraints/compute.vmExternalIpAccess violated for project 1.",
        "",
        "policy of the organisation",
    ),
    (401, "Request had invalid authentication credentials.", "UNAUTHENTICATED", "Check key or impersonation"),
    (400, 'Accelerator type "nvidia-l4" does not exist in zone us-central1-d.', "INVALID_ARGUMENT", "go together"),
    (
        400,
        "IP_SPACE_EXHAUSTED: IP space of 'projects/p/subnetworks/s' is exhausted.",
        "FAILED_PRECONDITION",
        "range for",
    ),
    (403, "caller does not have permission to act as service account x", "PERMISSION_DENIED", "serviceAccountUser"),
    (
        400,
        "Image Streaming requires that the Container File System API be enabled",
        "FAILED_PRECONDITION",
        "services enabl",
    ),
    (400, "Cluster is in ERROR state, cannot be modified.", "FAILED_PRECONDITION", "Repair the cluster"),
]


@pytest.mark.parametrize(("code", "message", "status", "expected"), GOOGLE)
def test_google(code: int, message: str, status: str, expected: str) -> None:
    """Busy, too many calls and changes that came in between pass; a used up quota does not, although it is 429 too."""
    with pytest.raises(CloudError) as raised, google_errors('create node pool "gpu"'):
        raise of_google(code, message, status)
    assert isinstance(raised.value, TransientError) is (expected == PASSES)
    assert message.rstrip(".") in str(raised.value)
    assert expected == PASSES or expected in str(raised.value)


class Answer:
    """An answer of Azure with JSON."""

    reason = "Conflict"
    headers: dict[str, str] = {}  # noqa: RUF012 - never written

    def __init__(self, status: int, body: Any) -> None:
        self.status_code, self._body = status, json.dumps(body)

    def text(self, *_: Any) -> str:
        return self._body

    def body(self) -> bytes:
        return self._body.encode()


NOT_ALLOWED = "OperationNotAllowed"
AZURE = [
    (409, NOT_ALLOWED, "Operation is not allowed: Another operation (Upgrading) is in progress, please wait.", PASSES),
    (409, "ReferencedResourceNotProvisioned", "Resource is in Updating state.", PASSES),
    (409, "CanceledAndSupersededDueToAnotherOperation", "Operation was canceled and superseded.", PASSES),
    (409, "RetryableError", "A retryable error occurred.", PASSES),
    (409, "Conflict", "The registry is being updated. Try again later.", PASSES),
    (400, "ControlPlaneNotReady", "Control plane is not ready yet.", PASSES),
    (409, NOT_ALLOWED, "managed cluster is in stopped (none-running) state, no operations but start.", "az aks start"),
    (409, NOT_ALLOWED, "managed cluster is in Provisioning State(Succeeded) and Power State(Stopped)", "az aks start"),
    (409, NOT_ALLOWED, "Upgrades are disallowed while cluster is in a failed state.", "failed state"),
    (409, NOT_ALLOWED, "Operation results in exceeding approved Total Regional Cores quota.", "more quota"),
    (409, "ResourceGroupBeingDeleted", "The resource group 'rg' is being deleted.", "rg"),
    (409, "MissingSubscriptionRegistration", "The subscription is not registered.", "az provider register"),
    (409, "ScopeLocked", "The scope 'x' cannot perform write operation: locked. Please remove the lock.", "lock"),
    (409, "SkuNotAvailable", "The requested VM size is currently not available in location 'eastus'.", "another zone"),
    (400, "ErrCode_InsufficientVCPUQuota", "Insufficient vcpu quota requested 12, remaining 0.", "more quota"),
    (400, "BadRequest", "The VM size of Standard_NC6s_v3 is not allowed in your subscription.", "more quota"),
    (403, "RequestDisallowedByPolicy", "Resource 'gpu' was disallowed by policy.", "policy of the subscription"),
    (403, "DENIED", "client with IP '20.1.2.3' is not allowed access, refer https://aka.ms/acr/firewall", "firewall"),
    (403, "AuthorizationFailed", "The client 'c' does not have authorization.", "roles that docs/aks.md lists"),
    (
        409,
        "FeatureNotRegistered",
        "Subscription is not registered for feature x/ArtifactStreamingPreview",
        "az feature",
    ),
    (400, "InsufficientSubnetSize", "Pre-allocated IPs 62 exceeds IPs available 30 in Subnet Cidr x.", "larger subnet"),
    (409, "PublicIPCountLimitReached", "Cannot create more than 10 public IP addresses in this region.", "more quota"),
    (
        400,
        "VMExtensionError_K8SAPIServerConnFail",
        "Unable to establish connection from agents to x",
        "outbound routes",
    ),
    (404, "ResourceGroupNotFound", "Resource group 'g' could not be found.", "Check subscription"),
]


@pytest.mark.parametrize(("status", "code", "message", "expected"), AZURE)
def test_azure(status: int, code: str, message: str, expected: str) -> None:
    """One code stands for a busy cluster, a stopped one and a quota; a policy and a firewall are no missing role."""
    answer = Answer(status, {"error": {"code": code, "message": message}})
    with pytest.raises(CloudError) as raised, azure_errors("Create node pool gpu"):
        raise HttpResponseError(response=answer, error_format=ARMErrorFormat)
    assert isinstance(raised.value, TransientError) is (expected == PASSES)
    assert f"{code}: {message}" in str(raised.value)
    assert expected == PASSES or expected in str(raised.value)
    assert expected.startswith("roles") or "docs/aks.md" not in str(raised.value)


def of_aws(code: str, status: int = 400, message: str = "No.") -> ClientError:
    metadata: Any = {"HTTPStatusCode": status}
    return ClientError({"Error": {"Code": code, "Message": message}, "ResponseMetadata": metadata}, "RunInstances")


SOLD_OUT = "We currently do not have sufficient g6.xlarge capacity in the Availability Zone you requested (us-west-2a)."
URL = "https://ec2.us-west-2.amazonaws.com/"


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (EndpointConnectionError(endpoint_url=URL), "transient", "Try again later"),
        (ConnectTimeoutError(endpoint_url=URL), "transient", "Try again later"),
        (ReadTimeoutError(endpoint_url=URL), "transient", "Try again later"),
        (ProxyConnectionError(proxy_url=URL), "transient", "Try again later"),
        (of_aws("EC2ThrottledException"), "transient", ""),
        (of_aws("RequestThrottledException"), "transient", ""),
        (of_aws("Throttling.Api"), "transient", ""),
        (of_aws("TooManyRequests", 429), "transient", ""),
        (of_aws("EntityTemporarilyUnmodifiable", 409), "transient", ""),
        (of_aws("Unavailable", 503), "transient", ""),
        (of_aws("ExpiredToken"), "expired", "Refresh"),
        (of_aws("InsufficientInstanceCapacity", 500, SOLD_OUT), "permanent", "another zone"),
        (of_aws("VcpuLimitExceeded", 400, "You have requested more vCPU capacity than your current limit"), "permanent",
         "more quota"),
        (of_aws("InsufficientFreeAddressesInSubnet"), "permanent", "subnet with free addresses"),
        (of_aws("UnauthorizedOperation", 403, "with an explicit deny in a service control policy"), "permanent",
         "policy of the organisation"),
        (of_aws("UnauthorizedOperation", 403), "permanent", "docs/iam"),
        (of_aws("AccountLimitExceededException", 400, "Cannot have more than 1 builds in queue for the account"),
         "transient", ""),
        (of_aws("AccountLimitExceededException", 400, "Cannot have more than 0 builds in queue for the account"),
         "permanent", "more quota"),
        (of_aws("AccountLimitExceededException", 400, "Maximum number of projects reached"), "permanent", "more quota"),
        (of_aws("SnapshotLimitExceeded"), "permanent", "more quota"),
        (of_aws("InvalidKmsKey.InvalidState"), "permanent", "KMS key"),
        (of_aws("ResourceNotFoundException", 404, "No cluster found for name: c."), "permanent", "region and account"),
        (of_aws("RequestTimeTooSkewed", 403), "permanent", "clock"),
        (of_aws("InvalidClientTokenId", 403), "permanent", "connection's credentials"),
        (NoCredentialsError(), "permanent", "connection's credentials"),
        (SSLError(endpoint_url=URL, error="certificate verify failed"), "permanent", "endpoint"),
    ],
    ids=lambda value: value.args[0][:60] if isinstance(value, Exception) else None,
)  # fmt: skip
def test_aws(error: Exception, kind: str, words: str) -> None:
    """A network that is away passes; a zone that is sold out does not, although EC2 answers 500."""
    assert kind_of(error) == kind
    assert words in str(cloud_error("Cannot start build_image in us-west-2", error))
