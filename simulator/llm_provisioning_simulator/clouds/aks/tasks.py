"""The Microsoft.ContainerRegistry part of the Azure stand-in: registries, upload of a build's source, build runs.

A run builds the Dockerfile that really was uploaded; its image is in the World, and its labels in the registry, once it
has Succeeded. Shapes: registries 2025-11-01, tasks 2025-03-01-preview, as their SDK packages model them.
"""

import io
import itertools
import shlex
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

from aiohttp import web

from llm_provisioning_simulator.clouds.aks import models as aks_models
from llm_provisioning_simulator.clouds.aks.http import (
    ARM_GROUP,
    AzureError,
    Call,
    Handler,
    Part,
    Shared,
    group_path,
    stamp,
)
from llm_provisioning_simulator.images import DockerfileError, built_image
from llm_provisioning_simulator.world import Image

_REGISTRIES: Final = f"{ARM_GROUP}/Microsoft.ContainerRegistry/registries"
_OVER: Final = ("Succeeded", "Failed", "Canceled", "Error", "Timeout")


@dataclass(slots=True)
class Registry:
    """A container registry. `labels`: (repository, digest) -> labels of the image's configuration.

    `abac`: its mode is "RBAC Registry + ABAC Repository Permissions": AcrPull and AcrPush count for nothing, and a run
    acts as the identity that it names. `caller_may_push`: the caller has a role on its repositories.
    """

    name: str
    sku: str = "Premium"
    location: str = "eastus"
    encrypted: bool = False
    abac: bool = False
    caller_may_push: bool = True
    labels: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)

    @property
    def login_server(self) -> str:
        """The host in its images' references."""
        return f"{self.name}.azurecr.io"


@dataclass(slots=True)
class Run:
    """A build run and its stamps."""

    run_id: str
    registry: str
    image: str
    created_at: datetime
    status: str = "Queued"
    started_at: datetime | None = None
    finished_at: datetime | None = None
    digest: str | None = None
    error: str | None = None


