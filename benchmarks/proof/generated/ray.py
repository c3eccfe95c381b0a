"""The answers and logs of Ray and Serve in a generated deployment."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from proof.generated.names import ADDRESSES, CLUSTER, NODES, OLD_CLUSTER, REPLICA, Json
from proof.generated.scenario import Scenario
from proof.generated.source_clocks import SourceClocks

_RUNNING_S = 5.0


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer: when it left its server, and the line's fields."""

    at: datetime
    line: Json


class Ray:
    """The answers of a deployment's Ray cluster. `t`: the true instants."""

    def __init__(self, clocks: SourceClocks, scenario: Scenario, t: Mapping[str, datetime]) -> None:
        self.clocks, self.scenario, self.t = clocks, scenario, t
        self.service = f"{OLD_CLUSTER if scenario.kuberay == '1.1' else CLUSTER}-head-svc"

    @property
    def ends_at(self) -> datetime:
        """When the recorder reads the closing data: some seconds after everything is ready."""
        return max(self.t["endpoint_ready"], self.t["rayservice_ready"]) + timedelta(seconds=_RUNNING_S)

    def serve(self, at: datetime) -> tuple[int, Json] | None:
        """Return the answer of Serve's REST interface at an instant; None before the head's Service exists."""
        if at < self.t["head.pod_created"]:
            return None
        if at < self.t["head.ray_started"]:
            return 503, {"kind": "Status", "status": "Failure", "reason": "ServiceUnavailable", "code": 503}
        if at < self.t["serve_config_sent"]:
            return 200, {"applications": {}}
        app: Json = {
            "status": "RUNNING" if at >= self.t["app_running"] else "DEPLOYING",
            "last_deployed_time_s": self.clocks.epoch_s(self.t["serve_config_sent"], "serve-head"),
            "deployments": {},
        }
        if at >= self.t["replica_requested"]:
            app["deployments"] = {"LLM": {"status": "UPDATING", "replicas": [self._replica(at)]}}
        return 200, {"applications": {"llm": app}}

    def _replica(self, at: datetime) -> Json:
        replica: Json = {
            "replica_id": REPLICA,
            "state": "RUNNING" if at >= self.t["replica_started"] else "STARTING",
            "start_time_s": self.clocks.epoch_s(self.t["replica_requested"], "serve-head"),
        }
        if at >= self.t["replica_placed"]:
            replica |= {"node_id": "worker", "node_ip": ADDRESSES["worker"]}
        return replica

    def closing(self) -> Iterator[Reply]:
        """Yield the closing data: Ray's state, and the logs of Serve and engine."""
        at = self.ends_at
        yield self._state(at, "ray-nodes", [self._ray_node(role) for role in ("head", "worker")])
        yield self._state(at, "ray-runtime-envs", list(self._environments()))
        yield self._log(at, "serve/controller_1.log", "head", self._controller())
        yield self._log(at, f"serve/replica_llm_LLM_{REPLICA}.log", "worker", self._replica_log())
        if self.scenario.engine != "plain":
            yield self._log(at, "worker-0123-01000000-77.out", "worker", self._engine())
        if self.scenario.engine == "vllm-0.5.4":
            yield self._log(at, "worker-0123-01000000-77.err", "worker", iter([self._shards()]))
        if self.scenario.dynamic:
            yield self._autoscaler(at)

    def _state(self, at: datetime, resource: str, found: list[Json]) -> Reply:
        body = {"data": {"result": {"result": found}}}
        return Reply(at, {"resource": resource, "status_code": 200, "object": body})

    def _ray_node(self, role: str) -> Json:
        started = self.clocks.epoch_ms(self.t[f"{role}.ray_started"], f"ray-{role}")
        told = {"node_id": role, "node_ip": ADDRESSES[role], "is_head_node": role == "head"}
        return {**told, "state": "ALIVE", "start_time_ms": started}

    def _environments(self) -> Iterator[Json]:
        """Yield how long each build took; Ray does not report when."""
        if self.scenario.pip:
            begun = {"head": "head.runtime_env_begun", "worker": "replica_placed"}
            for role, start in begun.items():
                took = self.t[f"{role}.runtime_env_ready"] - self.t[start]
                yield {"node_id": role, "success": True, "creation_time_ms": round(took.total_seconds() * 1000)}

    def _log(self, at: datetime, filename: str, role: str, lines: Iterator[str]) -> Reply:
        text = "".join(f"{line}\n" for line in lines)
        told: dict[str, Any] = {"filename": filename, "node_ip": ADDRESSES[role]}
        return Reply(at, {"resource": "ray-log-file", "status_code": 200, **told, "object": text})

    def _serve_line(self, when: str, role: str, message: str) -> str:
        return f"INFO {self.clocks.milli(self.t[when], f'serve-{role}')} {role} 1 -- {message}"

    def _controller(self) -> Iterator[str]:
        replica = f"Replica(id='{REPLICA}', deployment='LLM', app='llm')"
        yield self._serve_line("serve_config_sent", "head", "Deploying new app 'llm'.")
        yield self._serve_line("app_build_started", "head", "Importing and building app 'llm'.")
        yield self._serve_line("app_built", "head", "Imported and built app 'llm' successfully.")
        message = "Adding 1 replica to Deployment(name='LLM', app='llm')."
        yield self._serve_line("replica_requested", "head", message)
        message = f"{replica} started successfully on node 'worker' after 9.9s (PID: 1)."
        yield self._serve_line("replica_started", "head", message)

    def _replica_log(self) -> Iterator[str]:
        yield self._serve_line("replica_initialising", "worker", "Started initializing replica.")
        if self.scenario.engine == "plain":
            yield self._serve_line("weights_downloaded", "worker", "Weights downloaded in 3.00 seconds")
            yield self._serve_line("model_loaded", "worker", "Model loaded in 5.00 seconds")
        yield self._serve_line("replica_finished", "worker", "Finished initializing replica.")

    def _engine(self) -> Iterator[str]:
        current = self.scenario.engine == "vllm-0.33"
        for when, file, message in _CURRENT if current else _OLD:
            stamp = self.clocks.yearless(self.t[when], "serve-worker")
            where = f"[{file}]" if current else f"{file}]"
            yield f"{'(EngineCore pid=77) ' if current else ''}INFO {stamp} {where} {message}"

    def _shards(self) -> str:
        """Return the progress bar: it has no stamp, only the loading time of the files, and ends before the load."""
        loaded = (self.t["model_loaded"] - self.t["weights_downloaded"]).total_seconds()
        left = int(loaded - 0.2)
        took = f"{left // 60:02d}:{left % 60:02d}"
        return f"Loading safetensors checkpoint shards: 100% Completed | 2/2 [{took}<00:00,  1.27it/s]"

    def _autoscaler(self, at: datetime) -> Reply:
        stamp = self.clocks.micro(self.t["autoscaler_decided"], NODES["head"])
        inner = self.clocks.milli(self.t["autoscaler_decided"], "ray-head")
        text = f"{stamp} {inner}\tINFO event_logger.py:77 -- Adding 1 node(s) of type gpu-group.\n"
        pod = self.service.removesuffix("-svc")
        path = f"/api/v1/namespaces/serving/pods/{pod}/log?container=autoscaler&timestamps=true"
        return Reply(at, {"resource": "pod-log", "status_code": 200, "path": path, "object": text})


_OLD = (
    ("engine_starting", "llm_engine.py:174", "Initializing an LLM engine (v0.5.4) with config: model='m'"),
    ("load_started", "model_runner.py:720", "Starting to load model m..."),
    ("model_loaded", "model_runner.py:732", "Loading model weights took 7.1183 GB"),
    ("graphs_captured", "model_runner.py:1225", "Graph capturing finished in 20 secs."),
)
_CURRENT = (
    ("engine_starting", "core.py:58", "Initializing a V1 LLM engine (v0.33.0) with config: model='m'"),
    ("load_started", "gpu_model_runner.py:1", "Starting to load model m..."),
    ("weights_downloaded", "weight_utils.py:308", "Time spent downloading weights for m: 39.500000 seconds"),
    ("model_loaded", "gpu_model_runner.py:2", "Model loading took 7.1 GiB memory and 49.500000 seconds"),
    ("compiled", "monitor.py:34", "torch.compile took 19.40 s in total"),
    ("graphs_captured", "gpu_model_runner.py:3", "Graph capturing finished in 7 secs, took 0.50 GiB"),
    ("engine_ready", "core.py:218", "init engine (profile, create kv cache, warmup model) took 29.00 s"),
)
