"""What the processes of a Ray pod answer to a kubelet's probe, and how the kubelet words a failure.

httpGet and tcpSocket are answered by what listens on the port. Of an exec probe's shell line only the addresses in it
and a few plain commands are understood; `unsimulated_probe` names any other one, which is refused when it is applied.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from llm_provisioning_simulator.app.ray import RayNode
from llm_provisioning_simulator.runtime import ProbeKind

AGENT_PORT: Final = 52365
DASHBOARD_PORT: Final = 8265
GCS_PORT: Final = 6379
SERVE_PORT: Final = 8000
_AGENT_PATHS: Final = frozenset({"/api/healthz", "/api/local_raylet_healthz", "/api/gcs_healthz"})
_URL: Final = re.compile(r"https?://(?:localhost|127\.0\.0\.1):(\d+)(/[^\s|;&\"']*)?")
_RAY: Final = re.compile(r"\bray (health-check|status)\b")
_ALWAYS: Final = {"true": None, "/bin/true": None, "exit 0": None, "false": "", "/bin/false": "", "exit 1": ""}
_NAMED_PORTS: Final = {"dashboard": DASHBOARD_PORT, "gcs-server": GCS_PORT, "serve": SERVE_PORT, "client": 10001}


def probe_failure(node: RayNode, container: Mapping[str, Any], kind: ProbeKind, *, proxy_healthy: bool) -> str | None:
    """Return why a probe of a Ray container fails now, in the kubelet's words; None when it succeeds.

    `proxy_healthy`: what the Serve proxy in the pod says at /-/healthz.
    """
    probe = container.get(f"{kind}Probe") or {}
    if "exec" in probe:
        return _exec(node, probe["exec"].get("command") or [], proxy_healthy=proxy_healthy)
    action = probe.get("httpGet") or probe.get("tcpSocket") or {}
    port = _port(action.get("port"), container)
    address = f"{node.ip}:{port}"
    refused = f"dial tcp {address}: connect: connection refused"
    if port not in _listening(node):
        url = f"http://{address}{action.get('path', '/')}"
        return f'Get "{url}": {refused}' if "httpGet" in probe else refused
    if "httpGet" not in probe:
        return None
    status = _status(port, action.get("path", "/"), proxy_healthy=proxy_healthy)
    return None if status < 400 else f"HTTP probe failed with statuscode: {status}"


def unsimulated_probe(probe: Mapping[str, Any]) -> str | None:
    """Return what of a probe is not understood here, or None."""
    if "grpc" in probe:
        return "a gRPC probe"
    script = _script((probe.get("exec") or {}).get("command") or [])
    if "exec" not in probe or script in _ALWAYS or _URL.search(script) or _RAY.search(script):
        return None
    return f"an exec probe that runs {script!r}"


def _exec(node: RayNode, command: list[str], *, proxy_healthy: bool) -> str | None:
    script = _script(command)
    if script in _ALWAYS:
        return _ALWAYS[script]
    said = ""
    for port, path in _addresses(script):
        if port not in _listening(node) or _status(port, path, proxy_healthy=proxy_healthy) >= 400:
            # KubeRay's line: the first half prints its success before the second half fails.
            return said
        said += "success\n"
    return "" if _RAY.search(script) and not node.running else None


def _script(command: list[str]) -> str:
    return command[-1].strip() if command and command[0].rsplit("/", 1)[-1] in ("bash", "sh") else " ".join(command)


def _addresses(script: str) -> Iterator[tuple[int, str]]:
    return ((int(found[1]), found[2] or "/") for found in _URL.finditer(script))


def _listening(node: RayNode) -> set[int]:
    """Return the ports that answer in a pod."""
    if not node.alive:
        return set()
    ports = {8080} if node.agent_silent else {AGENT_PORT, 8080}
    if node.head:
        ports |= {DASHBOARD_PORT, GCS_PORT, 10001}
    return ports | ({SERVE_PORT} if node.proxy is not None else set())


def _status(port: int, path: str, *, proxy_healthy: bool) -> int:
    if port == AGENT_PORT:
        return 200 if path in _AGENT_PATHS else 404
    if port == SERVE_PORT:
        return 200 if proxy_healthy else 503
    return 200 if port == DASHBOARD_PORT else 400


def _port(port: Any, container: Mapping[str, Any]) -> int:
    if isinstance(port, int):
        return port
    named = {item.get("name"): int(item["containerPort"]) for item in container.get("ports") or ()}
    return named.get(port) or _NAMED_PORTS.get(str(port)) or int(str(port))
