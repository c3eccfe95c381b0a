"""A data volume that already holds the serving image: built on one CPU instance, kept as a snapshot.

The procedure is that of aws-samples/bottlerocket-images-cache (snapshot.sh at 3370ea0), by plain EC2 and SSM calls and
with every wait bounded: start Bottlerocket, stop kubelet, empty containerd, pull, stop, snapshot, terminate.
Differences that matter: the non-nvidia AMI of the cluster's own minor version (the -nvidia one never reaches SSM on a
CPU instance: bottlerocket-os/bottlerocket#4435), and the pull by Bottlerocket's own `host-ctr`, which signs in to ECR
with the instance's role: no token travels in a command's parameters, where ListCommands would show it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from airflow_llm_provisioning.core.names import LABEL_CONTENT, LABEL_MANAGED_BY, OWNER, fingerprint
from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.exceptions import ConfigurationError
from airflow_llm_provisioning.gateways.clouds.eks import prices as eks_prices
from airflow_llm_provisioning.gateways.clouds.eks.aws import AWS_ERRORS, Aws, Books, absent, error_code, filters, pairs
from airflow_llm_provisioning.gateways.clouds.eks.builder import (
    CLEAR_IMAGES,
    DATA_IOPS,
    DATA_THROUGHPUT_MIB_S,
    STOP_KUBELET,
    Builder,
    full_reference,
    pull_commands,
)
from airflow_llm_provisioning.gateways.clouds.eks.names import DOCS, EksNames
from airflow_llm_provisioning.gateways.clouds.eks.steps import (
    Look,
    Procedure,
    Step,
    StepFailedError,
    begun,
    done,
    expires_at,
    name_of,
    not_yet,
    seconds_since_start,
    tags_of,
)

TAG_IMAGE: Final = "llm-provisioning/image"
MIN_VOLUME_GIB: Final = 20
# Where the image's size is not known: what the origin used.
DEFAULT_VOLUME_GIB: Final = 80
UNPACKED_PER_COMPRESSED: Final = 3.0


def volume_gib(size_bytes: int | None, wanted_gib: int | None) -> int:
    """Return the data volume's size: what was asked for, else three times the compressed image."""
    if wanted_gib is not None:
        return int(wanted_gib)
    if size_bytes is None:
        return DEFAULT_VOLUME_GIB
    return max(MIN_VOLUME_GIB, -(-int(size_bytes * UNPACKED_PER_COMPRESSED) // 1024**3))


class SnapshotImage:
    """The verb `snapshot_image`: request {image, digest, size_bytes|None, kubernetes_minor, volume_gib|None,
    volume_initialization_rate_mib_s|None, subnet_id|None, instance_type|None, cluster|None, target, keep_days} ->
    result {snapshot_id, volume_gib, image, digest, kubernetes_minor, ami_id, volume_initialization_rate_mib_s, reused,
    seconds, price_usd, price_basis, phases}.
    """

    def __init__(self, aws: Aws, books: Books, names: EksNames, clock: Callable[[], datetime]) -> None:
        self._aws, self._books, self._names, self._clock = aws, books, names, clock
        self._builder = Builder(aws, books, names)

    def start(self, request: Mapping[str, Any]) -> Operation:
        """Check everything that can be known before an instance runs; reuse a snapshot of the same content."""
        problems = [*_request_problems(request), *self._account_problems(request)]
        if problems:
            raise ConfigurationError(f"A snapshot of {request.get('image', '?')} cannot be made: {' '.join(problems)}")
        gib = volume_gib(request.get("size_bytes"), request.get("volume_gib"))
        image, minor = full_reference(request["image"]), request["kubernetes_minor"]
        content = fingerprint({"image": image, "digest": request["digest"], "minor": minor, "gib": gib})
        operation = begun("snapshot_image", request, content, self._clock(), volume_gib=gib)
        existing = self._snapshots(content, "completed")
        if existing:
            operation = operation.at("done", snapshot_id=existing[0]["SnapshotId"], reused=True)
            return operation.succeeded(**self._result(operation))
        ami_id = self._ami(minor)
        self._builder.intend(operation)
        self._intend(operation)
        return operation.at("starting", ami_id=ami_id)

    def poll(self, operation: Operation) -> Operation:
        """Look once, do the next step."""
        limits = self._names.deadlines
        steps = (
            Step("looking for an earlier snapshot", limits.short_s, self._find),
            Step("starting the builder", limits.instance_s, _unless_taken(self._launch)),
            Step("waiting for SSM", limits.ssm_s, _unless_taken(self._wait_for_ssm)),
            Step("stopping kubelet", limits.command_s, _unless_taken(self._command(STOP_KUBELET))),
            Step("clearing images", limits.command_s, _unless_taken(self._command(CLEAR_IMAGES))),
            Step("pulling", limits.pull_s, _unless_taken(self._pull)),
            Step("stopping the builder", limits.stop_s, _unless_taken(self._stop)),
            Step("taking the snapshot", limits.snapshot_s, self._snapshot),
            Step("terminating the builder", limits.stop_s, self._terminate),
        )
        return Procedure(steps, self._clean_up, self._result, self._clock, self._aws).poll(operation)

    # --- steps

    def _find(self, operation: Operation) -> Look:
        """A snapshot that an earlier life took is adopted; the builder then has nothing more to do."""
        found = self._snapshots(operation.progress["content"], "pending", "completed")
        return done(snapshot_id=found[0]["SnapshotId"]) if found else done()

    def _launch(self, operation: Operation) -> Look:
        return done(instance_id=self._builder.launch(operation))

    def _wait_for_ssm(self, operation: Operation) -> Look:
        return done() if self._builder.online(operation) else not_yet()

    def _command(self, commands: Sequence[str]) -> Callable[[Operation], Look]:
        return lambda operation: not_yet() if self._builder.run(operation, commands) is None else done()

    def _pull(self, operation: Operation) -> Look:
        image = full_reference(operation.request["image"])
        invocation = self._builder.run(operation, pull_commands(image))
        if invocation is None:
            return not_yet()
        if image not in str(invocation.get("StandardOutputContent", "")).split():
            raise StepFailedError(
                f"pulling {image} on {operation.progress['instance_id']} ended well, but containerd does not list it"
            )
        return done()

    def _stop(self, operation: Operation) -> Look:
        return done() if self._builder.stopped(operation) else not_yet()

    def _snapshot(self, operation: Operation) -> Look:
        snapshot_id = operation.progress.get("snapshot_id") or self._taken(operation)
        listed = self._aws.client("ec2").describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"]
        state = listed[0]["State"] if listed else "gone"
        if state == "completed":
            return done(snapshot_id=snapshot_id)
        if state == "pending":
            return not_yet(snapshot_id=snapshot_id)
        detail = listed[0].get("StateMessage") if listed else ""
        raise StepFailedError(f"snapshot {snapshot_id} ended as {state!r}{f' ({detail})' if detail else ''}")

    def _taken(self, operation: Operation) -> str:
        """Take the snapshot, or adopt the one whose reply was lost; CreateSnapshot knows no client token."""
        entry = self._intend(operation)
        found = self._snapshots(operation.progress["content"], "pending", "completed")
        if found:
            snapshot_id = str(found[0]["SnapshotId"])
        else:
            tags = {**tags_of(operation), TAG_IMAGE: full_reference(operation.request["image"])[:256]}
            reply = self._aws.client("ec2").create_snapshot(
                VolumeId=self._builder.data_volume(operation),
                Description=f"Images for Kubernetes {operation.request['kubernetes_minor']} ({OWNER})",
                TagSpecifications=[{"ResourceType": "snapshot", "Tags": pairs(tags)}],
            )
            snapshot_id = str(reply["SnapshotId"])
        self._books.created(entry, snapshot_id)
        return snapshot_id

    def _terminate(self, operation: Operation) -> Look:
        self._delete_snapshots(operation, keep=operation.progress["snapshot_id"])
        return not_yet() if self._builder.still_there(operation) else done()

    # --- what is there

    def _snapshots(self, content: str, *states: str) -> list[dict[str, Any]]:
        """Return our snapshots of this content, oldest first."""
        wanted = filters({LABEL_MANAGED_BY: OWNER, LABEL_CONTENT: content}, status=list(states))
        pages = self._aws.client("ec2").get_paginator("describe_snapshots")
        found = [item for page in pages.paginate(OwnerIds=["self"], Filters=wanted) for item in page["Snapshots"]]
        return sorted(found, key=lambda item: item["StartTime"])

    def _ami(self, minor: str) -> str:
        path = f"/aws/service/bottlerocket/aws-k8s-{minor}/x86_64/latest/image_id"
        try:
            return str(self._aws.client("ssm").get_parameter(Name=path)["Parameter"]["Value"])
        except AWS_ERRORS as error:
            if not absent(error):
                raise
            raise ConfigurationError(
                f"There is no Bottlerocket image for Kubernetes {minor} in {self._aws.region} (SSM parameter {path}): "
                "use a version that Bottlerocket still publishes."
            ) from error

    # --- before and after

    def _account_problems(self, request: Mapping[str, Any]) -> list[str]:
        profile = self._names.builder_instance_profile
        if not profile:
            needed = f"the builder needs an instance profile ({DOCS}, docs/iam/eks-builder-role.json)"
            return [f"builder_instance_profile is not set: {needed}."]
        found = []
        try:
            self._aws.client("iam").get_instance_profile(InstanceProfileName=profile)
        except AWS_ERRORS as error:
            if absent(error):
                found.append(f"the instance profile {profile!r} does not exist: make it as {DOCS} says.")
            elif "Denied" not in error_code(error):
                raise
        if request.get("cluster") and self._auto_mode(request["cluster"]):
            found.append(
                f"cluster {request['cluster']!r} runs EKS Auto Mode, whose NodeClass cannot start nodes from a "
                "snapshot: use Karpenter, Luna or a managed node group."
            )
        return found

    def _auto_mode(self, cluster: str) -> bool:
        described = self._aws.client("eks").describe_cluster(name=cluster)["cluster"]
        return bool((described.get("computeConfig") or {}).get("enabled"))

    def _intend(self, operation: Operation) -> str:
        return self._books.intend("snapshot", name_of(operation), tags_of(operation), expires_at(operation))

    def _clean_up(self, operation: Operation) -> list[str]:
        """Delete builder and unfinished snapshots; return what still stands. A completed snapshot is the product."""
        left = [f"instance {item}" for item in self._builder.still_there(operation)]
        if not self._snapshots(operation.progress["content"], "completed"):
            self._delete_snapshots(operation, keep=None)
            self._books.gone("snapshot", name=name_of(operation))
        return left

    def _delete_snapshots(self, operation: Operation, *, keep: str | None) -> None:
        """Delete the content's snapshots but one: a retried CreateSnapshot makes a second, a failed one is no use."""
        for snapshot in self._snapshots(operation.progress["content"], "pending", "completed", "error"):
            if snapshot["SnapshotId"] != keep:
                self._aws.client("ec2").delete_snapshot(SnapshotId=snapshot["SnapshotId"])

    def _result(self, operation: Operation) -> dict[str, Any]:
        progress, request = operation.progress, operation.request
        seconds = seconds_since_start(operation, self._clock())
        price: tuple[float | None, str] = (0.0, "an earlier snapshot of the same content is used")
        if not progress.get("reused"):
            price = eks_prices.snapshot_price(
                self._aws.region,
                request.get("instance_type") or self._names.builder_instance_type,
                seconds,
                progress["volume_gib"],
                DATA_IOPS,
                DATA_THROUGHPUT_MIB_S,
            )
        return {
            "snapshot_id": progress["snapshot_id"],
            "volume_gib": progress["volume_gib"],
            "image": request["image"],
            "digest": request["digest"],
            "kubernetes_minor": request["kubernetes_minor"],
            "ami_id": progress.get("ami_id"),
            "volume_initialization_rate_mib_s": request.get("volume_initialization_rate_mib_s"),
            "reused": bool(progress.get("reused")),
            "seconds": seconds,
            "price_usd": price[0],
            "price_basis": price[1],
            "phases": dict(progress.get("phases", {})),
        }


def _unless_taken(look: Callable[[Operation], Look]) -> Callable[[Operation], Look]:
    """Pass over a builder's step when its snapshot was taken in an earlier life."""
    return lambda operation: done() if operation.progress.get("snapshot_id") else look(operation)


def _request_problems(request: Mapping[str, Any]) -> list[str]:
    found = [f"{key} is missing." for key in ("image", "digest", "kubernetes_minor") if not request.get(key)]
    minor, digest = str(request.get("kubernetes_minor") or ""), str(request.get("digest") or "")
    if minor and not re.fullmatch(r"1\.\d{1,3}", minor):
        found.append(f"kubernetes_minor {minor!r} is no minor version such as 1.31.")
    if digest and not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        found.append(f"digest {digest!r} is no sha256 digest.")
    rate = request.get("volume_initialization_rate_mib_s")
    if rate is not None and not 100 <= int(rate) <= 300:
        found.append(f"volume_initialization_rate_mib_s is {rate}: EC2 takes 100 to 300 MiB/s.")
    size, wanted = request.get("size_bytes"), request.get("volume_gib")
    if size and wanted and wanted * 1024**3 < size * 2:
        found.append(f"volume_gib {wanted} is too small for an image of {size} compressed bytes, unpacked.")
    return found
