"""Google's long-running changes as steps: looked at first, begun once, and waited for by looking.

A change is found by the state of its object, so a new process that knows only the first Operation continues: what is
done is skipped, what runs is adopted, what is absent is begun. Google's own operation waiters are not used: the
official hook reports an operation that ended with an error as success (google provider 22.8,
GKEHook.wait_for_operation).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from google.api_core import exceptions as google

from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.exceptions import CloudError
from airflow_llm_provisioning.gateways.clouds.gke.clients import READ, GoogleClients
from airflow_llm_provisioning.gateways.clouds.gke.errors import UnreadableAnswerError, advice, google_errors, is_busy
from airflow_llm_provisioning.gateways.clouds.verbs import Look, Step, done, not_yet
from airflow_llm_provisioning.gateways.store.ledger import LedgerEntries

# How long an object may lag behind an operation that ended, or whose name Google no longer knows.
SETTLE_S: Final = 300.0
_ALREADY_EXISTS: Final = "6"  # google.rpc.Code

State = Literal["absent", "pending", "done"]


@dataclass(frozen=True, slots=True)
class Project:
    """Where everything happens. `location`: of the clusters (region or zone); `region`: of the registry.

    `build_location`: of Cloud Build; `global` unless the project must build in its region.
    """

    clients: GoogleClients
    name: str
    location: str
    entries: LedgerEntries
    clock: Callable[[], datetime]
    build_location: str = "global"

    @property
    def region(self) -> str:
        """The region a zonal or regional location lies in."""
        parts = self.location.split("-")
        return "-".join(parts[:2])

    @property
    def path(self) -> str:
        """The clusters' parent."""
        return f"projects/{self.name}/locations/{self.location}"

    @property
    def registry_path(self) -> str:
        """The repositories' parent."""
        return f"projects/{self.name}/locations/{self.region}"

    @property
    def build_path(self) -> str:
        """The builds' parent."""
        return f"projects/{self.name}/locations/{self.build_location}"


@dataclass(frozen=True, slots=True)
class Change:
    """Something that must become so. `begin` returns the operation it began, {"kind", "name"}, or None when at once.

    `target`: path of the cluster or node pool, where another operation of it must be waited for.
    """

    key: str
    words: str
    state: Callable[[], State]
    begin: Callable[[], Mapping[str, str] | None]
    target: str | None = None


def step_of(project: Project, change: Change) -> Step:
    """Return the step that makes a change so. Its phase is counted from where it was begun here, not from the look."""
    return Step(change.key, lambda operation: _settle(project, operation, change), timed=False)


def seconds_since(project: Project, instant: str) -> float:
    """Return the seconds since an instant of an operation's progress."""
    return (project.clock() - datetime.fromisoformat(instant)).total_seconds()


def _settle(project: Project, operation: Operation, change: Change) -> Look:
    marks = dict(operation.progress.get(change.key) or {})
    if marks.get("operation") and not marks.get("ended_at"):
        if not _ended(project, marks["operation"], change):
            return not_yet(change.words)
        marks["ended_at"] = project.clock().isoformat()
    state = change.state()
    if state == "done":
        return done(phases=_phases(project, operation, change, marks), **{change.key: marks})
    if marks.get("ended_at"):
        return _lagging(project, change, marks)
    if state == "pending":
        return not_yet(f"{change.words}: under way")
    return _begin(project, change)


def _phases(project: Project, operation: Operation, change: Change, marks: Mapping[str, Any]) -> dict[str, float]:
    phases = dict(operation.progress.get("phases") or {})
    if marks.get("begun_at"):
        phases[change.key] = round(seconds_since(project, marks["begun_at"]), 3)
    return phases


def _lagging(project: Project, change: Change, marks: Mapping[str, Any]) -> Look:
    if seconds_since(project, marks["ended_at"]) > SETTLE_S:
        raise CloudError(
            f"Could not {change.words}: Google's operation {marks['operation']['name']} is over or no longer known, "
            f"and {SETTLE_S:.0f} s later its object is still not so. See the project's activity log and start again."
        )
    return not_yet(change.words, **{change.key: marks})


def _begin(project: Project, change: Change) -> Look:
    now = project.clock().isoformat()
    busy = _running_on(project, change.target) if change.target else None
    if busy is not None and busy["target"] == change.target:
        adopted = {"operation": {"kind": "container", "name": busy["name"]}, "begun_at": now}
        return not_yet(f"{change.words}: under way", **{change.key: adopted})
    if busy is not None:
        return not_yet(f"{change.words}: waiting for {busy['name']} on the same cluster")
    if change.target and change.state() != "absent":
        # An operation that ran at the first look had ended at the second: the next look settles it.
        return not_yet(change.words)
    return _begun(change, now)


