"""One AWS account and region as the EKS gateway sees it: clients, errors in words, tags as AWS lists them.

boto3 stays in this package. This file knows no verb; credentials come as a session, or as a function that makes one,
so that an expired token can be replaced during a long wait.
"""

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Literal

from airflow_llm_provisioning.core.capacity import refusal_kind
from airflow_llm_provisioning.core.capacity.words import LIMIT, QUOTA, STOCK
from airflow_llm_provisioning.exceptions import CloudError, MissingExtraError
from airflow_llm_provisioning.gateways.clouds.verbs import StepFailedError, TransientError

try:
    from boto3 import Session as Session
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, SSLError
    from botocore.exceptions import ConnectionError as NoConnectionError
    from botocore.parsers import ResponseParserError
except ModuleNotFoundError as error:
    raise MissingExtraError(
        "EKS needs boto3 and the Amazon provider, which are not installed: "
        "pip install 'airflow-llm-provisioning[amazon]'."
    ) from error

AWS_ERRORS: Final = (ClientError, BotoCoreError, ResponseParserError)
Kind = Literal["transient", "expired", "permanent"]

_EXPIRED: Final = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
# Words of codes that mean too many calls (EC2 throttles as `EC2ThrottledException`, others as `Throttling.Api`).
_THROTTLED: Final = ("Throttl", "TooManyRequests", "RequestLimitExceeded")
_TRANSIENT: Final = {
    "BandwidthLimitExceeded",
    "ProvisionedThroughputExceededException",
    "TransactionInProgressException",
    "ConcurrentModification",
    "ConcurrentModificationException",
    "EntityTemporarilyUnmodifiable",
    "SlowDown",
    "PriorRequestNotComplete",
    "RequestTimeout",
    "ServiceUnavailable",
    "InternalError",
    "InternalFailure",
    "ServerException",
    "OperationAborted",
    # EC2, "Error codes": more snapshots at once, or of one volume, than it takes now.
    "ConcurrentSnapshotLimitExceeded",
    "SnapshotCreationPerVolumeRateExceeded",
}
# CodeBuild takes no further build while others run; of a new account it takes none at all.
_QUEUE: Final = "AccountLimitExceededException"
_NO_BUILDS: Final = "more than 0 builds"
_OF_CAPACITY: Final = {
    STOCK: "AWS has no such machine there now: try later, another zone or another instance type.",
    QUOTA: "Ask for more quota in that region (Service Quotas), or choose another instance type or region.",
    LIMIT: "Choose a subnet with free addresses.",
}
_ADVICE: Final = (
    (
        re.compile(r"service control policy|resource control policy|explicit deny"),
        "A policy of the organisation or the account denies it.",
    ),
    (
        re.compile(r"AccountLimitExceeded|ResourceLimitExceeded|SnapshotLimitExceeded|AddressLimitExceeded"),
        "Ask for more quota in that region (Service Quotas), or delete what is not used.",
    ),
    (
        re.compile(r"Invalid IAM Instance Profile"),
        "Check the name of the instance profile; a new one takes some seconds.",
    ),
    (re.compile(r"K[Mm][Ss]\w*Invalid|InvalidK[Mm][Ss]\w*"), "Enable that KMS key, or choose another one."),
    (re.compile(r"STS is not activated|RegionDisabled"), "Activate that region in the account, or choose another one."),
    (re.compile(r"OpenIDConnect|IDPCommunication"), "Check the identity provider of the connection's role."),
    (
        re.compile(r"NotFound|does not exist|No cluster found"),
        "Check that name, and the connection's region and account.",
    ),
    (
        re.compile(r"RequestTimeTooSkewed|Signature (?:expired|not yet current)"),
        "Set the clock of the machine that runs the task.",
    ),
    (
        re.compile(r"InvalidClientTokenId|UnrecognizedClient|AuthFailure|SignatureDoesNotMatch|InvalidAccessKeyId"),
        "Check the connection's credentials.",
    ),
    (re.compile(r"OptInRequired|PendingVerification|Blocked:"), "Activate the account or the service in that region."),
)
_CONFIG: Final = Config(
    retries={"mode": "standard", "total_max_attempts": 2},
    connect_timeout=10,
    read_timeout=30,
    user_agent_extra="airflow-llm-provisioning",
)


