"""The API server's refusals, worded as the real one words them (k8s.io/apimachinery, pkg/api/errors, v0.34).

`StatusError` stands outside the package's error tree: it is an answer of the stand-in, which travels over the wire as a
Status object, and which controllers inside the simulator meet as an exception.
"""

from collections.abc import Sequence
from typing import Any

from llm_provisioning_simulator.kube.resources import Resource


class StatusError(Exception):
    """A request refused: HTTP code, machine-readable reason, message, and the details object where there is one."""

    def __init__(self, code: int, reason: str, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.details = details

    def body(self) -> dict[str, Any]:
        """Return the Status object."""
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": str(self),
            "reason": self.reason,
        }
        if self.details is not None:
            status["details"] = self.details
        status["code"] = self.code
        return status


def details_of(resource: Resource, name: str = "", *, kind: str | None = None, **more: Any) -> dict[str, Any]:
    """Return a Status's details: the object meant; empty fields are left out as Go's omitempty does."""
    found = {"name": name, "group": resource.group, "kind": kind or resource.plural}
    return {key: value for key, value in found.items() if value} | more


def not_found(resource: Resource, name: str) -> StatusError:
    """404 of an object."""
    message = f'{resource.group_resource} "{name}" not found'
    return StatusError(404, "NotFound", message, details_of(resource, name))


def path_not_found() -> StatusError:
    """404 of a path that serves no resource."""
    return StatusError(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(resource: Resource, name: str) -> StatusError:
    """409 of a create."""
    message = f'{resource.group_resource} "{name}" already exists'
    return StatusError(409, "AlreadyExists", message, details_of(resource, name))


def conflict(resource: Resource, name: str, why: str | None = None) -> StatusError:
    """409 of a write on a stale object."""
    why = why or "the object has been modified; please apply your changes to the latest version and try again"
    message = f'Operation cannot be fulfilled on {resource.group_resource} "{name}": {why}'
    return StatusError(409, "Conflict", message, details_of(resource, name))


def precondition_failed(resource: Resource, name: str, field: str, asked: str, held: str) -> StatusError:
    """409 of a delete whose precondition does not hold (apiserver, registry/rest/delete.go). `field`: UID or
    ResourceVersion.
    """
    what = "deleted and then recreated" if field == "UID" else "modified"
    message = (
        f'Operation cannot be fulfilled on {_subject(resource)} "{name}": the {field} in the precondition ({asked}) '
        f"does not match the {field} in record ({held}). The object might have been {what}"
    )
    return StatusError(409, "Conflict", message, details_of(resource, name, kind=resource.kind))


def _subject(resource: Resource) -> str:
    return f"{resource.kind}.{resource.group}" if resource.group else resource.kind


def version_required(resource: Resource, name: str) -> StatusError:
    """422 of an update that names no version; the server calls the kind by its resource here (recorded)."""
    message = "Invalid value: 0: must be specified for an update"
    cause = {"reason": "FieldValueInvalid", "message": message, "field": "metadata.resourceVersion"}
    text = f'{resource.group_resource} "{name}" is invalid: metadata.resourceVersion: {message}'
    return StatusError(422, "Invalid", text, details_of(resource, name, causes=[cause]))


def invalid(resource: Resource, name: str, causes: Sequence[tuple[str, str, str]]) -> StatusError:
    """422; each cause is (reason, field, message), e.g. ("FieldValueRequired", "spec.x", "Required value")."""
    lines = [f"{field}: {message}" for _, field, message in causes]
    shown = lines[0] if len(lines) == 1 else f"[{', '.join(lines)}]"
    subject = _subject(resource)
    found = [{"reason": reason, "message": message, "field": field} for reason, field, message in causes]
    details = details_of(resource, name, kind=resource.kind, causes=found)
    return StatusError(422, "Invalid", f'{subject} "{name}" is invalid: {shown}', details)


def forbidden(resource: Resource, name: str, why: str) -> StatusError:
    """403."""
    subject = f'{resource.group_resource} "{name}"' if name else resource.group_resource
    return StatusError(403, "Forbidden", f"{subject} is forbidden: {why}", details_of(resource, name))


def bad_request(message: str) -> StatusError:
    """400."""
    return StatusError(400, "BadRequest", message)


def unavailable(message: str) -> StatusError:
    """503."""
    return StatusError(503, "ServiceUnavailable", message)


def expired(asked: int, oldest: int) -> StatusError:
    """410: a watch from before what the server remembers."""
    return StatusError(410, "Expired", f"too old resource version: {asked} ({oldest})")


def success(resource: Resource, name: str, uid: str) -> dict[str, Any]:
    """Return the Status of a delete that removed the object at once."""
    details = details_of(resource, name, uid=uid)
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
