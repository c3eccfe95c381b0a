"""Which log lines belong to the engine that decided, when its steps ended, and which steps are not understood.

Tensor and pipeline parallelism write one log per rank, or one prefix per rank in one log. A step has ended when its
last rank has finished it; an earlier attempt on the same pod was earlier. Files of other replicas are left out.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from airflow_llm_provisioning.core.fields import dig
from airflow_llm_provisioning.core.timing.clocks import DEFAULT_BOUND
from airflow_llm_provisioning.core.timing.engine_logs import NOT_UNDERSTOOD, LogEntry, LogReading
from airflow_llm_provisioning.core.timing.milestones import PHASE_OF
from airflow_llm_provisioning.core.trace.objects import History
from airflow_llm_provisioning.core.trace.view import TraceView

# Steps of an engine in their order. The first line of a rank counts for the steps of the first group, its last one for
# those of the second: a draft model and an encoder are compiled after the model itself.
_ONCE: Final = ("load_started", "model_loaded", "engine_ready")
_REPEATED: Final = ("weights_downloaded", "compiled", "profiled", "graphs_captured")
# Steps that a log may lack because they did not occur, each with its neighbours that frame the gap.
_ORDER: Final = (
    "replica_initialising",
    "load_started",
    "model_loaded",
    "compiled",
    "graphs_captured",
    "engine_ready",
    "replica_initialised",
)
_PID: Final = re.compile(r"-(\d+)\.(?:out|err)$")
# Ray appends a number to the name of a file that it rotates (RAY_ROTATION_BACKUP_COUNT).
_ROTATED: Final = re.compile(r"(?<=\.)(out|err|log)\.\d{1,4}$")


@dataclass(frozen=True, slots=True)
class Gap:
    """Steps that were not seen between two that were, and the line there that no dialect explains.

    `steps`: milestones. `line`: None if known steps of a compilation prove that it occurred.
    """

    after: str
    before: str
    steps: tuple[str, ...]
    line: str | None

    @property
    def phases(self) -> tuple[str, ...]:
        """The phases that cannot be separated: those of the missing steps, and the one that follows them."""
        end = "replica_started" if self.before == "replica_initialised" else self.before
        return tuple(PHASE_OF[step] for step in (*self.steps, end))


def deciding_replica(view: TraceView, logs: LogReading) -> str | None:
    """Return the id of the engine's replica that came last before the first endpoint; None if no log names one."""
    started = [entry for entry in logs.all("controller_started") if entry.replica_id]
    published_at = [item.created.at for item in view.serve_slices if item.created]
    in_time = [entry for entry in started if not published_at or entry.stamp.at <= min(published_at) + DEFAULT_BOUND]
    known = [entry.replica_id for entry in in_time or started]
    engine = [replica for replica in known if replica in view.engine.replicas]
    return next(iter((engine or known)[-1:] or view.engine.replicas[-1:]), None)


def pod_of_log(view: TraceView, entry: LogEntry) -> History | None:
    """Return the pod that wrote a log, by its name, else the newest one with its address."""
    for pod in reversed(view.pods):
        if entry.log.pod == pod.name or (entry.log.node_ip and dig(pod.last, "status", "podIP") == entry.log.node_ip):
            return pod
    return None


def replica_entries(view: TraceView, logs: LogReading) -> list[LogEntry]:
    """Return the entries of the deciding replica and of its engine, ordered by stamp.

    The name of Serve's replica log contains the replica's id. The output of an engine is assigned by its pod and by the
    process id in its file's name.
    """
    replica = deciding_replica(view, logs)
    entries = sorted(logs.entries, key=lambda entry: entry.stamp.at)
    return [entry for entry in entries if _of_replica(view, entry, replica)]


def step_entries(view: TraceView, logs: LogReading) -> dict[str, LogEntry]:
    """Return the entry at which each step of the deciding engine ended, by milestone."""
    entries = replica_entries(view, logs)
    found: dict[str, LogEntry] = {}
    initialising = next((entry for entry in entries if entry.marker == "replica_initialising"), None)
    if initialising:
        found["replica_initialising"] = initialising
    for step in _ONCE:
        if ends := _per_rank(entries, step, last=False):
            found[step] = max(ends, key=lambda entry: entry.stamp.at)
    limit = found["engine_ready"].stamp.until if "engine_ready" in found else None
    entries = [entry for entry in entries if limit is None or entry.stamp.at <= limit]
    for step in _REPEATED:
        if ends := _per_rank(entries, step, last=True):
            found[step] = max(ends, key=lambda entry: entry.stamp.at)
    # A compiled model that was loaded from a cache may have no line at its end (vLLM 0.12 to 0.17).
    if "compiled" not in found and (ends := _per_rank(entries, "compile_cached", last=True)):
        found["compiled"] = max(ends, key=lambda entry: entry.stamp.at)
    return found


def gaps_of(view: TraceView, logs: LogReading) -> list[Gap]:
    """Return the gaps in an engine's steps in which something happened that is not understood.

    A gap without such a line is none: an eager engine compiles nothing.
    """
    entries = replica_entries(view, logs)
    finished = [entry for entry in entries if entry.marker == "replica_initialised"][-1:]
    steps = step_entries(view, logs) | {entry.marker: entry for entry in finished}
    seen = [step for step in _ORDER if step in steps]
    gaps = []
    for after, before in pairwise(seen):
        missing = _ORDER[_ORDER.index(after) + 1 : _ORDER.index(before)]
        inside = [e for e in entries if steps[after].stamp.at <= e.stamp.at <= steps[before].stamp.until]
        strange = next((entry for entry in inside if entry.marker == NOT_UNDERSTOOD), None)
        if missing and strange:
            gaps.append(Gap(after, before, missing, strange.text))
        elif "compiled" in missing and any(entry.marker in ("compile_step", "profiled") for entry in inside):
            gaps.append(Gap(after, before, ("compiled",), None))
    return gaps


def _per_rank(entries: Sequence[LogEntry], marker: str, *, last: bool) -> list[LogEntry]:
    """Return one entry of a marker per rank: its first or its last one."""
    ranks: dict[tuple[str, str, str], LogEntry] = {}
    for entry in (entry for entry in entries if entry.marker == marker):
        rank = (entry.log.node_ip or entry.log.pod, _file(entry), entry.process)
        if last or rank not in ranks:
            ranks[rank] = entry
    return list(ranks.values())


def _file(entry: LogEntry) -> str:
    """Return the name of an entry's log, as it was before it was rotated."""
    return _ROTATED.sub(r"\1", entry.log.filename)


def _of_replica(view: TraceView, entry: LogEntry, replica: str | None) -> bool:
    if entry.dialect == "serve" and replica is not None and entry.log.filename:
        return replica in entry.log.filename
    pod = pod_of_log(view, entry)
    deciding = view.engine_pods[-1:]
    hosts = view.engine_pods if view.engine.together else deciding
    if pod is not None and hosts and pod.uid not in {host.uid for host in hosts}:
        return False
    return not _of_another(view.engine.pids, entry, replica)


def _of_another(pids: Mapping[str, int], entry: LogEntry, replica: str | None) -> bool:
    """Return whether a worker's file belongs to another replica by its process id. A rank's id is in no answer."""
    named = _PID.search(_file(entry))
    others = {pid for other, pid in pids.items() if other != replica}
    return named is not None and int(named.group(1)) in others - {pids.get(replica or "", -1)}
