"""Persistent volume claims of a pod: does each exist, and can it be bound?

Bound as with the clouds' default storage classes (WaitForFirstConsumer): once a pod that uses it has a node. A claim of
a class that the cluster does not have stays unbound. Wordings: kube-scheduler 1.34 (plugins/volumebinding) and the
persistentvolume controller.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from llm_provisioning_simulator.kube.store import ObjectStore

Object = dict[str, Any]

# What the managed clusters of the clouds come with; further ones are StorageClass objects.
_KNOWN_CLASSES: Final = frozenset(
    {"", "gp2", "gp3", "standard", "standard-rwo", "premium-rwo", "default", "managed", "managed-csi", "azurefile-csi"}
    | {"premium-rwx", "azureblob-nfs-premium"}
)
# A shared file system of each cloud: class -> driver (docs of the EFS, Filestore and Azure Files CSI drivers).
_SHARED: Final[Mapping[str, Mapping[str, str]]] = {
    "eks": {"efs-sc": "efs.csi.aws.com"},
    "gke": {"standard-rwx": "filestore.csi.storage.gke.io"},
    "aks": {"azurefile-csi-premium": "file.csi.azure.com"},
}
_UNBOUND: Final = "pod has unbound immediate PersistentVolumeClaims"


def install_classes(store: ObjectStore, cloud: str) -> None:
    """Make driver and storage class of the cloud's shared file system, as the driver's installation does."""
    for name, driver in _SHARED.get(cloud, {}).items():
        store.create("csidrivers", {"metadata": {"name": driver}}, manager="helm")
        store.create("storageclasses", {"metadata": {"name": name}, "provisioner": driver}, manager="helm")


def claim_problem(store: ObjectStore, pod: Object) -> str | None:
    """Return why a pod's claims keep it from every node, in the scheduler's words; None when they do not."""
    namespace = pod["metadata"]["namespace"]
    for name in _claims(pod):
        claim = store.peek("persistentvolumeclaims", name, namespace)
        if claim is None:
            return f'persistentvolumeclaim "{name}" not found'
        if claim["metadata"].get("deletionTimestamp"):
            return f'persistentvolumeclaim "{name}" is being deleted'
        missing = _missing_class(store, claim)
        if missing is not None:
            _say_missing(store, claim, missing)
            return _UNBOUND
    return None


def bind_claims(store: ObjectStore, pod: Object) -> None:
    """Bind the claims of a pod that has just got its node."""
    namespace = pod["metadata"]["namespace"]
    for name in _claims(pod):
        claim = store.peek("persistentvolumeclaims", name, namespace)
        if claim is None or (claim.get("status") or {}).get("phase") == "Bound":
            continue
        store.mutate("persistentvolumeclaims", name, namespace, _bind, manager="kube-controller-manager")


def _bind(claim: Object) -> None:
    claim.setdefault("spec", {}).setdefault("volumeName", f"pvc-{claim['metadata']['uid']}")
    claim["status"] = {**(claim.get("status") or {}), "phase": "Bound"}


def _claims(pod: Object) -> Iterator[str]:
    for volume in pod["spec"].get("volumes") or ():
        name = (volume.get("persistentVolumeClaim") or {}).get("claimName")
        if name:
            yield str(name)


def _missing_class(store: ObjectStore, claim: Object) -> str | None:
    """Return the storage class for which a claim waits in vain."""
    spec = claim.get("spec") or {}
    name = spec.get("storageClassName") or ""
    if spec.get("volumeName") or (claim.get("status") or {}).get("phase") == "Bound" or name in _KNOWN_CLASSES:
        return None
    return None if store.peek("storageclasses", name) is not None else name


def _say_missing(store: ObjectStore, claim: Object, name: str) -> None:
    store.record_event(
        claim,
        "ProvisioningFailed",
        f'storageclass.storage.k8s.io "{name}" not found',
        component="persistentvolume-controller",
        style="kubelet",
        type_="Warning",
    )
