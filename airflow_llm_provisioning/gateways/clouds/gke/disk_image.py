"""snapshot_image on GKE: a disk image that holds the serving image, for the secondary boot disks of a node pool.

A builder VM fills an empty disk (`disk_script.py`) and is deleted; an image is made of the disk, and the disk is
deleted. Everything has a name that follows from its content, so a new process finds what an earlier one made, and two
targets that want the same image share one builder. A disk that is filled says so by a label. The builder deletes itself
after MAX_RUN_S, also where no process is left to do it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from airflow_llm_provisioning.core.names import fingerprint
from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.exceptions import CloudError
from airflow_llm_provisioning.gateways.clouds.gke.clients import READ, WRITE
from airflow_llm_provisioning.gateways.clouds.gke.clusters import read_cluster
from airflow_llm_provisioning.gateways.clouds.gke.compute import Compute
from airflow_llm_provisioning.gateways.clouds.gke.disk_script import (
    DEVICE,
    DIGEST_ATTRIBUTE,
    IMAGE_ATTRIBUTE,
    SCRIPT,
    outcome,
)
from airflow_llm_provisioning.gateways.clouds.gke.errors import google_errors
from airflow_llm_provisioning.gateways.clouds.gke.prices import disk_image_price
from airflow_llm_provisioning.gateways.clouds.gke.services import api_problems
from airflow_llm_provisioning.gateways.clouds.gke.steps import Change, Project, State, step_of
from airflow_llm_provisioning.gateways.clouds.gke.tags import GOOGLE_TAGS
from airflow_llm_provisioning.gateways.clouds.tags import preparation_tags_of
from airflow_llm_provisioning.gateways.clouds.verbs import (
    Look,
    Outcome,
    Step,
    StepFailedError,
    Verb,
    done,
    finished,
    keep_until,
    not_yet,
    raise_problems,
    started_at,
)

MACHINE: Final = "e2-standard-4"
BASE_IMAGE: Final = "projects/debian-cloud/global/images/family/debian-12"
DISK_TYPE: Final = "pd-balanced"
MIN_GIB: Final = 20
# Where the image's size is not known: the size that EKS's data volume has then.
DEFAULT_GIB: Final = 80
UNPACKED_PER_COMPRESSED: Final = 3.0
MAX_RUN_S: Final = 3 * 3600
# How long builder and disk may be there at most, by their labels and the ledger: longer than any preparation runs.
LIFETIME: Final = timedelta(seconds=2 * MAX_RUN_S)
FILL_LIMIT_S: Final = 3600.0
FILLED_LABEL: Final = "llm-disk-filled"
_TRIES: Final = 5
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_ZONE: Final = re.compile(r"[a-z]+-[a-z]+\d+-[a-z]")


def disk_gib(size_bytes: int | None, wanted_gib: int | None) -> int:
    """Return the disk's size: what was asked for, else three times the compressed image."""
    if wanted_gib is not None:
        return int(wanted_gib)
    if size_bytes is None:
        return DEFAULT_GIB
    return max(MIN_GIB, -(-int(size_bytes * UNPACKED_PER_COMPRESSED) // 1024**3))


def boot_gib(size_bytes: int | None, volume_gib: int) -> int:
    """Return the size of the builder's own disk: containerd keeps the image there compressed and unpacked, beside the
    system.
    """
    compressed = -(-int(size_bytes) // 1024**3) if size_bytes else -(-volume_gib // 3)
    return volume_gib + compressed + 10


class DiskImagePreparation(Verb):
    """The verb `snapshot_image`: request {image, digest, size_bytes|None, cluster|None, zone|None, volume_gib|None,
    machine_type|None, service_account|None, network|None, subnetwork|None, public_ip|None, target, keep_days} -> result
    {disk_image, disk_digest, volume_gib, image, digest, reused, seconds, price_usd, price_basis, phases}.
    """

    name = "snapshot_image"
    limit_s = float(MAX_RUN_S)

    def __init__(self, project: Project) -> None:
        self._project, self._compute = project, Compute(project)

    def problems(self, request: Mapping[str, Any]) -> Sequence[str]:
        """Return what is wrong with the request."""
        found = [f"`{key}` is missing" for key in ("image", "digest") if not request.get(key)]
        digest, zone = str(request.get("digest") or ""), str(request.get("zone") or "")
        if digest and not _DIGEST.fullmatch(digest):
            found.append(f"digest {digest!r} is no sha256 digest")
        if zone and not (_ZONE.fullmatch(zone) and zone.startswith(f"{self._project.region}-")):
            found.append(f"zone {zone!r} is none of region {self._project.region}")
        size, wanted = request.get("size_bytes"), request.get("volume_gib")
        if size and wanted and int(wanted) * 1024**3 < int(size) * 2:
            found.append(f"volume_gib {wanted} is too small for an image of {size} compressed bytes, unpacked")
        return found

    def begin(self, operation: Operation) -> Look:
        """Check everything that can be known before a machine runs; use a disk image of the same content."""
        request = operation.request
        problems = api_problems(self._project, ("compute.googleapis.com",))
        zone = self._zone(request)
        if zone is None:
            problems.append(f"no zone of {self._project.region} is known for the builder: give `zone`")
        gib = disk_gib(request.get("size_bytes"), request.get("volume_gib"))
        told = {
            "digest": request["digest"],
            "gib": gib,
            "region": self._project.region,
            "script": fingerprint({"": SCRIPT}),
        }
        content = fingerprint(told)
        name = f"llm-disk-{content}"
        image = self._compute.image(name)
        if image is not None and not GOOGLE_TAGS.is_ours(dict(image.labels)):
            problems.append(f"an image {name} exists and is not ours (its labels lack our mark): delete or rename it")
        raise_problems(f"A disk image of {request['image']}", problems)
        known = {"content": content, "disk_name": name, "zone": zone, "volume_gib": gib}
        if image is not None and image.status == "READY":
            self._keep_longer(operation, name, image)
            return finished(reused=True, **known)
        operation = operation.at(operation.step, **known)
        for kind in ("instance", "disk", "disk_image"):
            self._intend(operation, kind)
        return done(reused=False, **known)

    def steps(self, operation: Operation) -> Sequence[Step]:
        """Disk, builder, content, image; builder and disk are deleted as soon as they are not needed."""
        filled = Step("filling the disk", self._filled, FILL_LIMIT_S)
        return (
            self._unless_made(step_of(self._project, self._disk_change(operation))),
            self._unless_made(step_of(self._project, self._builder_change(operation))),
            self._unless_made(filled),
            Step("deleting the builder", lambda running: self._gone(running, "instance")),
            step_of(self._project, self._image_change(operation)),
            Step("deleting the disk", self._finish),
        )

    def clean_up(self, operation: Operation) -> Sequence[str]:
        """Delete builder and disk, and an image that is not complete; return what still stands."""
        left = [kind for kind in ("instance", "disk") if self._still_there(operation, kind)]
        image = self._compute.image(operation.progress["disk_name"])
        if (image is None or image.status != "READY") and self._still_there(operation, "disk_image"):
            left.append("disk image")
        return [f"{kind} {operation.progress['disk_name']}" for kind in left]

    def outcome(self, operation: Operation, seconds: float) -> Outcome:
        """Return the disk image, what it holds, and what making it cost."""
        progress, request = operation.progress, operation.request
        made = {
            "disk_image": self._compute.path("disk_image", progress["disk_name"]),
            "disk_digest": request["digest"],
            "volume_gib": progress["volume_gib"],
            "image": request["image"],
            "digest": request["digest"],
        }
        if progress["reused"]:
            return Outcome(made, True, 0.0, "an earlier disk image of the same content is used", seconds=0.0)
        machine = str(request.get("machine_type") or MACHINE)
        volume = progress["volume_gib"]
        disks_gib = volume + boot_gib(request.get("size_bytes"), volume)
        price, basis = disk_image_price(self._project.region, machine, seconds, disks_gib)
        return Outcome(made, False, price, basis)

    # --- what must become so

    def _unless_made(self, step: Step) -> Step:
        """Skip a step of the builder's where the image is there, made by an earlier process or for another target."""

        def look(operation: Operation) -> Look:
            return done() if self._compute.image(operation.progress["disk_name"]) is not None else step.look(operation)

        return Step(step.name, look, step.limit_s, step.what, step.timed)

    def _disk_change(self, operation: Operation) -> Change:
        name = operation.progress.get("disk_name")

        def state() -> State:
            disk = self._disk(operation)
            if disk is not None and disk.status == "FAILED":
                raise StepFailedError(f"disk {name} is FAILED")
            return "absent" if disk is None else "done" if disk.status == "READY" else "pending"

        return Change("disk", f"create disk {name}", state, self._insert(operation, "disk", self._disk_body))

    def _builder_change(self, operation: Operation) -> Change:
        name, zone = operation.progress.get("disk_name"), operation.progress.get("zone")

        def state() -> State:
            if _is_filled(self._disk(operation)):
                return "done"
            found = self._compute.instance(str(zone), str(name))
            if found is None:
                return "absent"
            if found.status in ("RUNNING", "STOPPING", "STOPPED", "TERMINATED"):
                return "done"
            return "pending"

        return Change(
            "builder", f"create builder {name}", state, self._insert(operation, "instance", self._builder_body)
        )

    def _image_change(self, operation: Operation) -> Change:
        name = operation.progress.get("disk_name")

        def state() -> State:
            image = self._compute.image(str(name))
            if image is not None and image.status not in ("READY", "PENDING"):
                raise StepFailedError(f"disk image {name} is {image.status}")
            return "absent" if image is None else "done" if image.status == "READY" else "pending"

        return Change(
            "image", f"create disk image {name}", state, self._insert(operation, "disk_image", self._image_body)
        )

    def _insert(
        self, operation: Operation, kind: str, body: Callable[[Operation], Mapping[str, Any]]
    ) -> Callable[[], Mapping[str, str]]:
        def begin() -> Mapping[str, str]:
            clients, zone = self._project.clients, operation.progress["zone"]
            entry = self._intend(operation, kind)
            request: dict[str, Any] = {"project": self._project.name}
            if kind == "disk_image":
                begun = clients.disk_images.insert_unary(
                    request={**request, "image_resource": body(operation)}, **WRITE
                )
            else:
                client = clients.disks if kind == "disk" else clients.instances
                begun = client.insert_unary(
                    request={**request, "zone": zone, f"{kind}_resource": body(operation)}, **WRITE
                )
            self._project.entries.created(entry, self._path(operation, kind))
            if kind == "disk_image":
                return {"kind": "global", "name": begun.name}
            return {"kind": "zone", "name": f"{zone}/{begun.name}"}

        return begin

    # --- bodies

    def _disk_body(self, operation: Operation) -> dict[str, Any]:
        return {
            "name": operation.progress["disk_name"],
            "size_gb": operation.progress["volume_gib"],
            "type_": f"zones/{operation.progress['zone']}/diskTypes/{DISK_TYPE}",
            "labels": self._labels(operation, "disk"),
        }

    def _builder_body(self, operation: Operation) -> dict[str, Any]:
        request, progress = operation.request, operation.progress
        zone, name = progress["zone"], progress["disk_name"]
        boot = {
            "source_image": BASE_IMAGE,
            "disk_size_gb": boot_gib(request.get("size_bytes"), progress["volume_gib"]),
            "disk_type": f"zones/{zone}/diskTypes/{DISK_TYPE}",
            "labels": self._labels(operation, "instance"),
        }
        reference = str(request["image"]).partition("@")[0]
        head, _, tail = reference.rpartition(":")
        told = {
            IMAGE_ATTRIBUTE: head if head and "/" not in tail else reference,
            DIGEST_ATTRIBUTE: request["digest"],
            "startup-script": SCRIPT,
        }
        return {
            "name": name,
            "machine_type": f"zones/{zone}/machineTypes/{request.get('machine_type') or MACHINE}",
            "disks": [
                {"boot": True, "auto_delete": True, "initialize_params": boot},
                # It is deleted only when the image is made of it.
                {"source": f"zones/{zone}/disks/{name}", "device_name": DEVICE, "auto_delete": False},
            ],
            "network_interfaces": [_network(request)],
            "service_accounts": [
                {
                    "email": request.get("service_account") or "default",
                    "scopes": ["https://www.googleapis.com/auth/cloud-platform"],
                }
            ],
            "metadata": {"items": [{"key": key, "value": value} for key, value in told.items()]},
            "labels": self._labels(operation, "instance"),
            # Also where no process is left that deletes it.
            "scheduling": {
                "max_run_duration": {"seconds": MAX_RUN_S},
                "instance_termination_action": "DELETE",
                "automatic_restart": False,
            },
        }

    def _image_body(self, operation: Operation) -> dict[str, Any]:
        progress, request = operation.progress, operation.request
        if not _is_filled(self._disk(operation)):
            raise CloudError(f"Disk {progress['disk_name']} is gone or was never filled: start again.")
        return {
            "name": progress["disk_name"],
            "description": f"Container image {request['image']} {request['digest']}"[:2048],
            "source_disk": f"zones/{progress['zone']}/disks/{progress['disk_name']}",
            "labels": self._labels(operation, "disk_image"),
            "storage_locations": [self._project.region],
        }

    # --- steps

    def _filled(self, operation: Operation) -> Look:
        """Read what the builder tells, and mark the disk, so that no later process fills it again."""
        zone, name = operation.progress["zone"], operation.progress["disk_name"]
        disk = self._disk(operation)
        if _is_filled(disk):
            return done()
        if disk is None:
            raise StepFailedError(f"disk {name} was deleted from outside")
        instance = self._compute.instance(zone, name)
        if instance is None or instance.status not in ("PROVISIONING", "STAGING", "RUNNING"):
            state = "gone" if instance is None else instance.status
            raise StepFailedError(f"builder {name} is {state} before the disk was filled")
        with google_errors(f"read the serial port of {name}"):
            request = {"project": self._project.name, "zone": zone, "instance": name}
            told = outcome(self._project.clients.instances.get_serial_port_output(request=request, **READ).contents)
        if told is None:
            return not_yet("filling the disk")
        well, words = told
        if not well:
            raise StepFailedError(f"builder {name} could not {words}")
        if words != operation.request["digest"]:
            raise StepFailedError(f"builder {name} filled the disk with {words}")
        self._compute.set_labels("disk", name, zone, disk, {FILLED_LABEL: "yes"})
        return not_yet("marking the disk")

    def _gone(self, operation: Operation, kind: str) -> Look:
        return not_yet() if self._still_there(operation, kind) else done()

    def _finish(self, operation: Operation) -> Look:
        """Note the image and delete the disk that it was made of."""
        self._project.entries.created(self._intend(operation, "disk_image"), self._path(operation, "disk_image"))
        return self._gone(operation, "disk")

    # --- what all of them need

    def _zone(self, request: Mapping[str, Any]) -> str | None:
        """Return the builder's zone: as given, the location where that is one, else the cluster's first."""
        if request.get("zone"):
            return str(request["zone"])
        if _ZONE.fullmatch(self._project.location):
            return self._project.location
        if not request.get("cluster"):
            return None
        zones = read_cluster(self._project, str(request["cluster"])).zones
        return zones[0] if zones else None

    def _disk(self, operation: Operation) -> Any:
        return self._compute.disk(operation.progress["zone"], operation.progress["disk_name"])

    def _still_there(self, operation: Operation, kind: str) -> bool:
        return self._compute.still_there(kind, operation.progress["disk_name"], operation.progress["zone"])

    def _path(self, operation: Operation, kind: str) -> str:
        return self._compute.path(kind, operation.progress["disk_name"], operation.progress["zone"])

    def _labels(self, operation: Operation, kind: str) -> dict[str, str]:
        until = self._until(operation, kind)
        return GOOGLE_TAGS.spell(preparation_tags_of(operation, operation.progress["content"], until))

    def _until(self, operation: Operation, kind: str) -> datetime:
        """Return until when a thing is kept: the image as asked, what it is made with a few hours."""
        return keep_until(operation) if kind == "disk_image" else started_at(operation) + LIFETIME

    def _intend(self, operation: Operation, kind: str) -> str:
        path = self._path(operation, kind)
        return self._project.entries.intend(kind, path, self._labels(operation, kind), self._until(operation, kind))

    def _keep_longer(self, operation: Operation, name: str, image: Any) -> None:
        """Move the image's expiry; where another preparation does the same at this moment, by what it left."""
        for _ in range(_TRIES):
            later = {} if image is None else GOOGLE_TAGS.later_expiry(dict(image.labels), keep_until(operation))
            if not later or self._compute.set_labels("disk_image", name, None, image, later):
                return
            image = self._compute.image(name)
        raise CloudError(
            f"The labels of disk image {name} change all the time, so it was not kept longer: start again."
        )


def _is_filled(disk: Any) -> bool:
    return disk is not None and dict(disk.labels).get(FILLED_LABEL) == "yes"


def _network(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the builder's network. It loads packages and the image from the internet, unless its subnet has another
    way out (Cloud NAT, Private Google Access with a mirror of the packages).
    """
    named = {key: request[key] for key in ("network", "subnetwork") if request.get(key)}
    if not named:
        named = {"network": "global/networks/default"}
    public = request.get("public_ip", True)
    return {**named, **({"access_configs": [{"type_": "ONE_TO_ONE_NAT", "name": "External NAT"}]} if public else {})}
