"""Our snapshots of one content in EC2: found, taken, kept longer, and brought down to one.

The first usable one is used by all preparations: complete before pending, then oldest first, so all choose the same.
"""

from typing import Any, Final

from airflow_llm_provisioning.core.image_reference import ImageReference
from airflow_llm_provisioning.core.names import LABEL_CONTENT, LABEL_MANAGED_BY, OWNER
from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.gateways.clouds.eks.aws import Aws, filters, from_pairs, pairs
from airflow_llm_provisioning.gateways.clouds.eks.by_name import description
from airflow_llm_provisioning.gateways.clouds.eks.tags import later_expiry, name_of, tags_of
from airflow_llm_provisioning.gateways.clouds.verbs import StepFailedError, keep_until
from airflow_llm_provisioning.gateways.store.ledger import LedgerEntries

TAG_IMAGE: Final = "llm-provisioning/image"
_USABLE: Final = ("pending", "completed")


class Snapshots:
    """The snapshots of an operation's content, in our account."""

    def __init__(self, aws: Aws, entries: LedgerEntries) -> None:
        self._aws, self._entries = aws, entries

    def intend(self, operation: Operation) -> str:
        """Write in the ledger that a snapshot of this content will be; return the entry."""
        return self._entries.intend("snapshot", name_of(operation), tags_of(operation), keep_until(operation))

    def note(self, operation: Operation, snapshot_id: str) -> None:
        """Write in the ledger which snapshot of this content there is."""
        self._entries.created(self.intend(operation), snapshot_id)

    def usable(self, operation: Operation) -> list[dict[str, Any]]:
        """Return those that are complete or will be, the one to use first."""
        return self._listed(operation, *_USABLE)

    def completed(self, operation: Operation) -> list[dict[str, Any]]:
        """Return those that are complete, oldest first."""
        return self._listed(operation, "completed")

    def take(self, operation: Operation, volume_id: str) -> str:
        """Take a snapshot of the data volume; return its id."""
        entry = self.intend(operation)
        tags = {**tags_of(operation), TAG_IMAGE: ImageReference.parse(operation.request["image"]).full()[:256]}
        reply = self._aws.client("ec2").create_snapshot(
            VolumeId=volume_id,
            Description=description(operation.request["kubernetes_minor"], name_of(operation)),
            TagSpecifications=[{"ResourceType": "snapshot", "Tags": pairs(tags)}],
        )
        self._entries.created(entry, str(reply["SnapshotId"]))
        return str(reply["SnapshotId"])

    def expect_usable(self, snapshot_id: str) -> None:
        """Raise if a snapshot that is not listed as usable has ended; a new one is not visible everywhere at once."""
        listed = self._aws.client("ec2").describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"]
        state = listed[0]["State"] if listed else "gone"
        if state not in _USABLE:
            detail = listed[0].get("StateMessage") if listed else ""
            raise StepFailedError(f"snapshot {snapshot_id} ended as {state!r}{f' ({detail})' if detail else ''}")

    def keep_one(self, operation: Operation) -> str:
        """Let the first live as long as this operation wants it, and delete the others; return its id.

        A retried CreateSnapshot, or two preparations at one instant, make a second one; a failed one is no use.
        """
        ec2, usable = self._aws.client("ec2"), self.usable(operation)
        if not usable:
            raise StepFailedError(f"snapshot {operation.progress.get('snapshot_id')} was deleted from outside")
        kept = str(usable[0]["SnapshotId"])
        self.note(operation, kept)
        later = later_expiry(from_pairs(usable[0].get("Tags")), operation)
        if later:
            ec2.create_tags(Resources=[kept], Tags=pairs(later))
        for snapshot in [*usable[1:], *self._listed(operation, "error")]:
            ec2.delete_snapshot(SnapshotId=snapshot["SnapshotId"])
        return kept

    def still_there(self, operation: Operation) -> list[str] | None:
        """Delete what is not complete, and return what of it is still seen; None where one is complete: that is the
        product.
        """
        if self.completed(operation):
            return None
        unfinished = self._listed(operation, "pending", "error")
        for snapshot in unfinished:
            self._aws.client("ec2").delete_snapshot(SnapshotId=snapshot["SnapshotId"])
        left = [str(item["SnapshotId"]) for item in self._listed(operation, "pending", "error")] if unfinished else []
        if not left:
            self._entries.gone("snapshot", name=name_of(operation))
        return left

    def _listed(self, operation: Operation, *states: str) -> list[dict[str, Any]]:
        ours = {LABEL_MANAGED_BY: OWNER, LABEL_CONTENT: operation.progress["content"]}
        pages = self._aws.client("ec2").get_paginator("describe_snapshots")
        listed = pages.paginate(OwnerIds=["self"], Filters=filters(ours, status=list(states)))
        found = [item for page in listed for item in page["Snapshots"]]
        return sorted(found, key=lambda item: (item["State"] != "completed", item["StartTime"], item["SnapshotId"]))
