"""Compute Engine's instances, disks and images of ours: looked up, listed, deleted. Nothing here knows what they hold.

compute v1 as its discovery document says. A delete is accepted long before the object is gone, so a caller looks again.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

from google.api_core import exceptions as google

from airflow_llm_provisioning.core.names import LABEL_MANAGED_BY, OWNER
from airflow_llm_provisioning.exceptions import CloudError
from airflow_llm_provisioning.gateways.clouds.base import Owned
from airflow_llm_provisioning.gateways.clouds.gke.clients import READ, WRITE
from airflow_llm_provisioning.gateways.clouds.gke.errors import UnreadableAnswerError, google_errors
from airflow_llm_provisioning.gateways.clouds.gke.steps import Project
from airflow_llm_provisioning.gateways.clouds.gke.tags import GOOGLE_TAGS

KINDS: Final = ("instance", "disk", "disk_image")
_ENDING: Final = frozenset({"STOPPING", "DELETING"})


class Compute:
    """What this package has in Compute Engine, in one project and in the zones of one region."""

    def __init__(self, project: Project) -> None:
        self._project = project

    def instance(self, zone: str, name: str) -> Any:
        """Return an instance, or None."""
        return self._found("instance", self.path("instance", name, zone))

    def disk(self, zone: str, name: str) -> Any:
        """Return a zonal disk, or None."""
        return self._found("disk", self.path("disk", name, zone))

    def image(self, name: str) -> Any:
        """Return a disk image, or None."""
        return self._found("disk_image", self.path("disk_image", name))

    def path(self, kind: str, name: str, zone: str | None = None) -> str:
        """Return what the ledger and GKE call a thing."""
        if kind == "disk_image":
            return f"projects/{self._project.name}/global/images/{name}"
        return f"projects/{self._project.name}/zones/{zone}/{kind}s/{name}"

    def still_there(self, kind: str, name: str, zone: str | None = None) -> bool:
        """Ask for the deletion of a thing of ours where that was not done yet; say whether it is still seen."""
        path = self.path(kind, name, zone)
        found = self._found(kind, path)
        if found is None or not GOOGLE_TAGS.is_ours(dict(found.labels)):
            self._project.entries.gone(kind, name=path)
            return False
        self._delete(kind, path, found)
        return True

    def labels_of(self, kind: str, path: str) -> dict[str, str] | None:
        """Return the labels that a thing carries now; None where it is gone."""
        found = self._found(kind, path)
        return None if found is None else dict(found.labels)

    def delete(self, kind: str, path: str) -> None:
        """Ask for a deletion; nothing where it is under way or the thing is gone."""
        found = self._found(kind, path)
        if found is not None:
            self._delete(kind, path, found)

    def listed(self) -> list[Owned]:
        """Return everything of ours, in the order in which it can be deleted: instances, disks, images."""
        clients, project = self._project.clients, self._project.name
        mark = GOOGLE_TAGS.spell({LABEL_MANAGED_BY: OWNER})
        wanted = " ".join(f"labels.{key}={value}" for key, value in mark.items())
        request = {"project": project, "filter": wanted}
        found: list[Owned] = []
        for kind, listing in (("instance", clients.instances), ("disk", clients.disks)):
            with google_errors(f"list the {kind}s of project {project}"):
                for page in listing.aggregated_list(request=request, **READ).pages:
                    found += self._listed_zones(kind, page)
        with google_errors(f"list the images of project {project}"):
            for item in clients.disk_images.list(request=request, **READ):
                # An image has no region of its own; ours are stored in that of the nodes.
                if self._project.region in item.storage_locations:
                    found.append(self._owned("disk_image", item, None))
        # A disk of an instance that is there goes after it.
        return [owned for owned in found if GOOGLE_TAGS.is_ours(owned.tags)]

    def _listed_zones(self, kind: str, page: Any) -> Iterator[Owned]:
        # Google may leave out zones and say so beside the list.
        missing = [place for place in page.unreachables if self._project.region in place]
        if missing:
            raise CloudError(
                f"Google could not list the {kind}s of {', '.join(missing)}: a list of what is ours would be "
                "incomplete; try again later."
            )
        for scope, scoped in page.items.items():
            zone = scope.removeprefix("zones/")
            if zone.rpartition("-")[0] == self._project.region:
                yield from (self._owned(kind, item, zone) for item in getattr(scoped, f"{kind}s"))

    def set_labels(self, kind: str, name: str, zone: str | None, found: Any, labels: Mapping[str, str]) -> bool:
        """Put these labels on a disk or an image, beside those that it had when it was `found`. False: its labels were
        changed meanwhile, and nothing is done.
        """
        clients, project = self._project.clients, self._project.name
        body = {"labels": {**dict(found.labels), **labels}, "label_fingerprint": found.label_fingerprint}
        request: dict[str, Any] = {"project": project, "resource": name}
        with google_errors(f"label {self.path(kind, name, zone)}"):
            try:
                if kind == "disk_image":
                    request["global_set_labels_request_resource"] = body
                    clients.disk_images.set_labels_unary(request=request, **WRITE)
                else:
                    request |= {"zone": zone, "zone_set_labels_request_resource": body}
                    clients.disks.set_labels_unary(request=request, **WRITE)
            except google.PreconditionFailed:
                return False
        return True

    def _owned(self, kind: str, item: Any, zone: str | None) -> Owned:
        return Owned(
            kind, self.path(kind, item.name, zone), GOOGLE_TAGS.read(dict(item.labels)), None, _priced(kind, item)
        )

    def _found(self, kind: str, path: str) -> Any:
        clients = self._project.clients
        gets: Mapping[str, Callable[..., Any]] = {
            "instance": clients.instances.get,
            "disk": clients.disks.get,
            "disk_image": clients.disk_images.get,
        }
        with google_errors(f"read {path}"):
            try:
                return gets[kind](request=_named(kind, path), **READ)
            except google.NotFound:
                return None

    def _delete(self, kind: str, path: str, found: Any) -> None:
        if found.status in _ENDING:
            return
        clients = self._project.clients
        deletes: Mapping[str, Callable[..., Any]] = {
            "instance": clients.instances.delete_unary,
            "disk": clients.disks.delete_unary,
            "disk_image": clients.disk_images.delete_unary,
        }
        # An answer that cannot be decoded is one: the next look sees whether the thing goes.
        with suppress(UnreadableAnswerError), google_errors(f"delete {path}"), suppress(google.NotFound):
            deletes[kind](request=_named(kind, path), **WRITE)


def _named(kind: str, path: str) -> dict[str, str]:
    """Return a path as a request names it."""
    parts = path.split("/")
    if kind == "disk_image":
        return {"project": parts[1], "image": parts[-1]}
    return {"project": parts[1], "zone": parts[3], kind: parts[-1]}


def _priced(kind: str, item: Any) -> tuple[str, str, float] | None:
    """Return how the price book calls a thing, and how much there is of it. An image is paid by what it stores."""
    match kind:
        case "instance":
            return "node", str(item.machine_type).rpartition("/")[2], 1.0
        case "disk" if item.size_gb:
            return "disk", str(item.type_).rpartition("/")[2], float(item.size_gb)
        case "disk_image" if item.archive_size_bytes:
            return "snapshot", "standard", item.archive_size_bytes / 2.0**30
    return None
