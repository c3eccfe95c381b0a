"""Valid trials: none may be judged as not applied, warm or contradictory.

Every cloud with every node autoscaler, both set-ups, every variant of the target, both workload profiles; each seed is
another draw of the profiles' noise: boots, pulls, downloads, every step of the controllers.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count, islice, product
from typing import Final

from airflow_llm_provisioning.core.result import TrialResult, TrialStatus
from airflow_llm_provisioning.core.target import Target
from airflow_llm_provisioning.core.treatments import impossible, resolved, vain
from airflow_llm_provisioning.core.workload import ScalingSetup, Workload
from proof.catalogue import buffer_static
from proof.catalogue.buffer_objects import GATES as BUFFER_GATES
from proof.catalogue.ray_start_trim import operator_set_to
from proof.recorded_trial import Scenario, run
from proof.targets import KINDS, target
from proof.variants import VARIANTS
from proof.workloads import SERVED_2025, SERVED_CURRENT

# What the user does for a variant beside its preparation.
BY_HAND: Final = {"ray_start_trim": operator_set_to("false")}
# What is switched on in the cluster for a variant.
GATES: Final = {"capacity_buffer_object": BUFFER_GATES, "capacity_buffer_static": buffer_static.GATES}
# Treatments outside the built-in variants: variant, and where it runs.
TREATED: Final = (
    ("parallel_pull", "eks", "luna"),
    ("parallel_pull", "eks", "karpenter"),
    ("preloaded_disk", "gke", "native"),
    ("direct_loader_baked", "eks", "luna"),
    ("direct_loader", "gke", "luna"),
    ("direct_loader_baked", "aks", "karpenter"),
    ("weights_stream", "eks", "karpenter"),
    ("weights_stream", "gke", "luna"),
    ("weights_stream", "aks", "native"),
    ("shared_weights", "eks", "karpenter"),
    ("shared_weights", "gke", "luna"),
    ("shared_weights", "aks", "luna"),
    ("compile_cache", "eks", "karpenter"),
    ("compile_cache", "eks", "luna"),
    ("compile_cache", "gke", "native"),
    ("compile_cache", "aks", "luna"),
    ("compile_cache_level_1", "gke", "luna"),
    ("compile_cache_level_1", "aks", "native"),
    ("capacity_buffer", "eks", "luna"),
    ("capacity_buffer", "eks", "karpenter"),
    ("capacity_buffer", "gke", "native"),
    ("capacity_buffer", "aks", "native"),
    ("capacity_buffer_object", "eks", "karpenter"),
    ("capacity_buffer_object", "gke", "native"),
    ("ray_start_trim", "eks", "luna"),
    ("ray_start_trim", "gke", "native"),
    ("ray_start_trim", "aks", "karpenter"),
    ("optimization_level_0", "eks", "luna"),
    ("optimization_level_1", "gke", "luna"),
    ("peer_to_peer", "eks", "luna"),
    ("peer_to_peer", "gke", "native"),
    ("peer_to_peer", "aks", "karpenter"),
    ("peer_to_peer_baked", "gke", "luna"),
    ("early_node", "eks", "luna"),
    ("early_node", "eks", "karpenter"),
    ("early_node", "gke", "luna"),
    ("early_node", "gke", "native"),
    ("early_node", "aks", "luna"),
    ("early_node", "aks", "karpenter"),
    ("early_node", "aks", "native"),
    ("buffered_parallel", "eks", "karpenter"),
    ("buffered_streamed", "eks", "luna"),
    ("buffered_streamed", "gke", "native"),
    ("buffered_streamed", "aks", "native"),
    ("streamed_early", "aks", "karpenter"),
    ("streamed_early", "aks", "native"),
)

Cell = tuple[Target, ScalingSetup, str, Workload]


def cells() -> tuple[Cell, ...]:
    """Return every cell once; neighbours differ in cloud, kind and profile."""
    targets = [target(cloud, kind, autoscaler) for kind in ("plain", "fast") for cloud, autoscaler in KINDS]
    targets.append(target("eks", "fast", volume_initialization_rate_mib_s=300))
    targets += [target(cloud, variant, autoscaler) for variant, cloud, autoscaler in TREATED]
    targets.append(buffer_static.TARGET)
    targets += [target(cloud, "image_volume", kubernetes_minor="1.35") for cloud in ("eks", "gke", "aks")]
    every = [
        (where, setup, variant, served)
        for where, setup, served in product(targets, ScalingSetup, (SERVED_2025, SERVED_CURRENT))
        for variant in where.variants
        for chosen in (resolved(VARIANTS[variant], where.cloud),)
        if not impossible(chosen, where, served) and not vain(chosen, setup)
    ]
    step = _coprime(len(every))
    return tuple(every[position * step % len(every)] for position in range(len(every)))


def scenarios(number: int, seed: int) -> Iterator[Scenario]:
    """Yield this many scenarios: all cells, then all cells again with other noise."""
    drawn = ((cell, seed * 1_000_003 + turn) for turn in count() for cell in cells())
    for (where, setup, variant, served), noise in islice(drawn, number):
        gates = GATES.get(variant, frozenset())
        drawn_one = Scenario(target=where, declared=served, setup=setup, variant=variant, seed=noise, gates=gates)
        yield replace(drawn_one, after_preparation=BY_HAND[variant]) if variant in BY_HAND else drawn_one


@dataclass(frozen=True, slots=True)
class Told:
    """What was said wrongly about a valid trial, and why its wait ended before it was ready; None: nothing."""

    alarm: str | None
    early: str | None


def told(scenario: Scenario) -> Told:
    """Run a valid trial and hold it against both claims."""
    row = run(scenario)[-1].row
    whose = f"{scenario.target.name} {row.arm.label} seed {scenario.seed}"
    wrong = _wrong(row, declared=bool(row.arm.treatments))
    ended = None if row.status is TrialStatus.SUCCEEDED else f"{whose}: {row.status}: {row.reason}"
    return Told(f"{whose}: {wrong}" if wrong else None, ended)


def _wrong(row: TrialResult, *, declared: bool) -> str | None:
    if row.status is not TrialStatus.SUCCEEDED:
        return f"{row.status}: {row.reason}"
    if row.start != "cold":
        return f"start {row.start}: {_evidence(row, 'cold_start')}"
    if row.applied != ("applied" if declared else "none"):
        doubted = [item for item in row.verdicts if item["value"] != "yes" and item["claim"] != "runtime_pip"]
        return f"{row.applied}: {doubted}"
    told = [flag for flag in row.flags if not flag.startswith(_HARMLESS)]
    return f"flags {told}" if told else None


# Flags that a valid trial may have: none.
_HARMLESS: Final[tuple[str, ...]] = ()


def _evidence(row: TrialResult, claim: str) -> object:
    return [item["evidence"] for item in row.verdicts if item["claim"] == claim]


def _coprime(size: int) -> int:
    """Return a step that visits every position of a ring of this size."""
    from math import gcd

    return next(step for step in range(size // 3 or 1, size + 2) if gcd(step, size) == 1)
