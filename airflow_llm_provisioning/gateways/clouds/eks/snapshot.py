"""A data volume that already holds the serving image: built on one CPU instance, kept as a snapshot.

The procedure is that of aws-samples/bottlerocket-images-cache (snapshot.sh at 3370ea0), by plain EC2 and SSM calls and
with every wait bounded: start Bottlerocket, stop kubelet, empty containerd, pull, stop, snapshot, terminate.
Differences that matter: the non-nvidia AMI of the cluster's own minor version (the -nvidia one never reaches SSM on a
CPU instance: bottlerocket-os/bottlerocket#4435), and the pull by Bottlerocket's own `host-ctr`, which signs in to ECR
with the instance's role: no token travels in a command's parameters, where ListCommands would show it.

Targets are prepared side by side, and two of them may want the same image: they share one builder and its commands, and
of two snapshots of the same content all keep the same one.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from airflow_llm_provisioning.core.image_reference import ImageReference
from airflow_llm_provisioning.core.names import fingerprint
from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.exceptions import ConfigurationError
from airflow_llm_provisioning.gateways.clouds.eks import prices
from airflow_llm_provisioning.gateways.clouds.eks.aws import AWS_ERRORS, Aws, absent, error_code
from airflow_llm_provisioning.gateways.clouds.eks.builder import (
    CLEAR_IMAGES,
    DATA_IOPS,
    DATA_THROUGHPUT_MIB_S,
    PULLING,
    STOP_KUBELET,
    Builder,
    pull_commands,
    subnet_of,
)
from airflow_llm_provisioning.gateways.clouds.eks.names import DOCS, EksNames
from airflow_llm_provisioning.gateways.clouds.eks.network import BuilderNetwork
from airflow_llm_provisioning.gateways.clouds.eks.nodes import image_query
from airflow_llm_provisioning.gateways.clouds.eks.parameter import SnapshotParameter
from airflow_llm_provisioning.gateways.clouds.eks.snapshots import Snapshots
from airflow_llm_provisioning.gateways.clouds.eks.tags import by_content
from airflow_llm_provisioning.gateways.clouds.eks.verb import EksVerb
from airflow_llm_provisioning.gateways.clouds.verbs import Look, Step, StepFailedError, done, not_yet
from airflow_llm_provisioning.gateways.store.ledger import LedgerEntries

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


class SnapshotImage(EksVerb):
    """The verb `snapshot_image`: request {image, digest, size_bytes|None, kubernetes_minor, volume_gib|None,
    volume_initialization_rate_mib_s|None, subnet_id|None, public_ip|None, instance_type|None, cluster|None,
    parameter|None, target, keep_days} -> result {snapshot_id, volume_gib, image, digest, kubernetes_minor, ami_id,
    volume_initialization_rate_mib_s, reused, seconds, price_usd, price_basis, phases}.

    `parameter`: name of an SSM parameter in which the snapshot's id is written, for nodes that others describe.
    """

    name = "snapshot_image"
    free = "an earlier snapshot of the same content is used"

    def __init__(self, aws: Aws, entries: LedgerEntries, names: EksNames) -> None:
        super().__init__(aws, entries, names)
        self._builder, self._snapshots = Builder(aws, entries, names), Snapshots(aws, entries)
        self._parameter = SnapshotParameter(aws, entries)

    def _begin(self, operation: Operation) -> Look:
        """Check everything that can be known before an instance runs; reuse a snapshot of the same content."""
        request = operation.request
        wanted = request.get("public_ip", self._names.builder_public_ip)
        network = BuilderNetwork(self._aws)
        public_ip, network_problems = network.public_address(subnet_of(operation, self._names), wanted)
        problems = [
            *_request_problems(request),
            *network_problems,
            *self._account_problems(request),
            *self._parameter.problems(request.get("parameter")),
        ]
        if problems:
            raise ConfigurationError(f"A snapshot of {request.get('image', '?')} cannot be made: {' '.join(problems)}")
        gib = volume_gib(request.get("size_bytes"), request.get("volume_gib"))
        image, minor = ImageReference.parse(request["image"]).full(), request["kubernetes_minor"]
        content = fingerprint({"image": image, "digest": request["digest"], "minor": minor, "gib": gib})
        operation = by_content(operation, content, volume_gib=gib)
        if self._snapshots.completed(operation):
            kept = self._snapshots.keep_one(operation)
            self._parameter.write(operation, kept)
            return self._reusing(operation, snapshot_id=kept)
        ami_id = self._ami(minor)
        self._builder.intend(operation)
        self._snapshots.intend(operation)
        self._parameter.intend(operation)
        # Decided once: the same client token must come with the same request.
        return done(**operation.progress, ami_id=ami_id, public_ip=public_ip)

    def steps(self, operation: Operation) -> Sequence[Step]:
        """Return the steps from an earlier snapshot to the end of the builder."""
        limits = self._names.deadlines
        return (
            Step("looking for an earlier snapshot", self._find, limits.short_s),
            Step("starting the builder", self._unless_taken(self._launch), limits.instance_s),
            Step("waiting for SSM", self._unless_taken(self._wait_for_ssm), limits.ssm_s),
            Step("stopping kubelet", self._unless_taken(self._command(STOP_KUBELET)), limits.command_s),
            Step("clearing images", self._unless_taken(self._command(CLEAR_IMAGES)), limits.command_s),
            Step(PULLING, self._unless_taken(self._pull), limits.pull_s),
            Step("stopping the builder", self._unless_taken(self._stop), limits.stop_s),
            Step("taking the snapshot", self._snapshot, limits.snapshot_s),
            Step("terminating the builder", self._terminate, limits.stop_s),
        )

    # --- steps

    def _find(self, operation: Operation) -> Look:
        """A snapshot that an earlier process took is adopted; the builder then has nothing more to do."""
        found = self._snapshots.usable(operation)
        return done(snapshot_id=found[0]["SnapshotId"]) if found else done()

    def _unless_taken(self, look: Callable[[Operation], Look]) -> Callable[[Operation], Look]:
        """Skip a builder's step when an earlier process took its snapshot, or when another preparation that shares the
        builder has filled it, and perhaps ended it, meanwhile.
        """

        def looked(operation: Operation) -> Look:
            if operation.progress.get("snapshot_id"):
                return done()
            try:
                return look(operation)
            except StepFailedError:
                found = self._snapshots.usable(operation)
                if not found and not self._builder.filled(operation):
                    raise
                return done(snapshot_id=found[0]["SnapshotId"]) if found else done()

        return looked

    def _launch(self, operation: Operation) -> Look:
        return done(instance_id=self._builder.launch(operation))

    def _wait_for_ssm(self, operation: Operation) -> Look:
        return done() if self._builder.online(operation) else not_yet()

    def _command(self, commands: Sequence[str]) -> Callable[[Operation], Look]:
        return lambda operation: not_yet() if self._builder.run(operation, commands) is None else done()

    def _pull(self, operation: Operation) -> Look:
        image = ImageReference.parse(operation.request["image"]).full()
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
        """Take the snapshot, or adopt the one whose reply was lost: CreateSnapshot knows no client token."""
        usable = self._snapshots.usable(operation)
        if usable:
            snapshot_id, state = str(usable[0]["SnapshotId"]), usable[0]["State"]
            self._snapshots.note(operation, snapshot_id)
            return done(snapshot_id=snapshot_id) if state == "completed" else not_yet(snapshot_id=snapshot_id)
        if operation.progress.get("snapshot_id"):
            self._snapshots.expect_usable(operation.progress["snapshot_id"])
            return not_yet()
        return not_yet(snapshot_id=self._snapshots.take(operation, self._builder.data_volume(operation)))

    def _terminate(self, operation: Operation) -> Look:
        kept = self._snapshots.keep_one(operation)
        self._parameter.write(operation, kept)
        return (not_yet if self._builder.still_there(operation) else done)(snapshot_id=kept)

    # --- before and after

    def _ami(self, minor: str) -> str:
        path = image_query(minor)
        try:
            return str(self._aws.client("ssm").get_parameter(Name=path)["Parameter"]["Value"])
        except AWS_ERRORS as error:
            if not absent(error):
                raise
            raise ConfigurationError(
                f"There is no Bottlerocket image for Kubernetes {minor} in {self._aws.region} (SSM parameter {path}): "
                "use a version that Bottlerocket still publishes."
            ) from error

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
        if request.get("cluster"):
            found += self._cluster_problems(str(request["cluster"]))
        return found

    def _cluster_problems(self, cluster: str) -> list[str]:
        """Return why nodes of this cluster could not use a snapshot, in sentences."""
        try:
            described = self._aws.client("eks").describe_cluster(name=cluster)["cluster"]
        except AWS_ERRORS as error:
            if not absent(error):
                raise
            return [f"there is no cluster {cluster!r} in {self._aws.region}."]
        if not (described.get("computeConfig") or {}).get("enabled"):
            return []
        instead = "use Karpenter, Luna or a managed node group"
        return [
            f"cluster {cluster!r} runs EKS Auto Mode, whose NodeClass cannot start nodes from a snapshot: {instead}."
        ]

    def clean_up(self, operation: Operation) -> Sequence[str]:
        """Delete builder and unfinished snapshots; return what still stands. A completed snapshot is the product."""
        left = [f"instance {item}" for item in self._builder.still_there(operation)]
        snapshots = self._snapshots.still_there(operation)
        if snapshots is None:
            return left
        self._parameter.forget(operation)
        return [*left, *(f"snapshot {item}" for item in snapshots)]

    def _made(self, operation: Operation) -> dict[str, Any]:
        progress, request = operation.progress, operation.request
        return {
            "snapshot_id": progress["snapshot_id"],
            "volume_gib": progress["volume_gib"],
            "image": request["image"],
            "digest": request["digest"],
            "kubernetes_minor": request["kubernetes_minor"],
            "ami_id": progress.get("ami_id"),
            "volume_initialization_rate_mib_s": request.get("volume_initialization_rate_mib_s"),
        }

    def _basis(self, operation: Operation, basis: str) -> str:
        rate = operation.request.get("volume_initialization_rate_mib_s")
        if rate is None:
            return basis
        gib = operation.progress["volume_gib"]
        return f"{basis}; {prices.initialization_basis(self._aws.region, gib, int(rate))}"

    def _price(self, operation: Operation, seconds: float) -> tuple[float | None, str]:
        return prices.snapshot_price(
            self._aws.region,
            operation.request.get("instance_type") or self._names.builder_instance_type,
            seconds,
            operation.progress["volume_gib"],
            DATA_IOPS,
            DATA_THROUGHPUT_MIB_S,
        )


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
    if request.get("public_ip") not in (None, True, False):
        found.append(f"public_ip is {request['public_ip']!r}: give true or false, or leave it out.")
    return found
