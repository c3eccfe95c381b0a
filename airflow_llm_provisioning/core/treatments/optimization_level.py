"""vLLM's optimization levels 0 and 1: an engine that starts sooner because it compiles or captures less, and may serve
slower.

`optimization_level` exists since vLLM 0.12 (PR 26847, docs/design/optimization_levels.md): level 0 compiles nothing and
captures no CUDA graphs, level 1 compiles and captures piecewise graphs only, 2 is the default. A level sets defaults
only: what a user sets in `compilation_config`, or `enforce_eager`, outweighs it, without a word. The engine's
configuration line says what holds. The guard is the speed that every trial measures (`core.serving_speed`).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from airflow_llm_provisioning.core.effects import Between, Effect, EffectFacts, gone, times
from airflow_llm_provisioning.core.fields import items, mapping
from airflow_llm_provisioning.core.manifests import engine_args, with_engine_args
from airflow_llm_provisioning.core.target import NodeProfile
from airflow_llm_provisioning.core.timing.speed_marks import speed_of
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.treatments.base import BaseTreatment, DeploymentPlan
from airflow_llm_provisioning.core.treatments.releases import installs_older
from airflow_llm_provisioning.core.verdicts import Verdict, all_of
from airflow_llm_provisioning.core.workload import Workload
from airflow_llm_provisioning.exceptions import ManifestError

GROUP: Final = "optimization_level"
SINCE: Final = (0, 12)
_ARGUMENT: Final = "optimization_level"
# What each level sets of the compilation configuration (vllm/config/vllm.py, OPTIMIZATION_LEVEL_00 and _01).
_MODES: Final[Mapping[int, tuple[str, str]]] = {0: ("NONE", "NONE"), 1: ("VLLM_COMPILE", "PIECEWISE")}
_CONFIG: Final = re.compile(r"Initializing (?:a V1|an) LLM engine \(v(\d+)\.(\d+)[^)]*\) with config: (.*)")
_MODE: Final = re.compile(r"'mode': <CompilationMode\.(\w+)")
_GRAPHS: Final = re.compile(r"'cudagraph_mode': <CUDAGraphMode\.(\w+)")
# Lines of compiling and of capturing. They count more than the configuration line.
_COMPILED: Final = re.compile(
    r"(?:Compiling a graph for|Directly load (?:the compiled graph|AOT compilation)|saved AOT compiled function to"
    r"|Dynamo bytecode transform time)"
)
_CAPTURED: Final = re.compile(r"Graph capturing finished in")
# What an attention backend makes of the mode after the configuration line (vllm/config/compilation.py,
# resolve_cudagraph_mode_and_sizes), and what is left of it (v1/worker/gpu_model_runner.py, capture_model).
_RESOLVED: Final = re.compile(r"CUDAGraph.{1,300}setting cudagraph_mode=(\w+)")
_SKIPPED: Final = re.compile(r"Skipping CUDA graph capture")


@dataclass(frozen=True, slots=True)
class _Told:
    """One configuration line: release, and what it says of compilation; None where it does not say it."""

    release: tuple[int, int]
    mode: str | None
    graphs: str | None
    filename: str


class OptimizationLevel(BaseTreatment):
    """Start the engine at a lower level."""

    group = GROUP
    order = 10

    def __init__(self, level: int) -> None:
        self.level = level
        self.name = f"{GROUP}_{level}"

    def requires(self, profile: NodeProfile, workload: Workload) -> tuple[str, ...]:
        """Return why the level cannot be set, or what in the manifest outweighs it."""
        found = [*installs_older(workload, SINCE, self.name), *self._outweighed(workload)]
        try:
            self.change(DeploymentPlan.of(workload), workload)
        except ManifestError as error:
            found.append(str(error))
        return tuple(found)

    def change(self, plan: DeploymentPlan, workload: Workload) -> DeploymentPlan:
        """Give every engine the level."""
        return plan.with_manifest(with_engine_args(plan.manifest, {_ARGUMENT: self.level}))

    def verify(self, view: TraceView) -> Verdict:
        """Say whether every engine was configured with the level's modes and did what they say; with its speed."""
        configs = tuple(_configs(view))
        if not configs:
            return Verdict(self.name, "unknown", ("No configuration line of an engine was recorded.",))
        found = all_of(self.name, [*map(self._configured, configs), *self._against(view)])
        return Verdict(self.name, found.value, (*found.evidence, self._speed(view)))

    def undeclared(self, view: TraceView) -> str | None:
        """Return what says that the submitted configuration sets this level, or None."""
        for application in view.applications:
            if any(str(value) == str(self.level) for value in _levels(application.get("args"))):
                return f"Serve's configuration sets {_ARGUMENT} to {self.level}."
        return None

    def effect(self, facts: EffectFacts) -> Effect | None:
        """Return that compiling and capturing are gone, or that fewer graphs are captured."""
        if self.level == 0:
            why = "vllm, docs/design/optimization_levels.md"
            return Effect((gone("compile", why), gone("graph_capture", why)))
        return Effect((times("graph_capture", _PIECEWISE),))

    def _configured(self, told: _Told) -> Verdict:
        release = ".".join(map(str, told.release))
        if told.release < SINCE:
            return Verdict(self.name, "no", (f"vLLM {release} has no optimization levels; 0.12 brings them.",))
        if told.mode is None or told.graphs is None:
            sentence = f"The configuration line in {told.filename} does not say what is compiled."
            return Verdict(self.name, "unknown", (sentence,))
        same = (told.mode, told.graphs) == _MODES[self.level]
        wanted = "mode {} and graphs {}".format(*_MODES[self.level])
        ran = f"vLLM {release} ran with compilation mode {told.mode} and CUDA graphs {told.graphs} ({told.filename})"
        return Verdict(self.name, "yes" if same else "no", (f"{ran}; level {self.level} means {wanted}.",))

    def _against(self, view: TraceView) -> Iterator[Verdict]:
        """Yield a no for what an engine at this level does not do and logged all the same, and for another mode of its
        graphs than the level's, which an attention backend may choose later.
        """
        lines = [line.strip() for log in view.logs for line in log.text.splitlines()]
        found = [
            next((line for line in lines if pattern.search(line)), None)
            for pattern in ((_COMPILED, _CAPTURED) if self.level == 0 else (_SKIPPED,))
        ]
        wanted = _MODES[self.level][1]
        found += [line for line in lines if (told := _RESOLVED.search(line)) and told.group(1) != wanted]
        for line in dict.fromkeys(filter(None, found)):
            yield Verdict(self.name, "no", (f"Engine: {line[:400]}",))

    def _speed(self, view: TraceView) -> str:
        speed = speed_of(view)
        slow = "This level may serve slower than the default"
        if speed is None:
            return f"{slow}, and how fast the model writes was not measured in this trial."
        return f"{slow}: the model wrote {speed}, one request at a time. The comparison holds it against the baseline."

    def _outweighed(self, workload: Workload) -> Iterator[str]:
        for engine in engine_args(workload.manifest):
            values, config = engine.values, mapping(engine.values.get("compilation_config"))
            if str(values.get("enforce_eager", False)).lower() not in ("false", "0"):
                yield self._told("enforce_eager", workload)
            for key in ("mode", "level", "cudagraph_mode"):
                if key in config:
                    yield self._told(f"compilation_config.{key}", workload)

    def _told(self, key: str, workload: Workload) -> str:
        return (
            f"{self.name} has no effect while the engine of workload {workload.name!r} sets {key}, which vLLM prefers "
            "to the level's default: remove it."
        )


_PIECEWISE: Final = Between(
    0.45, 0.65, "public logs of vLLM 0.17: 51 piecewise graphs in 9 s of 17; 51 of 86 graphs in another"
)


def _configs(view: TraceView) -> Iterator[_Told]:
    for log in view.logs:
        for major, minor, config in (match.groups() for match in _CONFIG.finditer(log.text)):
            mode, graphs = _MODE.search(config), _GRAPHS.search(config)
            yield _Told((int(major), int(minor)), mode and mode.group(1), graphs and graphs.group(1), log.filename)


def _levels(value: Any) -> Iterator[Any]:
    """Yield the levels anywhere in an application's arguments."""
    for key, inner in mapping(value).items():
        if str(key).replace("-", "_") == _ARGUMENT:
            yield inner
        yield from _levels(inner)
    for inner in items(value):
        yield from _levels(inner)