class RegistriesAndTasks(Part):
    """Registries as ARM objects, and ACR Tasks. `runs` and `uploads` may be read by tests."""

    def __init__(self, shared: Shared, registries: Mapping[str, Registry]) -> None:
        super().__init__(shared)
        self.runs: dict[str, Run] = {}
        self.uploads: dict[str, bytes] = {}
        self._registries = registries
        self._numbers = itertools.count(1)

    def routes(self) -> list[tuple[str, str, str, Handler]]:
        """Return (method, path, call name, handler)."""
        one, runs = f"{_REGISTRIES}/{{registry}}", f"{_REGISTRIES}/{{registry}}/runs"
        return [
            ("GET", _REGISTRIES, "registries.list", self._list),
            ("GET", one, "registries.get", self._get),
            ("POST", f"{one}/listBuildSourceUploadUrl", "uploads.create", self._upload_url),
            ("POST", f"{one}/scheduleRun", "runs.schedule", self._schedule),
            ("GET", runs, "runs.list", self._list_runs),
            ("GET", f"{runs}/{{run}}", "runs.get", self._get_run),
            ("POST", f"{runs}/{{run}}/cancel", "runs.cancel", self._cancel),
            ("POST", f"{runs}/{{run}}/listLogSasUrl", "runs.log", self._log_url),
        ]

    def blob_routes(self) -> list[tuple[str, str, str, Handler]]:
        """Return the routes of the storage account behind the registry: they take a signature, no token."""
        return [("PUT", "/blob/{container}/{name:.+}", "blobs.put", self._put_blob)]

    async def _list(self, call: Call) -> web.Response:
        return web.json_response({"value": [_registry_body(call, item) for item in self._registries.values()]})

    async def _get(self, call: Call) -> web.Response:
        return web.json_response(_registry_body(call, self._registry(call)))

    async def _upload_url(self, call: Call) -> web.Response:
        self._registry(call)
        path = f"source/{uuid4().hex}.tar.gz"
        url = f"{self._base_url()}/blob/tasks/{path}?sv=2024-11-04&sr=b&sp=cw&sig=stand-in"
        return web.json_response({"uploadUrl": url, "relativePath": path})

    async def _put_blob(self, call: Call) -> web.Response:
        if call.query.get("sig") != "stand-in":
            raise AzureError(403, "AuthenticationFailed", "The signature is missing or wrong.")
        if call.headers.get("x-ms-blob-type") != "BlockBlob":
            raise AzureError(400, "MissingRequiredHeader", "x-ms-blob-type must be given.")
        if "Authorization" in call.headers:
            raise AzureError(400, "InvalidAuthenticationInfo", "A signature and a token exclude each other.")
        self.uploads[call.path["name"]] = call.body
        return web.Response(status=201)

    async def _schedule(self, call: Call) -> web.Response:
        registry, body = self._registry(call), call.json()
        problems = aks_models.problems("containerregistrytasks", "DockerBuildRequest", body)
        if body.get("type") != "DockerBuildRequest":
            problems.append(f"run requests of type {body.get('type')!r} are not built here")
        if not body.get("imageNames") or not body.get("platform"):
            problems.append("imageNames and platform are required")
        if problems:
            raise AzureError(400, "InvalidRunRequest", "; ".join(problems))
        image = f"{registry.login_server}/{body['imageNames'][0]}"
        run = Run(f"ca{next(self._numbers)}", registry.name, image, self._operations.clock.now())
        self.runs[run.run_id] = run
        self._operations.soon(self._build(run, registry, body, call.fault))
        return web.json_response(_scheduled_body(call, run))

    async def _list_runs(self, call: Call) -> web.Response:
        runs = [run for run in self.runs.values() if run.registry == self._registry(call).name]
        newest = sorted(runs, key=lambda run: run.created_at, reverse=True)[: int(call.query.get("$top", 100))]
        return web.json_response({"value": [_run_body(call, run) for run in newest]})

    async def _get_run(self, call: Call) -> web.Response:
        return web.json_response(_run_body(call, self._run(call)))

    async def _cancel(self, call: Call) -> web.Response:
        run = self._run(call)
        if run.status not in _OVER:
            self._end(run, "Canceled", "the run was cancelled")
        return web.Response(status=200)

    async def _log_url(self, call: Call) -> web.Response:
        run = self._run(call)
        return web.json_response({"logLink": f"{self._base_url()}/blob/logs/{run.run_id}.log?sig=stand-in"})

    async def _build(self, run: Run, registry: Registry, body: Mapping[str, Any], fault: Any) -> None:
        clock = self._operations.clock
        await clock.sleep(self._durations_s["build_queue"])
        if run.status in _OVER:
            return
        run.status, run.started_at = "Running", clock.now()
        if fault is not None and fault["kind"] == "never_ends":
            return
        if fault is not None and fault["kind"] == "operation":
            await clock.sleep(self._durations_s["build_failure"])
            self._end(run, str(fault.get("status", "Failed")), str(fault.get("message", "a fault")))
            return
        if registry.abac and not (registry.caller_may_push and _acts_as_caller(body)):
            # All that Azure says, after 16 s (azure-cli, test_acr_abac_build, recorded 2026-03-24).
            await clock.sleep(self._durations_s["build_failure"])
            self._end(run, "Failed", "failed during run, err: exit status 1")
            return
        try:
            dockerfile = _dockerfile(self.uploads.get(str(body.get("sourceLocation"))), body)
            image = built_image(self._world, dockerfile, run.image, region=registry.location, now=clock.now())
        except DockerfileError as error:
            await clock.sleep(self._durations_s["build_failure"])
            self._end(run, "Failed", str(error))
            return
        await clock.sleep(self._build_s(image, dockerfile))
        if run.status in _OVER:
            return
        self._push(run, registry, image, _labels(dockerfile))

    def _push(self, run: Run, registry: Registry, image: Image, labels: dict[str, str]) -> None:
        stored = self._world.push(image)
        repository = stored.repository.partition("/")[2]
        registry.labels[repository, stored.digest] = labels
        run.digest = stored.digest
        self._end(run, "Succeeded", None)

    def _build_s(self, image: Image, dockerfile: str) -> float:
        """Return how long the build takes: pull the base, add what is new, push everything (a registry of its own)."""
        base = self._world.find_image(dockerfile.split()[1])
        base_bytes = base.compressed_bytes if base is not None else 0
        new_bytes = max(0, image.compressed_bytes - base_bytes)
        return (
            base_bytes / self._durations_s["build_pull_bytes_s"]
            + new_bytes / self._durations_s["build_install_bytes_s"]
            + image.compressed_bytes / self._durations_s["build_push_bytes_s"]
        )

    def _end(self, run: Run, status: str, error: str | None) -> None:
        now = self._operations.clock.now()
        run.status, run.error, run.finished_at = status, error, now
        run.started_at = run.started_at or now

    def _registry(self, call: Call) -> Registry:
        registry = self._registries.get(call.path["registry"])
        if registry is None:
            raise AzureError(
                404,
                "ResourceNotFound",
                f"The Resource 'Microsoft.ContainerRegistry/registries/{call.path['registry']}' under resource group "
                f"'{call.path['group']}' was not found.",
            )
        return registry

    def _run(self, call: Call) -> Run:
        run = self.runs.get(call.path["run"])
        if run is None or run.registry != self._registry(call).name:
            raise AzureError(404, "RunNotFound", f"Run {call.path['run']} was not found.")
        return run


