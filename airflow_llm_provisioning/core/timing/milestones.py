"""The names of all milestones and phases, and the causal order of the milestones.

This module alone defines the path from submission to the ready endpoint. In the `CausalOrder` of a trial a milestone is
expected, or it does not occur. If an expected milestone is missing, two phases are joined under both names. A milestone
that does not occur gives no name to a phase: an existing node has no boot phase.

This module knows no clocks, objects or logs.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

SUBMITTED: Final = "submitted"
ENDPOINT_READY: Final = "endpoint_ready"

_POD: Final[tuple[tuple[str, str], ...]] = (
    ("replaced", "replacement"),
    ("pod_created", "pod_creation"),
    ("node_requested", "node_request"),
    ("node_created", "node_boot"),
    ("node_ready", "node_setup"),
    ("gpu_allocatable", "gpu_setup"),
    ("scheduled", "scheduling"),
    ("pull_started", "pull_wait"),
    ("pull_finished", "image_pull"),
    ("init_started", "init_start"),
    ("init_finished", "wait_gcs"),
    ("container_started", "container_start"),
    ("ray_started", "ray_start"),
    ("ready", "readiness"),
)


def _of(role: str) -> tuple[tuple[str, str], ...]:
    return tuple((f"{role}.{milestone}", f"{role}_{phase}") for milestone, phase in _POD)


# (milestone, the phase that ends with it), in the usual order of a static deployment.
_STEPS: Final[tuple[tuple[str, str], ...]] = (
    ("raycluster_created", "operator_start"),
    *_of("head"),
    ("serve_config_sent", "serve_start"),
    ("head.runtime_env_ready", "head_runtime_env"),
    ("app_built", "app_build"),
    ("replica_requested", "replica_request"),
    ("worker_asked", "ray_autoscaling"),
    *_of("worker"),
    ("worker.runtime_env_ready", "worker_runtime_env"),
    ("replica_initialising", "replica_start"),
    ("load_started", "engine_start"),
    ("weights_downloaded", "weight_download"),
    ("model_loaded", "model_load"),
    ("compiled", "compile"),
    ("profiled", "engine_profile"),
    ("graphs_captured", "graph_capture"),
    ("engine_ready", "engine_init"),
    ("replica_started", "replica_finish"),
    ("app_running", "app_start"),
    ("serve_service_created", "service_creation"),
    (ENDPOINT_READY, "endpoint_publish"),
)

PHASE_OF: Final[Mapping[str, str]] = dict(_STEPS)
PHASES: Final[tuple[str, ...]] = tuple(phase for _, phase in _STEPS)
"""All phases in order. Replicates are averaged over these and over joined names (`a+b`)."""

REPORTED_ONLY: Final = (
    "head.unschedulable",
    "worker.unschedulable",
    "head.node_launched",
    "worker.node_launched",
    "head.node_registered",
    "worker.node_registered",
    "head.node_initialised",
    "worker.node_initialised",
    "app_build_started",
    "replica_placed",
    "rayservice_ready",
    "first_completion",
)
"""Milestones that are reported but end no phase."""

MILESTONES: Final[tuple[str, ...]] = (SUBMITTED, *PHASE_OF, *REPORTED_ONLY)

# The predecessors of each milestone. A soft predecessor (`~`) is followed only if it came first, and it bounds nothing:
# a device plugin may register before its node is Ready, a worker's readiness may or may not wait for the application,
# and a pod may be created before the one that it replaces is gone.
_BEFORE: Final[Mapping[str, tuple[str, ...]]] = {
    "raycluster_created": (SUBMITTED,),
    "head.replaced": ("raycluster_created",),
    "head.pod_created": ("raycluster_created", "~head.replaced"),
    "serve_config_sent": ("head.ready",),
    "head.runtime_env_ready": ("serve_config_sent",),
    "app_built": ("head.runtime_env_ready",),
    "replica_requested": ("app_built",),
    "worker_asked": ("replica_requested",),
    "worker.replaced": ("raycluster_created", "worker_asked"),
    "worker.pod_created": ("raycluster_created", "worker_asked", "~worker.replaced"),
    "worker.init_finished": ("worker.init_started", "~head.container_started"),
    "worker.ray_started": ("worker.container_started", "head.container_started"),
    "worker.ready": ("worker.ray_started", "~app_running"),
    "worker.runtime_env_ready": ("worker.ray_started", "replica_requested"),
    "replica_initialising": ("worker.runtime_env_ready",),
    "load_started": ("replica_initialising",),
    "weights_downloaded": ("load_started",),
    "model_loaded": ("weights_downloaded",),
    "compiled": ("model_loaded",),
    "profiled": ("compiled",),
    "graphs_captured": ("profiled",),
    "engine_ready": ("graphs_captured",),
    "replica_started": ("engine_ready",),
    "app_running": ("replica_started",),
    "serve_service_created": ("app_running",),
    ENDPOINT_READY: ("serve_service_created", "head.ready"),
    "app_build_started": ("serve_config_sent",),
    "replica_placed": ("replica_requested",),
    "rayservice_ready": ("serve_service_created",),
    "first_completion": (ENDPOINT_READY,),
}
_POD_BEFORE: Final[Mapping[str, tuple[str, ...]]] = {
    "node_requested": ("pod_created",),
    "node_created": ("node_requested",),
    "node_ready": ("node_created",),
    "gpu_allocatable": ("node_created", "~node_ready"),
    # The accelerator first: if it was not observed, its name joins the phase that begins with the ready node.
    "scheduled": ("gpu_allocatable", "node_ready"),
    "pull_started": ("scheduled",),
    "pull_finished": ("pull_started",),
    "init_started": ("pull_finished",),
    "init_finished": ("init_started",),
    "container_started": ("init_finished",),
    "ray_started": ("container_started",),
    "ready": ("container_started", "~ray_started"),
    "unschedulable": ("pod_created",),
    "node_launched": ("node_requested",),
    "node_registered": ("node_created",),
    "node_initialised": ("node_registered", "node_ready", "gpu_allocatable"),
}


@dataclass(frozen=True, slots=True)
class Predecessor:
    """A milestone that another one had to wait for. `names`: phases in between whose milestones are missing."""

    milestone: str
    names: tuple[str, ...]
    soft: bool


class CausalOrder:
    """The causal order of one trial's milestones.

    `expected`: the milestones that must have occurred; other missing ones did not occur. `ready_pod`: whose endpoint
    was ready first: `head`, `worker` (the one that decided) or `other`.
    """

    def __init__(self, expected: Iterable[str], *, ready_pod: str = "head") -> None:
        self.expected = frozenset(expected)
        before = {**_pod_before("head"), **_pod_before("worker"), **_BEFORE}
        if "worker_asked" not in self.expected:
            before["worker.pod_created"] = ("raycluster_created", "~worker.replaced")
            before["worker.replaced"] = ("raycluster_created",)
        if "worker.init_finished" not in self.expected:
            before["worker.init_finished"] = ("worker.init_started",)
        if ready_pod != "head":
            own = ("worker.ready",) if ready_pod == "worker" else ()
            before[ENDPOINT_READY] = ("serve_service_created", *own)
        self._before = before
        self.rank: Mapping[str, int] = {name: rank for rank, name in enumerate(_topological(before))}

    def predecessors(self, milestone: str, present: Sequence[str] | frozenset[str]) -> list[Predecessor]:
        """Return the nearest present milestones that `milestone` had to wait for, skipping missing ones."""
        found = list(self._predecessors(milestone, frozenset(present), (), soft=False))
        return list(dict.fromkeys(found))

    def _predecessors(
        self, milestone: str, present: frozenset[str], names: tuple[str, ...], *, soft: bool
    ) -> Iterator[Predecessor]:
        for marked in self._before.get(milestone, ()):
            name = marked.removeprefix("~")
            is_soft = soft or marked != name
            if name in present:
                yield Predecessor(name, names, is_soft)
            else:
                joined = (PHASE_OF[name], *names) if name in self.expected and name in PHASE_OF else names
                yield from self._predecessors(name, present, joined, soft=is_soft)


def _pod_before(role: str) -> dict[str, tuple[str, ...]]:
    return {
        f"{role}.{name}": tuple(f"~{role}.{item[1:]}" if item.startswith("~") else f"{role}.{item}" for item in earlier)
        for name, earlier in _POD_BEFORE.items()
    }


def _topological(before: Mapping[str, Sequence[str]]) -> list[str]:
    """Sort causes before effects. `before` has no cycle by construction; a test verifies this."""
    done: dict[str, None] = {}

    def visit(name: str) -> None:
        if name in done:
            return
        for marked in before.get(name, ()):
            visit(marked.removeprefix("~"))
        done[name] = None

    for name in MILESTONES:
        visit(name)
    return list(done)
