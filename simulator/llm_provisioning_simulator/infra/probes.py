"""A container's probes, asked at the kubelet's own beat.

The beat starts when the status that shows the container running has been written, and not with the container: readiness
therefore comes in steps of the period (recordings: head Ready 11.0 s after that status, four times of four). While a
startup probe has not succeeded, the others are not asked. A liveness or startup probe that fails too often kills.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from llm_provisioning_simulator.infra.machines import ClusterContext
from llm_provisioning_simulator.infra.podreport import PodReport
from llm_provisioning_simulator.infra.podstatus import ContainerState
from llm_provisioning_simulator.kube.stamps import parse_stamp
from llm_provisioning_simulator.runtime import PodRuntime, ProbeKind

Probe = dict[str, Any]
Kill = Callable[[ContainerState, str], None]

_FIELDS: Final[dict[ProbeKind, str]] = {
    "readiness": "readinessProbe",
    "liveness": "livenessProbe",
    "startup": "startupProbe",
}


class Prober:
    """Asks the probes of one pod's containers. `kill`: hears of a container that failed its probe too often."""

    def __init__(self, ctx: ClusterContext, runtime: PodRuntime, report: PodReport, kill: Kill) -> None:
        self._ctx = ctx
        self._runtime = runtime
        self._report = report
        self._kill = kill

    def has_work(self, container: ContainerState) -> bool:
        """Tell whether a container has any probe."""
        return any(field in container.container for field in _FIELDS.values())

    async def run(self, container: ContainerState) -> None:
        """Ask every probe of a container until the pod is gone, through all its restarts."""
        await self._ctx.pause("probe_start_s")
        loops = [self._ask(container, kind) for kind, field in _FIELDS.items() if field in container.container]
        async with asyncio.TaskGroup() as group:
            for loop in loops:
                group.create_task(loop)

    async def _ask(self, container: ContainerState, kind: ProbeKind) -> None:
        ctx, probe = self._ctx, container.container[_FIELDS[kind]]
        agreeing, run, killed, due_at = 0, container.restarts, -1, ctx.clock.now()
        while (pod := self._report.stored()) is not None:
            if container.restarts != run:
                agreeing, run = 0, container.restarts
            # After a kill nothing is asked until the container runs anew (prober/worker.go, onHold).
            if run != killed and self._is_due(container, kind, probe):
                why = self._runtime.probe(pod, container.name, kind)
                if why is not None:
                    self._report.warn("Unhealthy", f"{kind.capitalize()} probe failed: {why}", container)
                agreeing, failed = self._count(container, kind, agreeing, good=why is None)
                killed = run if failed else killed
            due_at += timedelta(seconds=float(probe.get("periodSeconds", 10)))
            await ctx.clock.sleep_until(due_at)

    def _is_due(self, container: ContainerState, kind: ProbeKind, probe: Probe) -> bool:
        if not container.running or (container.awaited != (kind == "startup")):
            return False
        started_at = parse_stamp(container.state["running"]["startedAt"])
        if started_at is None:
            return False
        return (self._ctx.clock.now() - started_at).total_seconds() >= float(probe.get("initialDelaySeconds", 0))

    def _count(self, container: ContainerState, kind: ProbeKind, agreeing: int, *, good: bool) -> tuple[int, bool]:
        """Act on an answer; return how many in a row now disagree with what is known, and whether it was the end."""
        probe = container.container[_FIELDS[kind]]
        known = {"readiness": container.ready, "liveness": True, "startup": False}[kind]
        agreeing = agreeing + 1 if good != known or kind == "startup" else 0
        threshold = probe.get("successThreshold", 1) if good else probe.get("failureThreshold", 3)
        if agreeing < threshold:
            return agreeing, False
        if kind == "readiness":
            container.ready = good
            self._report.write()
        elif not good:
            self._kill(container, kind)
            return 0, True
        elif kind == "startup":
            container.awaited = False
            container.ready = "readinessProbe" not in container.container
            self._report.write()
        return 0, False
