"""Google's refusals in our words: what was attempted, what Google said, what to do; and which pass by waiting."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import requests
from google.api_core import exceptions as google
from google.auth import exceptions as auth

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
    auth.TransportError,
)
_REQUEST: Final = re.compile(r"^[A-Z]+ https?://\S+?: ")


@contextmanager
def google_errors(attempt: str) -> Iterator[None]:
    """Turn what Google's clients raise into one sentence. `attempt`: a verb and its object, `read cluster "x"`."""
    try:
        yield
    except TRANSIENT as error:
        said = f"{_status(error)}: {_message(error)}"
        raise TransientError(f"Google did not answer when asked to {attempt} ({said}).") from error
    except google.GoogleAPICallError as error:
        status, said = _status(error), _message(error)
        raise CloudError(
            f"Google refused to {attempt}: {status}: {said} {advice(status, said, error.reason)}"
        ) from error
    except auth.GoogleAuthError as error:
        raise CloudError(
            f"Could not {attempt}: the connection's credentials were not accepted ({_message(error)}). "
            "Check key or impersonation in the Airflow connection."
        ) from error


def advice(status: str, said: str, reason: str | None = None) -> str:
    """Return what the user can do about a refusal or a failed operation."""
    lowered = said.lower()
    if reason == "SERVICE_DISABLED" or "it is disabled" in lowered:
        return "Enable that API in the project (`gcloud services enable`) and start again."
    if "quota" in lowered or status in {"RESOURCE_EXHAUSTED", "8"}:
        return "Ask for more quota in that region, or choose another machine, GPU or region."
    if status in {"PERMISSION_DENIED", "403", "7"}:
        return "Grant the connection's account the role that docs/gke.md lists for this."
    if status in {"NOT_FOUND", "404", "5"}:
        return "Check project, location and name."
    if status == "RESOURCE_POOL_EXHAUSTED" or "stockout" in lowered:
        return "Google has no such machines there now: try later or another zone."
    return "See Google's message and docs/gke.md."


def _status(error: Exception) -> str:
    if isinstance(error, google.GoogleAPICallError):
        response = getattr(error, "response", None)
        try:
            return str(response.json()["error"]["status"]) if response is not None else str(error.code)
        except (ValueError, KeyError, TypeError):
            return str(error.code)
    return type(error).__name__


def _message(error: Exception) -> str:
    said: Any = getattr(error, "message", None) or str(error)
    # The REST transport puts method and URL before Google's own sentence.
    text = _REQUEST.sub("", str(said), count=1)
    return text if text.endswith(".") else f"{text}."
