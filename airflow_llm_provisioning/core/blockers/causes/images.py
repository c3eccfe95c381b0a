"""What registries and container runtimes say about an image, and what to do."""

from typing import Final

CAUSES: Final = (
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
        r"not allowed access|acr/firewall",
        "Let the addresses of the nodes through the firewall of the registry, or give it a private endpoint.",
    ),
    (
        r"SignatureValidationFailed|signature validation failed|signature was required",
        "Sign the image, or change the signature policy of the nodes' container runtime.",
    ),
    (r"unsupported media ?type", "Check that the name is one of a container image, and push it again as one."),
    (r"unexpected commit digest", "A mirror or proxy changed the content: check it, or pull without it."),
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
