"""One Serve replica: its process on a worker, its runtime environment, and the vLLM engine it starts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Final

from airflow_llm_provisioning.core.weight_sources import ACCOUNT
from llm_provisioning_simulator.app.application import Application, Deployment, Engine
from llm_provisioning_simulator.app.code import CodeHost
from llm_provisioning_simulator.app.compiling import CompileCache, look_up
from llm_provisioning_simulator.app.download import DownloadError, download_plan, download_s, import_warning
from llm_provisioning_simulator.app.engine import (
    LEVELS_SINCE,
    EngineTimes,
    engine_steps,
    is_v1,
    log_line,
)
from llm_provisioning_simulator.app.engine_errors import EngineFailure, engine_failure, failure_lines, replica_error
from llm_provisioning_simulator.app.loaders import LoaderError, Loading, Source, check_loader, loading
from llm_provisioning_simulator.app.ray import RayCluster, RayNode, RuntimeEnvError
from llm_provisioning_simulator.app.startup import memory_limit
from llm_provisioning_simulator.app.steps import release
from llm_provisioning_simulator.app.volumes import HUB_CACHE, VolumeCaches, image_at
from llm_provisioning_simulator.buckets import Bucket, find_stored
from llm_provisioning_simulator.hub import HubModel
from llm_provisioning_simulator.runtime import OOM_KILLED

# pyarrow's file systems copy one file per thread, and a model has few large files.
_MIRROR_CONNECTIONS: Final = 2


class ReplicaError(RuntimeError):
    """The replica's constructor raised; the text is the exception's."""


@dataclass(slots=True, eq=False)
class Replica:
    """One replica. `requested_at`: when the controller asked for it; `node` is None until it is placed and started."""

    replica_id: str
    application: Application
    deployment: Deployment
    requested_at: datetime
    state: str = "STARTING"
    node: RayNode | None = None
    actor_id: str = ""
    worker_id: str = ""
    pid: int = 0
    began_at: datetime | None = None
    reserved: RayNode | None = None
    """The node it is placed on, from the moment its runtime environment is made there."""

    @property
    def component(self) -> str:
        """Its name in Serve's log lines and file names: `<app>_<deployment> <id>`."""
        return f"{self.application.name}_{self.deployment.name} {self.replica_id}"

    @property
    def log_file(self) -> str:
        """Its log file below `serve/`."""
        # Serve replaces what a file name must not hold.
        safe = self.deployment.name.replace(":", "_").replace("/", "_")
        return f"replica_{self.application.name}_{safe}_{self.replica_id}.log"

    @property
    def label(self) -> str:
        """How the controller names it in its log."""
        return f"Replica(id='{self.replica_id}', deployment='{self.deployment.name}', app='{self.application.name}')"

    def as_dict(self) -> dict[str, Any]:
        """Return it as the REST API shows it: nothing about its node before its process starts there."""
        shown: dict[str, Any] = {}
        if self.node is not None:
            shown |= {
                "node_id": self.node.node_id,
                "node_ip": self.node.ip,
                "node_instance_id": self.node.pod_name,
                "actor_id": self.actor_id,
            }
        shown["actor_name"] = f"SERVE_REPLICA::{self.application.name}#{self.deployment.name}#{self.replica_id}"
        if self.node is not None:
            shown |= {"worker_id": self.worker_id, "log_file_path": f"/serve/{self.log_file}"}
        shown |= {"replica_id": self.replica_id, "state": self.state}
        if self.node is not None:
            shown["pid"] = self.pid
        shown["start_time_s"] = self.requested_at.timestamp()
        return shown


