"""A pod's row in `kubectl get pods`: above all its one-word status (pkg/printers/internalversion, v1.34)."""

from collections.abc import Callable, Sequence
from typing import Any

Object = dict[str, Any]


def pod_cells(pod: Object, created: str, age: Callable[[str | None], str]) -> list[Any]:
    """Return Name, Ready, Status, Restarts, Age, IP, Node, Nominated Node, Readiness Gates."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    main, init = status.get("containerStatuses") or [], status.get("initContainerStatuses") or []
    initialising = _init_reason(init, len(spec.get("initContainers") or ()))
    counted = init if initialising else main
    restarts = sum(entry.get("restartCount", 0) for entry in counted)
    return [
        pod["metadata"]["name"],
        f"{sum(bool(entry.get('ready')) for entry in main)}/{len(spec.get('containers') or ())}",
        _reason(pod, main, initialising),
        _restarts(restarts, counted, age),
        created,
        status.get("podIP") or "<none>",
        spec.get("nodeName") or "<none>",
        status.get("nominatedNodeName") or "<none>",
        "<none>",
    ]


def _reason(pod: Object, main: Sequence[Object], initialising: str | None) -> str:
    status = pod.get("status") or {}
    gone = "deletionTimestamp" in pod["metadata"]
    phase: str = status.get("reason") or status.get("phase", "Unknown")
    if gone and status.get("phase") not in ("Succeeded", "Failed"):
        return "Unknown" if status.get("reason") == "NodeLost" else "Terminating"
    return initialising or _container_reason(main, phase, status)


def _container_reason(main: Sequence[Object], phase: str, status: Object) -> str:
    reason, running = phase, False
    for entry in reversed(main):
        state = entry.get("state") or {}
        waiting, ended = state.get("waiting") or {}, state.get("terminated")
        if waiting.get("reason"):
            reason = waiting["reason"]
        elif ended is not None:
            reason = _end(ended)
        elif entry.get("ready") and "running" in state:
            running = True
    if reason == "Completed" and running:
        ready = any(item["type"] == "Ready" and item["status"] == "True" for item in status.get("conditions") or ())
        reason = "Running" if ready else "NotReady"
    return reason


def _init_reason(init: Sequence[Object], total: int) -> str | None:
    """Return `Init:...` while an init container holds the pod up."""
    for index, entry in enumerate(init):
        state = entry.get("state") or {}
        ended, waiting = state.get("terminated"), state.get("waiting") or {}
        if ended is not None and ended.get("exitCode") == 0:
            continue
        if ended is not None:
            return f"Init:{_end(ended)}"
        if waiting.get("reason") not in (None, "", "PodInitializing"):
            return f"Init:{waiting['reason']}"
        return f"Init:{index}/{total}"
    return None


def _end(ended: Object) -> str:
    if ended.get("reason"):
        return str(ended["reason"])
    return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode', 0)}"


def _restarts(count: int, entries: Sequence[Object], age: Callable[[str | None], str]) -> str:
    ends = [((entry.get("lastState") or {}).get("terminated") or {}).get("finishedAt") for entry in entries]
    last = max((end for end in ends if end), default=None)
    return f"{count} ({age(last)} ago)" if count and last else str(count)
