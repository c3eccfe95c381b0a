"""A container's readiness probe, asked at the kubelet's own beat.

The beat starts when the status that shows the container running has been written, and not with the container: readiness
therefore comes in steps of the period (recordings: head Ready 11.0 s after that status, four times of four).
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from llm_provisioning_simulator.infra.machines import ClusterContext
from llm_provisioning_simulator.infra.podstatus import ContainerState
from llm_provisioning_simulator.kube.stamps import parse_stamp
from llm_provisioning_simulator.runtime import PodRuntime

Pod = dict[str, Any]


async def probe_forever(
    ctx: ClusterContext,
    runtime: PodRuntime,
    stored: Callable[[], Pod | None],
    container: ContainerState,
    set_ready: Callable[[ContainerState, bool], None],
) -> None:
    """Ask until cancelled. `stored`: the pod as it is now, None once it is gone; `set_ready` hears every change."""
    probe = container.container["readinessProbe"]
    await ctx.pause("probe_start_s")
    agreeing, due_at = 0, ctx.clock.now()
    while (pod := stored()) is not None:
        if container.running and _is_due(ctx, container, probe):
            good = runtime.probe(pod, container.name, "readiness")
            if not good:
                _complain(ctx, pod, container, probe)
            agreeing = agreeing + 1 if good != container.ready else 0
            threshold = probe.get("successThreshold", 1) if good else probe.get("failureThreshold", 3)
            if agreeing >= threshold:
                agreeing = 0
                set_ready(container, good)
        due_at += timedelta(seconds=float(probe.get("periodSeconds", 10)))
        await ctx.clock.sleep_until(due_at)


def _is_due(ctx: ClusterContext, container: ContainerState, probe: Pod) -> bool:
    started_at = parse_stamp(container.state["running"]["startedAt"])
    if started_at is None:
        return False
    return (ctx.clock.now() - started_at).total_seconds() >= float(probe.get("initialDelaySeconds", 0))


def _complain(ctx: ClusterContext, pod: Pod, container: ContainerState, probe: Pod) -> None:
    """Say that a probe failed. Ray's exec probe prints the first half's success before the second half fails."""
    if "httpGet" in probe:
        port, path = probe["httpGet"]["port"], probe["httpGet"].get("path", "/")
        address = f"{pod['status'].get('podIP', '')}:{port}"
        what = f'Get "http://{address}{path}": dial tcp {address}: connect: connection refused'
    else:
        what = "success\n"
    ctx.store.record_event(
        pod,
        "Unhealthy",
        f"Readiness probe failed: {what}",
        component="kubelet",
        style="kubelet",
        type_="Warning",
        field_path=f"spec.containers{{{container.name}}}",
        host=pod["spec"].get("nodeName"),
    )