def _registry_body(call: Call, registry: Registry) -> dict[str, Any]:
    group = group_path(call)
    return {
        "id": f"{group}/Microsoft.ContainerRegistry/registries/{registry.name}",
        "name": registry.name,
        "type": "Microsoft.ContainerRegistry/registries",
        "location": registry.location,
        "sku": {"name": registry.sku, "tier": registry.sku},
        "properties": {
            "loginServer": registry.login_server,
            "provisioningState": "Succeeded",
            "adminUserEnabled": False,
            "roleAssignmentMode": "AbacRepositoryPermissions" if registry.abac else "LegacyRegistryPermissions",
            "encryption": {"status": "enabled" if registry.encrypted else "disabled"},
        },
    }


def _acts_as_caller(body: Mapping[str, Any]) -> bool:
    credentials = (body.get("credentials") or {}).get("sourceRegistry") or {}
    return credentials.get("identity") == "[caller]"


def _scheduled_body(call: Call, run: Run) -> dict[str, Any]:
    """Return what scheduleRun answers: a run without type, creation and platform (recorded 2026-03-24)."""
    body = _run_body(call, run)
    known = {key: body["properties"][key] for key in ("runId", "status", "provisioningState", "isArchiveEnabled")}
    return {**body, "properties": {**known, "lastUpdatedTime": stamp(run.created_at)}}


def _run_body(call: Call, run: Run) -> dict[str, Any]:
    host, _, path = run.image.partition("/")
    repository, _, tag = path.rpartition(":")
    properties: dict[str, Any] = {
        "runId": run.run_id,
        "status": run.status,
        "runType": "QuickRun",
        "createTime": stamp(run.created_at),
        "lastUpdatedTime": stamp(run.finished_at or run.started_at or run.created_at),
        "provisioningState": "Succeeded",
        "isArchiveEnabled": False,
        "platform": {"os": "linux", "architecture": "amd64"},
        "agentConfiguration": {"cpu": 2},
    }
    for key, at in (("startTime", run.started_at), ("finishTime", run.finished_at)):
        if at is not None:
            properties[key] = stamp(at)
    if run.digest is not None:
        output = {"registry": host, "repository": repository, "tag": tag, "digest": run.digest}
        properties["outputImages"] = [output]
    if run.error is not None:
        properties["runErrorMessage"] = run.error
    group = group_path(call)
    return {
        "id": f"{group}/Microsoft.ContainerRegistry/registries/{run.registry}/runs/{run.run_id}",
        "name": run.run_id,
        "type": "Microsoft.ContainerRegistry/registries/runs",
        "properties": properties,
    }


def _dockerfile(source: bytes | None, body: Mapping[str, Any]) -> str:
    if source is None:
        raise DockerfileError(f"failed to download the build's source from {body.get('sourceLocation')!r}")
    try:
        with tarfile.open(fileobj=io.BytesIO(source), mode="r:gz") as archive:
            member = archive.extractfile(str(body.get("dockerFilePath") or "Dockerfile"))
            return (member.read() if member else b"").decode()
    except (tarfile.TarError, OSError, KeyError) as error:
        raise DockerfileError(f"unable to prepare the build's source: {error}") from error


def _labels(dockerfile: str) -> dict[str, str]:
    lines = [line[len("LABEL ") :] for line in dockerfile.splitlines() if line.startswith("LABEL ")]
    pairs = [word.partition("=") for line in lines for word in shlex.split(line)]
    return {key: value for key, _, value in pairs}
