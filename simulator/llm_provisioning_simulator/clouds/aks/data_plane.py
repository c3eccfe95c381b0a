"""The registries' own API in the Azure stand-in: token exchange, tags, manifests, referrers, conversions.

Registries share one address and are told apart by the Host header. Tokens are checked: the scope that was asked for
must cover the call. An artifact is in the World (and a node streams) once its conversion ended well and its referrer is
listed, never before. Paths: azure-cli 2.91.0, command_modules/acr.
"""

import asyncio
import hashlib
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qs
from uuid import uuid4

from aiohttp import web

from llm_provisioning_simulator.clouds.aks.http import AzureError, Call, Handler, Part, Running, Shared, stamp
from llm_provisioning_simulator.clouds.aks.tasks import Registry
from llm_provisioning_simulator.clouds.operations import is_kind
from llm_provisioning_simulator.world import Image, streaming_artifact

STREAMING_ARTIFACT: Final = "application/vnd.azure.artifact.streaming.v1"
_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
_OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
# Size and annotations of a real streaming artifact's descriptor (a Microsoft support blog, 2023-12-24).
_ARTIFACT_SIZE: Final = 17266
_ANNOTATIONS: Final = {
    "streaming.format": "overlaybd",
    "streaming.platform.arch": "amd64",
    "streaming.platform.os": "linux",
    "streaming.version": "v1",
}
_UNKNOWN_OPERATION: Final = ("OPERATION_UNKNOWN", "The specified operation does not exist")
# docs: "Azure Container Registry authentication": access tokens live 75 minutes, refresh tokens three hours.
ACCESS_TOKEN_S: Final = 4500.0
_REPOSITORY: Final = "{repository:[a-z0-9._/-]+?}"


