"""What schedulers, autoscalers, clouds and provisioners of volumes say about a pod without a node, and what to do."""

from typing import Final

# The provisioner of a volume, and the controller of claims; before the scheduler's words, which stand first.
_CLAIMS: Final = (
    (r"storageclass\S* .*not found", "Create that storage class, or name another one in the claim."),
    (
        r"no storage class is set",
        "Name a storage class in the claim, make one the default, or create a volume that fits.",
    ),
    (
        r"multi writer|VolumeCapabilities|access ?modes? .*(?:not supported|unsupported|invalid)",
        "That storage class makes disks for one node: use ReadWriteOnce, or a class of a shared file system.",
    ),
    (
        r"provision volume.*(?:UnauthorizedOperation|not authorized|AuthorizationFailed|PermissionDenied|\b403\b)",
        "Give the CSI driver of that storage class the right to create volumes in the cloud.",
    ),
    (
        r"no available topology found|error generating accessibility requirements",
        "No node with that CSI driver is in an allowed zone: check the driver's DaemonSet and allowedTopologies.",
    ),
    (
        r"waiting for a volume to be created",
        "Check that the provisioner of the storage class runs, and what its log says.",
    ),
    (
        r"find available persistent volumes",
        "Create a volume that fits the claim and the nodes' zone, or use a storage class that makes one.",
    ),
    (r"\w*claim \S+ is being deleted", "The claim is being deleted: create it anew, or name another one."),
    (r"ReadWriteOncePod", "Another pod uses that claim, which only one pod may use: wait for its end, or use another."),
    (
        r"PersistentVolume's node affinity",
        "The volume is in another zone than the nodes: let the pool grow in its zone, or create the volume anew.",
    ),
)
# Devices by claim (kube-scheduler, dynamicresources).
_DEVICES: Final = (
    (r"device class \S+ does not exist", "Install the driver that brings this device class, or name another one."),
    (
        r"cannot allocate all claims|resourceclaim",
        "Check that nodes offer the devices of the claim (their ResourceSlices), and the claim's selectors.",
    ),
)
# Volcano, the coscheduling plugin and YuniKorn place all pods of a group, or none.
_GANGS: Final = (
    (
        r"in gang unschedulable|pod group .*(?:not ready|is less than|not found)|Coscheduling|optimistic rejection",
        "The pods of the group are placed together: check that its queue and the nodes have room for all.",
    ),
    (r"is queued and waiting for allocation", "The queue of the scheduler has no room yet: look at its limits."),
)
# cluster-autoscaler, GKE's events of failed scale-ups, and Karpenter's providers.
_AUTOSCALERS: Final = (
    (r"capacity not found", "Wait, or let the nodes come from more zones and of more types."),
    (
        r"max node group size|max cluster \S+ limit|exceeds? limits? for nodepool",
        "Raise the limit of that node pool or cluster, or free nodes.",
    ),
    (
        r"ip[_. ]space[_. ]exhausted|InsufficientFreeAddresses",
        "Give the subnet of the nodes and pods more addresses.",
    ),
    (
        r"UnauthorizedOperation|not authorized to perform|permissions error|service account deleted",
        "Give the node autoscaler, or the nodes' service account, the right to make nodes in the cloud.",
    ),
    (
        r"NodeClass not ready|NodeClassNotReady|discover any AMIs|SecurityGroupNotFound|no subnets",
        "Correct the node class: its images, subnets, security groups and role.",
    ),
)
CAUSES: Final = (
    (
        r"exceeded quota|quota.*exceeded|vcpulimitexceeded|volumelimitexceeded|maximum \S+ storage limit",
        "Raise the quota, or free what uses it.",
    ),
    *_CLAIMS,
    *_AUTOSCALERS,
    (
        r"insufficient ?\w*capacity|unfulfillable|out of resources|pool_?exhausted|skunotavailable|allocationfailed",
        "Wait, or let the nodes come from more zones and of more types.",
    ),
    (
        r"persistentvolumeclaim \S+ not found",
        "Create the claim in the pod's namespace, or correct its name in the manifest.",
    ),
    (
        r"non-?existent (?:persistentvolume\b|pv)",
        "The volume of the claim is gone: create claim and volume again.",
    ),
    *_DEVICES,
    *_GANGS,
    (r"scheduling gates", "Another controller holds the pod back (Kueue, for example): look at its queue."),
    # The taints of nodes that are not ready yet, and of control planes, are no matter of the pods.
    (
        (
            r"untolerated taint (?:\(s\) )?\{(?!node\.kubernetes\.io/|node-role\.kubernetes\.io/"
            r"|node\.cloudprovider\.kubernetes\.io/|karpenter\.sh/|ToBeDeleted|DeletionCandidate|startup-taint"
            r"|ignore-taint|node\.cilium\.io/|[\w.-]*/agent-not-ready)"
        ),
        "Add the toleration to the pods, or check which nodes the pods select.",
    ),
    (
        r"didn't match Pod's node affinity/selector",
        "Check that a node pool has the labels that the pods select, and that it can grow.",
    ),
    (
        r"volume node affinity conflict",
        "The volume is in another zone than the nodes: let the pool grow in its zone, or create the volume anew.",
    ),
    (
        r"insufficient |too many pods",
        "Check that a node type of this cluster has what the pods request, and that its pool can grow.",
    ),
    (r"service ?account .*not found", "Create the service account in the pod's namespace."),
    (
        r"(?:pod anti-affinity|pod affinity|topology spread|free ports)",
        "Check the affinity, the spread constraints and the host ports of the pods.",
    ),
    (r"exceed max volume count", "Use nodes that take more volumes, or fewer volumes."),
    (r"were unschedulable", "Uncordon the nodes, or let the pool grow."),
)
