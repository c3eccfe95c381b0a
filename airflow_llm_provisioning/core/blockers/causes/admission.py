"""What the API server says about an object that KubeRay creates, and what to do."""

from typing import Final

CAUSES: Final = (
    (
        r"quota to match these scopes",
        "Create a ResourceQuota for pods of that priority class in the namespace, or use another class.",
    ),
    (r"status unknown for quota", "The quota of the namespace is new and not computed yet: wait."),
    (r"podgroup phase is", "The queue of the pod group has not admitted it yet: look at the queue."),
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
        r"webhook.*(?:x509|certificate)",
        "The certificate of that admission webhook does not fit: renew it, or the caBundle of its configuration.",
    ),
    (
        r"webhook.*(?:service \S+ not found|could not find the requested|expected webhook response)",
        "What answers for that admission webhook is gone: install it again, or delete its configuration.",
    ),
    (
        r"failed calling webhook|no endpoints available",
        "The admission webhook does not answer: check the pods of its service.",
    ),
    (
        r"denied the request|denied request|denied one or more images|\bdenied by\b",
        "Change the manifest as the policy asks, or ask the owner of the policy for an exception.",
    ),
    (r"service ?account .*(?:not found|does not exist)", "Create the service account in the pod's namespace."),
    (r"integer value of priority", "Remove priority from the pods: their priority class sets it."),
    (r"PriorityClass", "Create that priority class, or remove priorityClassName from the manifest."),
    (r"RuntimeClass", "Create that runtime class, or remove runtimeClassName from the manifest."),
    (
        r"User \"[^\"]*\" cannot|not currently held",
        "Give the service account of the KubeRay operator that right in this namespace.",
    ),
    (r"UpdateDeployments fail: 4|YAML|error converting", "Correct serveConfigV2 in the manifest."),
    (r"range is full", "The cluster has no free address for a Service: delete unused ones, or enlarge its range."),
    (
        r"no matches for kind \"?(?:Gateway|HTTPRoute)",
        "Install the Gateway API, which this upgrade strategy uses, or choose NewCluster.",
    ),
    (r"database space exceeded", "etcd is full: compact and defragment it, or ask the provider of the cluster."),
    (r"namespaces? \S+ not found", "Create that namespace."),
    (r"is invalid|must be|unknown field|Invalid value", "Correct that field in the manifest."),
)
