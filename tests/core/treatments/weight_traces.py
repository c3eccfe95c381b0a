"""Small recordings about weights: the lines that an engine wrote, and what the pods and the application were told."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from airflow_llm_provisioning.core.trace import TraceView

GIB: Final = 2**30
PHI3_BYTES: Final = 7_642_181_880
MODEL: Final = "microsoft/Phi-3-mini-4k-instruct"
REVISION: Final = "f39ac1d28e925b323eae81227eaba4464caced4e"
AT: Final = "2026-05-04T12:00"


def v1(message: str, second: int = 5, file: str = "core.py:93", level: str = "INFO") -> str:
    """Return a line as vLLM 0.22 writes it."""
    return f"(EngineCore pid=412) {level} 05-04 12:01:{second:02d} [{file}] {message}"


def config_line(load_format: str, *, model: str = MODEL, version: str = "0.22.1") -> str:
    """Return the engine's configuration line, as vLLM 0.22 writes it."""
    return v1(
        f"Initializing a V1 LLM engine (v{version}) with config: model='{model}', speculative_config=None, "
        f"tokenizer='{model}', skip_tokenizer_init=False, tokenizer_mode=auto, revision=None, dtype=torch.bfloat16, "
        f"max_seq_len=4096, download_dir=None, load_format={load_format}, tensor_parallel_size=1, quantization=None, "
        "enforce_eager=False, kv_cache_dtype=auto, served_model_name=phi"
    )


def v0_config_line(load_format: str) -> str:
    """Return the engine's configuration line, as vLLM 0.5.4 writes it."""
    return (
        f"INFO 05-04 12:01:05 llm_engine.py:174] Initializing an LLM engine (v0.5.4) with config: model='{MODEL}', "
        f"speculative_config=None, tokenizer='{MODEL}', revision={REVISION}, dtype=torch.bfloat16, max_seq_len=4096, "
        f"download_dir=None, load_format=LoadFormat.{load_format.upper()}, tensor_parallel_size=1"
    )


def loaded_lines(load_s: float = 0.84) -> tuple[str, ...]:
    """Return the lines of a load by vLLM's default loader."""
    return (
        v1(f"Starting to load model {MODEL}...", 6, "gpu_model_runner.py:4132"),
        v1(f"Loading weights took {load_s:.2f} seconds", 8, "default_loader.py:308"),
        v1(f"Model loading took 7.1173 GiB memory and {load_s + 0.1:.6f} seconds", 9, "gpu_model_runner.py:4229"),
    )


def view_of(
    *lines: str,
    env: Mapping[str, str] | None = None,
    args: Mapping[str, Any] | None = None,
    weight_bytes: int | None = PHI3_BYTES,
    more: Sequence[Mapping[str, Any]] = (),
    prepared_steps: Mapping[str, Any] | None = None,
    worker: Mapping[str, Any] | None = None,
    recipe: Mapping[str, Any] | None = None,
) -> TraceView:
    """Return the view of a trial with a head and one worker. `lines`: the engine's output; `worker`: the rest of the
    worker's pod specification; `more`: further lines of the recording.
    """
    config = json.dumps({"applications": [{"name": "llm", "args": dict(args or {}), "runtime_env": {}}]})
    opened = {"prepared": {"steps": dict(prepared_steps or {})}}
    trial = {
        "arm": {"treatments": []},
        "served": {
            "model": {"model_id": MODEL, "revision": REVISION, "weight_bytes": weight_bytes},
            "recipe": dict(recipe or {}),
        },
        "opened": opened,
    }
    header = {"format": 1, "origin": "simulated", "rayservice": {"name": "s", "uid": "rs"}, "trial": trial}
    owner = {"kind": "RayService", "name": "s", "uid": "rs", "controller": True}
    service = {"metadata": {"name": "s", "uid": "rs", "creationTimestamp": f"{AT}:00Z"}}
    made = [
        line("trace", header, kind="HEADER"),
        line("rayservices", {**service, "spec": {"serveConfigV2": config}}),
        line("rayclusters", {"metadata": {"name": "c", "uid": "rc", "ownerReferences": [owner]}}),
        line("pods", a_pod("head", {}, None), 1),
        line("pods", a_pod("worker", env or {}, worker), 1),
        *more,
    ]
    if lines:
        log = {"received_at": f"{AT}:50Z", "resource": "ray-log-file", "filename": "worker-1.out"}
        made.append({**log, "object": "\n".join(lines)})
    return TraceView([dict(item) for item in made])


def line(resource: str, obj: Mapping[str, Any], second: int = 0, kind: str = "ADDED") -> dict[str, Any]:
    """Return one line of a recording."""
    return {"received_at": f"{AT}:{second:02d}Z", "type": kind, "resource": resource, "object": dict(obj)}


def a_pod(role: str, env: Mapping[str, str], more: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a pod of the RayCluster. `more`: {volumes, volumeMounts} of it."""
    told = dict(more or {})
    container = {"name": "ray", "env": [{"name": key, "value": value} for key, value in env.items()]}
    container |= {"volumeMounts": told.pop("volumeMounts", [])}
    return {
        "metadata": {
            "name": role,
            "uid": role,
            "labels": {"ray.io/node-type": role, "ray.io/cluster": "c"},
            "ownerReferences": [{"kind": "RayCluster", "name": "c", "uid": "rc", "controller": True}],
            "creationTimestamp": f"{AT}:01Z",
        },
        "spec": {"nodeName": f"node-{role}", "containers": [container], **told},
    }
