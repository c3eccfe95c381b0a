"""Artifact Registry of the simulated project: repositories, and what the world's images look like through it.

Images are the world's; repositories and annotations live here. The registry protocol itself (`/v2/.../manifests/...`)
is answered on a port of its own, as Google does on LOCATION-docker.pkg.dev.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from aiohttp import web

from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.clouds.gke.http import (
    Call,
    GoogleError,
    Handler,
    Operations,
    long_running,
    stamp,
)
from llm_provisioning_simulator.clouds.operations import CallFaults
from llm_provisioning_simulator.loopback import Loopback
from llm_provisioning_simulator.world import Image, World, digest_of

_BASE = "artifactregistry.projects.locations."
# artifactregistry.v1, PrewarmArtifactRequest.retentionDays: what it is where the request does not say.
PREWARM_DAYS = 3
METADATA = "google.devtools.artifactregistry.v1.OperationMetadata"
MEDIA_TYPE = "application/vnd.docker.distribution.manifest.v2+json"


class ArtifactRegistry:
    """Repositories by full name, and the images pushed below them."""

    def __init__(self, world: World, clock: SimClock, durations_s: Mapping[str, float]) -> None:
        self._world = world
        self._clock = clock
        self._durations_s = durations_s
        self.repositories: dict[str, dict[str, Any]] = {}
        self.annotations: dict[str, dict[str, str]] = {}
        self.prewarmed: dict[tuple[str, str], dict[str, Any]] = {}
        """(location, digest) -> PrewarmedArtifact."""
        self.operations = Operations(clock, "ar-")

    def handlers(self) -> dict[str, Handler]:
        """Return the answers of artifactregistry.v1."""
        repositories = f"{_BASE}repositories."
        return {
            f"{_BASE}operations.get": self._operation,
            f"{repositories}get": self._get,
            f"{repositories}list": self._list,
            f"{repositories}create": self._create,
            f"{repositories}delete": self._delete,
            f"{repositories}patch": self._patch,
            f"{repositories}checkPrewarmedArtifact": self._check_prewarmed,
            f"{repositories}prewarmArtifact": self._prewarm,
            f"{repositories}dockerImages.get": self._docker_image,
            f"{repositories}packages.list": self._packages,
            f"{repositories}packages.tags.get": self._tag,
            f"{repositories}packages.tags.delete": self._delete_tag,
            f"{repositories}packages.versions.get": self._version,
            f"{repositories}packages.versions.list": self._versions,
            f"{repositories}packages.versions.patch": self._annotate,
            f"{repositories}packages.versions.delete": self._delete_version,
        }

    def holds(self, reference: str) -> bool:
        """Say whether the repository an image reference names exists, so that it can be pushed to."""
        host, _, rest = reference.partition("/")
        project, _, rest = rest.partition("/")
        location, repository = host.removesuffix("-docker.pkg.dev"), rest.partition("/")[0]
        return f"projects/{project}/locations/{location}/repositories/{repository}" in self.repositories

    def images(self, call: Call, package: str | None = None) -> list[Image]:
        """Return the images below a call's repository (or one package of it)."""
        prefix = f"{self._host_path(call)}/"
        if package is not None:
            prefix += f"{package}:"
        return [image for image in self._world.images.values() if image.reference.startswith(prefix)]

    def _host_path(self, call: Call) -> str:
        path = call.path
        return f"{path['locationsId']}-docker.pkg.dev/{path['projectsId']}/{path['repositoriesId']}"

    def _name(self, call: Call, repository: str | None = None) -> str:
        path = call.path
        repository = repository or path["repositoriesId"]
        return f"projects/{path['projectsId']}/locations/{path['locationsId']}/repositories/{repository}"

    def _repository(self, call: Call) -> dict[str, Any]:
        name = self._name(call)
        if name not in self.repositories:
            raise GoogleError("NOT_FOUND", f'Repository "{name}" not found')
        return self.repositories[name]

    async def _operation(self, call: Call) -> dict[str, Any]:
        return self._long_running(call, call.path["operationsId"])

    def _long_running(self, call: Call, name: str) -> dict[str, Any]:
        running = self.operations.get(name)
        path = call.path
        where = f"projects/{path['projectsId']}/locations/{path['locationsId']}"
        return long_running(running, f"{where}/operations/{name}", METADATA)

    def _begin(self, call: Call, what: str, effect: Any) -> dict[str, Any]:
        running = self.operations.begin(
            self._durations_s[what], effect, kind=what, target=self._parent(call), fault=call.fault
        )
        return long_running(running, f"{self._parent(call)}/operations/{running.name}", METADATA)

    def _parent(self, call: Call) -> str:
        return f"projects/{call.path['projectsId']}/locations/{call.path['locationsId']}"

    async def _get(self, call: Call) -> dict[str, Any]:
        return self._repository(call)

    async def _list(self, call: Call) -> dict[str, Any]:
        prefix = f"{self._parent(call)}/repositories/"
        return {"repositories": [body for name, body in self.repositories.items() if name.startswith(prefix)]}

    async def _create(self, call: Call) -> dict[str, Any]:
        repository_id = call.query.get("repositoryId", "")
        name = self._name(call, repository_id)
        if not repository_id:
            raise GoogleError("INVALID_ARGUMENT", "repository_id is missing")
        if name in self.repositories:
            raise GoogleError("ALREADY_EXISTS", "the repository already exists")

        def effect() -> dict[str, Any]:
            # Two creates may race, as they do at Google: the second operation ends with ALREADY_EXISTS.
            if name in self.repositories:
                raise GoogleError("ALREADY_EXISTS", "the repository already exists")
            now = stamp(self._clock.now())
            body = {"mode": "STANDARD_REPOSITORY", **call.body, "name": name, "createTime": now, "updateTime": now}
            self.repositories[name] = body
            return {"@type": "type.googleapis.com/google.devtools.artifactregistry.v1.Repository", **body}

        return self._begin(call, "create_repository", effect)

    async def _patch(self, call: Call) -> dict[str, Any]:
        repository = self._repository(call)
        if call.query.get("updateMask") != "labels":
            raise GoogleError("UNIMPLEMENTED", "The simulator updates a repository's labels only.")
        repository["labels"] = dict((call.body or {}).get("labels", {}))
        return repository

    async def _delete(self, call: Call) -> dict[str, Any]:
        self._repository(call)
        doomed = [image.reference for image in self.images(call)]

        def effect() -> None:
            self.repositories.pop(self._name(call), None)
            for reference in doomed:
                self._world.images.pop(reference, None)

        return self._begin(call, "delete_repository", effect)

    async def _packages(self, call: Call) -> dict[str, Any]:
        self._repository(call)
        prefix = f"{self._host_path(call)}/"
        names = {image.reference.removeprefix(prefix).partition(":")[0] for image in self.images(call)}
        return {"packages": [{"name": f"{self._name(call)}/packages/{_escaped(name)}"} for name in sorted(names)]}

    async def _tag(self, call: Call) -> dict[str, Any]:
        image = self._tagged(call)
        package = f"{self._name(call)}/packages/{_escaped(call.path['packagesId'])}"
        return {"name": f"{package}/tags/{call.path['tagsId']}", "version": f"{package}/versions/{image.digest}"}

    async def _delete_tag(self, call: Call) -> dict[str, Any]:
        del self._world.images[self._tagged(call).reference]
        return {}

    def _tagged(self, call: Call) -> Image:
        self._repository(call)
        reference = f"{self._host_path(call)}/{call.path['packagesId']}:{call.path['tagsId']}"
        image = self._world.images.get(reference)
        if image is None:
            raise GoogleError("NOT_FOUND", f'Tag "{call.path["tagsId"]}" was not found.')
        return image

    def _with_digest(self, call: Call, package: str, digest: str) -> list[Image]:
        self._repository(call)
        found = [image for image in self.images(call, package) if image.digest == digest]
        if not found:
            raise GoogleError("NOT_FOUND", f'Version "{digest}" was not found.')
        return found

    async def _docker_image(self, call: Call) -> dict[str, Any]:
        package, _, digest = call.path["dockerImagesId"].partition("@")
        found = self._with_digest(call, package, digest)
        return {
            "name": f"{self._name(call)}/dockerImages/{package}@{digest}",
            "uri": f"{self._host_path(call)}/{package}@{digest}",
            "tags": [image.reference.rpartition(":")[2] for image in found],
            "imageSizeBytes": str(found[0].compressed_bytes),
            "mediaType": MEDIA_TYPE,
            "uploadTime": stamp(found[0].pushed_at),
        }

    def _version_body(self, call: Call, package: str, image: Image) -> dict[str, Any]:
        name = f"{self._name(call)}/packages/{_escaped(package)}/versions/{image.digest}"
        return {
            "name": name,
            "createTime": stamp(image.pushed_at),
            "annotations": self.annotations.get(name, {}),
            "metadata": {"imageSizeBytes": str(image.compressed_bytes), "mediaType": MEDIA_TYPE},
        }

    async def _version(self, call: Call) -> dict[str, Any]:
        package = call.path["packagesId"]
        return self._version_body(call, package, self._with_digest(call, package, call.path["versionsId"])[0])

    async def _versions(self, call: Call) -> dict[str, Any]:
        self._repository(call)
        package = call.path["packagesId"]
        by_digest = {image.digest: image for image in self.images(call, package)}
        return {"versions": [self._version_body(call, package, image) for image in by_digest.values()]}

    async def _annotate(self, call: Call) -> dict[str, Any]:
        body = await self._version(call)
        if call.query.get("updateMask") != "annotations":
            raise GoogleError("INVALID_ARGUMENT", "only annotations of a version can be updated")
        self.annotations[body["name"]] = dict((call.body or {}).get("annotations", {}))
        return await self._version(call)

    async def _delete_version(self, call: Call) -> dict[str, Any]:
        found = self._with_digest(call, call.path["packagesId"], call.path["versionsId"])
        tagged = [image for image in found if image.reference in self._world.images]
        if tagged and call.query.get("force") != "true":
            raise GoogleError("FAILED_PRECONDITION", "the version has tags: delete them first or set force")

        def effect() -> None:
            for image in found:
                self._world.images.pop(image.reference, None)

        return self._begin(call, "delete_version", effect)

    def _prewarm_subject(self, call: Call) -> tuple[str, str]:
        digest = str((call.body or {}).get("version", "")).rpartition("/versions/")[2]
        package = str((call.body or {}).get("version", "")).partition("/packages/")[2].partition("/")[0]
        self._with_digest(call, package.replace("%2F", "/"), digest)
        return (call.body or {}).get("streamLocation") or call.path["locationsId"], digest

    async def _check_prewarmed(self, call: Call) -> dict[str, Any]:
        subject = self._prewarm_subject(call)
        until = self._world.gke_prewarmed_until.get(subject)
        if until is None or until <= self._clock.now():
            raise GoogleError("NOT_FOUND", "the artifact is not prewarmed")
        return {"prewarmedArtifact": self.prewarmed[subject]}

    async def _prewarm(self, call: Call) -> dict[str, Any]:
        location, digest = self._prewarm_subject(call)
        days = int((call.body or {}).get("retentionDays", PREWARM_DAYS))

        def effect() -> dict[str, Any]:
            now = self._clock.now()
            until = now + timedelta(days=days)
            self._world.gke_prewarmed_until[location, digest] = until
            body = {
                "location": location,
                "state": "ACTIVE",
                "createTime": stamp(now),
                "expirationTime": stamp(until),
            }
            self.prewarmed[location, digest] = body
            return {
                "@type": "type.googleapis.com/google.devtools.artifactregistry.v1.PrewarmArtifactResponse",
                "prewarmedArtifact": body,
            }

        return self._begin(call, "prewarm", effect)


