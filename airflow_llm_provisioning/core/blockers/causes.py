"""Known causes in the sentences of kubelets, registries, schedulers and engines: what to do about each.

Each entry is a pattern and an advice; the first one that matches counts. A sentence that matches none is still told,
and only the advice is missing.
"""

import re
from functools import lru_cache
from typing import Final

_REGISTRIES: Final = (
    (r"no space left on device", "Give the nodes a larger disk, or use a smaller image."),
    (r"toomanyrequests|too many requests", "Pull from a registry of your own, or log in to this one."),
    (r"no such host", "Check the name of the registry, and the DNS of the nodes."),
    (
        r"https?://(?:localhost|127\.0\.0\.1):\d+/v2/.*refused",
        "The image streaming service of the node does not answer: check image streaming on this node pool.",
    ),
    (r"no match for platform|exec format error", "Build the image for the architecture of the nodes."),
    (
        r"unauthorized|authentication required|pull access denied|403 forbidden|HEAD request: 40[13]",
        "Give the nodes, or an imagePullSecret of the pods, the right to pull this image.",
    ),
    (
        r"manifest unknown|name unknown|failed to resolve reference.*: not found|invalid ?reference|InvalidImageName",
        "Check name and tag of the image.",
    ),
)
_KUBELETS: Final = (
    (
        r"(?:secret|configmap) .*not found|references non-existent",
        "Create that object in the pod's namespace, or correct its name or key in the manifest.",
    ),
    (r"couldn't find key", "Add that key to the object, or correct its name in the manifest."),
    (
        r"driver/library version mismatch|nvml error|nvidia-container-cli",
        "Recreate the node, or use another node image: its NVIDIA driver does not fit.",
    ),
    (
        r"no such file or directory|executable file not found",
        "Check the command of the container and the content of the image.",
    ),
    (r"OOMKilled", "Raise the memory limit of this container in the manifest."),
    (
        r"liveness probe failed",
        "Check what the container does at that time, and the liveness probe in the manifest.",
    ),
)
_SCHEDULERS: Final = (
    (r"exceeded quota|quota.*exceeded|vcpulimitexceeded", "Raise the quota, or free what uses it."),
    (
        r"insufficient ?\w*capacity|unfulfillable|out of resources|pool_?exhausted|skunotavailable|allocationfailed",
        "Wait, or let the nodes come from more zones and of more types.",
    ),
    (
        r"persistentvolumeclaim .*not found",
        "Create the claim in the pod's namespace, or correct its name in the manifest.",
    ),
    (r"untolerated taint", "Add the toleration to the pods, or check which nodes the pods select."),
    (
        r"didn't match Pod's node affinity/selector",
        "Check that a node pool has the labels that the pods select, and that it can grow.",
    ),
    (
        r"insufficient ",
        "Check that a node type of this cluster has what the pods request, and that its pool can grow.",
    ),
    (r"service ?account .*not found", "Create the service account in the pod's namespace."),
)
_ENGINES: Final = (
    (
        r"cuda out of memory|outofmemoryerror",
        "Use a GPU with more memory, a smaller model, or a lower gpu_memory_utilization.",
    ),
    (
        r"no available memory for the cache blocks|max seq len .*larger than|KV cache is needed",
        "Lower max_model_len, raise gpu_memory_utilization, or use a GPU with more memory.",
    ),
    (
        r"gated repo|awaiting a review|restricted and you are not",
        "Accept the licence of the model on the hub, and give the pods a token with access.",
    ),
    (r"bfloat16 is only supported|compute capability", "Use dtype half, or a newer GPU."),
    (r"ModuleNotFoundError|No module named", "Add that module to the image or to the runtime_env."),
)
_ADVICE: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), advice)
    for pattern, advice in (*_REGISTRIES, *_KUBELETS, *_SCHEDULERS, *_ENGINES)
)


# A wait judges every second, and mostly the same sentences.
@lru_cache(maxsize=512)
def advice_for(sentence: str) -> str:
    """Return what to do about a sentence; empty where that is not known."""
    return next((advice for pattern, advice in _ADVICE if pattern.search(sentence)), "")