class Aws:
    """Clients of one account and region. `credentials`: a session, or a function that makes a fresh one.

    `endpoint_url`: every service at this address instead of its own (a stand-in, or a private endpoint that has all).
    """

    def __init__(
        self, credentials: Session | Callable[[], Session], *, region: str, endpoint_url: str | None = None
    ) -> None:
        self.region = region
        self._endpoint_url = endpoint_url
        self._make = credentials if callable(credentials) else lambda: credentials
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._clients: dict[str, Any] = {}
        self._account: str | None = None

    @property
    def place(self) -> str:
        """The ledger's word for this account's region."""
        return f"cloud:eks/{self.region}"

    def session(self) -> Session:
        """Return the session in use."""
        with self._lock:
            if self._session is None:
                self._session = self._make()
            return self._session

    def client(self, service: str) -> Any:
        """Return a client; making one is not thread-safe in boto3, using one is."""
        session = self.session()
        with self._lock:
            if service not in self._clients:
                self._clients[service] = session.client(
                    service, region_name=self.region, endpoint_url=self._endpoint_url, config=_CONFIG
                )
            return self._clients[service]

    def renew(self) -> None:
        """Forget session and clients: the next call begins with fresh credentials."""
        with self._lock:
            self._session = None
            self._clients.clear()

    def close(self) -> None:
        """Close every connection that was opened."""
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    @contextmanager
    def starting(self, verb: str) -> Iterator[None]:
        """Turn AWS's errors inside into a CloudError about the start of `verb`, or a TransientError."""
        try:
            yield
        except AWS_ERRORS as error:
            refusal = cloud_error(f"Cannot start {verb} in {self.region}", error)
            raise (TransientError(str(refusal)) if kind_of(error) == "transient" else refusal) from error

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn AWS's errors inside into a TransientError (with fresh credentials next time) or a StepFailedError."""
        try:
            yield
        except AWS_ERRORS as error:
            kind = kind_of(error)
            if kind == "permanent":
                raise StepFailedError(f"{in_words(error)}. {advice_for(error)}".rstrip(".")) from error
            if kind == "expired":
                self.renew()
            raise TransientError(in_words(error)) from error

    def account(self) -> str:
        """Return the account's number."""
        if self._account is None:
            self._account = str(self.client("sts").get_caller_identity()["Account"])
        return self._account

    def registry(self) -> str:
        """Return the host of the account's own ECR in this region."""
        suffix = "amazonaws.com.cn" if self.region.startswith("cn-") else "amazonaws.com"
        return f"{self.account()}.dkr.ecr.{self.region}.{suffix}"


def kind_of(error: Exception) -> Kind:
    """Return whether a call is worth repeating as it is, with fresh credentials, or not at all."""
    if isinstance(error, ClientError):
        code = error_code(error)
        if code in _EXPIRED:
            return "expired"
        return "transient" if _may_pass(code, error) else "permanent"
    answerless = isinstance(error, (HTTPClientError, NoConnectionError, ResponseParserError))
    return "transient" if answerless and not isinstance(error, SSLError) else "permanent"


def _may_pass(code: str, error: ClientError) -> bool:
    """Return whether a refusal is of this moment. EC2 refuses capacity with status 500 (aws-sdk-ruby issue 568), and
    asking again for minutes changes nothing.
    """
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code == _QUEUE:
        return "builds in queue" in str(error) and _NO_BUILDS not in str(error)
    if code in _TRANSIENT or status == 429 or any(word in code for word in _THROTTLED):
        return True
    return bool(status >= 500) and refusal_kind(str(error.response.get("Error", {}).get("Message")), code) is None


def error_code(error: Exception) -> str:
    """Return AWS's code of an error, or an empty text for one that never reached AWS."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


def in_words(error: Exception) -> str:
    """Return an AWS error as one clause: the call, the code, AWS's own message."""
    if isinstance(error, ClientError):
        details = error.response.get("Error", {})
        return f"{error.operation_name} was refused ({details.get('Code')}: {details.get('Message')})".rstrip()
    return f"AWS could not be asked ({error})"


def absent(error: Exception) -> bool:
    """Return whether an error says that the thing does not exist (any more)."""
    code = error_code(error)
    return code.startswith("NoSuch") or "NotFound" in code or code in ("404", "InvalidResourceId")


def cloud_error(attempted: str, error: Exception) -> CloudError:
    """Return an AWS error as ours, saying what was attempted and what to do."""
    return CloudError(f"{attempted}: {in_words(error)}. {advice_for(error)}")


def advice_for(error: Exception) -> str:
    """Return what the user can do about an AWS error."""
    kind, code = kind_of(error), error_code(error)
    if kind != "permanent":
        return "Refresh the connection's credentials and try again." if kind == "expired" else "Try again later."
    said = str(error)
    if refused := refusal_kind(said, code):
        return _OF_CAPACITY.get(refused, _OF_CAPACITY[STOCK])
    if not isinstance(error, ClientError):
        return "Check the connection's credentials, region and endpoint."
    told = (words for pattern, words in _ADVICE if pattern.search(f"{code}: {said}"))
    return next(told, "Check the arguments and the policies in docs/iam.")


def pairs(tags: Mapping[str, str], key: str = "Key", value: str = "Value") -> list[dict[str, str]]:
    """Return tags as AWS lists them; CodeBuild spells `key` and `value` in lower case."""
    return [{key: name, value: text} for name, text in tags.items()]


def from_pairs(listed: Iterable[Mapping[str, str]] | None) -> dict[str, str]:
    """Return AWS's list of tags, of either spelling, as a mapping."""
    return {item.get("Key") or item["key"]: item.get("Value") or item.get("value") or "" for item in listed or ()}


def filters(tags: Mapping[str, str], **others: str | list[str]) -> list[dict[str, Any]]:
    """Return EC2 filters for tags, and for named fields (`state=`, `instance_state_name=`, ...)."""
    found = [{"Name": f"tag:{key}", "Values": [value]} for key, value in tags.items()]
    for name, values in others.items():
        found.append({"Name": name.replace("_", "-"), "Values": [values] if isinstance(values, str) else list(values)})
    return found
