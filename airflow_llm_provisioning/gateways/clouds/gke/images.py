"""Images in Artifact Registry: where a reference points, what is behind a tag, whether it can be streamed, whose it is.

Image Streaming needs the image in the nodes' region (or a multi-region around it), no schema 1 manifest and no empty or
duplicate layer: docs.cloud.google.com/kubernetes-engine/docs/how-to/image-streaming and Batch's page on the same.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from google.api_core import exceptions as google
from google.protobuf import field_mask_pb2

from airflow_llm_provisioning.core.image_reference import ImageReference
from airflow_llm_provisioning.gateways.clouds.gke.clients import READ, WRITE
from airflow_llm_provisioning.gateways.clouds.gke.errors import google_errors
from airflow_llm_provisioning.gateways.clouds.gke.steps import Project
from airflow_llm_provisioning.gateways.clouds.gke.tags import GOOGLE_TAGS

_REGISTRY_HOST: Final = re.compile(r"(?P<location>[a-z0-9-]+)-docker\.pkg\.dev")
# Artifact Registry's multi-regions and the first part of the regions they surround.
_MULTI_REGIONS: Final = {"us": "us-", "europe": "europe-", "asia": "asia-"}
_GCR: Final = {"gcr.io": "us", "us.gcr.io": "us", "eu.gcr.io": "europe", "asia.gcr.io": "asia"}
_EMPTY_LAYER: Final = "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4"


@dataclass(frozen=True, slots=True)
class RegistryImage:
    """An image as Artifact Registry names it. `location`: of the registry, None where it is not Google's.

    `package`: below the repository; `tag`, `digest`: as in the reference.
    """

    reference: str
    host: str
    location: str | None
    project: str | None
    repository: str | None
    package: str
    tag: str | None
    digest: str | None

    @classmethod
    def parse(cls, text: str) -> "RegistryImage":
        """Take a reference apart; nothing is looked up."""
        found = ImageReference.parse(text)
        host = found.host or ""
        location = _REGISTRY_HOST.fullmatch(host)
        project, _, below = found.repository.partition("/")
        repository, _, package = below.partition("/")
        if location is None or not package:
            return cls(text, host, _GCR.get(host), None, None, found.repository, found.tag, found.digest)
        return cls(text, host, location["location"], project, repository, package, found.tag, found.digest)

    @property
    def repository_path(self) -> str:
        """The repository's resource name."""
        return f"projects/{self.project}/locations/{self.location}/repositories/{self.repository}"

    @property
    def package_path(self) -> str:
        """The package's resource name; slashes of the package are escaped, as Google wants it."""
        return f"{self.repository_path}/packages/{self.package.replace('/', '%2F')}"

    def version_path(self, digest: str) -> str:
        """The resource name of the version with a digest."""
        return f"{self.package_path}/versions/{digest}"

    def near(self, region: str) -> bool:
        """Say whether nodes of a region can stream from this registry."""
        around = _MULTI_REGIONS.get(self.location or "")
        return self.location == region or (around is not None and region.startswith(around))


def digest_of_tag(project: Project, image: RegistryImage) -> str | None:
    """Return the digest behind an image's tag, or None where repository or tag does not exist."""
    with google_errors(f"look up image {image.reference}"):
        try:
            tag = project.clients.registry.get_tag(request={"name": f"{image.package_path}/tags/{image.tag}"}, **READ)
        except google.NotFound:
            return None
    return str(tag.version).rpartition("/")[2]


def size_bytes(project: Project, image: RegistryImage, digest: str) -> int | None:
    """Return what the registry says is the image's size (compressed), or None where it does not say."""
    name = f"{image.repository_path}/dockerImages/{image.package}@{digest}"
    with google_errors(f"read the size of {image.reference}"):
        try:
            found = project.clients.registry.get_docker_image(request={"name": name}, **READ)
        except google.NotFound:
            return None
    return int(found.image_size_bytes) or None


def mark_as_ours(project: Project, image: RegistryImage, digest: str, labels: Mapping[str, str]) -> None:
    """Annotate an image's version with our labels; annotations are the only labels a version can carry."""
    version = {"name": image.version_path(digest), "annotations": dict(labels)}
    with google_errors(f"annotate image {image.reference}"):
        project.clients.registry.update_version(
            request={"version": version, "update_mask": field_mask_pb2.FieldMask(paths=["annotations"])}, **WRITE
        )


