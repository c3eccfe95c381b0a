"""What a kubelet says about a pod on its node and its containers, and what to do.

Sources: kubelet (`pkg/kubelet`: events, eviction, `cm/devicemanager`, `volumemanager`), containerd and runc, the CNI
plugins of AWS, Azure, Calico, Cilium and `host-local`, CSI drivers of the three clouds, and public reports of each.
"""

from typing import Final

_DRIVER: Final = "Recreate the node, or use another node image: its NVIDIA driver does not fit."
_MORE_DISK: Final = "Give the nodes a larger disk."

_NETWORK: Final = (
    (
        (
            r"failed to assign an IP address|no (?:available|more) (?:IP )?addresses|no IP addresses available"
            r"|not enough IPs|no more IPs|no more free affine blocks|Assigned 0 out of \d+ requested"
            r"|InsufficientFreeAddresses|InsufficientCidrBlocks|ip allocation: range is full"
        ),
        "Give the subnet or range of the pods more addresses, or a node fewer pods. On a new node it may pass.",
    ),
    (
        (
            r"NetworkPluginNotReady|cni plugin not initialized|cni config uninitialized|local cilium agent"
            r"|putEndpointIdTooManyRequests|127\.0\.0\.1:50051|calico/node/? is running|IPAM Invoker Add failed"
        ),
        "The network plugin of the node is not ready. On a new node that passes; else look at its pod there.",
    ),
    (
        r"network-attachment-definition",
        "Create that NetworkAttachmentDefinition, or correct the annotation that names it.",
    ),
    (
        r"failed to get sandbox image",
        "The node cannot pull its pause image: check that it reaches that registry (routes, NAT gateway, endpoints).",
    ),
)
_VOLUMES: Final = (
    (
        (
            r"AttachmentLimitExceeded|attachment limit exceeded|disks attached exceed limit"
            r"|maximum number of data disks"
        ),
        "The node takes no further volume: use nodes that take more, or fewer volumes.",
    ),
    (
        r"Multi-Attach error|already (?:used by pod|exclusively attached)",
        "A disk of ReadWriteOnce is still attached to another node: delete the pod there, or wait for it.",
    ),
    (
        (
            r"(?:Attach|Detach|provision|volume).*(?:UnauthorizedOperation|AuthorizationFailed"
            r"|not authorized to perform)"
        ),
        "Give the CSI driver of that volume the right to it in the cloud.",
    ),
    (
        r"expected device to be attached|IncorrectState|attachment is being deleted|waiting for external-attacher",
        "The cloud still attaches or detaches that disk: wait, then look at its VolumeAttachment and the CSI driver.",
    ),
    (
        (
            r"driver name \S+ not found in the list of registered CSI drivers|does not contain driver"
            r"|error connecting to provider|(?:DRA|plugin|driver) \S* ?is not registered"
        ),
        "Install that driver, or wait until it has started on the node.",
    ),
    (r"secretproviderclass\S* \S+ not found", "Create that SecretProviderClass in the pod's namespace."),
    (r"access denied by server", "Let the nodes mount that export: check the access rules of the file server."),
    (
        r"mount.*(?:Failed to resolve|Name or service not known|Connection timed out|No route to host)",
        "Check that the nodes reach that file system: its name, DNS, a mount target in their zone, and firewalls.",
    ),
    (r"/sbin/mount\.|unknown filesystem type", "Install the client of that file system on the nodes."),
    (
        r"find the sidecar container in Pod spec",
        'Give the pods the annotation gke-gcsfuse/volumes: "true", so that they get the sidecar of Cloud Storage FUSE.',
    ),
    (
        r"hostPath type check failed|NewMounter initialization failed.*does not exist",
        "That path is not on the node, or is another type: correct it, or prepare the nodes.",
    ),
    (
        r"already contains \w+\.? |wrong fs type",
        "The disk holds another file system: set fsType to it, or use a new one.",
    ),
    (
        r"prepare dynamic resources|NodePrepareResources|claim info for claim",
        "The driver of that device claim cannot prepare the device: look at the log of its plugin on the node.",
    ),
    (r"PVC is not bound", "The claim has no volume: look at the events of the claim."),
    (
        r"SetUp failed.*(?:storage\.objects|Access ?Denied|AccessDenied|PermissionDenied|\b403\b)",
        "Give the service account of the pods the right to read that bucket.",
    ),
)
_REJECTED: Final = (
    (
        r"\bOutOf(?:cpu|memory|pods|[\w.-]+[/-][\w.-]+)\b|enough resource: ",
        "The node was taken by another pod in that moment: KubeRay makes a new pod. If it repeats, lower the requests.",
    ),
    (
        r"Node is not ready",
        "The node does not answer: after five minutes its pods are taken away. Look at the machine in the cloud.",
    ),
    (
        r"invalid request for sharing GPU|request for shared GPUs",
        "The node shares its GPUs (MPS or time-slicing): request one per container, or use nodes that do not.",
    ),
    (
        r"Allocate failed",
        "The device plugin of the node has no healthy device: look at its pod, or recreate the node.",
    ),
    (
        r"Topology ?Affinity|Topology locality",
        "No NUMA node of that machine has all that is asked for: relax the topology manager, or the requests.",
    ),
    (
        r"Predicate NodeAffinity failed",
        "The labels of the node do not fit the pod's selector: check what sets or changes them.",
    ),
    (
        r"EmptyDir volume \S+ exceeds the limit",
        "Raise sizeLimit of that emptyDir in the manifest, or write less to it.",
    ),
    (
        r"storage usage exceeds the total limit|exceeded its local ephemeral storage limit",
        "Raise the limit of ephemeral-storage in the manifest, or write to a volume.",
    ),
    (
        r"low on resource: (?:memory|pids)|MemoryPressure",
        "Raise the request of memory in the manifest to what the pod uses, or use larger nodes.",
    ),
    (r"DiskPressure|low on resource: \S*(?:storage|fs)", _MORE_DISK),
    (r"longer than the specified deadline", "Raise activeDeadlineSeconds of the pods, or remove it."),
    (
        r"apparmor",
        "Use nodes with AppArmor and that profile, or another appArmorProfile in the manifest.",
    ),
    (r"seccomp", "Put that seccomp profile on the nodes, or use another seccompProfile in the manifest."),
    (r"forbidden sysctl", "Allow that sysctl in the kubelet of the nodes, or remove it from the manifest."),
    (r"Predicate NodePorts failed", "Use other host ports: that node has a pod with the same ones."),
)
_CONTAINERS: Final = (
    (
        r"(?:secret|configmap) .*not found|references non-existent",
        "Create that object in the pod's namespace, or correct its name or key in the manifest.",
    ),
    (r"couldn't find key", "Add that key to the object, or correct its name in the manifest."),
    (r"persistentvolumeclaim .*not found", "Create the claim in the pod's namespace, or correct its name."),
    (
        r"driver/library version mismatch|nvml error|nvidia-container-cli|unresolvable CDI devices|libnvidia-",
        _DRIVER,
    ),
    (
        r"could not select device driver|no runtime for \S+ is configured",
        "Install the NVIDIA container toolkit on the nodes (the GPU operator, or a node image that has it).",
    ),
    (
        r"container runtime is down|containerd\.sock|crio\.sock",
        "The container runtime of the node does not answer: look at the node, or recreate it.",
    ),
    (
        r"runAsNonRoot|non-numeric user",
        "Set runAsUser to a number other than 0 in the manifest, or use an image with such a user.",
    ),
    (r"no users found|unable to find user", "The image has no such user: correct runAsUser, or use another image."),
    (r"OOMKilled|init was OOM-killed", "Raise the memory limit of this container in the manifest."),
    (r"No space left on device|disk quota exceeded|ephemeral[- ]storage", _MORE_DISK),
    (r"address already in use", "Use other ports in the manifest: two processes of the pod want the same one."),
    (r"version mismatch", "Use the same version of Ray and Python in the images of head and workers."),
    (r"exec format error", "Build the image for the architecture of the nodes."),
    (r"not a shared mount|shared mount", "Make that mount shared on the nodes, or remove mountPropagation."),
    (r"subPath", "Check the subPath of that volume in the manifest: it must exist, or be one that can be made."),
    (
        r"error mounting|mount a directory onto a file",
        "Check that volumeMount: one side is a file, the other a folder.",
    ),
    (r"exec: .*permission denied", "Make the command executable in the image, or start it with a shell."),
    (
        r"content digest .*not found|failed to extract layer|rootfs absolute path",
        "The node's copy of the image is damaged: delete the image there, or recreate the node.",
    ),
    (
        r"no such file or directory|executable file not found|command not found|sh: (?:line )?\d+: .*not found",
        "Check the command of the container and the content of the image.",
    ),
    (
        r"liveness probe failed|startup probe",
        "Check what the container does at that time, and the liveness probe in the manifest.",
    ),
)
CAUSES: Final = (*_NETWORK, *_VOLUMES, *_REJECTED, *_CONTAINERS)