def _begun(change: Change, now: str) -> Look:
    begun: Mapping[str, str] | None = None
    try:
        with google_errors(change.words):
            begun = change.begin()
    except UnreadableAnswerError:
        pass  # Google accepted the call; from here the object's state decides.
    except CloudError as error:
        refusal = error.__cause__
        if isinstance(refusal, google.GoogleAPICallError) and is_busy(refusal):
            return not_yet(f"{change.words}: waiting for another operation on the same cluster")
        if isinstance(refusal, google.Conflict):
            # It came to be between looking and asking, or an earlier process's request is answered only now.
            return not_yet(change.words)
        raise
    marks = {"operation": dict(begun) if begun else None, "begun_at": now}
    return not_yet(change.words, **{change.key: marks})


def _running_on(project: Project, target: str) -> dict[str, str] | None:
    """Return the unfinished operation on the cluster of `target`: {"name", "target"}."""
    cluster = target.partition("/nodePools/")[0]
    with google_errors(f"list the operations in {project.path}"):
        listed = project.clients.container.list_operations(request={"parent": project.path}, **READ)
    for found in listed.operations:
        # Links name the project by number or name; what follows the location is the same.
        link = found.target_link.partition("/clusters/")[2]
        path = f"{cluster.partition('/clusters/')[0]}/clusters/{link}"
        if found.status.name in {"PENDING", "RUNNING"} and (path == cluster or path.startswith(f"{cluster}/")):
            return {"name": found.name, "target": path}
    return None


def _ended(project: Project, begun: Mapping[str, str], change: Change) -> bool:
    """Say whether an operation is over, unknown or unreadable; raise CloudError when it ended with an error."""
    try:
        with google_errors(f"look at operation {begun['name']}"):
            try:
                error = _LOOKS[begun["kind"]](project, begun["name"])
            except google.NotFound:
                return True
    except _StillRunningError:
        return False
    except UnreadableAnswerError:
        return True
    # The create of an earlier process was still under way and came first: what was wanted exists.
    if error is not None and error[0] != _ALREADY_EXISTS:
        status, message = error
        text = message if message.endswith(".") else f"{message}."
        raise CloudError(f"Could not {change.words}: {text} {advice(status, message)}")
    return True


class _StillRunningError(Exception):
    """The operation has not ended yet."""


def _look_container(project: Project, name: str) -> tuple[str, str] | None:
    found = project.clients.container.get_operation(request={"name": f"{project.path}/operations/{name}"}, **READ)
    if found.status.name != "DONE":
        raise _StillRunningError
    if found.error.code:
        return str(found.error.code), found.error.message or found.status_message
    # Before `error` existed, a failed operation said so here.
    return ("", found.status_message) if found.status_message else None


def _look_registry(project: Project, name: str) -> tuple[str, str] | None:
    return _look_long_running(project.clients.long_running("artifactregistry", name))


def _look_services(project: Project, name: str) -> tuple[str, str] | None:
    return _look_long_running(project.clients.long_running("serviceusage", name))


def _look_zone(project: Project, name: str) -> tuple[str, str] | None:
    zone, _, operation = name.partition("/")
    request = {"project": project.name, "zone": zone, "operation": operation}
    return _look_compute(project.clients.zone_operations.get(request=request, **READ))


def _look_global(project: Project, name: str) -> tuple[str, str] | None:
    request = {"project": project.name, "operation": name}
    return _look_compute(project.clients.global_operations.get(request=request, **READ))


def _look_compute(found: Any) -> tuple[str, str] | None:
    """Read a compute v1 Operation: its errors have a code in words (`QUOTA_EXCEEDED`, `RESOURCE_ALREADY_EXISTS`)."""
    if found.status.name != "DONE":
        raise _StillRunningError
    errors = list(found.error.errors)
    if not errors:
        return None
    code = _ALREADY_EXISTS if errors[0].code == "RESOURCE_ALREADY_EXISTS" else errors[0].code
    return code, "; ".join(error.message for error in errors)


def _look_long_running(found: Mapping[str, Any]) -> tuple[str, str] | None:
    if not found.get("done"):
        raise _StillRunningError
    error = found.get("error")
    return (str(error.get("code")), str(error.get("message"))) if error else None


_LOOKS: Final[Mapping[str, Callable[[Project, str], tuple[str, str] | None]]] = {
    "container": _look_container,
    "registry": _look_registry,
    "prewarm": _look_registry,
    "services": _look_services,
    # Name: `<zone>/<operation>`.
    "zone": _look_zone,
    "global": _look_global,
}
