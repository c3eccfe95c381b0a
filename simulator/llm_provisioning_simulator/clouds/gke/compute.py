"""Compute Engine of the simulated project: disks, disk images, and instances that do what their start script says.

An instance is understood where its script copies containerd's layers of one image onto a second disk, in the layout
that GKE's nodes read (see `builders.py`). What it cannot do it says on its serial port, as a real one does.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from aiohttp import web

from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.clouds.gke.builders import Builder
from llm_provisioning_simulator.clouds.gke.http import CODES, Call, GoogleError, Handler, Operations, Running, stamp
from llm_provisioning_simulator.world import DiskImage, World

_LABEL: Final = re.compile(r"labels\.([\w-]+)=(\S+)")
_SITE: Final = "https://www.googleapis.com/compute/v1/"


class ComputeError(GoogleError):
    """A refusal as Compute Engine words it: a list of errors with reasons, and no status in words."""

    def response(self) -> web.Response:
        """Return the HTTP answer."""
        status = 412 if self.reason == "conditionNotMet" else CODES[self.code][1]
        error = {"message": self.message, "domain": "global", "reason": self.reason or "invalid"}
        return web.json_response({"error": {"code": status, "message": self.message, "errors": [error]}}, status=status)


class ComputeEngine:
    """Disks and instances by (zone, name), images by name. `contents`: digests of what a disk holds for GKE's nodes."""

    def __init__(self, world: World, clock: SimClock, durations_s: Mapping[str, float]) -> None:
        self._world = world
        self._clock = clock
        self._durations_s = durations_s
        self._builder = Builder(world, clock, durations_s)
        self.disks: dict[tuple[str, str], dict[str, Any]] = {}
        self.instances: dict[tuple[str, str], dict[str, Any]] = {}
        self.images: dict[str, dict[str, Any]] = {}
        self.serial: dict[tuple[str, str], str] = {}
        self.contents: dict[tuple[str, str], set[str]] = {}
        self.unreachable: list[str] = []
        """Zones (`zones/us-central1-b`) that a list over all of them leaves out."""
        self.operations = Operations(clock, "operation-")

    def handlers(self) -> dict[str, Handler]:
        """Return the answers of compute.v1."""
        return {
            "compute.disks.get": self._get_disk,
            "compute.disks.insert": self._insert_disk,
            "compute.disks.delete": self._delete_disk,
            "compute.disks.setLabels": self._label_disk,
            "compute.disks.aggregatedList": lambda call: self._aggregated(call, "disks", self.disks),
            "compute.instances.get": self._get_instance,
            "compute.instances.insert": self._insert_instance,
            "compute.instances.delete": self._delete_instance,
            "compute.instances.getSerialPortOutput": self._serial_port,
            "compute.instances.aggregatedList": lambda call: self._aggregated(call, "instances", self.instances),
            "compute.images.get": self._get_image,
            "compute.images.insert": self._insert_image,
            "compute.images.delete": self._delete_image,
            "compute.images.setLabels": self._label_image,
            "compute.images.list": self._list_images,
            "compute.zoneOperations.get": self._operation,
            "compute.globalOperations.get": self._operation,
        }

    # --- disks

    async def _get_disk(self, call: Call) -> dict[str, Any]:
        return _told(self._found(self.disks, call, "disk"))

    async def _insert_disk(self, call: Call) -> dict[str, Any]:
        disk = self._new(self.disks, call, "disks", {"status": "CREATING"})
        disk.setdefault("type", "pd-standard")
        return self._begin(call, "create_disk", "insert", disk, lambda: disk.update(status="READY"), undo=self.disks)

    async def _delete_disk(self, call: Call) -> dict[str, Any]:
        disk = self._found(self.disks, call, "disk")
        self._unused(call.path["zone"], disk["name"])
        key = (call.path["zone"], disk["name"])
        disk["status"] = "DELETING"
        return self._begin(call, "delete_disk", "delete", disk, lambda: self._forget_disk(key))

    def _forget_disk(self, key: tuple[str, str]) -> None:
        self.disks.pop(key, None)
        self.contents.pop(key, None)

    async def _label_disk(self, call: Call) -> dict[str, Any]:
        return self._label(call, self._found(self.disks, call, "resource"))

    def _unused(self, zone: str, name: str) -> None:
        users = [key for key, item in self.instances.items() if key[0] == zone and name in _attached(item)]
        if users:
            raise ComputeError(
                "INVALID_ARGUMENT",
                f"The disk resource 'zones/{zone}/disks/{name}' is already being used by "
                f"'zones/{zone}/instances/{users[0][1]}'",
                reason="resourceInUseByAnotherResource",
            )

    # --- instances

    async def _get_instance(self, call: Call) -> dict[str, Any]:
        return _told(self._found(self.instances, call, "instance"))

    async def _insert_instance(self, call: Call) -> dict[str, Any]:
        zone, wanted = call.path["zone"], call.body
        missing = [name for name in _attached(wanted) if (zone, name) not in self.disks]
        if missing:
            raise _not_found(f"zones/{zone}/disks/{missing[0]}")
        for name in _attached(wanted):
            self._unused(zone, name)
        instance = self._new(self.instances, call, "instances", {"status": "PROVISIONING"})
        key = (zone, instance["name"])
        self.serial[key] = ""
        return self._begin(
            call, "create_instance", "insert", instance, lambda: self._boot(key, instance), undo=self.instances
        )

    def _boot(self, key: tuple[str, str], instance: dict[str, Any]) -> None:
        instance["status"] = "RUNNING"
        self.operations.soon(self._run(key, instance))
        limit = (instance.get("scheduling") or {}).get("maxRunDuration")
        if limit and instance["scheduling"].get("instanceTerminationAction") == "DELETE":
            self.operations.soon(self._end(key, instance, float(limit["seconds"])))

    async def _run(self, key: tuple[str, str], instance: dict[str, Any]) -> None:
        zone = key[0]
        disks = {
            disk.get("deviceName", ""): self.disks.get((zone, _name(disk.get("source", ""))))
            for disk in instance["disks"]
        }
        ran = await self._builder.run(instance, {name: disk for name, disk in disks.items() if disk is not None})
        if self.instances.get(key) is instance and instance["status"] == "RUNNING":
            self.serial[key] += f"startup-script: {ran.said}\n"
            if ran.disk is not None and ran.digest is not None:
                self.contents[zone, ran.disk] = {ran.digest}

    async def _end(self, key: tuple[str, str], instance: dict[str, Any], after_s: float) -> None:
        await self._clock.sleep(after_s)
        if self.instances.get(key) is instance:
            self._forget_instance(key)

    async def _delete_instance(self, call: Call) -> dict[str, Any]:
        instance = self._found(self.instances, call, "instance")
        instance["status"] = "STOPPING"
        key = (call.path["zone"], instance["name"])
        return self._begin(call, "delete_instance", "delete", instance, lambda: self._forget_instance(key))

    def _forget_instance(self, key: tuple[str, str]) -> None:
        instance = self.instances.pop(key, {"disks": []})
        for disk in instance["disks"]:
            if disk.get("autoDelete") and disk.get("source"):
                self._forget_disk((key[0], _name(disk["source"])))

    async def _serial_port(self, call: Call) -> dict[str, Any]:
        instance = self._found(self.instances, call, "instance")
        contents = self.serial[call.path["zone"], instance["name"]]
        return {"contents": contents, "start": "0", "next": str(len(contents))}

    # --- images

    async def _get_image(self, call: Call) -> dict[str, Any]:
        return _told(self._image(call, "image"))

    async def _list_images(self, call: Call) -> dict[str, Any]:
        return {"items": [_told(item) for item in self.images.values() if _matches(item, call)]}

    async def _insert_image(self, call: Call) -> dict[str, Any]:
        wanted = call.body
        name, project = wanted["name"], call.path["project"]
        zone, disk = re.findall(r"zones/([^/]+)/disks/([^/]+)", wanted.get("sourceDisk", ""))[0]
        if name in self.images:
            raise _exists(f"projects/{project}/global/images/{name}")
        if (zone, disk) not in self.disks:
            raise _not_found(f"zones/{zone}/disks/{disk}")
        self._unused(zone, disk)
        size = int(self.disks[zone, disk]["sizeGb"])
        image = {
            **wanted,
            "status": "PENDING",
            "diskSizeGb": str(size),
            "selfLink": f"{_SITE}projects/{project}/global/images/{name}",
            "creationTimestamp": stamp(self._clock.now()),
        }
        self.images[name] = image
        held = frozenset(self.contents.get((zone, disk), ()))

        def effect() -> None:
            stored = sum(self._world.contents[digest].compressed_bytes for digest in held)
            image.update(status="READY", archiveSizeBytes=str(stored))
            path = f"projects/{project}/global/images/{name}"
            self._world.disk_images[path] = DiskImage(path, held, size)

        return self._begin(call, "create_disk_image", "insert", image, effect)

    async def _delete_image(self, call: Call) -> dict[str, Any]:
        image = self._image(call, "image")
        image["status"] = "DELETING"
        path = f"projects/{call.path['project']}/global/images/{image['name']}"

        def effect() -> None:
            self.images.pop(image["name"], None)
            self._world.disk_images.pop(path, None)

        return self._begin(call, "delete_disk_image", "delete", image, effect)

    async def _label_image(self, call: Call) -> dict[str, Any]:
        return self._label(call, self._image(call, "resource"))

    def _image(self, call: Call, key: str) -> dict[str, Any]:
        found = self.images.get(call.path[key])
        if found is None:
            raise _not_found(f"projects/{call.path['project']}/global/images/{call.path[key]}")
        return found

    # --- what all have in common

    def _found(self, known: Mapping[tuple[str, str], dict[str, Any]], call: Call, key: str) -> dict[str, Any]:
        zone, name = call.path["zone"], call.path[key]
        if (zone, name) not in known:
            raise _not_found(f"projects/{call.path['project']}/zones/{zone}/{name}")
        return known[zone, name]

    def _new(
        self, known: dict[tuple[str, str], dict[str, Any]], call: Call, kind: str, fields: Mapping[str, Any]
    ) -> dict[str, Any]:
        zone, name = call.path["zone"], call.body["name"]
        path = f"projects/{call.path['project']}/zones/{zone}/{kind}/{name}"
        if (zone, name) in known:
            raise _exists(path)
        made = {**call.body, **fields, "selfLink": f"{_SITE}{path}", "creationTimestamp": stamp(self._clock.now())}
        known[zone, name] = made
        return made

    def _begin(
        self,
        call: Call,
        what: str,
        kind: str,
        thing: Mapping[str, Any],
        effect: Callable[[], Any],
        undo: dict[tuple[str, str], dict[str, Any]] | None = None,
    ) -> dict[str, Any]:
        """Begin an operation. `undo`: where the thing is, if it goes again when the operation fails."""
        running = self.operations.begin(
            self._durations_s[what], effect, kind=kind, target=thing["selfLink"], fault=call.fault
        )
        if undo is not None and call.fault is not None and call.fault["kind"] == "operation_error":
            undo.pop((call.path["zone"], thing["name"]), None)
        return self._operation_body(running, call.path.get("zone"))

    def _label(self, call: Call, thing: dict[str, Any]) -> dict[str, Any]:
        if call.body.get("labelFingerprint") != _fingerprint(thing):
            told = "Labels fingerprint either invalid or resource labels have changed"
            raise ComputeError("FAILED_PRECONDITION", told, reason="conditionNotMet")
        labels = dict(call.body.get("labels") or {})
        return self._begin(call, "set_labels", "setLabels", thing, lambda: thing.update(labels=labels))

    async def _aggregated(
        self, call: Call, kind: str, known: Mapping[tuple[str, str], dict[str, Any]]
    ) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for (zone, _), item in known.items():
            if _matches(item, call):
                found.setdefault(f"zones/{zone}", {kind: []})[kind].append(_told(item))
        return {"items": found, **({"unreachables": self.unreachable} if self.unreachable else {})}

    async def _operation(self, call: Call) -> dict[str, Any]:
        return self._operation_body(self.operations.get(call.path["operation"]), call.path.get("zone"))

    def _operation_body(self, running: Running, zone: str | None) -> dict[str, Any]:
        body: dict[str, Any] = {
            "kind": "compute#operation",
            "name": running.name,
            "operationType": running.kind,
            "targetLink": running.target,
            "status": "DONE" if running.done else "RUNNING",
            "progress": 100 if running.done else 0,
            "insertTime": stamp(running.started_at),
            **({"zone": f"{_SITE}zones/{zone}"} if zone else {}),
        }
        if running.error is not None:
            errors = [{"code": running.error.code, "message": running.error.message}]
            body |= {"error": {"errors": errors}, "httpErrorStatusCode": 403}
        return body


def _told(thing: Mapping[str, Any]) -> dict[str, Any]:
    return {**thing, "labelFingerprint": _fingerprint(thing)}


def _fingerprint(thing: Mapping[str, Any]) -> str:
    told = sorted((thing.get("labels") or {}).items())
    return hashlib.sha256(repr(told).encode()).hexdigest()[:12]


def _matches(item: Mapping[str, Any], call: Call) -> bool:
    return all(
        (item.get("labels") or {}).get(key) == value for key, value in _LABEL.findall(call.query.get("filter", ""))
    )


def _attached(instance: Mapping[str, Any]) -> list[str]:
    return [_name(disk["source"]) for disk in instance.get("disks", ()) if disk.get("source")]


def _name(link: str) -> str:
    return link.rpartition("/")[2]


def _not_found(what: str) -> ComputeError:
    return ComputeError("NOT_FOUND", f"The resource '{what}' was not found", reason="notFound")


def _exists(what: str) -> ComputeError:
    return ComputeError("ALREADY_EXISTS", f"The resource '{what}' already exists", reason="alreadyExists")
