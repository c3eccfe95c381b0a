"""vLLM's compile cache: under which keys an engine looks, what it finds there, and the lines it prints.

The key of Inductor's artifacts covers vLLM, torch, GPU, configuration and variables; that of the whole function (AOT,
by default since torch 2.10) leaves the GPU out, and the artifact itself refuses another one. torch 2.10 cannot load
what its first start saved, and saves it again (pytorch PR 173556). Sources: vllm/compilation/backends.py and
decorators.py 0.10 to 0.33, vllm/envs.py (compile_factors), torch/_dynamo/package.py (SystemInfo); lines of a hit and of
a miss with AOT: public logs of vLLM 0.20 to 0.26.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from packaging.version import Version

from llm_provisioning_simulator.app.application import Engine
from llm_provisioning_simulator.app.steps import Step, release
from llm_provisioning_simulator.app.volumes import COMPILE_CACHE, VolumeCaches
from llm_provisioning_simulator.runtime import ContainerContext

_AOT_SINCE: Final = Version("2.10")
_RELOADS_SINCE: Final = Version("2.11")
# Of vLLM's variables the key leaves out these and a few that no workload here sets (vllm/envs.py, ignored_factors).
_NOT_IN_KEY: Final = frozenset({"VLLM_CACHE_ROOT", "VLLM_PORT", "VLLM_HOST_IP", "VLLM_LOGGING_LEVEL"})


@dataclass(frozen=True, slots=True)
class CompileCache:
    """The cache of one start. `root`: VLLM_CACHE_ROOT; `graphs`, `function`: keys, the second empty without AOT;
    `found`: whether all of it was there and could be loaded; `refused`: why the function's artifact, which was there,
    could not be loaded, None where there was none; `off`: whether it is switched off.
    """

    root: str = COMPILE_CACHE
    graphs: str = ""
    function: str = ""
    found: bool = False
    refused: str | None = None
    off: bool = False
    entries: tuple[str, ...] = ()
    """What this start leaves in the cache."""


NO_CACHE: Final = CompileCache()


def look_up(
    volumes: VolumeCaches, ctx: ContainerContext, packages: Mapping[str, str], engine: Engine, env: Mapping[str, str]
) -> CompileCache:
    """Return what an engine finds in its cache."""
    root = env.get("VLLM_CACHE_ROOT", COMPILE_CACHE)
    if env.get("VLLM_DISABLE_COMPILE_CACHE") == "1":
        return CompileCache(root, off=True)
    torch = release(packages.get("torch", "2.0"))
    gpu = ",".join(sorted(ctx.node.gpu)) or "none"
    told = {"vllm": packages["vllm"], "torch": str(torch), **_configuration(engine), **_variables(env)}
    graphs, function = _hash({**told, "gpu": gpu})[:10], _hash(told) if torch >= _AOT_SINCE else ""
    held = volumes.entries(ctx, root)
    jit = f"graphs/{graphs}"
    if not function:
        return CompileCache(root, graphs, found=jit in held, entries=(jit,))
    saved, again = f"function/{function}/{gpu}", f"function/{function}/{gpu}/again"
    there = [entry for entry in held if entry.startswith(f"function/{function}/")]
    loads = saved in held if torch >= _RELOADS_SINCE else again in held
    refused = None if loads or not there else "" if saved in held else _other_gpu(there, gpu)
    left = (jit, saved, again) if saved in held else (jit, saved)
    return CompileCache(root, graphs, function, loads and jit in held, refused, entries=left)


def compile_steps(seconds: float, cache: CompileCache, *, modern: bool) -> Iterator[Step]:
    """Yield the steps of compiling, or of loading what was compiled."""
    place = f"{cache.root}/torch_compile_cache"
    artifact = f"{place}/torch_aot_compile/{cache.function}/rank_0_0/model"
    if cache.refused is not None:
        message = f"Compiling model again due to a load failure from {artifact}, reason: {cache.refused}"
        yield Step(0.0, "decorators.py:321", message, "WARNING")
    dynamo_s = 0.3 * seconds
    if cache.off:
        message = "vLLM's torch.compile cache is disabled."
    else:
        message = f"Using cache directory: {place}/{cache.graphs}/rank_0_0/backbone for vLLM's torch.compile"
    yield Step(dynamo_s, "backends.py:1051", message)
    yield Step(0.0, "backends.py:1111", f"Dynamo bytecode transform time: {dynamo_s:.2f} s")
    yield from _graphs(seconds - dynamo_s, cache, modern=modern)
    if cache.function:
        done = "Directly load AOT compilation from path" if cache.found else "saved AOT compiled function to"
        yield Step(0.0, "decorators.py:305", f"{done} {artifact}")
    took = f"torch.compile took {seconds:.2f}" if modern else f"torch.compile takes {seconds:.2f}"
    yield Step(0.0, "monitor.py:48", f"{took} s in total")


def _graphs(seconds: float, cache: CompileCache, *, modern: bool) -> Iterator[Step]:
    shape = "compile range (1, 8192)" if modern else "dynamic shape"
    if cache.found:
        message = f"Directly load the compiled graph(s) for {shape} from the cache, took {seconds:.3f} s"
        yield Step(seconds, "backends.py:285", message)
    elif modern:
        yield Step(seconds, "backends.py:342", f"Compiling a graph for {shape} takes {seconds:.2f} s")
    else:
        yield Step(seconds, "backends.py:215", f"Compiling a graph for {shape} takes {seconds:.2f} s")


def _other_gpu(there: list[str], gpu: str) -> str:
    cached = there[0].split("/")[2]
    return f"Compile package was created with different GPU: cached={cached}, current={gpu}"


def _configuration(engine: Engine) -> dict[str, str]:
    """Return what of the configuration is in the key. The memory's share and the served name are not."""
    names = ("shown", "dtype", "compilation", "graphs", "optimization_level", "gpus", "max_model_len", "load_format")
    return {name: str(getattr(engine, name)) for name in names}


def _variables(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith("VLLM_") and name not in _NOT_IN_KEY}


def _hash(told: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
