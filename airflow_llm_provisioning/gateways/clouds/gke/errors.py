"""Google's refusals in our words: what was attempted, what Google said, what to do; and which pass by waiting."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import requests
from google.api_core import exceptions as google
from google.auth import exceptions as auth
from google.protobuf import json_format
from google.protobuf.message import DecodeError

from airflow_llm_provisioning.core.capacity import refusal_kind
from airflow_llm_provisioning.core.capacity.words import QUOTA, STOCK
from airflow_llm_provisioning.exceptions import CloudError
from airflow_llm_provisioning.gateways.clouds.verbs import TransientError

TRANSIENT: Final = (
    google.TooManyRequests,
    google.ServiceUnavailable,
    google.GatewayTimeout,
    google.BadGateway,
    google.InternalServerError,
    google.RetryError,
    requests.exceptions.ConnectionError,
    requests.exceptions.Timeout,
    requests.exceptions.ChunkedEncodingError,
    auth.TransportError,
)
# What the clients raise on a body that they cannot decode, although Google answered 2xx: refusals are read before.
# Service Usage really answers so: {"metadata": {"@type": "type.googleapis.com/google.protobuf.Any"}}, without a value
# (cloud-custodian, recorded 2020-12-02).
_UNREADABLE: Final = (
    json_format.Error,
    DecodeError,
    json.JSONDecodeError,
    UnicodeDecodeError,
    requests.exceptions.InvalidJSONError,
    requests.exceptions.ContentDecodingError,
)
# A cluster changes one thing at a time; what comes meanwhile is refused with 400 FAILED_PRECONDITION, in these words:
# "Cluster is running incompatible operation X." and "Operation X is currently creating a node pool for cluster Y.
# Please wait and try again once it is done." (terraform-provider-google issue 10366, prometheus/test-infra pull 84).
_BUSY: Final = re.compile(
    r"incompatible operation|\bis currently \w+ing\b|wait and try again|try again once (it|the operation) is done"
    r"|\balready being (?!used)\w+ed\b|\bin state (?:reconciling|provisioning)\b|\bresource '[^']{1,300}' is not ready",
    re.IGNORECASE,
)
# Compute Engine answers 403 to too many calls ("API errors", rateLimitExceeded).
_RATE: Final = re.compile(r"rate ?limit ?exceeded|\bper (?:minute|second|100 seconds)\b", re.IGNORECASE)
_RATE_REASON: Final = "RATE_LIMIT_EXCEEDED"
_BUSY_REASON: Final = "CLUSTER_ALREADY_HAS_OPERATION"
_ENABLE: Final = "Enable that API in the project (`gcloud services enable`) and start again."
_ADVICE: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), words)
    for pattern, words in (
        ("it is disabled|API (?:must )?be enabled", _ENABLE),
        (
            "serviceAccountUser|act as service account|iam.serviceAccounts.actAs",
            "Grant the connection's account roles/iam.serviceAccountUser on that service account.",
        ),
        ("ip.space|free (?:ip )?addresses", "Give the subnet a larger or a further range for nodes and pods."),
        (
            "does not exist in zone|is not (?:available|supported) in zone",
            "Choose a machine, an accelerator and a zone that go together.",
        ),
        (r"in (?:state )?ERROR\b", "Repair the cluster first: Google tells why in its status."),
        ("constraints/|organization's policy", "A policy of the organisation forbids it: ask its administrator."),
        ("requires billing|billing account|enable billing", "Enable billing on the project."),
    )
)
_BY_STATUS: Final = (
    (frozenset({"UNAUTHENTICATED", "401", "16"}), "Check key or impersonation in the Airflow connection."),
    (
        frozenset({"PERMISSION_DENIED", "403", "7"}),
        "Grant the connection's account the role that docs/gke.md lists for this.",
    ),
    (frozenset({"NOT_FOUND", "404", "5"}), "Check project, location and name."),
)
_REQUEST: Final = re.compile(r"^[A-Z]+ https?://\S+?: ")


class UnreadableAnswerError(CloudError):
    """Google accepted a call, and the client cannot decode its answer: what was asked for may have been begun."""


@contextmanager
def google_errors(attempt: str) -> Iterator[None]:
    """Turn what Google's clients raise into one sentence. `attempt`: a verb and its object, `read cluster "x"`.

    A TransientError passes by waiting: no answer, or another operation runs on the same cluster. An
    UnreadableAnswerError means that Google accepted the call.
    """
    try:
        yield
    except _UNREADABLE as error:
        raise UnreadableAnswerError(
            f"Google answered when asked to {attempt}, but the answer cannot be decoded ({_first_line(error)}). "
            "See whether a newer version of Google's client libraries is published."
        ) from error
    except google.GoogleAPICallError as error:
        status, said = _status(error), _message(error)
        if is_busy(error) or _is_put_off(error):
            raise TransientError(f"Google cannot {attempt} yet: {status}: {said}") from error
        if isinstance(error, TRANSIENT) and not isinstance(error, google.TooManyRequests):
            raise TransientError(f"Google did not answer when asked to {attempt} ({status}: {said}).") from error
        raise CloudError(
            f"Google refused to {attempt}: {status}: {said} {advice(status, said, error.reason)}"
        ) from error
    except TRANSIENT as error:
        said = f"{_status(error)}: {_message(error)}"
        raise TransientError(f"Google did not answer when asked to {attempt} ({said}).") from error
    except auth.GoogleAuthError as error:
        raise CloudError(
            f"Could not {attempt}: the connection's credentials were not accepted ({_message(error)}). "
            "Check key or impersonation in the Airflow connection."
        ) from error


def is_busy(error: google.GoogleAPICallError) -> bool:
    """Return whether a refusal means that another operation runs on the same cluster, and that waiting helps."""
    if not isinstance(error, (google.BadRequest, google.Conflict)):
        return False
    return error.reason == _BUSY_REASON or _BUSY.search(str(error.message or error)) is not None


def _is_put_off(error: google.GoogleAPICallError) -> bool:
    """Return whether Google takes no more calls at this moment, or another change came in between (ABORTED and
    CANCELLED, google.rpc.Code). A used up quota of machines comes as 429 too, and waiting does not help.
    """
    if isinstance(error, google.TooManyRequests):
        return refusal_kind(str(error.message)) != QUOTA
    if isinstance(error, google.Cancelled) or _status(error) == "ABORTED":
        return True
    return isinstance(error, google.Forbidden) and (
        error.reason == _RATE_REASON or _RATE.search(str(error.message or error)) is not None
    )


def advice(status: str, said: str, reason: str | None = None) -> str:
    """Return what the user can do about a refusal or a failed operation."""
    if reason == "SERVICE_DISABLED":
        return _ENABLE
    if told := next((words for pattern, words in _ADVICE if pattern.search(said)), None):
        return told
    if status.endswith("RESOURCE_POOL_EXHAUSTED") or refusal_kind(said) == STOCK:
        return "Google has no such machines there now: try later or another zone."
    if "quota" in said.lower() or status in {"RESOURCE_EXHAUSTED", "8"}:
        return "Ask for more quota in that region, or choose another machine, GPU or region."
    return next((words for codes, words in _BY_STATUS if status in codes), "See Google's message and docs/gke.md.")


def _status(error: Exception) -> str:
    if isinstance(error, google.GoogleAPICallError):
        response = getattr(error, "response", None)
        try:
            return str(response.json()["error"]["status"]) if response is not None else str(error.code)
        except (ValueError, KeyError, TypeError):
            return str(error.code)
    return type(error).__name__


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def _message(error: Exception) -> str:
    said: Any = getattr(error, "message", None) or str(error)
    # The REST transport puts method and URL before Google's own sentence.
    text = _REQUEST.sub("", str(said), count=1)
    return text if text.endswith(".") else f"{text}."
