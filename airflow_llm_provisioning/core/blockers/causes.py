"""Known causes in the sentences of kubelets, registries, schedulers, API servers and engines: what to do about each.

Each entry is a pattern and an advice; the first one that matches counts. The same words mean different things in
different places: `403 Forbidden` of a registry concerns the nodes, of the model hub the token, of the API server a
policy. So an advice belongs to a place. A sentence that matches none is still told, and only the advice is missing.
"""

import re
from functools import lru_cache
from types import MappingProxyType
from typing import Final, Literal

Place = Literal["image", "container", "node", "admission", "engine"]
"""Who says it: a registry or the container runtime about an image; a kubelet about a container; scheduler, autoscaler
and cloud about a node; the API server about an object that KubeRay creates; Ray Serve or the engine.
"""

_IMAGES: Final = (
    (r"no space left on device|disk quota exceeded", "Give the nodes a larger disk, or use a smaller image."),
    (r"too ?many ?requests|rate ?limit", "Pull from a registry of your own, or log in to this one."),
    (r"proxyconnect", "Check the proxy that the container runtime of the nodes uses."),
    (r"no such host", "Check the name of the registry, and the DNS of the nodes."),
    (
        r"https?://(?:localhost|127\.0\.0\.1):\d+/v2/.*refused",
        "The image streaming service of the node does not answer: check image streaming on this node pool.",
    ),
    (r"no match for platform|exec format error", "Build the image for the architecture of the nodes."),
    (
        r"x509|certificate|server gave HTTP response to HTTPS",
        "Check the certificate of the registry, and which authorities the container runtime of the nodes trusts.",
    ),
    (r"is no longer supported since containerd|schema ?1", "Push the image again in a format of today (schema 2)."),
    (r"did not resolve to an alias", "Write the image with the name of its registry."),
    (
        (
            r"unauthorized|authentication required|pull access denied|403 forbidden|HEAD request: 40[13]"
            r"|no basic auth credentials|not authorized|(?:is|access) denied|\bdenied (?:by|on)|\bdenied:"
        ),
        "Give the nodes, or an imagePullSecret of the pods, the right to pull this image.",
    ),
    (
        (
            r"manifest unknown|name unknown|failed to resolve reference.*: not found|: not found|invalid ?reference"
            r"|InvalidImageName"
        ),
        "Check name and tag of the image.",
    ),
    (r"ErrImageNeverPull|pull policy of Never", "Set imagePullPolicy to IfNotPresent."),
    (
        r"network is unreachable|no route to host|i/o timeout|TLS handshake timeout|connection refused",
        "Check that the nodes reach the registry: routes, a NAT gateway or a private endpoint, and firewalls.",
    ),
)
_KUBELETS: Final = (
    (
        r"(?:secret|configmap) .*not found|references non-existent",
        "Create that object in the pod's namespace, or correct its name or key in the manifest.",
    ),
    (r"couldn't find key", "Add that key to the object, or correct its name in the manifest."),
    (r"persistentvolumeclaim .*not found", "Create the claim in the pod's namespace, or correct its name."),
    (
        r"driver/library version mismatch|nvml error|nvidia-container-cli|unresolvable CDI devices",
        "Recreate the node, or use another node image: its NVIDIA driver does not fit.",
    ),
    (
        r"could not select device driver|no runtime for \S+ is configured",
        "Install the NVIDIA container toolkit on the nodes (the GPU operator, or a node image that has it).",
    ),
    (
        r"runAsNonRoot|non-numeric user",
        "Set runAsUser to a number other than 0 in the manifest, or use an image with such a user.",
    ),
    (r"OOMKilled|init was OOM-killed", "Raise the memory limit of this container in the manifest."),
    (r"No space left on device|disk quota exceeded|ephemeral[- ]storage", "Give the nodes a larger disk."),
    (
        r"driver name \S+ not found in the list of registered CSI drivers",
        "Install that CSI driver, or wait until it has started on the node.",
    ),
    (r"failed to assign an IP address|InsufficientFreeAddresses", "Give the subnet of the pods more addresses."),
    (
        r"Multi-Attach error",
        "A disk of ReadWriteOnce is still attached to another node: delete the pod there, or wait for it.",
    ),
    (r"address already in use", "Use other ports in the manifest: two processes of the pod want the same one."),
    (r"version mismatch", "Use the same version of Ray and Python in the images of head and workers."),
    (r"exec format error", "Build the image for the architecture of the nodes."),
    (
        r"no such file or directory|executable file not found|command not found",
        "Check the command of the container and the content of the image.",
    ),
    (
        r"liveness probe failed|startup probe",
        "Check what the container does at that time, and the liveness probe in the manifest.",
    ),
)
_NODES: Final = (
    (r"exceeded quota|quota.*exceeded|vcpulimitexceeded", "Raise the quota, or free what uses it."),
    (
        r"insufficient ?\w*capacity|unfulfillable|out of resources|pool_?exhausted|skunotavailable|allocationfailed",
        "Wait, or let the nodes come from more zones and of more types.",
    ),
    (
        r"persistentvolumeclaim .*not found",
        "Create the claim in the pod's namespace, or correct its name in the manifest.",
    ),
    (r"non-?existent persistentvolume\b", "The volume of the claim is gone: create claim and volume again."),
    (r"storageclass\S* .*not found", "Create that storage class, or name another one in the claim."),
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
_ADMISSION: Final = (
    (
        r"failed quota.*must specify",
        "Give every container of the manifest the requests and limits that the quota asks for.",
    ),
    (r"exceeded quota|quota.*exceeded", "Raise the quota, or free what uses it."),
    (
        r"per (?:container|pod) is|limit to request ratio",
        "Change requests and limits in the manifest, or the LimitRange of the namespace.",
    ),
    (
        r"PodSecurity|pod security",
        "Set the securityContext that the policy asks for in the manifest, or use a namespace with another policy.",
    ),
    (r"being terminated", "The namespace is being deleted: use another one."),
    (
        r"failed calling webhook|no endpoints available",
        "The admission webhook does not answer: check the pods of its service.",
    ),
    (
        r"denied the request|denied request",
        "Change the manifest as the policy asks, or ask the owner of the policy for an exception.",
    ),
    (r"service ?account .*(?:not found|does not exist)", "Create the service account in the pod's namespace."),
    (r"PriorityClass", "Create that priority class, or remove priorityClassName from the manifest."),
    (r"RuntimeClass", "Create that runtime class, or remove runtimeClassName from the manifest."),
    (
        r"User \"[^\"]*\" cannot|not currently held",
        "Give the service account of the KubeRay operator that right in this namespace.",
    ),
    (r"UpdateDeployments fail: 4|YAML|error converting", "Correct serveConfigV2 in the manifest."),
    (r"is invalid|must be|unknown field|Invalid value", "Correct that field in the manifest."),
)
_HUB: Final = r"(?:huggingface|hf\.co|HfHub)"
_LICENCE: Final = "Accept the licence of the model on the hub, and give the pods a token with access."
_ENGINES: Final = (
    (
        r"ray\.exceptions\.OutOfMemoryError|node running low on memory|killed due to memory pressure",
        "Raise the memory of that pod in the manifest: Ray ended a process because the memory of its node was used up.",
    ),
    (
        r"RepositoryNotFound|Repository Not Found|not a valid model identifier|Invalid repository ID|HFValidationError",
        "Check the name of the model. A private or gated model also needs a token in the pods.",
    ),
    (
        r"gated repo|gated repositories|awaiting a review|restricted and you are not",
        _LICENCE,
    ),
    (
        rf"\b429\b.*{_HUB}|{_HUB}.*\b429\b|too many requests.*{_HUB}",
        "Give the pods a token of the hub (anonymous requests have a lower limit), or use a mirror of the model.",
    ),
    (
        r"RevisionNotFound|Revision Not Found|not a valid git identifier",
        "Check the revision of the model in the manifest.",
    ),
    (
        rf"\b40[13]\b.*{_HUB}|{_HUB}.*\b40[13]\b|Invalid username or password",
        _LICENCE,
    ),
    (
        r"outgoing traffic has been disabled|LocalEntryNotFound|offline mode",
        "The model is not in the cache and downloads are off or fail: check HF_HUB_OFFLINE, the cache and the network.",
    ),
    (
        (
            r"Failed to resolve '|name resolution|Name or service not known|Max retries exceeded|ProxyError"
            r"|Network is unreachable"
        ),
        "Check that the pods reach that address: DNS, a NAT gateway or proxy, and firewalls.",
    ),
    (
        (
            r"NoCredentials|Unable to locate credentials|AccessDenied|\(403\) when calling|DefaultCredentialsError"
            r"|does not have storage\.|AuthorizationPermissionMismatch"
        ),
        "Give the service account of the pods the right to read that bucket.",
    ),
    (r"dev/shm|torch_\d+.*No space left", "Give the pods a larger /dev/shm (an emptyDir with medium: Memory)."),
    (r"No space left on device|disk quota exceeded", "Give the nodes a larger disk, or the cache a larger volume."),
    (
        r"cuda out of memory|outofmemoryerror|CUDA error: out of memory",
        "Use a GPU with more memory, a smaller model, or a lower gpu_memory_utilization.",
    ),
    (
        r"no available memory for the cache blocks|max seq len .*larger than|KV cache is needed",
        "Lower max_model_len, raise gpu_memory_utilization, or use a GPU with more memory.",
    ),
    (
        r"less than desired GPU memory utilization",
        "Lower gpu_memory_utilization, or keep other processes off that GPU.",
    ),
    (r"max_model_len .*greater than the derived", "Lower max_model_len to what the model supports."),
    (
        r"Unknown quantization|quantization method|quantization .*not (?:supported|match)",
        "Use a quantization that this model, this GPU and this version of vLLM support.",
    ),
    (r"bfloat16 is only supported|Minimum capability|compute capability", "Use dtype half, or a newer GPU."),
    (r"trust_remote_code", "Set trust_remote_code, if you trust the code of that model."),
    (
        r"does not recognize this architecture|architectures .*not supported|no module or parameter named",
        "Use a version of vLLM and transformers that supports this model.",
    ),
    (
        r"must be divisible by tensor parallel|number of required GPUs exceeds|tensor.parallel.*greater than",
        "Set tensor_parallel_size to what the model and the GPUs of a worker allow.",
    ),
    (
        (
            r"no kernel image is available|driver on your system is too old|driver version is insufficient"
            r"|driver / cuda driver combination|CUDA_ERROR_SYSTEM_DRIVER_MISMATCH|forward compatibility"
        ),
        "Use a node image with a newer NVIDIA driver, or an image built for this GPU and driver.",
    ),
    (
        r"No CUDA GPUs are available|Failed to infer device type|no NVIDIA driver|CUDA is not available",
        "Check that the engine's worker requests a GPU, and that the deployment asks Ray for one.",
    ),
    (
        r"NCCL|DistNetworkError|DistStoreError|collective operation timeout",
        "Check the network between the workers (and NCCL_SOCKET_IFNAME); NCCL_DEBUG=INFO tells more.",
    ),
    (r"address already in use", "Use another port: a second process of the pod has it."),
    (r"Version mismatch", "Use the same version of Ray and Python in the images of head and workers."),
    (
        r"cannot open shared object file|undefined symbol",
        "Use an image whose packages were built for one another: versions of torch, CUDA and vLLM do not fit.",
    ),
    (
        r"deserializing header|MetadataIncompleteBuffer|HeaderTooLarge",
        "The weights are incomplete: download them anew.",
    ),
    (r"Can't load tokenizer|tokenizer_config", "Check the tokenizer of the model, or name another one."),
    (
        r"ModuleNotFoundError|No module named|cannot import name",
        "Add that module to the image or to the runtime_env.",
    ),
    (r"module '?\S+ has no attribute|has no attribute", "Check import_path in serveConfigV2 and the code behind it."),
    (
        r"unexpected keyword argument|Extra inputs are not permitted|unrecognized arguments",
        "Correct the arguments of the engine: this version does not know one of them.",
    ),
    (
        r"No matching distribution|Could not find a version|ResolutionImpossible",
        "Correct the packages of the runtime_env, or build them into the image.",
    ),
    (r"setup_timeout_seconds", "Raise setup_timeout_seconds of the runtime_env, or build its content into the image."),
    (r"working_dir|exceeds the maximum size", "Check working_dir of the runtime_env: its address, size and rights."),
    (
        r"more than 30s to be scheduled|ray status",
        "Check that a worker group has what a replica asks Ray for, and that its maxReplicas allows one more.",
    ),
    (r"No such file or directory|FileNotFoundError", "Check that path, and what is mounted or built into the image."),
)
_ADVICE: Final = MappingProxyType(
    {
        place: tuple((re.compile(pattern, re.IGNORECASE | re.DOTALL), advice) for pattern, advice in entries)
        for place, entries in (
            ("image", _IMAGES),
            # A container's last words are often those of the engine in it.
            ("container", (*_KUBELETS, *_ENGINES)),
            ("node", _NODES),
            ("admission", _ADMISSION),
            ("engine", (*_ENGINES, *_KUBELETS)),
        )
    }
)


# A wait judges every second, and mostly the same sentences.
@lru_cache(maxsize=512)
def advice_for(sentence: str, place: Place) -> str:
    """Return what to do about a sentence of a place; empty where that is not known."""
    return next((advice for pattern, advice in _ADVICE[place] if pattern.search(sentence)), "")
