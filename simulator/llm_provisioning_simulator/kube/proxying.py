"""The API server's service and pod proxy: from a name in a path to a port of one pod.

Words of the refusals: the recordings, and registry/core/service/storage/storage.go (v1.34).
"""

import random
from collections.abc import Iterator
from typing import Any, Final

from llm_provisioning_simulator.kube.backend import Answer, PodRequest, ProxyBackend
from llm_provisioning_simulator.kube.calls import Call
from llm_provisioning_simulator.kube.statuses import bad_request, not_found, unavailable
from llm_provisioning_simulator.kube.store import ObjectStore

Object = dict[str, Any]

_SCHEMES: Final = ("http", "https")
# Headers that concern one connection, not the request (RFC 9110, 7.6.1), and what must not reach the pod.
_NOT_FORWARDED: Final = frozenset(
    {
        "connection",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "authorization",
        "content-length",
    }
)


async def proxy(call: Call, store: ObjectStore, backend: ProxyBackend | None) -> Answer:
    """Send a request on to the pod a service's or pod's name stands for, and return its answer."""
    name, port = _name_and_port(call.place.name)
    if call.place.resource.plural == "services":
        pod, number = _service_target(store, call, name, port)
    else:
        pod, number = _pod_target(store, call, name, port)
    address = f"{(pod.get('status') or {}).get('podIP', '')}:{number}"
    headers = {key: value for key, value in call.headers.items() if key.lower() not in _NOT_FORWARDED}
    try:
        if backend is None:
            raise ConnectionRefusedError
        return await backend.request(
            PodRequest(pod, number, call.place.rest or "/", call.method, call.query_string, headers, call.body)
        )
    except ConnectionRefusedError as error:
        message = f"error trying to reach service: dial tcp {address}: connect: connection refused"
        raise unavailable(message) from error


def _name_and_port(text: str) -> tuple[str, str]:
    """Take `[scheme:]name[:port]` apart."""
    parts = text.split(":")
    if len(parts) == 3 and parts[0] in (*_SCHEMES, ""):
        parts = parts[1:]
    if len(parts) > 2 or not parts[0]:
        raise bad_request(f'invalid service request "{text}"')
    return parts[0], parts[1] if len(parts) == 2 else ""


def _service_target(store: ObjectStore, call: Call, name: str, port: str) -> tuple[Object, int]:
    service = store.peek("services", name, call.place.namespace)
    if service is None:
        raise not_found(call.place.resource, name)
    wanted = _port_name(service, port)
    found = list(_endpoints(store, service, wanted))
    if not found:
        raise unavailable(f'no endpoints available for service "{name}"')
    return random.choice(found)


def _port_name(service: Object, port: str) -> str:
    """Return the name of the port a caller means by name or number; the only one when nothing is said."""
    ports = (service.get("spec") or {}).get("ports") or []
    if not port:
        return str(ports[0].get("name", "")) if len(ports) == 1 else ""
    if not port.isdigit():
        return port
    for entry in ports:
        if entry.get("port") == int(port):
            return str(entry.get("name", ""))
    raise unavailable(f'no service port {port} found for service "{service["metadata"]["name"]}"')


def _endpoints(store: ObjectStore, service: Object, port_name: str) -> Iterator[tuple[Object, int]]:
    """Yield (pod, port) of every address that takes traffic. `ready` in a slice is what counts: the endpoint controller
    sets it for all pods of a service that publishes the ones that are not ready.
    """
    metadata = service["metadata"]
    labels = {"kubernetes.io/service-name": metadata["name"]}
    for piece in store.peek_all("endpointslices", metadata["namespace"], labels=labels):
        numbers = [entry["port"] for entry in piece.get("ports") or () if (entry.get("name") or "") == port_name]
        for endpoint in piece.get("endpoints") or () if numbers else ():
            target = endpoint.get("targetRef") or {}
            pod = store.peek("pods", target.get("name", ""), metadata["namespace"])
            if pod is not None and (endpoint.get("conditions") or {}).get("ready") is not False:
                yield pod, numbers[0]


def _pod_target(store: ObjectStore, call: Call, name: str, port: str) -> tuple[Object, int]:
    pod = store.peek("pods", name, call.place.namespace)
    if pod is None:
        raise not_found(call.place.resource, name)
    if not (pod.get("status") or {}).get("podIP"):
        raise bad_request("address not allowed")
    ports = [entry for item in pod["spec"].get("containers") or () for entry in item.get("ports") or ()]
    if port.isdigit():
        return pod, int(port)
    named = (entry for entry in ports if not port or entry.get("name") == port)
    entry = next(named, None)
    if entry is None and port:
        raise unavailable(f'no port "{port}" found for pod "{name}"')
    return pod, entry["containerPort"] if entry else 80
