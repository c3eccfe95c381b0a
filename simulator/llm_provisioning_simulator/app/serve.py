"""Ray Serve's controller: builds applications on the head, asks for replicas, says what state all is in.

The REST document it answers with is made in `serve_rest`. Behaviour and texts: ray 2.60.0, as recorded.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from llm_provisioning_simulator.app import serve_texts as texts
from llm_provisioning_simulator.app.application import Application, Deployment, applications
from llm_provisioning_simulator.app.ray import RayCluster, RayNode, RuntimeEnvError
from llm_provisioning_simulator.app.replica import Replica, ReplicaError, ReplicaStart, import_engine
from llm_provisioning_simulator.infra.tasks import TaskGroup

_ID_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(slots=True, eq=False)
class DeploymentState:
    """A deployment as the controller sees it. `attempts`: failed starts until it is given up."""

    deployment: Deployment
    attempts: int
    status: str = "UPDATING"
    trigger: str = "CONFIG_UPDATE_STARTED"
    message: str = ""
    replicas: list[Replica] = field(default_factory=list)
    dead: list[Replica] = field(default_factory=list)

    def bury(self, replica: Replica) -> None:
        """Move a replica to the dead ones."""
        self.replicas.remove(replica)
        self.dead.append(replica)


@dataclass(slots=True, eq=False)
class ApplicationState:
    """An application as the controller sees it; `deployments` is empty until it is built."""

    application: Application
    deployed_at: datetime
    status: str = "DEPLOYING"
    message: str = ""
    deployments: dict[str, DeploymentState] = field(default_factory=dict)


class ServeController:
    """Serve on one head. `put` is what the dashboard's PUT does; everything after runs by itself until `stop`."""

    def __init__(
        self, cluster: RayCluster, head: RayNode, start: ReplicaStart, *, import_fault: Callable[[], str | None]
    ) -> None:
        self.cluster = cluster
        self.head = head
        self.start = start
        self.import_fault = import_fault
        self.info: dict[str, Any] = {}
        self.started_at: datetime | None = None
        self.applications: dict[str, ApplicationState] = {}
        self._tasks = TaskGroup()
        self._starting = asyncio.Lock()
        self.log_file = ""

    async def put(self, config: Mapping[str, Any]) -> None:
        """Deploy a configuration; returns when the controller has taken it. The same configuration twice is a no-op."""
        async with self._starting:
            if self.started_at is None:
                await self._start()
        for application in applications(config):
            known = self.applications.get(application.name)
            if known is None or known.application.config != application.config:
                self._deploy(application)

    def stop(self) -> None:
        """End everything: the head is gone."""
        self._tasks.cancel()

    async def close(self) -> None:
        """End everything, wait for it, and raise what failed."""
        await self._tasks.stop()

    def running(self) -> list[Replica]:
        """Return the replicas that answer."""
        return [replica for replica in self._replicas() if replica.state == "RUNNING"]

    def has_routes(self) -> bool:
        """Whether the proxies' route table holds anything: before that their health check fails."""
        return any(state.deployments for state in self.applications.values())

    def unplaced(self) -> list[Mapping[str, float]]:
        """Return the resources of each replica that waits because no node has room for it."""
        waiting = [r for r in self._replicas() if r.reserved is None and r.state == "STARTING"]
        return [r.deployment.resources for r in waiting if not self._candidates(r.deployment)]

    def _replicas(self) -> list[Replica]:
        states = (item for state in self.applications.values() for item in state.deployments.values())
        return [replica for item in states for replica in item.replicas]

    async def _start(self) -> None:
        cluster, head = self.cluster, self.head
        await cluster.clock.sleep(cluster.costs.draw("serve_controller_start_s"))
        pid = head.next_pid()
        self.started_at = cluster.clock.now()
        self.log_file = f"controller_{pid}.log"
        self.info = {
            "node_id": head.node_id,
            "node_ip": head.ip,
            "node_instance_id": head.pod_name,
            "actor_id": cluster.actor_id(),
            "actor_name": "SERVE_CONTROLLER_ACTOR",
            "worker_id": cluster.hex(56),
            "log_file_path": f"/serve/{self.log_file}",
        }
        head.actors.append(
            {
                "actor_id": self.info["actor_id"],
                "class_name": "ServeController",
                "name": "SERVE_CONTROLLER_ACTOR",
                "pid": pid,
                "node_id": head.node_id,
                "required_resources": {"node:__internal_head__": 0.001},
            }
        )
        self._log("INFO", f"Controller starting (version='{head.ctx.image.packages.get('ray', '?')}').")
        await self._start_proxy(head)

    async def _start_proxy(self, node: RayNode) -> None:
        if node.proxy is not None:
            return
        name = f"SERVE_PROXY_ACTOR-{node.node_id}"
        proxy = node.proxy = {
            "node_id": node.node_id,
            "node_ip": node.ip,
            "node_instance_id": node.pod_name,
            "actor_id": self.cluster.actor_id(),
            "actor_name": name,
            "status": "STARTING",
        }
        self._log("INFO", f"Starting proxy '{name}' on node '{node.node_id}' listening on '0.0.0.0:8000'.")
        await self.cluster.clock.sleep(self.cluster.costs.draw("serve_proxy_start_s"))
        log_file = f"proxy_{node.ip}.log"
        status = proxy.pop("status")
        proxy |= {"worker_id": self.cluster.hex(56), "log_file_path": f"/serve/{log_file}", "status": status}
        proxy["status"] = "HEALTHY"
        actor = {"class_name": "ProxyActor", "name": name, "pid": node.next_pid(), "required_resources": {}}
        node.actors.append({"actor_id": proxy["actor_id"], "node_id": node.node_id, **actor})
        message = f"Proxy starting on node {node.node_id} (HTTP port: 8000)."
        node.logs.serve(log_file, "INFO", f"proxy {node.ip}", message)

    def _log(self, level: str, message: str) -> None:
        pid = self.log_file.removeprefix("controller_").removesuffix(".log")
        self.head.logs.serve(self.log_file, level, f"controller {pid}", message)

    def _deploy(self, application: Application) -> None:
        state = ApplicationState(application, self.cluster.clock.now())
        self.applications[application.name] = state
        self._log("INFO", f"Deploying new app '{application.name}'.")
        if not self.head.stopped.is_set():
            self._tasks.start(self._run(state))

    async def _run(self, state: ApplicationState) -> None:
        name = state.application.name
        self._log("INFO", f"Importing and building app '{name}'.")
        error = await self._build_with_retries(state.application)
        if error is not None:
            state.status = "DEPLOY_FAILED"
            state.message = f"Deploying app '{name}' failed with exception:\n{error}"
            self._log("ERROR", state.message)
            return
        self._log("INFO", f"Imported and built app '{name}' successfully.")
        attempts = self.cluster.costs.count("replica_attempts")
        state.deployments = {
            item.name: DeploymentState(item, attempts * item.replicas) for item in state.application.deployments
        }
        for item in state.deployments.values():
            label = texts.label(item.deployment.name, name)
            target = f"initial target replicas: {item.deployment.replicas}"
            self._log("INFO", f"Deploying new version of {label} ({target}).")
        await self.cluster.clock.sleep(self.cluster.costs.draw("serve_loop_s"))
        await asyncio.gather(*(self._run_deployment(state, item) for item in state.deployments.values()))

    async def _build_with_retries(self, application: Application) -> str | None:
        error = None
        for _ in range(self.cluster.costs.count("build_attempts")):
            error = await self._build(application)
            if error is None:
                return None
        return error

    async def _build(self, application: Application) -> str | None:
        """Run the build task on the head; None when the application could be imported.

        Its runtime environment is made first: pip runs here before any replica is asked for (ray 2.33 and 2.60).
        """
        head, costs = self.head, self.cluster.costs
        try:
            made = await self.cluster.environment(head, application.runtime_env)
        except RuntimeEnvError as failure:
            return str(failure)
        await self.cluster.clock.sleep(costs.draw("worker_process_start_s"))
        pid = head.next_pid()
        component, log_file = (
            f"controller build_{application.name}_{pid}",
            f"controller_build_{application.name}_{pid}.log",
        )
        head.logs.serve(log_file, "INFO", component, f"Importing application '{application.name}'.")
        error = self.import_fault() or application.import_error(made.packages)
        if error is None:
            if application.engine is not None:
                await import_engine(self.cluster, head)
            return None
        head.logs.serve(log_file, "WARNING", component, f"Exception importing application '{application.name}'.")
        return texts.build_traceback(application.import_path, error, pid, head.ip)

    async def _run_deployment(self, state: ApplicationState, item: DeploymentState) -> None:
        count = item.deployment.replicas
        label = texts.label(item.deployment.name, state.application.name)
        self._log("INFO", f"Adding {count} replica{'' if count == 1 else 's'} to {label}.")
        await asyncio.gather(*(self._keep_replica(state, item) for _ in range(count)))

    async def _keep_replica(self, state: ApplicationState, item: DeploymentState) -> None:
        """Keep one replica of a deployment running: start it, and start another where it failed or was lost."""
        while item.attempts > 0:
            replica = Replica(self._replica_id(), state.application, item.deployment, self.cluster.clock.now())
            self._log("INFO", f"Starting {replica.label}.")
            item.replicas.append(replica)
            try:
                await self._start_replica(item, replica)
            except ReplicaError as error:
                item.bury(replica)
                # Before its process runs there is no constructor whose traceback it could be.
                raised = texts.replica_traceback(replica, str(error)) if replica.node else str(error)
                if self._failed(state, item, raised):
                    return
                continue
            if replica.node is None or replica.node.stopped.is_set():
                item.bury(replica)
                if replica.reserved is not None and replica.reserved.ended is not None:
                    self._failed(state, item, texts.actor_died(replica))
                continue
            self._settle(state, item)
            await replica.node.stopped.wait()
            self._lost(state, item, replica)

    async def _start_replica(self, item: DeploymentState, replica: Replica) -> None:
        warning = asyncio.get_running_loop().create_task(self._warn_when_slow(item, replica))
        try:
            node = await self._place(replica)
            packages = await _unless_stopped(node, self.start.prepare(replica, node))
            if packages is None:
                return
            if node is not self.head:
                self._tasks.start(self._start_proxy(node))
            if await _unless_stopped(node, self._constructed(replica, packages)) is None:
                return
        finally:
            warning.cancel()
        replica.state = "RUNNING"
        self._log_started(replica)

    async def _constructed(self, replica: Replica, packages: Mapping[str, str]) -> bool:
        await self.start.construct(replica, packages)
        return True

    async def _place(self, replica: Replica) -> RayNode:
        while True:
            for node in self._candidates(replica.deployment):
                replica.reserved = node
                return node
            await self.cluster.clock.sleep(self.cluster.costs.value("serve_loop_s"))

    def _candidates(self, deployment: Deployment) -> list[RayNode]:
        """Return the nodes that have what a whole replica needs, beside the replicas that are there already."""
        nodes = [self.head, *self.cluster.workers()] if self.head.running else self.cluster.workers()
        return [node for node in nodes if self._has_room(node, deployment.resources)]

    def _has_room(self, node: RayNode, needed: Mapping[str, float]) -> bool:
        here = [replica.deployment.resources for replica in self._replicas() if replica.reserved is node]
        return all(
            node.capacity.get(name, 0.0) - sum(taken.get(name, 0.0) for taken in here) >= amount - 1e-9
            for name, amount in needed.items()
        )

    async def _warn_when_slow(self, item: DeploymentState, replica: Replica) -> None:
        period_s = self.cluster.costs.value("slow_start_warning_s")
        while True:
            await self.cluster.clock.sleep(period_s)
            item.message = texts.slow(replica)
            self._log("WARNING", item.message)

    def _failed(self, state: ApplicationState, item: DeploymentState, error: str) -> bool:
        """Count a start that failed; tell whether it was the last one."""
        item.attempts -= 1
        if item.attempts == 0:
            self._give_up(state, item, error)
            return True
        item.message = texts.retrying(item.attempts, error)
        return False

    def _settle(self, state: ApplicationState, item: DeploymentState) -> None:
        if any(replica.state != "RUNNING" for replica in item.replicas):
            return
        item.status, item.trigger, item.message = "HEALTHY", "CONFIG_UPDATE_COMPLETED", ""
        if all(other.status == "HEALTHY" for other in state.deployments.values()):
            state.status, state.message = "RUNNING", ""

    def _lost(self, state: ApplicationState, item: DeploymentState, replica: Replica) -> None:
        replica.state = "STOPPING"
        item.bury(replica)
        item.status, state.status = "UNHEALTHY", "UNHEALTHY"
        item.message = f"{replica.label} was lost with its node."
        self._log("WARNING", item.message)

    def _give_up(self, state: ApplicationState, item: DeploymentState, error: str) -> None:
        name = item.deployment.name
        item.status, item.trigger = "DEPLOY_FAILED", "REPLICA_STARTUP_FAILED"
        item.message = texts.given_up(len(item.dead), error)
        state.status, state.message = "DEPLOY_FAILED", f"Failed to update the deployments ['{name}']."
        self._log("ERROR", f"{item.message}")

    def _log_started(self, replica: Replica) -> None:
        now = self.cluster.clock.now()
        node, began = replica.node, replica.began_at
        if node is None or began is None:
            return
        whole_s = (now - replica.requested_at).total_seconds()
        own_s = (now - began).total_seconds()
        self._log(
            "INFO",
            f"{replica.label} started successfully on node '{node.node_id}' after {whole_s:.1f}s (PID: {replica.pid}). "
            f"Replica constructor, reconfigure method, and initial health check took {own_s:.1f}s.",
        )

    def _replica_id(self) -> str:
        return "".join(self.cluster.costs.rng.choices(_ID_ALPHABET, k=8))


async def _unless_stopped(node: RayNode, work: Any) -> Any:
    """Return what `work` returns, or None when the node stops before it is done."""
    task = asyncio.get_running_loop().create_task(work)
    stopped = asyncio.get_running_loop().create_task(node.stopped.wait())
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        task.cancel()
        stopped.cancel()
