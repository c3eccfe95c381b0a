"""What a target must say of a claim that many nodes mount, for every treatment that keeps something on one."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from airflow_llm_provisioning.core.fields import dig, text
from airflow_llm_provisioning.core.manifests import images
from airflow_llm_provisioning.core.prepared_objects import image_mark
from airflow_llm_provisioning.core.target import Target
from airflow_llm_provisioning.core.treatments.base import Found

MODES: Final = ("ReadWriteMany", "ReadOnlyMany")
QUANTITY: Final = re.compile(r"[1-9][0-9]{0,5}(Gi|Ti)")
# How CSI drivers are named (efs.csi.aws.com, filestore.csi.storage.gke.io, file.csi.azure.com); other provisioners have
# no CSIDriver object.
_CSI: Final = re.compile(r"(^|\.)csi\.")
# Disks: one node mounts their file system for writing (kubernetes-csi/docs, book/src/drivers.md; those before CSI:
# kubernetes.io, "Persistent Volumes", access modes). Several nodes at once get a raw block device at most.
_ONE_NODE: Final = (
    *("ebs.csi.aws.com", "ebs.csi.eks.amazonaws.com", "pd.csi.storage.gke.io", "disk.csi.azure.com"),
    *("kubernetes.io/aws-ebs", "kubernetes.io/gce-pd", "kubernetes.io/azure-disk"),
    *("rancher.io/local-path", "k8s.io/minikube-hostpath", "topolvm.io"),
)


class ServedImages:
    """The images that Jobs of one preparation run, of which a build's result is not known yet."""

    def __init__(self) -> None:
        self._known: list[Any] = []

    def named(self, image: Any, manifest: Mapping[str, Any], own: str) -> str:
        """Return what a Job's container names: a mark for the image that a RayService is served with, or `own` where
        its groups have several. `image`: the build's result, which is told apart by identity only.
        """
        if len(images(manifest)) != 1:
            return own
        if not any(image is known for known in self._known):
            self._known.append(image)
        return image_mark(next(at for at, known in enumerate(self._known) if known is image))

    def given(self) -> Any:
        """Return the argument `image` of `PrepareObjects`."""
        return self._known[0] if len(self._known) == 1 else self._known or None


def class_problems(name: str, target: Target, found: Found) -> Iterator[str]:
    """Yield that the storage class which a target names is not on its cluster, or that its driver is not."""
    told, classes, drivers = target.told_of(name), found.get("storageclasses"), found.get("csidrivers")
    wanted = text(told.get("storage_class"))
    if not wanted or told.get("claim") or not classes:
        return
    by_name = {text(dig(item, "metadata", "name")): text(item.get("provisioner")) for item in classes}
    driver = by_name.get(wanted)
    installed = None if drivers is None else {text(dig(item, "metadata", "name")) for item in drivers}
    if driver is None:
        there = ", ".join(sorted(by_name))
        yield f"{name}: the cluster has no StorageClass {wanted!r}; it has {there}: name one of these, or install it."
    elif installed is not None and _CSI.search(driver) and driver not in installed:
        yield (
            f"{name}: StorageClass {wanted!r} is of the CSI driver {driver}, which the cluster does not have: install "
            "it, or name another class."
        )
    elif driver in _ONE_NODE and (text(told.get("access_mode")) or MODES[0]) == MODES[0]:
        yield (
            f"{name}: StorageClass {wanted!r} makes disks ({driver}), which one node can mount; {MODES[0]} needs a "
            f"class of a shared file system, and the cluster has {', '.join(sorted(by_name))}."
        )


def claim_problems(name: str, target: Target, size: str) -> Iterator[str]:
    """Yield what `options.treatments.<name>` lacks or says wrongly. `size`: where the target tells none."""
    told, where = target.told_of(name), f"options.treatments.{name}"
    if not told.get("storage_class") and not told.get("claim"):
        yield (
            f"{name} needs {where}.storage_class on target {target.name!r}: a class of a shared file system; or "
            f"{where}.claim, a claim that exists."
        )
    if (mode := text(told.get("access_mode")) or MODES[0]) not in MODES:
        yield f"{name}: {where}.access_mode is {mode}, and one node cannot share it: use {' or '.join(MODES)}."
    if not QUANTITY.fullmatch(text(told.get("size")) or size):
        yield f"{name}: {where}.size is no size like {size} or 1Ti on target {target.name!r}."
