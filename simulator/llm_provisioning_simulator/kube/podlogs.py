"""Container logs, as GET pods/NAME/log answers them: whole, the end of them, or followed until the container ends.

A container that was started again has two: what was written up to the end of the one before is `previous`.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from llm_provisioning_simulator.kube.backend import ProxyBackend
from llm_provisioning_simulator.kube.calls import Call
from llm_provisioning_simulator.kube.stamps import parse_stamp
from llm_provisioning_simulator.kube.statuses import bad_request, not_found
from llm_provisioning_simulator.kube.store import ObjectStore

Object = dict[str, Any]
Line = tuple[datetime, str]

_POLL_S: Final = 0.1


def pod_log(call: Call, store: ObjectStore, backend: ProxyBackend | None) -> AsyncIterator[bytes]:
    """Check the request and return the log's pieces; a StatusError where a kubelet or the API server would refuse."""
    place = call.place
    pod = store.peek("pods", place.name, place.namespace)
    if pod is None:
        raise not_found(place.resource, place.name)
    container = _container(pod, call.query.get("container", ""))
    _check_started(pod, container, previous=call.flag("previous"))
    lines = backend.logs(pod, container) if backend else []
    ended_at = _ended_before(pod, container)
    if ended_at is not None:
        # While it waits for its next start, the kubelet has no other log than the one before (kubelet 1.34).
        before = call.flag("previous") or "waiting" in (_status(pod, container).get("state") or {})
        lines = [line for line in lines if (line[0] < ended_at) is before]
    chosen = _chosen(call, lines, store.clock.now())
    return _pieces(call, store, backend, pod, container, chosen, len(lines))


async def _pieces(
    call: Call,
    store: ObjectStore,
    backend: ProxyBackend | None,
    pod: Object,
    container: str,
    chosen: Iterable[Line],
    sent: int,
) -> AsyncIterator[bytes]:
    stamped = call.flag("timestamps")
    text = _text(chosen, stamped=stamped)
    limit = call.number("limitBytes")
    if text:
        yield text[:limit]
    if backend is None or not call.flag("follow") or limit:
        return
    name, namespace, uid = pod["metadata"]["name"], pod["metadata"]["namespace"], pod["metadata"]["uid"]
    running = True
    while running:
        await asyncio.sleep(_POLL_S)
        found = store.peek("pods", name, namespace)
        # What was written before the end is still sent: look at the state first, then at the lines.
        running = found is not None and found["metadata"]["uid"] == uid and not _ended(found, container)
        lines = backend.logs(found or pod, container)
        if len(lines) > sent:
            yield _text(lines[sent:], stamped=stamped)
            sent = len(lines)


def _container(pod: Object, asked: str) -> str:
    spec, name = pod.get("spec") or {}, pod["metadata"]["name"]
    main = [item["name"] for item in spec.get("containers") or ()]
    init = [item["name"] for item in spec.get("initContainers") or ()]
    if asked and asked not in (*main, *init):
        raise bad_request(f"container {asked} is not valid for pod {name}")
    if not asked and len(main) > 1:
        also = f" or one of the init containers: [{' '.join(init)}]" if init else ""
        listed = f"choose one of: [{' '.join(main)}]{also}"
        raise bad_request(f"a container name must be specified for pod {name}, {listed}")
    return asked or main[0]


def _check_started(pod: Object, container: str, *, previous: bool) -> None:
    name = pod["metadata"]["name"]
    entry = _status(pod, container)
    if previous and not (entry.get("lastState") or {}).get("terminated"):
        raise bad_request(f'previous terminated container "{container}" in pod "{name}" not found')
    waiting = (entry.get("state") or {}).get("waiting")
    if waiting is not None and not (entry.get("lastState") or {}).get("terminated"):
        said = f'container "{container}" in pod "{name}" is waiting to start: {waiting.get("reason", "")}'
        raise bad_request(said)


def _status(pod: Object, container: str) -> Object:
    status = pod.get("status") or {}
    entries = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    return next((entry for entry in entries if entry["name"] == container), {})


def _ended_before(pod: Object, container: str) -> datetime | None:
    """Return until when the run before the present one wrote; its stamp is cut to the whole second."""
    at = parse_stamp(((_status(pod, container).get("lastState") or {}).get("terminated") or {}).get("finishedAt"))
    return at and at + timedelta(seconds=1)


def _ended(pod: Object, container: str) -> bool:
    return "terminated" in (_status(pod, container).get("state") or {})


def _chosen(call: Call, lines: Sequence[Line], now: datetime) -> Sequence[Line]:
    since = parse_stamp(call.query.get("sinceTime"))
    seconds = call.number("sinceSeconds")
    if seconds is not None:
        since = now - timedelta(seconds=seconds)
    if since is not None:
        lines = [line for line in lines if line[0] >= since]
    tail = call.number("tailLines")
    return lines if tail is None else lines[max(0, len(lines) - tail) :]


def _text(lines: Iterable[Line], *, stamped: bool) -> bytes:
    if not stamped:
        return "".join(f"{text}\n" for _, text in lines).encode()
    return "".join(f"{_nanoseconds(at)} {text}\n" for at, text in lines).encode()


def _nanoseconds(at: datetime) -> str:
    return f"{at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}000Z"
