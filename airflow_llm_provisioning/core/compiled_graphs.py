"""What an engine's log says of its compiled graphs: found in a cache, compiled anew, and under which key.

Wordings of vLLM 0.7 to 0.33 (compilation/backends.py and decorators.py): `Directly lookup the graph for ... from the
cache` of 0.7; `Using cache directory` and `Directly load the compiled graph(s) for ... from the cache` since 0.8;
`Directly load AOT compilation from path` since 0.12, by default since 0.17 (torch 2.10); an artifact that cannot be
loaded is `Cannot load aot compilation from path` at first and `Compiling model again due to a load failure from` later.
The key is a directory's name: ten hexadecimal digits below `torch_compile_cache`, 64 below `torch_aot_compile`, which
newer releases keep inside the other. CUDA graphs are in no cache: every start captures them. This module knows no
treatment.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from airflow_llm_provisioning.core.fields import dig
from airflow_llm_provisioning.core.trace.objects import History, LogText
from airflow_llm_provisioning.core.trace.view import TraceView

FOUND: Final = re.compile(r"Directly (?:load (?:the compiled graph|AOT compilation)|lookup the graph for)")
ANEW: Final = re.compile(
    r"(?:Compiling a graph for|saved AOT compiled function to|Cannot load aot compilation from path"
    r"|Compiling model again due to a load failure|torch\.compile cache is disabled)"
)
_PATH: Final = re.compile(
    r"(?:Using cache directory: |Directly load AOT compilation from path |saved AOT compiled function to "
    r"|due to a load failure from |Cannot load aot compilation from path )([^\s,]{1,400})"
)
_KEY: Final = re.compile(r"/(?:torch_compile_cache|torch_aot_compile)/([0-9a-f]{6,64})(?:/|$)")
_NOTHING: Final = re.compile(r"LLM engine \(v.{0,60}\) with config: .*(?:enforce_eager=True|<CompilationMode\.NONE)")


@dataclass(frozen=True, slots=True)
class GraphLine:
    """One line about compiled graphs. `found`: whether they came from a cache; None where the line only names its
    place. `path`: that place, empty where the line names none; `key`: the directory's name.
    """

    text: str
    found: bool | None
    path: str = ""

    @property
    def key(self) -> str:
        """The cache's key; empty where the line names none."""
        match = _KEY.search(self.path)
        return match.group(1) if match else ""


def graph_lines(view: TraceView, pod: History | None = None) -> tuple[GraphLine, ...]:
    """Return the lines about compiled graphs, each text once. `pod`: only of the engine's ranks on this pod."""
    logs = view.logs if pod is None else logs_on(view, pod)
    lines = (line.strip() for log in logs for line in log.text.splitlines())
    return tuple(dict.fromkeys(found for line in lines for found in _read(line)))


def compiles_nothing(view: TraceView, pod: History | None = None) -> str | None:
    """Return the configuration line of an engine that compiles nothing, shortened; None without one."""
    for log in view.logs if pod is None else logs_on(view, pod):
        if match := _NOTHING.search(log.text):
            return f"{match.group(0)[:80]} ... {match.group(0)[-40:]}"
    return None


def logs_on(view: TraceView, pod: History) -> tuple[LogText, ...]:
    """Return the logs that processes on a pod wrote; all of them where the engine has one pod only."""
    if len(view.engine_pods) < 2:
        return tuple(view.logs)
    address = dig(pod.last, "status", "podIP")
    return tuple(log for log in view.logs if log.pod == pod.name or (address and log.node_ip == address))


def _read(line: str) -> Iterator[GraphLine]:
    anew, found, place = ANEW.search(line), FOUND.search(line), _PATH.search(line)
    if anew or found or place:
        yield GraphLine(line[:300], False if anew else True if found else None, place.group(1) if place else "")
