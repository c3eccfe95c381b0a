"""What is ours on Azure, found by tags and labels alone, and deleted only when it says so itself at that moment."""

from collections.abc import Iterator
from datetime import datetime

from airflow_llm_provisioning.core.image_reference import ImageReference
from airflow_llm_provisioning.exceptions import CloudError, ConfigurationError
from airflow_llm_provisioning.gateways.clouds.aks import build as aks_build
from airflow_llm_provisioning.gateways.clouds.aks import pools as aks_pools
from airflow_llm_provisioning.gateways.clouds.aks import streaming as aks_streaming
from airflow_llm_provisioning.gateways.clouds.aks.arm import AzureAccount, azure_errors
from airflow_llm_provisioning.gateways.clouds.aks.registry import RegistryClient
from airflow_llm_provisioning.gateways.clouds.aks.tags import AZURE_TAGS
from airflow_llm_provisioning.gateways.clouds.base import Owned


class OwnedOnAzure:
    """Lists and deletes. Kinds: `agent_pool` (cluster/pool), `image`, `streaming_artifact` (host/repository@digest)."""

    def __init__(self, account: AzureAccount) -> None:
        self._account = account
        self._pools = aks_pools.Pools(account)

    def list(self) -> list[Owned]:
        """Return everything of ours; an artifact comes before its image, a list in order can be deleted in order."""
        return [*self._agent_pools(), *self._artifacts()]

    def stands(self, kind: str, name: str) -> bool | None:
        """Return whether an image has streaming artifacts, under the ledger's name for them (host/repository@digest of
        the image): those of another owner's image carry no mark. None for what the list tells.
        """
        if kind != aks_streaming.KIND:
            return None
        image = ImageReference.parse(name)
        with azure_errors(f"Looking for streaming artifacts of {name}"):
            data_plane = self._account.data_plane(str(image.host))
            return bool(data_plane.streaming_artifacts(image.repository, str(image.digest)))

    def exists(self, kind: str, identity: str) -> bool | None:
        """Return whether a pool or an image exists under Azure's name, with any marks; None for another name
        and for streaming artifacts (`stands`).
        """
        if kind == aks_pools.KIND and "/" in identity:
            return self._pools.get(*identity.split("/", 1)) is not None
        if kind != aks_build.KIND or "@" not in identity:
            return None
        image = ImageReference.parse(identity)
        with azure_errors(f"Looking for image {identity}"):
            data_plane = self._account.data_plane(str(image.host))
            return data_plane.manifest_attributes(image.repository, str(image.digest)) is not None

    def delete(self, owned: Owned) -> None:
        """Delete one thing after looking at its own marks again; what is gone is noted in the ledger."""
        if owned.kind == aks_pools.KIND:
            gone = self._delete_pool(*owned.identity.split("/", 1))
        elif owned.kind in (aks_build.KIND, aks_streaming.KIND):
            gone = self._delete_artifact(owned)
        else:
            raise ConfigurationError(f"AKS owns nothing of kind {owned.kind!r}.")
        if gone:
            self._account.entries.gone(owned.kind, identity=owned.identity)

    def _agent_pools(self) -> Iterator[Owned]:
        group = self._account.resource_group
        with azure_errors(f"Listing the AKS clusters of resource group {group}"):
            clusters = list(self._account.containers.managed_clusters.list_by_resource_group(group))
        for cluster in clusters:
            for pool in self._pools.list(cluster.name):
                tags = pool.properties.tags
                if AZURE_TAGS.is_ours(tags):
                    yield Owned(aks_pools.KIND, f"{cluster.name}/{pool.name}", AZURE_TAGS.read(tags))

    def _artifacts(self) -> Iterator[Owned]:
        group = self._account.registries_group
        with azure_errors(f"Listing the container registries of resource group {group}"):
            registries = list(self._account.registries.registries.list_by_resource_group(group))
        for registry in registries:
            data_plane = self._account.data_plane(str(registry.login_server))
            with azure_errors(f"Listing the images of registry {registry.login_server}"):
                for repository in list(data_plane.repositories()):
                    yield from list(_images(data_plane, repository))

    def _delete_pool(self, cluster: str, name: str) -> bool:
        """Return whether the pool is gone; AKS takes minutes, and list_owned shows it until then."""
        pool = self._pools.get(cluster, name)
        if pool is None:
            return True
        if not AZURE_TAGS.is_ours(pool.properties.tags):
            raise CloudError(
                f"Agent pool {name!r} of cluster {cluster!r} is not deleted: its tags do not say it is ours."
            )
        self._pools.delete(cluster, name)
        return False

    def _delete_artifact(self, owned: Owned) -> bool:
        name = ImageReference.parse(owned.identity)
        data_plane = self._account.data_plane(str(name.host))
        digest = str(name.digest)
        with azure_errors(f"Deleting {owned.kind} {owned.identity}"):
            if data_plane.manifest_attributes(name.repository, digest) is None:
                return True
            marks = data_plane.image_labels(name.repository, _subject(data_plane, name, digest))
            if not AZURE_TAGS.is_ours(marks):
                raise CloudError(f"{owned.identity} is not deleted: its image's labels do not say it is ours.")
            # The registry would delete referrers with their subject (OCI specification: may); we do not lean on it.
            for artifact in data_plane.streaming_artifacts(name.repository, digest):
                data_plane.delete_manifest(name.repository, artifact)
            data_plane.delete_manifest(name.repository, digest)
            # The registry answers 202: it has accepted the deletion.
            return data_plane.manifest_attributes(name.repository, digest) is None


def _images(data_plane: RegistryClient, repository: str) -> Iterator[Owned]:
    for attributes in list(data_plane.manifests(repository)):
        digest = str(attributes["digest"])
        labels = data_plane.image_labels(repository, digest)
        if not AZURE_TAGS.is_ours(labels):
            continue
        tags = AZURE_TAGS.read(labels)
        place = f"{data_plane.login_server}/{repository}"
        for artifact in data_plane.streaming_artifacts(repository, digest):
            yield Owned(aks_streaming.KIND, f"{place}@{artifact}", tags)
        created = attributes.get("createdTime")
        yield Owned(
            aks_build.KIND, f"{place}@{digest}", tags, datetime.fromisoformat(str(created)) if created else None
        )


def _subject(data_plane: RegistryClient, name: ImageReference, digest: str) -> str:
    """Return the image a streaming artifact refers to; an image is its own subject."""
    return data_plane.subject(name.repository, digest) or digest