class DataPlane(Part):
    """The APIs of all registries. `artifacts`: (host, repository, image digest) -> (artifact digest, since when)."""

    def __init__(self, shared: Shared, registries: Mapping[str, Registry]) -> None:
        super().__init__(shared)
        self.artifacts: dict[tuple[str, str, str], tuple[str, datetime]] = {}
        self.platforms: dict[str, str] = {}
        """digest -> architecture, of images that are not amd64."""
        self._registries = registries
        self._refresh_tokens: set[str] = set()
        self._access_tokens: dict[str, tuple[str, str, datetime]] = {}
        self._conversions: dict[tuple[str, str, str], Running] = {}

    def routes(self) -> list[tuple[str, str, str, Handler]]:
        """Return (method, path, call name, handler)."""
        own, oci = f"/acr/v1/{_REPOSITORY}", f"/v2/{_REPOSITORY}"
        return [
            ("POST", "/oauth2/exchange", "oauth2.exchange", self._exchange),
            ("POST", "/oauth2/token", "oauth2.token", self._token),
            ("GET", "/acr/v1/_catalog", "catalog.list", self._catalog),
            ("GET", f"{own}/_tags/{{tag}}", "tags.get", self._tag),
            ("GET", f"{own}/_manifests", "manifests.list", self._manifests),
            ("GET", f"{own}/_manifests/{{digest}}", "manifests.get", self._attributes),
            ("GET", f"{own}/_streaming/{{digest}}", "streaming.get", self._conversion_of),
            ("POST", f"{own}/_streaming/{{digest}}", "streaming.post", self._convert),
            ("GET", f"{own}/_operations/{{operation}}", "conversions.get", self._conversion),
            ("POST", f"{own}/_operations/{{operation}}:cancel", "conversions.cancel", self._cancel),
            ("GET", f"{oci}/referrers/{{digest}}", "referrers.list", self._referrers),
            ("GET", f"{oci}/manifests/{{digest}}", "manifest.get", self._manifest),
            ("GET", f"{oci}/blobs/{{digest}}", "blobs.get", self._blob),
            ("DELETE", f"{oci}/manifests/{{digest}}", "manifest.delete", self._delete),
        ]

    async def _exchange(self, call: Call) -> web.Response:
        form = _form(call)
        self._registry(call)
        if form.get("grant_type") != "access_token" or form.get("service") != call.host or not form.get("access_token"):
            raise AzureError(400, "BAD_REQUEST", "grant_type, service and access_token must be given")
        token = f"refresh-{uuid4().hex}"
        self._refresh_tokens.add(token)
        return web.json_response({"refresh_token": token})

    async def _token(self, call: Call) -> web.Response:
        form = _form(call)
        if form.get("grant_type") != "refresh_token" or form.get("refresh_token") not in self._refresh_tokens:
            raise AzureError(401, "UNAUTHORIZED", "the refresh token is not known")
        token = f"access-{uuid4().hex}"
        expires_at = self._operations.clock.now() + timedelta(seconds=ACCESS_TOKEN_S)
        self._access_tokens[token] = (call.host, form.get("scope", ""), expires_at)
        return web.json_response({"access_token": token})

    async def _catalog(self, call: Call) -> web.Response:
        self._allow(call, "registry:catalog:*")
        names = sorted({_repository_of(image) for image in self._images(call)})
        return web.json_response({"repositories": _page(call, names, str)})

    async def _tag(self, call: Call) -> web.Response:
        self._allow(call, "metadata_read")
        image = self._world.images.get(f"{call.host}/{call.path['repository']}:{call.path['tag']}")
        if image is None:
            raise AzureError(404, "TAG_UNKNOWN", "the specified tag does not exist")
        return web.json_response({"registry": call.host, "tag": {"name": call.path["tag"], "digest": image.digest}})

    async def _manifests(self, call: Call) -> web.Response:
        self._allow(call, "metadata_read")
        digests = {image.digest for image in self._images(call) if _repository_of(image) == call.path["repository"]}
        found = [self._attributes_of(call, digest) for digest in digests]
        found += [
            {"digest": artifact, "createdTime": stamp(since), "mediaType": _OCI_MANIFEST}
            for (host, repository, _), (artifact, since) in self.artifacts.items()
            if (host, repository) == (call.host, call.path["repository"])
        ]
        found.sort(key=lambda item: str(item["digest"]))
        return web.json_response({"registry": call.host, "manifests": _page(call, found, lambda item: item["digest"])})

    async def _attributes(self, call: Call) -> web.Response:
        self._allow(call, "metadata_read")
        return web.json_response(
            {
                "registry": call.host,
                "imageName": call.path["repository"],
                "manifest": self._attributes_of(call, call.path["digest"]),
            }
        )

    async def _conversion_of(self, call: Call) -> web.Response:
        self._allow(call, "pull,push")
        running = self._conversions.get((call.host, call.path["repository"], call.path["digest"]))
        if running is None:
            raise AzureError(404, *_UNKNOWN_OPERATION)
        body = {"id": running.identity, "status": _status(running)}
        return web.json_response(body, headers=self._located(call, running))

    async def _convert(self, call: Call) -> web.Response:
        self._allow(call, "pull,push")
        if call.json() != {"conversionFormat": "overlaybd", "conversionVersion": "v1"}:
            raise AzureError(400, "BAD_REQUEST", "the conversion's format or version is not known")
        registry, image = self._registry(call), self._image(call)
        if registry.sku != "Premium":
            raise AzureError(403, "DENIED", "artifact streaming needs a Premium registry")
        key = (call.host, call.path["repository"], image.digest)
        before = self._conversions.get(key)
        if before is not None and before.ended_at is None:
            raise AzureError(409, "CONFLICT", "a conversion of this manifest is going on")
        fault = call.fault
        if image.digest in self.platforms:
            fault = {"kind": "operation", "status": "Failed", "code": "UNSUPPORTED_PLATFORM", "message": "not amd64"}
        seconds = image.compressed_bytes / self._durations_s["convert_bytes_s"]
        running = self._operations.begin("conv-", seconds, lambda end: self._converted(key, end, seconds), fault)
        self._conversions[key] = running
        body = {"id": running.identity, "status": "NotStarted"}
        return web.json_response(body, status=202, headers=self._located(call, running))

    def _located(self, call: Call, running: Running) -> dict[str, str]:
        url = f"https://{call.host}/acr/v1/{call.path['repository']}/_operations/{running.identity}"
        return {"Location": url, "Operation-Location": url, "operation-id": running.identity}

    def _converted(self, key: tuple[str, str, str], end: Running, seconds: float) -> None:
        if end.status == "Succeeded":
            self._operations.soon(self._list_artifact(key))
        elif end.code is not None:
            end.message = end.message or f"conversion ended after {seconds:.0f} s"

    async def _list_artifact(self, key: tuple[str, str, str]) -> None:
        await self._operations.clock.sleep(self._durations_s["referrer_lag"])
        now = self._operations.clock.now()
        self.artifacts[key] = (streaming_artifact(key[2]), now)
        self._world.aks_converted[_in_world(key)] = now
        await asyncio.sleep(0)

    async def _conversion(self, call: Call) -> web.Response:
        self._allow(call, "pull,push")
        return web.json_response(self._operation_body(call, self._known_operation(call)))

    def _operation_body(self, call: Call, running: Running, name: str = "") -> dict[str, Any]:
        """Return an operation as ACR tells it: no id, its text in `details` (azure-cli, recorded 2025-04-28).

        How a failed one looks is not published: code and message are put into `details`.
        """
        digest = next(known for (_, _, known), found in self._conversions.items() if found is running)
        resource = f"{call.path['repository']}@{digest}"
        going = "started" if running.ended_at is None else "ended"
        details = f"Conversion {going} for resource {resource}"
        if running.code is not None:
            details = f"{running.code}: {running.message}"
        return {
            "name": f"{name}ArtifactStreamingConversion",
            "resource": resource,
            "status": _status(running),
            "startTime": stamp(running.started_at),
            "progress": self._progress(running),
            "details": details,
        }

    async def _cancel(self, call: Call) -> web.Response:
        self._allow(call, "pull,push")
        running = self._known_operation(call)
        if running.ended_at is None:
            running.status, running.ended_at = "Canceled", self._operations.clock.now()
        return web.json_response(self._operation_body(call, running, "Cancel: "))

    async def _referrers(self, call: Call) -> web.Response:
        self._allow(call, "pull")
        found = self.artifacts.get((call.host, call.path["repository"], call.path["digest"]))
        wanted = call.query.get("artifactType", STREAMING_ARTIFACT) == STREAMING_ARTIFACT
        listed = []
        if found is not None and wanted:
            listed = [
                {
                    "annotations": _ANNOTATIONS,
                    "artifactType": STREAMING_ARTIFACT,
                    "digest": found[0],
                    "mediaType": _OCI_MANIFEST,
                    "size": _ARTIFACT_SIZE,
                }
            ]
        index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": listed}
        return web.json_response(index)

    async def _manifest(self, call: Call) -> web.Response:
        self._allow(call, "pull")
        subject = self._subject(call)
        if subject is not None:
            return web.json_response(
                {"schemaVersion": 2, "mediaType": _OCI_MANIFEST, "subject": {"digest": subject}, "layers": []}
            )
        image = self._image(call)
        layers = [{"size": size, "digest": f"{image.digest}-{at}"} for at, size in enumerate(image.layer_bytes)]
        config = {"digest": _config_digest(image.digest), "size": 8000}
        return web.json_response({"schemaVersion": 2, "mediaType": _MANIFEST, "config": config, "layers": layers})

    def storage_routes(self) -> list[tuple[str, str, str, Handler]]:
        """Return the routes of the storage behind the registries: they take a signature, and no token."""
        return [("GET", "/blob/data/{repository:.+}/{digest}", "blobs.read", self._read_blob)]

    async def _blob(self, call: Call) -> web.Response:
        """Send to storage, on another host as Azure does: a client that takes its token there is noticed."""
        self._allow(call, "pull")
        self._registry(call)
        storage = self._base_url().replace("127.0.0.1", "localhost")
        location = f"{storage}/blob/data/{call.path['repository']}/{call.path['digest']}?sig=stand-in"
        return web.Response(status=307, headers={"Location": location})

    async def _read_blob(self, call: Call) -> web.Response:
        if call.query.get("sig") != "stand-in" or "Authorization" in call.headers:
            raise AzureError(403, "AuthenticationFailed", "A signature, and no token, must be given.")
        registry, repository = self._registry(call), call.path["repository"]
        for image in self._images(call):
            if _repository_of(image) == repository and _config_digest(image.digest) == call.path["digest"]:
                labels = registry.labels.get((repository, image.digest)) or None
                config = {"Labels": labels, "Env": [f"{key}={value}" for key, value in image.env.items()]}
                architecture = self.platforms.get(image.digest, "amd64")
                text = json.dumps({"architecture": architecture, "os": "linux", "config": config})
                return web.Response(text=text, content_type="application/octet-stream")
        raise AzureError(404, "BLOB_UNKNOWN", "blob unknown to registry")

    async def _delete(self, call: Call) -> web.Response:
        self._allow(call, "delete")
        digest, repository = call.path["digest"], call.path["repository"]
        if is_kind(call.fault, "accepted_only"):
            # 202 promises a deletion; this one is still to come.
            return web.Response(status=202)
        subject = self._subject(call)
        if subject is not None:
            self._forget_artifact((call.host, repository, subject))
            return web.Response(status=202)
        self._image(call)
        for image in self._images(call):
            if (_repository_of(image), image.digest) == (repository, digest):
                del self._world.images[image.reference]
        # ACR deletes what refers to a manifest together with it.
        self._forget_artifact((call.host, repository, digest))
        return web.Response(status=202)

    def _forget_artifact(self, key: tuple[str, str, str]) -> None:
        if self.artifacts.pop(key, None) is not None:
            self._world.aks_converted.pop(_in_world(key), None)
            self._conversions.pop(key, None)

    def _allow(self, call: Call, actions: str) -> None:
        token = call.headers.get("Authorization", "").removeprefix("Bearer ")
        host, scope, expires_at = self._access_tokens.get(token, ("", "", self._operations.clock.now()))
        wanted = actions if actions.startswith("registry:") else f"repository:{call.path['repository']}:{actions}"
        if host != call.host or scope != wanted or expires_at <= self._operations.clock.now():
            raise AzureError(401, "UNAUTHORIZED", f"authentication required: the token does not cover {wanted}")

    def _registry(self, call: Call) -> Registry:
        for registry in self._registries.values():
            if registry.login_server == call.host:
                return registry
        raise AzureError(404, "NOT_FOUND", f"there is no registry {call.host}")

    def _images(self, call: Call) -> list[Image]:
        return [image for image in self._world.images.values() if image.reference.startswith(f"{call.host}/")]

    def _image(self, call: Call) -> Image:
        for image in self._images(call):
            if (_repository_of(image), image.digest) == (call.path["repository"], call.path["digest"]):
                return image
        raise AzureError(404, "MANIFEST_UNKNOWN", "manifest unknown to registry")

    def _attributes_of(self, call: Call, digest: str) -> dict[str, Any]:
        for (host, repository, _), (artifact, since) in self.artifacts.items():
            if (host, repository, artifact) == (call.host, call.path["repository"], digest):
                return {"digest": digest, "createdTime": stamp(since), "mediaType": _OCI_MANIFEST}
        tagged = [image for image in self._images(call) if image.digest == digest]
        if not tagged:
            raise AzureError(404, "MANIFEST_UNKNOWN", "manifest unknown to registry")
        return {
            "digest": digest,
            "imageSize": tagged[0].compressed_bytes,
            "createdTime": stamp(tagged[0].pushed_at),
            "architecture": self.platforms.get(digest, "amd64"),
            "os": "linux",
            "mediaType": _MANIFEST,
            "tags": [image.reference.rpartition(":")[2] for image in tagged],
        }

    def _subject(self, call: Call) -> str | None:
        """Return the image digest that the artifact in the path refers to, or None where it is no artifact."""
        for (host, repository, subject), (artifact, _) in self.artifacts.items():
            if (host, repository, artifact) == (call.host, call.path["repository"], call.path["digest"]):
                return subject
        return None

    def _known_operation(self, call: Call) -> Running:
        running = self._operations.get(call.path["operation"])
        if running is None:
            raise AzureError(404, *_UNKNOWN_OPERATION)
        return running

    def _progress(self, running: Running) -> str:
        if running.ended_at is not None:
            return "100%"
        elapsed = (self._operations.clock.now() - running.started_at).total_seconds()
        return f"{min(99, round(elapsed / 10))}%"


def _in_world(key: tuple[str, str, str]) -> tuple[str, str]:
    """Return (host, repository, digest) as the World knows an image."""
    host, repository, digest = key
    return f"{host}/{repository}", digest


def _form(call: Call) -> dict[str, str]:
    return {key: values[0] for key, values in parse_qs(call.body.decode()).items()}


def _page(call: Call, items: list[Any], key: Any) -> list[Any]:
    last = call.query.get("last")
    after = [item for item in items if last is None or key(item) > last]
    return after[: int(call.query.get("n", 100))]


def _repository_of(image: Image) -> str:
    return image.repository.partition("/")[2]


def _status(running: Running) -> str:
    return "Running" if running.ended_at is None else running.status


def _config_digest(digest: str) -> str:
    return "sha256:" + hashlib.sha256(f"config {digest}".encode()).hexdigest()
