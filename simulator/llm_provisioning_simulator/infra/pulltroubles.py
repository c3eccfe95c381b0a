"""Why a pull fails: what registry, network and disk say, in containerd's words.

Not found, refused, no such host, another platform and a full disk follow from the world: its images, the registries'
rights, the nodes' volumes. What no state of the world causes here (rate limits, outages, mirrors) is a named fault.
Texts: containerd 1.7 and 2.x as quoted in ray-project/ray #39009, Azure/acr #739 and #743, and the recordings.
"""

from collections.abc import Mapping
from typing import Final

from llm_provisioning_simulator.faults import CHOICES, Faults
from llm_provisioning_simulator.infra import delivery
from llm_provisioning_simulator.world import Image, NodeSpec, World, normalise

_GIB: Final = 1024**3
TROUBLES: Final[Mapping[str, str]] = {
    "rate_limited": (
        "failed to copy: httpReadSeeker: failed open: unexpected status code {url}: 429 Too Many Requests - Server "
        "message: toomanyrequests: You have reached your unauthenticated pull rate limit. "
        "https://www.docker.com/increase-rate-limit"
    ),
    "unauthorized": "{resolve}failed to authorize: failed to fetch oauth token: unexpected status from GET request to "
    "https://{host}/token: 401 Unauthorized",
    "denied": "{resolve}pull access denied, repository does not exist or may require authorization: authorization "
    "failed: no basic auth credentials",
    "forbidden": "{resolve}unexpected status from HEAD request to {url}: 403 Forbidden",
    "no_such_host": '{resolve}failed to do request: Head "{url}": dial tcp: lookup {host} on 169.254.20.10:53: no such '
    "host",
    "mirror_refused": '{resolve}failed to do request: Head "https://localhost:8578/v2/{path}/manifests/{tag}?ns={host}'
    '": dial tcp 127.0.0.1:8578: connect: connection refused',
    "timeout": '{resolve}failed to do request: Head "{url}": dial tcp 203.0.113.10:443: i/o timeout',
    "certificate": '{resolve}failed to do request: Head "{url}": tls: failed to verify certificate: x509: certificate '
    "signed by unknown authority",
    "disk_full": "failed to extract layer sha256:aa2e1bd4: write /var/lib/containerd/io.containerd.snapshotter.v1."
    "overlayfs/snapshots/38/fs/opt/lib.so: no space left on device: unknown",
    "registry_down": "{resolve}unexpected status from HEAD request to {url}: 503 Service Unavailable",
    "digest_mismatch": 'failed to copy: failed commit on ref "layer-sha256:5f1c": unexpected commit digest '
    "sha256:07ab, expected sha256:5f1c: failed precondition",
}
CHOICES["pull_trouble"] = frozenset(TROUBLES)
# Registries whose names always resolve; any other one exists where it holds an image.
_PUBLIC: Final = ("docker.io", "ghcr.io", "quay.io", "gcr.io", "nvcr.io", "pkg.dev", "amazonaws.com", "public.ecr.aws")


def pull_trouble(
    world: World, faults: Faults, node: NodeSpec, reference: str, image: Image | None, *, pull_secrets: bool
) -> str | None:
    """Return why a pull of a reference, which names `image`, fails once its registry is asked; None if it does not."""
    if faults.pull_trouble:
        return _worded(reference, TROUBLES[faults.pull_trouble])
    if image is None:
        known = _resolves(world, normalise(reference).partition("/")[0])
        return not_found(reference) if known else _worded(reference, TROUBLES["no_such_host"])
    refused = delivery.refusal(world, node, image, pull_secrets=pull_secrets)
    if refused is not None:
        return _worded(reference, f"{{resolve}}{refused}")
    if image.architecture != "amd64":
        return f"{_start('NotFound', reference)}no match for platform in manifest: not found"
    return None


def disk_full(reference: str, image: Image, node: NodeSpec, unpacked_ratio: float) -> str | None:
    """Return why an image cannot be unpacked on a node: its volume is smaller. None when it fits, or when the size of
    the node's volume is not known.
    """
    if node.data_volume_gib is None or image.compressed_bytes * unpacked_ratio <= node.data_volume_gib * _GIB:
        return None
    return _worded(reference, TROUBLES["disk_full"])


def not_found(reference: str) -> str:
    """Return the answer about a tag that a registry does not hold."""
    return f'{_start("NotFound", reference)}failed to resolve reference "{reference}": {reference}: not found'


def _start(code: str, reference: str) -> str:
    return f'rpc error: code = {code} desc = failed to pull and unpack image "{reference}": '


def _worded(reference: str, text: str) -> str:
    host, _, rest = normalise(reference).partition("/")
    path, _, tag = rest.partition("@" if "@" in rest else ":")
    host = "registry-1.docker.io" if host == "docker.io" else host
    parts = {
        "{resolve}": f'failed to resolve reference "{reference}": ',
        "{url}": f"https://{host}/v2/{path}/manifests/{tag}",
        "{host}": host,
        "{path}": path,
        "{tag}": tag,
    }
    for key, value in parts.items():
        text = text.replace(key, value)
    return _start("Unknown", reference) + text


def _resolves(world: World, host: str) -> bool:
    held = {reference.partition("/")[0] for reference in world.images}
    attached = {registry for _, registry in world.aks_attached} | world.aks_premium_registries
    return host in held | attached or any(host == name or host.endswith(f".{name}") for name in _PUBLIC)
