"""Everything of ours in a Google project, found by labels alone, and deleted one by one.

Pools, repositories, builders, disks and disk images carry labels, images annotations, builds tags. An image whose
annotation was never written (the process died between push and mark) is found through the tags of the build that pushed
it.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any, Final

from google.api_core import exceptions as google

from airflow_llm_provisioning.core.names import LABEL_MANAGED_BY, OWNER
from airflow_llm_provisioning.exceptions import CloudError, ConfigurationError
from airflow_llm_provisioning.gateways.clouds.base import Owned
from airflow_llm_provisioning.gateways.clouds.gke.build import ACTIVE
from airflow_llm_provisioning.gateways.clouds.gke.clients import READ, WRITE
from airflow_llm_provisioning.gateways.clouds.gke.compute import KINDS, Compute
from airflow_llm_provisioning.gateways.clouds.gke.errors import google_errors
from airflow_llm_provisioning.gateways.clouds.gke.images import RegistryImage
from airflow_llm_provisioning.gateways.clouds.gke.steps import Project
from airflow_llm_provisioning.gateways.clouds.gke.tags import GOOGLE_TAGS, build_tags, read_build_tags

_MARK: Final = GOOGLE_TAGS.spell({LABEL_MANAGED_BY: OWNER})


class OwnedResources:
    """What this package made in one project and location."""

    def __init__(self, project: Project) -> None:
        self._project, self._compute = project, Compute(project)

    def everything(self) -> list[Owned]:
        """Return builds that run, images, repositories, node pools, builders, disks and disk images, in the order in
        which they can be deleted.
        """
        builds = self._builds()
        running = [_owned_build(self._project, b) for b in builds if b.status.name in ACTIVE]
        repositories = self._repositories()
        images = {
            owned.identity: owned
            for r in repositories
            for owned in self._images(r.name)
            if GOOGLE_TAGS.is_ours(owned.tags)
        }
        for owned in self._pushed_by(builds):
            images.setdefault(owned.identity, owned)
        ours = [
            Owned("repository", r.name, GOOGLE_TAGS.read(r.labels), _at(r.create_time))
            for r in repositories
            if GOOGLE_TAGS.is_ours(dict(r.labels))
        ]
        return [*running, *images.values(), *ours, *self._pools(), *self._compute.listed()]

    def delete(self, owned: Owned) -> None:
        """Delete one thing after looking at its mark again; gone already is success. Google accepts a deletion before
        the thing is gone: its ledger entry ends when it is seen to be gone, and list_owned shows it until then. A
        build is gone when it no longer runs.
        """
        deletes: Mapping[str, Callable[[str], bool | None]] = {
            "build": self._delete_build,
            "image": self._delete_image,
            "repository": self._delete_repository,
            "node_pool": self._delete_pool,
            **{kind: partial(self._delete_in_compute, kind) for kind in KINDS},
        }
        if owned.kind not in deletes:
            raise ConfigurationError(f"Nothing of kind {owned.kind!r} is ever made on GKE ({owned.identity}).")
        gone = True
        with google_errors(f"delete {owned.kind} {owned.identity}"), suppress(google.NotFound):
            gone = bool(deletes[owned.kind](owned.identity))
        if gone:
            self._project.entries.gone(owned.kind, identity=owned.identity)

    def exists(self, kind: str, identity: str) -> bool | None:
        """Return whether a thing exists under Google's own name, with any labels; None for what is no such
        name. A build is there as long as it runs.
        """
        clients = self._project.clients
        looks: Mapping[str, Callable[[], bool]] = {
            "build": lambda: self._build(identity).status.name in ACTIVE,
            "image": lambda: bool(clients.registry.get_version(request={"name": identity}, **READ)),
            "repository": lambda: bool(clients.registry.get_repository(request={"name": identity}, **READ)),
            "node_pool": lambda: bool(clients.container.get_node_pool(request={"name": identity}, **READ)),
            **{made: lambda: self._compute.labels_of(kind, identity) is not None for made in KINDS},
        }
        if kind not in looks or not identity.startswith("projects/"):
            return None
        with google_errors(f"look for {kind} {identity}"):
            try:
                return looks[kind]()
            except google.NotFound:
                return False

    def _build(self, identity: str) -> Any:
        named = {"name": identity, "project_id": self._project.name, "id": identity.rpartition("/")[2]}
        return self._project.clients.builds.get_build(request=named, **READ)

    def _builds(self) -> list[Any]:
        mark = build_tags(_MARK)[0]
        request = {"parent": self._project.build_path, "filter": f'tags="{mark}"'}
        if self._project.build_location == "global":
            request["project_id"] = self._project.name
        with google_errors(f"list builds in {self._project.build_path}"):
            return [b for b in self._project.clients.builds.list_builds(request=request, **READ) if mark in b.tags]

    def _repositories(self) -> list[Any]:
        parent = self._project.registry_path
        with google_errors(f"list repositories in {parent}"):
            listed = self._project.clients.registry.list_repositories(request={"parent": parent}, **READ)
            return [r for r in listed if r.format_.name == "DOCKER" and r.mode.name != "VIRTUAL_REPOSITORY"]

    def _images(self, repository: str) -> Iterable[Owned]:
        """Give a repository's images; what is gone since the list that named it was made holds none."""
        registry = self._project.clients.registry
        with google_errors(f"list images in {repository}"):
            for package in _in(repository, registry.list_packages):
                for version in _in(package.name, registry.list_versions):
                    yield _image(version, version.annotations)

    def _pushed_by(self, builds: list[Any]) -> Iterable[Owned]:
        for build in builds:
            for made in build.results.images:
                name = RegistryImage.parse(made.name).version_path(made.digest)
                with google_errors(f"look up {made.name}"):
                    try:
                        version = self._project.clients.registry.get_version(request={"name": name}, **READ)
                    except google.NotFound:
                        continue
                # Another owner's mark on the same bytes would be an annotation; ours alone or none at all is ours.
                tags = dict(version.annotations) or read_build_tags(build.tags)
                if GOOGLE_TAGS.is_ours(tags):
                    yield _image(version, tags)

    def _pools(self) -> list[Owned]:
        parent = self._project.path
        with google_errors(f"list clusters in {parent}"):
            listed = self._project.clients.container.list_clusters(request={"parent": parent}, **READ)
        if listed.missing_zones:
            raise CloudError(
                f"Google could not list the clusters of {', '.join(listed.missing_zones)}: a list of what is ours "
                "would be incomplete; try again later."
            )
        return [
            Owned(
                "node_pool",
                f"{parent}/clusters/{c.name}/nodePools/{p.name}",
                GOOGLE_TAGS.read(p.config.resource_labels),
            )
            for c in listed.clusters
            for p in c.node_pools
            if GOOGLE_TAGS.is_ours(dict(p.config.resource_labels))
        ]

    def _refuse(self, identity: str, labels: Mapping[str, str]) -> None:
        if not GOOGLE_TAGS.is_ours(labels):
            raise CloudError(f"{identity} does not carry our mark ({OWNER}): it belongs to another owner and stays.")

    def _delete_build(self, identity: str) -> bool:
        project = self._project
        named = {"name": identity, "project_id": project.name, "id": identity.rpartition("/")[2]}
        build = self._build(identity)
        self._refuse(identity, read_build_tags(build.tags))
        if build.status.name in ACTIVE:
            build = project.clients.builds.cancel_build(request=named, **WRITE)
        return build.status.name not in ACTIVE

    def _delete_image(self, identity: str) -> None:
        registry = self._project.clients.registry
        version = registry.get_version(request={"name": identity}, **READ)
        self._refuse(identity, dict(version.annotations) or self._builders_tags(identity))
        # `force`: with its tags; without, a tagged version stays.
        registry.delete_version(request={"name": identity, "force": True}, **WRITE)

    def _builders_tags(self, identity: str) -> dict[str, str]:
        for build in self._builds():
            if identity in {RegistryImage.parse(made.name).version_path(made.digest) for made in build.results.images}:
                return read_build_tags(build.tags)
        return {}

    def _delete_repository(self, identity: str) -> None:
        registry = self._project.clients.registry
        self._refuse(identity, dict(registry.get_repository(request={"name": identity}, **READ).labels))
        built = {owned.identity for owned in self._pushed_by(self._builds())}
        foreign = [
            o.identity for o in self._images(identity) if not GOOGLE_TAGS.is_ours(o.tags) and o.identity not in built
        ]
        if foreign:
            raise CloudError(
                f"Repository {identity} is ours but holds images that are not ({foreign[0]}, ...): it stays."
            )
        registry.delete_repository(request={"name": identity}, **WRITE)

    def _delete_in_compute(self, kind: str, identity: str) -> None:
        labels = self._compute.labels_of(kind, identity)
        if labels is None:
            raise google.NotFound(identity)
        self._refuse(identity, labels)
        self._compute.delete(kind, identity)

    def _delete_pool(self, identity: str) -> None:
        container = self._project.clients.container
        pool = container.get_node_pool(request={"name": identity}, **READ)
        self._refuse(identity, dict(pool.config.resource_labels))
        if pool.status.name != "STOPPING":
            container.delete_node_pool(request={"name": identity}, **WRITE)


def _owned_build(project: Project, build: Any) -> Owned:
    identity = f"{project.build_path}/builds/{build.id}"
    return Owned("build", identity, GOOGLE_TAGS.read(read_build_tags(build.tags)), _at(build.create_time))


def _in(parent: str, listing: Callable[..., Iterable[Any]]) -> list[Any]:
    """Return all that a parent holds, which is nothing where the parent is gone."""
    try:
        return list(listing(request={"parent": parent}, **READ))
    except google.NotFound:
        return []


def _at(stamp: Any) -> datetime | None:
    """Return a protobuf timestamp, as the clients give it, as a plain datetime."""
    return datetime.fromtimestamp(stamp.timestamp(), stamp.tzinfo) if stamp else None


def _image(version: Any, tags: Mapping[str, str]) -> Owned:
    """Return a version of Artifact Registry as an image. Its size is in its untyped metadata (Artifact Registry v1,
    DockerImage: "returned as untyped metadata in the Version resource", `imageSizeBytes`, a number in text).
    """
    size = dict(version.metadata or {}).get("imageSizeBytes")
    priced = ("image", "standard", int(size) / 2.0**30) if size else None
    return Owned("image", version.name, GOOGLE_TAGS.read(dict(tags)), _at(version.create_time), priced)