def _escaped(package: str) -> str:
    return package.replace("/", "%2F")


class RegistryProtocol:
    """Manifests of the world's images by the registry protocol. Faults: `registry.manifest` with kind `empty_layer` or
    `duplicate_layer`.
    """

    def __init__(self, world: World, faults: CallFaults, host: str) -> None:
        self._world = world
        self._faults = faults
        self._host = host
        self._loopback = Loopback()

    async def start(self, port: int = 0) -> str:
        """Listen, and return the URL."""
        app = web.Application()
        app.router.add_get("/v2/{name:.+}/manifests/{reference}", self._manifest)
        return await self._loopback.serve(web.AppRunner(app, access_log=None, shutdown_timeout=0.1), port)

    async def stop(self) -> None:
        """Stop listening."""
        await self._loopback.stop()

    async def _manifest(self, request: web.Request) -> web.Response:
        name, wanted = request.match_info["name"], request.match_info["reference"]
        separator = "@" if wanted.startswith("sha256:") else ":"
        image = self._world.find_image(f"{self._host}/{name}{separator}{wanted}")
        if image is None:
            errors = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": f"no manifest for {name}{separator}{wanted}"}]}
            return web.json_response(errors, status=404)
        layers = [{"size": size, "digest": digest_of(image.reference, n)} for n, size in enumerate(image.layer_bytes)]
        fault = self._faults.take("registry.manifest")
        if fault and fault["kind"] == "duplicate_layer":
            layers.append(dict(layers[0]))
        if fault and fault["kind"] == "empty_layer":
            # The gzip of an empty tar, as Docker pushes it for instructions that change nothing.
            layers.append(
                {"size": 32, "digest": "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4"}
            )
        body = {"schemaVersion": 2, "mediaType": MEDIA_TYPE, "layers": layers}
        return web.json_response(body, content_type=MEDIA_TYPE, headers={"Docker-Content-Digest": image.digest})
