"""vLLM's start inside a replica as a list of waits and log lines, in the dialect of the installed version.

Line shapes: vllm 0.5.4, 0.10 and 0.33 sources. 0.5.4 prints no download time and reports the loaded weights in GB, not
seconds; V1 prints durations. No line carries a year or a zone. It must not know the weights' origin or any variant.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from packaging.version import Version

from llm_provisioning_simulator.app.application import Engine
from llm_provisioning_simulator.app.compiling import NO_CACHE, CompileCache, compile_steps
from llm_provisioning_simulator.app.steps import Step, release

V1_SINCE: Final = Version("0.8")
"""The first release that starts the V1 engine by default."""
STREAMER: Final = "file_streamer.py:66"
"""Run:ai's streamer writes by a logger of its own."""
LOWER_SINCE: Final = Version("0.10")
"""From here on the configuration line names the load format by its value."""
LEVELS_SINCE: Final = Version("0.12")
"""The first release that knows `optimization_level` and prints the compilation's mode."""
PREFIX_SINCE: Final = Version("0.11")
"""From here on the engine's process names itself before each line."""


@dataclass(frozen=True, slots=True)
class EngineTimes:
    """Seconds of each step of one start, drawn beforehand. `download_s` is None where nothing had to be fetched;
    `cache`: the compile cache; `load_warning`: what the loader warns of, empty for nothing;
    `streamed`: Run:ai's streamer reads the weights.
    """

    config_s: float
    process_s: float
    download_s: float | None
    load_s: float
    profile_s: float
    compile_s: float
    capture_s: float
    warmup_s: float
    cache: CompileCache = NO_CACHE
    capture_share: float = 1.0
    """Which part of the CUDA graphs is captured, by its time."""
    load_warning: str = ""
    streamed: bool = False


def is_v1(version: str) -> bool:
    """Return whether this release starts the V1 engine."""
    return release(version) >= V1_SINCE


def log_line(version: str, pid: int, at: datetime, step: Step) -> str:
    """Return the step's line as that version prints it at that instant (container's time, which is UTC here)."""
    number = release(version)
    if step.file == STREAMER:
        return f"(EngineCore pid={pid}) [{at:%Y-%m-%d %H:%M:%S}] {step.level} {step.file}: {step.message}"
    stamp = f"{step.level} {at:%m-%d %H:%M:%S}"
    if number < V1_SINCE:
        return f"{stamp} {step.file}] {step.message}"
    prefix = f"(EngineCore pid={pid}) " if number >= PREFIX_SINCE else ""
    return f"{prefix}{stamp} [{step.file}] {step.message}"


def engine_steps(version: str, engine: Engine, weight_bytes: int, times: EngineTimes) -> Iterator[Step]:
    """Yield the steps from the engine's first line to the end of its initialisation."""
    if is_v1(version):
        yield from _v1(version, engine, weight_bytes, times)
    else:
        yield from _v0(version, engine, weight_bytes, times)


def _v0(version: str, engine: Engine, weight_bytes: int, times: EngineTimes) -> Iterator[Step]:
    yield Step(
        0.0, "llm_engine.py:174", f"Initializing an LLM engine (v{version}) with config: {_config(version, engine)}"
    )
    yield Step(times.config_s, "model_runner.py:720", f"Starting to load model {engine.model}...")
    if not engine.random_weights:
        yield Step(0.2, "weight_utils.py:225", "Using model weights format ['*.safetensors']")
    gigabytes = weight_bytes / 2**30
    fetched_s = times.download_s or 0.0
    yield Step(fetched_s + times.load_s, "model_runner.py:732", f"Loading model weights took {gigabytes:.4f} GB")
    yield Step(times.profile_s, "gpu_executor.py:102", "# GPU blocks: 1354, # CPU blocks: 682")
    if engine.enforce_eager:
        return
    yield Step(
        0.1,
        "model_runner.py:1024",
        "Capturing the model for CUDA graphs. This may lead to unexpected consequences if the model is not static.",
    )
    yield Step(times.capture_s, "model_runner.py:1225", f"Graph capturing finished in {times.capture_s:.0f} secs.")


