"""Groups about thirty phases into a dozen groups for the charts. Names and colours only."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from airflow_llm_provisioning.core.timing.milestones import PHASES


@dataclass(frozen=True, slots=True)
class PhaseGroup:
    """Phases that are shown as one. `names`: without the role, because head and worker have the same phases."""

    title: str
    colour: str
    names: frozenset[str]


# The colours differ on white and on near-black pages, and groups that follow each other differ in lightness.
GROUPS: Final = (
    PhaseGroup("operator and scheduling", "#8c8c94", frozenset({"operator_start", "pod_creation", "scheduling"})),
    PhaseGroup("node", "#3b6fb6", frozenset({"node_request", "node_boot", "node_setup"})),
    PhaseGroup("lost and replaced pod", "#5f6b7a", frozenset({"replacement"})),
    PhaseGroup("GPU", "#7fb2e5", frozenset({"gpu_setup"})),
    PhaseGroup("image pull", "#d1495b", frozenset({"pull_wait", "image_pull"})),
    PhaseGroup(
        "container and Ray start",
        "#edae49",
        frozenset({"init_start", "wait_gcs", "container_start", "ray_start", "readiness"}),
    ),
    PhaseGroup("packages at start (pip)", "#a44a9c", frozenset({"runtime_env"})),
    PhaseGroup(
        "application and replica",
        "#e2a7c8",
        frozenset(
            {
                "serve_start",
                "app_build",
                "replica_request",
                "ray_autoscaling",
                "replica_start",
                "replica_finish",
                "app_start",
            }
        ),
    ),
    PhaseGroup("engine", "#2f8f83", frozenset({"engine_start", "engine_init"})),
    PhaseGroup("weights", "#7ccba2", frozenset({"weight_download", "model_load"})),
    PhaseGroup("compilation and graphs", "#9a7b4f", frozenset({"compile", "engine_profile", "graph_capture"})),
    PhaseGroup("service", "#5c5470", frozenset({"service_creation", "endpoint_publish"})),
)
UNSEPARATED: Final = PhaseGroup("not separable", "#c9c9c9", frozenset())

_ROLES: Final = ("head_", "worker_")


def group_of(phase: str) -> PhaseGroup:
    """Return a phase's group.

    A joined phase (`a+b`, the milestone between them is missing) belongs to a group only if all its parts do.
    """
    groups = {_GROUP_OF.get(_plain(part), UNSEPARATED) for part in phase.split("+")}
    return groups.pop() if len(groups) == 1 else UNSEPARATED


def position(phase: str) -> int:
    """Return the position of a phase on the path to the ready endpoint; a joined one has the position of its first
    part.
    """
    first = phase.split("+")[0]
    return _POSITION.get(first, len(_POSITION))


def _plain(phase: str) -> str:
    for role in _ROLES:
        if phase.startswith(role):
            return phase.removeprefix(role)
    return phase


_GROUP_OF: Final[Mapping[str, PhaseGroup]] = {name: group for group in GROUPS for name in group.names}
_POSITION: Final[Mapping[str, int]] = {name: index for index, name in enumerate(PHASES)}