@dataclass(slots=True)
class ReplicaStart:
    """Runs a replica's start. `hub_rate`: asked when the download begins; bytes/s a fault leaves, None for no limit.

    `crash`: asked before the constructor; a text is the exception it raises. `engine_fault`: asked for the name of the
    fault with which engines end, empty for none. `volumes`: what earlier pods left on
    lasting volumes. `code`: what the applications' archives hold.
    """

    cluster: RayCluster
    models: Mapping[str, HubModel]
    hub_rate: Callable[[], float | None] = field(default=lambda: None)
    crash: Callable[[], str | None] = field(default=lambda: None)
    engine_fault: Callable[[], str] = field(default=lambda: "")
    volumes: VolumeCaches = field(default_factory=VolumeCaches)
    buckets: Mapping[str, Bucket] = field(default_factory=dict)
    image_models: Callable[[str], HubModel | None] = field(default=lambda _: None)
    code: CodeHost = field(default_factory=CodeHost)

    async def prepare(self, replica: Replica, node: RayNode) -> Mapping[str, str]:
        """Make the runtime environment and start the process; return what it can import."""
        try:
            made = await self.cluster.environment(node, replica.application.runtime_env)
        except RuntimeEnvError as error:
            raise ReplicaError(str(error)) from error
        await self.cluster.clock.sleep(self.cluster.costs.draw("worker_process_start_s"))
        replica.actor_id, replica.worker_id = self.cluster.actor_id(), self.cluster.hex(56)
        replica.pid = node.next_pid()
        replica.began_at = self.cluster.clock.now()
        replica.node = node
        node.actors.append(_actor(replica, node))
        return made.packages

    async def construct(self, replica: Replica, packages: Mapping[str, str]) -> None:
        """Run the constructor to its end; ReplicaError where it raises."""
        node = replica.node
        assert node is not None, "prepare comes first"  # noqa: S101 - a programming error, not input
        node.logs.serve(replica.log_file, "INFO", replica.component, "Started initializing replica.")
        if (text := self.crash()) is not None:
            node.logs.serve(replica.log_file, "ERROR", replica.component, f"Exception during initialization: {text}")
            raise ReplicaError(text)
        engine = replica.deployment.engine
        if engine is None:
            if replica.application.engine is None:
                await self.cluster.clock.sleep(self.cluster.costs.draw("replica_plain_init_s"))
        else:
            await self._engine(replica, node, engine, packages)
        node.logs.serve(replica.log_file, "INFO", replica.component, "Finished initializing replica.")

    async def _engine(self, replica: Replica, node: RayNode, engine: Engine, packages: Mapping[str, str]) -> None:
        if (error := replica.application.import_error(packages)) is not None:
            raise ReplicaError(error)
        await import_engine(self.cluster, node)
        self._fit_memory(node)
        model = self._model(replica, node, engine)
        version = packages["vllm"]
        engine = self.code.engine(replica.application.runtime_env.working_dir, engine)
        await self._mirror(replica, node, engine, model)
        if engine.optimization_level is not None and release(version) < LEVELS_SINCE:
            raise ReplicaError(
                "TypeError: EngineArgs.__init__() got an unexpected keyword argument 'optimization_level'"
            )
        times = self._times(node, replica, packages, model, engine)
        process = f"worker-{replica.worker_id}-01000000-{replica.pid}"
        out = f"{process}.out"
        if warning := import_warning(packages, _variables(node, replica)):
            node.logs.write(f"{process}.err", warning)
        failure = engine_failure(engine, model, node.ctx.node.gpu, self.engine_fault())
        failure = failure or _loader_failure(engine, version, packages, model)
        for step in engine_steps(version, engine, model.weight_bytes, times):
            await self.cluster.clock.sleep(step.wait_s)
            if failure is not None and (not failure.loaded or "took" in step.message):
                self._end_engine(replica, node, version, failure, out)
            if step.message:
                node.logs.write(out, log_line(version, replica.pid, self.cluster.clock.now(), step))
        if not engine.random_weights:
            self.volumes.keep(node.ctx, HUB_CACHE, model.model_id)
        self._leave_graphs(node, version, engine, times.cache)

    def _leave_graphs(self, node: RayNode, version: str, engine: Engine, cache: CompileCache) -> None:
        if is_v1(version) and engine.compilation != "NONE":
            for entry in cache.entries:
                self.volumes.keep(node.ctx, cache.root, entry)

    def _model(self, replica: Replica, node: RayNode, engine: Engine) -> HubModel:
        """Return the engine's model as the hub gives it out to this replica."""
        if engine.in_bucket:
            stored = find_stored(self.buckets, engine.model)
            if stored is None or stored.bucket.account != _variables(node, replica).get(ACCOUNT, ""):
                raise ReplicaError(f"RuntimeError: Cannot find any safetensors model weights with `{engine.model}`")
            return stored.model
        if engine.in_folder:
            reference = image_at(node.ctx, engine.model)
            mounted = self.image_models(reference) if reference else self.volumes.model_at(node.ctx, engine.model)
            if mounted is None:
                # transformers takes a folder that is not there for a name (huggingface_hub, validate_repo_id).
                raise ReplicaError(
                    "huggingface_hub.errors.HFValidationError: Repo id must be in the form 'repo_name' or "
                    f"'namespace/repo_name': '{engine.model}'. Use `repo_type` argument if needed."
                )
            return mounted
        model = self.models.get(engine.model)
        if model is None:
            raise ReplicaError(
                f"huggingface_hub.RepositoryNotFoundError: 404 Client Error. Repository not found: {engine.model}"
            )
        if model.gated and not _has_token(node, replica):
            raise ReplicaError(
                f"huggingface_hub.GatedRepoError: 401 Client Error. Access to model {engine.model} is restricted."
            )
        return model

    def _end_engine(self, replica: Replica, node: RayNode, version: str, failure: EngineFailure, out: str) -> None:
        """Let the engine end as it does for this version: in its own process, whose output says why."""
        for line in failure_lines(version, replica.pid, self.cluster.clock.now(), failure.error):
            node.logs.write(out, line)
        raise ReplicaError(replica_error(version, failure.error))

    def _fit_memory(self, node: RayNode) -> None:
        """Let the kernel end the container where the engine's process grows beyond its memory limit."""
        value = self.cluster.costs.value
        if memory_limit(node.ctx.container) < value("ray_memory_bytes") + value("engine_memory_bytes"):
            node.end(OOM_KILLED)

    def _times(
        self, node: RayNode, replica: Replica, packages: Mapping[str, str], model: HubModel, engine: Engine
    ) -> EngineTimes:
        draw = self.cluster.costs.draw
        version = packages["vllm"]
        cache = look_up(self.volumes, node.ctx, packages, engine, _variables(node, replica))
        local = engine.random_weights or engine.in_bucket or engine.in_folder
        nothing = local or self.volumes.holds(node.ctx, HUB_CACHE, model.model_id)
        config_s, process_s = draw("engine_config_s"), draw("engine_process_s") if is_v1(version) else 0.0
        download_s = None if nothing else self._download_s(node, packages, _variables(node, replica), model)
        loaded = self._loading(node, engine, model, _variables(node, replica))
        return EngineTimes(
            config_s=config_s,
            process_s=process_s,
            download_s=download_s,
            load_s=loaded.seconds,
            load_warning=loaded.warning,
            streamed=engine.streams,
            profile_s=draw("profile_run_s"),
            compile_s=draw("compile_s") * (self.cluster.costs.value("compile_cached_share") if cache.found else 1.0),
            capture_s=draw("graph_capture_s"),
            warmup_s=draw("warmup_s"),
            cache=cache,
            capture_share=self._capture_share(engine),
        )

    def _loading(self, node: RayNode, engine: Engine, model: HubModel, env: Mapping[str, str]) -> Loading:
        """Return how the weights come from the node's files to its GPU. What was written a moment ago is in the node's
        memory, as far as the container's limit leaves room beside its processes.
        """
        costs = self.cluster.costs
        if engine.in_bucket and engine.streams:
            seconds = model.weight_bytes / self._bucket_bytes_s(node, engine, engine.concurrency)
            return Loading(costs.draw("hub_metadata_s") + seconds)
        used = costs.value("ray_memory_bytes") + costs.value("engine_memory_bytes")
        held = max(0.0, memory_limit(node.ctx.container) - used)
        if engine.in_folder and self.volumes.model_at(node.ctx, engine.model) is not None:
            shared = min(costs.draw("shared_volume_bytes_s"), node.ctx.network_bytes_s or float("inf"))
            return loading(engine.load_format, model.weight_bytes, env, Source(0.0, shared, mounted=True), costs)
        disk_bytes_s = costs.value("disk_write_bytes_s") * node.ctx.node.disk_speed
        return loading(engine.load_format, model.weight_bytes, env, Source(held, disk_bytes_s), costs)

    def _bucket_bytes_s(self, node: RayNode, engine: Engine, connections: int) -> float:
        """Return the rate of so many reads at once from the engine's bucket, which may be in another region."""
        costs, stored = self.cluster.costs, find_stored(self.buckets, engine.model)
        near = stored is not None and stored.bucket.region == node.ctx.node.region
        each = costs.draw("bucket_connection_bytes_s" if near else "bucket_far_connection_bytes_s")
        limit = min(node.ctx.network_bytes_s or float("inf"), costs.draw("runai_stream_bytes_s"))
        return min(limit, connections * each)

    async def _mirror(self, replica: Replica, node: RayNode, engine: Engine, model: HubModel) -> None:
        """Let ray.serve.llm copy a bucket's model to the node's disk where no streaming format is named (ray 2.48 to
        2.60, llm/_internal/common/utils/download_utils.py).
        """
        if not engine.in_bucket or engine.streams:
            return
        where = f"{engine.model.partition('://')[0].upper()}"
        say = partial(node.logs.serve, replica.log_file, "INFO", replica.component)
        say(f"Downloading model and tokenizer from {where} mirror")
        rate = self._bucket_bytes_s(node, engine, _MIRROR_CONNECTIONS)
        await self.cluster.clock.sleep(model.weight_bytes / rate)
        say(f"Finished downloading model and tokenizer for {engine.served} from {where} storage")

    def _capture_share(self, engine: Engine) -> float:
        shares = {"NONE": 0.0, "PIECEWISE": self.cluster.costs.value("piecewise_capture_share")}
        return shares.get(engine.graphs, 1.0)

    def _download_s(self, node: RayNode, packages: Mapping[str, str], env: Mapping[str, str], model: HubModel) -> float:
        costs = self.cluster.costs
        try:
            plan = download_plan(packages, env, costs.download_limits())
        except DownloadError as error:
            raise ReplicaError(f"ValueError: {error}") from error
        limit = self.hub_rate() or float("inf")
        node_rate = min(costs.draw("hub_node_bytes_s"), node.ctx.network_bytes_s or float("inf"), limit)
        connection_rate = min(costs.draw("hub_connection_bytes_s"), limit)
        network_s = download_s(model.weight_files, plan, connection_bytes_s=connection_rate, node_bytes_s=node_rate)
        # The node's memory takes the first bytes; beyond that the writer waits for the disk.
        disk_rate = costs.value("disk_write_bytes_s") * node.ctx.node.disk_speed
        disk_s = max(0.0, model.weight_bytes - costs.value("dirty_page_bytes")) / disk_rate
        return costs.draw("hub_metadata_s") + max(network_s, disk_s)


