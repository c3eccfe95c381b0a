"""A pod on a node whose containers cannot be created: the network, volumes and devices, each with what to do."""

from typing import Any

import pytest
from blocker_lines import HOUR_S, at, blocked, event, judged, pod, ready_head, running, service, waiting

SANDBOX = 'Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox "2c": '
ATTACH = 'AttachVolume.Attach failed for volume "pvc-1" : rpc error: '
SETUP = 'MountVolume.SetUp failed for volume "m" : '
# Sentences of the CNI plugins, the CSI drivers and kubelets of EKS, GKE and AKS, from their sources and public reports.
NOT_YET = {
    f"{SANDBOX}plugin type=aws-cni failed (add): add cmd: failed to assign an IP address to container": "addresses",
    f"{SANDBOX}failed to allocate for range 0: no IP addresses available in range set: 10.6.1.1-10.6.1.9": "addresses",
    f"{SANDBOX}IPAM Invoker Add failed with error: Failed to get IP address from CNS with error: AllocateIPConfig "
    "failed: not enough IPs available for 9c6a7f37, waiting on Azure CNS to allocate more": "addresses",
    f"{SANDBOX}Failed to allocate address: No available addresses.": "addresses",
    f"{SANDBOX}failed to request IPv4 addresses: Assigned 0 out of 1 requested IPv4 addresses": "addresses",
    f"{SANDBOX}unable to allocate IP via local cilium agent: [POST /ipam][502] No more IPs available": "addresses",
    f"{SANDBOX}dial tcp 127.0.0.1:50051: connect: connection refused": "network plugin",
    "network is not ready: NetworkReady=false reason:NetworkPluginNotReady: cni plugin not initialized": "plugin",
    'failed to get sandbox image "registry.k8s.io/pause:3.9": failed to pull image: i/o timeout': "pause image",
    f'{ATTACH}code = ResourceExhausted desc = Attachment limit exceeded for volume "vol-0" on node "i-0": attachment '
    "limit exceeded: operation error EC2: AttachVolume, api error AttachmentLimitExceeded: You may attach up to 27 "
    "devices for this instance type": "takes no further volume",
    f"{ATTACH}code = Internal desc = The maximum number of data disks allowed to be attached to a VM is 4.": "further",
    f"{ATTACH}code = Internal desc = Could not attach volume: operation error EC2: AttachVolume, https response error "
    "StatusCode: 403, api error UnauthorizedOperation: You are not authorized": "CSI driver",
    f'{ATTACH}code = Internal desc = attachment of disk "vol-1" failed, expected device to be attached but was '
    "attaching": "still attaches",
    'Multi-Attach error for volume "pvc-1" Volume is already used by pod(s) a-old': "ReadWriteOnce",
    f"{SETUP}rpc error: code = PermissionDenied desc = googleapi: Error 403: gke does not have storage.objects.list "
    "access to the Google Cloud Storage bucket.": "read that bucket",
    f'{SETUP}rpc error: code = Internal desc = Could not mount "fs-1:/": mount failed: Output: Failed to resolve '
    '"fs-1.efs.us-west-2.amazonaws.com"': "mount target",
    f"{SETUP}mount failed: exit status 32 Output: mount.nfs: access denied by server while mounting": "file server",
    f'{SETUP}error connecting to provider "azure": provider not found: provider "azure"': "has started on the node",
    f"{SETUP}hostPath type check failed: /mnt/nvme is not a directory": "prepare the nodes",
    f"{SETUP}you might need a /sbin/mount.<type> helper program.": "client of that file system",
    "Failed to prepare dynamic resources: prepare dynamic resources: NodePrepareResources: rpc error: code = "
    "DeadlineExceeded desc = context deadline exceeded": "device claim",
}
REASONS = {
    "Failed to create": "FailedCreatePodSandBox",
    "failed to get": "FailedCreatePodSandBox",
    "AttachVolume": "FailedAttachVolume",
    "Multi-Attach": "FailedAttachVolume",
    "network is": "NetworkNotReady",
    "Failed to prepare": "FailedPrepareDynamicResources",
}


def reason_of(message: str) -> str:
    return next((reason for start, reason in REASONS.items() if message.startswith(start)), "FailedMount")


def creating(second: float = 10) -> dict[str, Any]:
    return pod(second, {"name": "ray-worker", "state": {"waiting": {"reason": "ContainerCreating"}}})


@pytest.mark.parametrize("message", NOT_YET)
def test_what_may_pass_is_waited_for_and_has_its_advice(message: str) -> None:
    """Addresses are given back, drivers start, disks are detached; the kubelet tries again."""
    lines = service(), ready_head(), creating(), event(30, reason_of(message), message, count=4)
    (found,) = blocked(*lines)
    assert (found.kind, found.reason) == ("volume", reason_of(message))
    assert NOT_YET[message] in found.advice
    assert blocked(*lines, pod(60, running())) == []


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        (f"{SETUP}code = FailedPrecondition desc = failed to find the sidecar container in Pod spec", "annotation"),
        ('failed to mount the volume as "ext4", it already contains xfs. Mount error: x', "another file system"),
        (f'{SETUP}SecretProviderClass.secrets-store.csi.x-k8s.io "hf" not found', "Create that"),
        (f'{SANDBOX}network-attachment-definitions.k8s.cni.cncf.io "rdma" not found', "NetworkAttachmentDefinition"),
    ],
)
def test_what_follows_from_pod_and_node_alone_ends_the_wait(message: str, advice: str) -> None:
    """Every further try gets the same answer, while a GPU node is paid for."""
    lines = service(), ready_head(), creating(), event(30, reason_of(message), message, count=4)
    assert judged(*lines, until_s=195).state == "pending"
    found = judged(*lines, until_s=HOUR_S)
    assert found.state == "failed"
    assert advice in str(found.reason)


def test_a_combined_event_keeps_its_detail_beside_the_summary() -> None:
    """Of many alike, client-go puts a prefix before the message."""
    detail = f'(combined from similar events): {SETUP}secret "hf" not found'
    summary = event(140, "FailedMount", "Unable to attach or mount volumes: unmounted volumes=[m]: timed out")
    (found,) = blocked(service(), ready_head(), creating(), event(130, "FailedMount", detail), summary, second=150)
    assert found.sentence == f'{SETUP}secret "hf" not found'


def test_any_other_warning_of_the_kubelet_is_told() -> None:
    """Where no reason is known that keeps the container, its newest warning is the cluster's own sentence."""
    said = event(30, "FailedSync", "error determining status: rpc error: code = Unknown desc = malformed metadata")
    (found,) = [one for one in judged(service(), ready_head(), creating(), said).blockers.at(at(60)) if one.pod]
    assert (found.kind, found.reason) == ("waiting", "ContainerCreating")
    assert "malformed metadata" in found.sentence


def test_pull_secrets_that_do_not_exist_are_told_with_the_refused_pull() -> None:
    """The registry only says that the nodes may not; the kubelet has said why a moment before."""
    said = "Unable to retrieve some image pull secrets (regcred); attempting to pull the image may not succeed."
    refused = pod(20, waiting("ErrImagePull", "pull access denied, repository does not exist"))
    (found,) = blocked(service(), ready_head(), refused, event(19, "FailedToRetrieveImagePullSecret", said))
    assert found.kind == "image_refused"
    assert "pull secrets (regcred)" in found.sentence