def keep_longer(project: Project, image: RegistryImage, digest: str, until: datetime) -> None:
    """Move the expiry of an image of ours, and of its repository, to `until` where it is earlier.

    What is not ours is left as it is.
    """
    registry = project.clients.registry
    with google_errors(f"read the labels of {image.reference}"):
        version = registry.get_version(request={"name": image.version_path(digest)}, **READ)
        repository = registry.get_repository(request={"name": image.repository_path}, **READ)
    annotations, labels = dict(version.annotations), dict(repository.labels)
    if GOOGLE_TAGS.is_ours(annotations) and (later := GOOGLE_TAGS.later_expiry(annotations, until)):
        mark_as_ours(project, image, digest, {**annotations, **later})
    if GOOGLE_TAGS.is_ours(labels) and (later := GOOGLE_TAGS.later_expiry(labels, until)):
        longer = {"name": repository.name, "labels": {**labels, **later}}
        mask = field_mask_pb2.FieldMask(paths=["labels"])
        with google_errors(f"label repository {repository.name}"):
            registry.update_repository(request={"repository": longer, "update_mask": mask}, **WRITE)


def streaming_problems(project: Project, image: RegistryImage, digest: str | None) -> list[str]:
    """Return every reason why nodes of the project's region could not stream an image, in sentences."""
    if image.host in {"docker.io", "index.docker.io"}:
        return []
    if image.location is None:
        return [f"image {image.reference} is not in Artifact Registry, and only images there can be streamed"]
    problems = []
    if not image.near(project.region):
        problems.append(
            f"image {image.reference} lies in {image.location}, and nodes in {project.region} stream only from their "
            "own region or a multi-region around it: build it there"
        )
    if image.repository is not None:
        problems += _manifest_problems(project, image, digest)
    return problems


def _manifest_problems(project: Project, image: RegistryImage, digest: str | None) -> list[str]:
    name = f"{image.project}/{image.repository}/{image.package}"
    with google_errors(f"read the manifest of {image.reference}"):
        try:
            manifest = project.clients.manifest(image.host, name, digest or image.digest or image.tag or "latest")
        except google.NotFound:
            return [f"image {image.reference} does not exist: build it first (BuildServingImage)"]
    return [f"image {image.reference} {problem}" for problem in _layer_problems(manifest)]


def _layer_problems(manifest: Mapping[str, Any]) -> list[str]:
    if manifest.get("schemaVersion") == 1:
        return ["has a Docker manifest of schema 1, which is never streamed: push it again with a current Docker"]
    layers = [(layer.get("digest"), int(layer.get("size", 0))) for layer in manifest.get("layers", [])]
    problems = []
    if any(digest == _EMPTY_LAYER or size == 0 for digest, size in layers):
        problems.append("has an empty layer, so it would be downloaded and not streamed: build it again without")
    if len({digest for digest, _ in layers}) < len(layers):
        problems.append("has the same layer twice, so it would be downloaded and not streamed: build it again without")
    return problems


def prewarmed(project: Project, image: RegistryImage, digest: str) -> bool | None:
    """Say whether the streaming cache of the region holds an image because it was asked to; None: Google knows of none.

    A pull warms the cache too and leaves no mark, so None is not "cold".
    (docs.cloud.google.com/artifact-registry/docs/prewarm-images, read November 2026)
    """
    found = prewarming(project, image, digest)
    return None if found is None else found.get("state") == "ACTIVE"


def prewarming(project: Project, image: RegistryImage, digest: str) -> dict[str, Any] | None:
    """Return what Artifact Registry says of an image it was asked to prewarm for the region; None: of none.

    {state: CACHING | ACTIVE | FAILED, errorMessage?, expirationTime?, ...}, as artifactregistry v1's PrewarmedArtifact.
    """
    if image.repository is None:
        return None
    body = {"version": image.version_path(digest), "streamLocation": project.region}
    with google_errors(f"ask whether {image.reference} is prewarmed"):
        try:
            found = project.clients.registry_call("POST", f"{image.repository_path}:checkPrewarmedArtifact", body)
        except google.NotFound:
            return None
    return dict(found.get("prewarmedArtifact") or {})