async def import_engine(cluster: RayCluster, node: RayNode) -> None:
    """Import vLLM in a process: one core's work, and first reads where the image brings it."""
    if "vllm" in node.ctx.image.packages:
        await cluster.touch.read(node.ctx, "vllm", cluster.costs.value("vllm_content_bytes"))
    await cluster.clock.sleep(cluster.costs.draw("vllm_import_s"))


def _variables(node: RayNode, replica: Replica) -> dict[str, str]:
    """Return a replica's environment: the container's, overridden by the application's runtime_env."""
    return {**node.env, **dict(replica.application.runtime_env.env_vars)}


def _has_token(node: RayNode, replica: Replica) -> bool:
    """Tell whether a replica has a token for the hub; where it comes from a Secret, its value does not matter here."""
    given = {item["name"] for item in node.ctx.container.get("env") or ()} | _variables(node, replica).keys()
    return "HF_TOKEN" in given


def _loader_failure(engine: Engine, version: str, packages: Mapping[str, str], model: HubModel) -> EngineFailure | None:
    try:
        check_loader(engine.load_format, version, packages, model)
    except LoaderError as error:
        return EngineFailure(str(error))
    return None


def _actor(replica: Replica, node: RayNode) -> dict[str, Any]:
    return {
        "actor_id": replica.actor_id,
        "class_name": f"ServeReplica:{replica.application.name}:{replica.deployment.name}",
        "name": f"SERVE_REPLICA::{replica.application.name}#{replica.deployment.name}#{replica.replica_id}",
        "pid": replica.pid,
        "node_id": node.node_id,
        "required_resources": dict(replica.deployment.actor_options),
    }