def _v1(version: str, engine: Engine, weight_bytes: int, times: EngineTimes) -> Iterator[Step]:
    modern = release(version) >= Version("0.20")
    config = _config(version, engine)
    yield Step(times.process_s, "core.py:93", f"Initializing a V1 LLM engine (v{version}) with config: {config}")
    yield Step(times.config_s, "gpu_model_runner.py:4132", f"Starting to load model {engine.shown}...")
    if times.download_s is not None:
        message = f"Time spent downloading weights for {engine.model}: {times.download_s:.6f} seconds"
        # Printed above half a second only; below, the wait stays and the line does not.
        silent = times.download_s <= 0.5
        yield Step(times.download_s) if silent else Step(times.download_s, "weight_utils.py:542", message)
    if times.load_warning:
        yield Step(0.0, "weight_utils.py:1061", times.load_warning, "WARNING")
    if times.streamed:
        yield Step(times.load_s, STREAMER, _streamed(weight_bytes, times.load_s))
    else:
        # Weights that are made up are not loaded: the dummy loader prints no such line.
        loaded = "" if engine.random_weights else f"Loading weights took {times.load_s:.2f} seconds"
        yield Step(times.load_s, "default_loader.py:308", loaded)
    loaded_s = times.load_s + (times.download_s or 0.0)
    memory = "GiB memory" if modern else "GiB"
    message = f"Model loading took {weight_bytes / 2**30:.4f} {memory} and {loaded_s:.6f} seconds"
    yield Step(0.0, "gpu_model_runner.py:4229", message)
    if engine.compilation != "NONE":
        yield from compile_steps(times.compile_s, times.cache, modern=modern)
    capture_s, rest_s = times.capture_share * 0.7 * times.warmup_s, 0.3 * times.warmup_s
    yield Step(rest_s, "gpu_worker.py:355", "Available KV cache memory: 7.61 GiB")
    yield Step(0.0, "kv_cache_utils.py:1307", "GPU KV cache size: 20,784 tokens")
    if capture_s:
        message = f"Graph capturing finished in {capture_s:.0f} secs, took 0.52 GiB"
        yield Step(capture_s, "gpu_model_runner.py:5051", message)
    compiled_s = 0.0 if engine.compilation == "NONE" else times.compile_s
    took = f"init engine (profile, create kv cache, warmup model) took {compiled_s + rest_s + capture_s:.2f}"
    yield Step(0.0, "core.py:272", f"{took} s (compilation: {compiled_s:.2f} s)" if modern else f"{took} seconds")


def _streamed(weight_bytes: int, seconds: float) -> str:
    """Return the streamer's own line (runai-model-streamer 0.15 to 0.17, file_streamer.py)."""
    size, rate = weight_bytes / 2**30, weight_bytes / max(seconds, 0.01) / 2**30
    return (
        f"[RunAI Streamer] Overall time to stream {size:.1f} GiB of all files to cpu: {seconds:.2f}s, {rate:.1f} GiB/s"
    )


def _config(version: str, engine: Engine) -> str:
    """Return the part of the configuration line that the simulator knows (vllm/config, __str__; names of the format are
    an enumeration's until 0.9).
    """
    loader = f"LoadFormat.{engine.load_format.upper()}" if release(version) < LOWER_SINCE else engine.load_format
    return (
        f"model='{engine.shown}', speculative_config=None, tokenizer='{engine.shown}', skip_tokenizer_init=False, "
        f"dtype=torch.bfloat16, download_dir=None, load_format={loader}, tensor_parallel_size={engine.gpus:.0f}, "
        f"enforce_eager={engine.enforce_eager}{_compilation(version, engine)}"
    )


def _compilation(version: str, engine: Engine) -> str:
    """Return what the configuration line says of compilation since 0.12 (its enumerations' representations)."""
    if release(version) < LEVELS_SINCE:
        return ""
    mode = f"<CompilationMode.{engine.compilation}: {0 if engine.compilation == 'NONE' else 3}>"
    numbers = {"NONE": "0", "PIECEWISE": "1", "FULL": "2", "FULL_AND_PIECEWISE": "(2, 1)"}
    graphs = f"<CUDAGraphMode.{engine.graphs}: {numbers.get(engine.graphs, '2')}>"
    return (
        f", compilation_config={{'mode': {mode}, 'debug_dump_path': None, 'cache_dir': '', 'backend': 'inductor', "
        f"'cudagraph_mode': {graphs}, 'local_cache_dir': None}}"
    )
