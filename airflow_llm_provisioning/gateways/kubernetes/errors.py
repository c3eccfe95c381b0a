"""Maps refusals of the API server to exceptions: from a status code to one clear sentence."""

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from airflow_llm_provisioning.core.blockers.causes import advice_for
from airflow_llm_provisioning.core.one_line import one_line
from airflow_llm_provisioning.exceptions import ClusterError, ClusterUnreachableError, ConflictError, ForbiddenError


class NotFoundError(ClusterError):
    """The object does not exist, or the API server does not serve the resource."""


class ExpiredError(ClusterError):
    """410: the server no longer has, or does not have yet, the resourceVersion to continue from; list again."""


class UnavailableError(ClusterUnreachableError):
    """429, 500, 502, 503 or 504 until the end of the retries. `retry_after_s`: the value in the last answer."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A request, described for messages. `object_name`: `namespace/name`, name or empty."""

    verb: str
    resource: str
    object_name: str
    cluster: str

    def __str__(self) -> str:
        subject = f"{self.resource} {self.object_name}".strip()
        return f"{self.verb} {subject} on cluster {self.cluster}"


TRANSIENT: Final = frozenset({429, 500, 502, 503, 504})

# Who refuses besides the authorizer: admission plug-ins, webhooks and policies (apiserver, plugin/pkg/admission).
_ADMISSION = re.compile(r"admission webhook|denied request|exceeded quota|failed quota|because it is being terminated")
# The authorizer's sentence: `pods "x" is forbidden: User "jane" cannot get resource "pods" in API group ...`.
_USER = re.compile(r'User "([^"]+)"')


def status_of(body: bytes) -> dict[str, Any]:
    """Return the Status object of a refusal. If the body is not JSON (a proxy's HTML), its start is the `message`."""
    try:
        status = json.loads(body)
    except ValueError:
        return {"message": body[:200].decode("utf-8", "replace").strip()}
    return status if isinstance(status, dict) else {"message": str(status)[:200]}


def error_for(code: int, body: bytes, attempt: Attempt) -> ClusterError:
    """Return the exception for a refusal."""
    status = status_of(body)
    message = one_line(str(status.get("message") or f"HTTP {code}"))
    if code == 403:
        return _forbidden(message, attempt)
    if code == 401:
        return ClusterError(
            f"Could not {attempt}: the API server does not accept the credentials ({message}). "
            "Check the token, certificate or exec plugin of the connection."
        )
    if code in (404, 405):
        return NotFoundError(f"Could not {attempt}: not found ({message}).{_not_served(message)}")
    if code == 409:
        why = "Wait until it is gone" if "being deleted" in message else "Another manager owns it, or it was changed"
        return ConflictError(f"Could not {attempt}: {message}. {why}.")
    if code == 410 or _version_too_large(status):
        return ExpiredError(f"Could not {attempt}: the resourceVersion is too old ({message}).")
    if code in TRANSIENT:
        advice = advice_for(message, "admission") if code == 500 else ""
        return UnavailableError(
            f"Could not {attempt}: the API server answers {code} ({message}). {advice or 'Try again later.'}"
        )
    advice = advice_for(message, "admission")
    return ClusterError(f"Could not {attempt}: the API server answers {code}: {message}{_added(advice)}")


def _version_too_large(status: dict[str, Any]) -> bool:
    """Return whether the server is behind the client's version: it was restored, or another server has its address.

    It then answers 504 permanently (apiserver storage/errors.go, NewTooLargeResourceVersionError; client-go's reflector
    lists again).
    """
    details = status.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    return any(isinstance(cause, dict) and cause.get("reason") == "ResourceVersionTooLarge" for cause in causes or ())


def _added(advice: str) -> str:
    return f". {advice}" if advice else ""


def _not_served(message: str) -> str:
    if "could not find the requested resource" in message:
        return " The cluster does not serve this kind: install its CRD (for RayServices, KubeRay)."
    return " Create that namespace." if re.search(r"namespaces \S+ not found", message) else ""


def _forbidden(message: str, attempt: Attempt) -> ForbiddenError:
    user = _USER.search(message)
    if user is None and _ADMISSION.search(message):
        advice = advice_for(message, "admission")
        return ForbiddenError(
            f"Could not {attempt}: the cluster refuses it ({message}).{f' {advice}' if advice else ''}"
        )
    if user is None and message.startswith("<"):
        return ForbiddenError(
            f"Could not {attempt}: what answers is no API server ({message}). Check the proxies and firewalls between, "
            "and the address of the connection."
        )
    who = f"user {user.group(1)!r}" if user else "the connection's user"
    return ForbiddenError(
        f"Could not {attempt}: {who} may not {attempt.verb} {attempt.resource} ({message}). "
        "Grant it by a Role or ClusterRole, or use another connection."
    )
