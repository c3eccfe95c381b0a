"""Which facts changed together with a level, and which of them can act on the phase that moved.

A fact counts only if every value after the change is new and the old value held in the last nights before it: what
changed a week earlier is no cause. Being named is no proof. Several facts may have changed in the same night; those
that act on the phase by what they are come first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from airflow_llm_provisioning.core.arm import IMAGE_DIGEST, KUBERNETES_MINOR
from airflow_llm_provisioning.core.nights import Night

# Nights just before the change in which the old value must have held.
JUST_BEFORE: Final = 3

# What each part of a start depends on: words in a phase's name -> facts, the closest first. The first line that matches
# counts. A joined phase is matched by its parts.
_ACTS_ON: Final[tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]] = (
    (("gpu_setup",), ("driver", "node image", "GPU", "worker instance type", "node profile", KUBERNETES_MINOR)),
    (
        ("node_",),
        (
            *("node autoscaler", "worker instance type", "head instance type", "worker zone", "head zone"),
            *("region", "node profile", "node image", KUBERNETES_MINOR),
        ),
    ),
    (
        ("pull",),
        (
            *(IMAGE_DIGEST, "treatments", "worker zone", "worker instance type", "node image", "node profile"),
            *("region", "head zone", "head instance type"),
        ),
    ),
    (("weight_download",), ("model revision", "model", IMAGE_DIGEST, "treatments", "worker zone", "region")),
    (("model_load",), ("model revision", "model", "worker instance type", "GPU", "driver", IMAGE_DIGEST)),
    (("compile", "graph_capture", "engine"), (IMAGE_DIGEST, "driver", "GPU", "worker instance type", "model revision")),
    (("scheduling",), (KUBERNETES_MINOR, "node autoscaler", "node profile")),
    (("operator_start", "pod_creation", "service", "endpoint"), ("KubeRay", KUBERNETES_MINOR)),
    (
        ("ray_start", "serve", "app_", "replica", "ray_autoscaling", "readiness", "gcs"),
        ("Ray", IMAGE_DIGEST, "KubeRay", "workload content", "head instance type"),
    ),
    (("runtime_env", "container_start"), (IMAGE_DIGEST, "workload content", "Ray", "worker instance type")),
)


@dataclass(frozen=True, slots=True)
class Cause:
    """A fact that changed with a level. `acts_on_phase`: whether it can act on the phase that moved."""

    fact: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    acts_on_phase: bool

    def __str__(self) -> str:
        """Return it as a sentence part: `image digest: sha256:1, now sha256:2`."""
        return f"{self.fact}: {', '.join(self.before)}, now {', '.join(self.after)}"


def causes_between(before: Sequence[Night], after: Sequence[Night], phase: str | None) -> tuple[Cause, ...]:
    """Return the facts that changed between two runs of nights, those that act on `phase` first."""
    acting = _acting(phase)
    found = []
    for fact in sorted({name for night in (*before[-JUST_BEFORE:], *after) for name in night.facts}):
        olds, news = _values(before[-JUST_BEFORE:], fact), _values(after, fact)
        if olds and news and not olds & news:
            found.append(Cause(fact, tuple(sorted(olds)), tuple(sorted(news)), fact in acting))
    return tuple(sorted(found, key=lambda cause: (acting.get(cause.fact, len(acting)), cause.fact)))


def _values(nights: Sequence[Night], fact: str) -> frozenset[str]:
    return frozenset(value for night in nights for value in night.facts.get(fact, ()))


def _acting(phase: str | None) -> Mapping[str, int]:
    """Return the facts that can act on a phase: fact -> how close it is."""
    ranks: dict[str, int] = {}
    for part in (phase or "").split("+"):
        facts = next((facts for words, facts in _ACTS_ON if any(word in part for word in words)), ())
        for rank, fact in enumerate(facts):
            ranks[fact] = min(rank, ranks.get(fact, rank))
    return ranks
