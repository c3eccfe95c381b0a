"""Pods that get no node: requests, taints, selectors, claims, and capacity that never comes."""

from typing import Any, Final

from llm_provisioning_simulator.dead_ends.scene import DeadEnd, Says, Scene


def _failed(text: str) -> Says:
    return Says("Pod", "event", "FailedScheduling", text)


def _claim(scene: Scene, **spec: Any) -> None:
    if spec:
        scene.create("persistentvolumeclaims", "models", spec={"accessModes": ["ReadWriteOnce"], **spec})
    scene.pod("worker")["volumes"] = [{"name": "models", "persistentVolumeClaim": {"claimName": "models"}}]
    scene.container("worker")["volumeMounts"] = [{"name": "models", "mountPath": "/models"}]


def _affinity(scene: Scene) -> None:
    rule = {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["eu-central-1a"]}
    terms = {"nodeSelectorTerms": [{"matchExpressions": [rule]}]}
    scene.pod("worker")["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}


def _other_sku(scene: Scene) -> None:
    annotations = {"node.elotl.co/instance-gpu-skus": "H900"}
    scene.group("worker")["template"]["metadata"]["annotations"] = annotations


def _last_machine(scene: Scene) -> None:
    scene.fault("no_stock", "stock_out")
    scene.fault("machines_left", 1)


ENDS: Final = (
    DeadEnd(
        "too-many-cpus",
        "the worker asks for more CPUs than any node has",
        lambda scene: scene.amounts("worker", cpu="64"),
        _failed("1 Insufficient cpu"),
    ),
    DeadEnd(
        "too-much-memory",
        "the head asks for more memory than any node has",
        lambda scene: scene.amounts("head", memory="900Gi"),
        _failed("1 Insufficient memory"),
    ),
    DeadEnd(
        "too-many-gpus",
        "the worker asks for more GPUs than any node has",
        lambda scene: scene.amounts("worker", gpu="4"),
        _failed("1 Insufficient nvidia.com/gpu"),
    ),
    DeadEnd(
        "untolerated-taint",
        "the worker does not tolerate the taint of the GPU pool",
        lambda scene: scene.pod("worker").pop("tolerations"),
        _failed("node(s) had untolerated taint(s)"),
    ),
    DeadEnd(
        "selector-fits-no-node",
        "the worker's node selector fits no node",
        lambda scene: scene.pod("worker").update(nodeSelector={"pool": "h100"}),
        _failed("node(s) didn't match Pod's node affinity/selector"),
    ),
    DeadEnd(
        "affinity-fits-no-node",
        "the worker's node affinity fits no node",
        _affinity,
        _failed("node(s) didn't match Pod's node affinity/selector"),
    ),
    DeadEnd(
        "claim-missing",
        "the worker's volume claim does not exist",
        _claim,
        _failed('persistentvolumeclaim "models" not found'),
    ),
    DeadEnd(
        "claim-of-unknown-class",
        "the worker's volume claim is of a storage class that does not exist",
        lambda scene: _claim(scene, storageClassName="fast", resources={"requests": {"storage": "100Gi"}}),
        _failed("pod has unbound immediate PersistentVolumeClaims"),
    ),
    DeadEnd(
        "storage-class-missing",
        "the same, in the claim's own words",
        lambda scene: _claim(scene, storageClassName="fast", resources={"requests": {"storage": "100Gi"}}),
        Says("PersistentVolumeClaim", "event", "ProvisioningFailed", 'storageclass.storage.k8s.io "fast" not found'),
    ),
    DeadEnd(
        "quota-of-cloud",
        "fault: the cloud's quota of instances is used up",
        lambda scene: scene.fault("quota_refused", True),
        Says("Pod", "event", "NodeCreationFailed", "VcpuLimitExceeded"),
        nodes="luna",
    ),
    DeadEnd(
        "no-stock",
        "fault: the cloud has no machines at this moment",
        lambda scene: scene.fault("no_stock", "stock_out"),
        Says("Pod", "event", "NodeCreationFailed", "InsufficientInstanceCapacity"),
        nodes="luna",
    ),
    DeadEnd(
        "stock-for-the-head-only",
        "fault: the cloud has one machine left",
        _last_machine,
        Says("Pod", "event", "NodeCreationFailed", "InsufficientInstanceCapacity"),
        nodes="luna",
    ),
    DeadEnd(
        "no-instance-of-that-gpu",
        "no instance type has the GPU that the worker's annotation asks for",
        _other_sku,
        Says("Pod", "event", "NodeCreationFailed"),
        nodes="luna",
    ),
    DeadEnd(
        "node-never-joins",
        "fault: instances start and never become nodes",
        lambda scene: scene.fault("node_never_joins", True),
        _failed("0/1 nodes are available"),
        nodes="luna",
    ),
)
