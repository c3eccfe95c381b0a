"""Experiment -> cells -> trials in a drawn order. A trial is one deployment of one cell on one target.

The order is drawn per DAG run from a stored seed, replicate by replicate (so that drift hits every cell alike),
shuffled within each replicate, cluster by cluster.
"""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

from airflow_llm_provisioning.core.arm import Arm, Stratum
from airflow_llm_provisioning.core.budget import Budget
from airflow_llm_provisioning.core.expected import ExpectedChange
from airflow_llm_provisioning.core.experiment_problems import (
    gate_problems,
    name_problems,
    reference_problems,
    size_problems,
    target_problems,
)
from airflow_llm_provisioning.core.fallbacks import in_order
from airflow_llm_provisioning.core.gate_limit import GateLimit
from airflow_llm_provisioning.core.manifests.tree import shown
from airflow_llm_provisioning.core.names import nearest
from airflow_llm_provisioning.core.prices import PriceBook
from airflow_llm_provisioning.core.refusals import refuse
from airflow_llm_provisioning.core.stopping import StoppingRule
from airflow_llm_provisioning.core.target import NodeProfile, Target
from airflow_llm_provisioning.core.treatments import (
    Treatment,
    impossible,
    resolved,
    treated_nodes,
    vain,
)
from airflow_llm_provisioning.core.trial import Served, Slot, Trial
from airflow_llm_provisioning.core.variants import BUILTIN_VARIANTS
from airflow_llm_provisioning.core.workload import ScalingSetup, Workload, builtin_workload
from airflow_llm_provisioning.exceptions import ConfigurationError

__all__ = ["Experiment", "NodeProfile", "PlannedCell", "Target", "joined"]


@dataclass(frozen=True, slots=True)
class PlannedCell:
    """One combination that is compared: target, workload, set-up and variant, by name. What was measured of it has the
    origin that its cluster stated as well, and is a `core.nights.Cell`.
    """

    target: str
    workload: str
    setup: ScalingSetup
    variant: str

    @property
    def key(self) -> str:
        """A short name, unique within an experiment."""
        return f"{self.target}/{self.workload}/{self.setup}/{self.variant}"


@dataclass(frozen=True, slots=True)
class Experiment:
    """What is tried, where and how often. Checked when it is built, which is when the DAG is parsed.

    `setups`: the scaling set-ups that are tried, as far as a workload offers them. `stop_early`: when an arm of a run
    has enough trials before its last replicate; None: never. `gates`: what arms must keep, or the run fails; an arm is
    named by its cell's key. `expected_changes`: levels that are wanted, so no alarm is given for them. `grace_s`: kind
    of blocker -> seconds after which a wait ends early for it, where that is not the default
    (`core.blockers.GRACE_S`). `evidence_s`: real seconds after the end of a wait for reading Ray's state and the logs,
    while GPU nodes run on. `no_capacity_fails`: whether a trial without capacity fails its run. `prices`: the
    experiment's own, before the shipped list. `budget`: what its trials may cost; None: no limit. `design_notes`: what
    a factorial plan leaves out and cannot tell apart. `where`: the file it was read from, for refusals.
    """

    name: str
    targets: tuple[Target, ...]
    workloads: tuple[Workload, ...] = field(default_factory=lambda: (builtin_workload(),))
    variants: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: dict(BUILTIN_VARIANTS))
    setups: tuple[ScalingSetup, ...] = tuple(ScalingSetup)
    replicates: int = 3
    stop_early: StoppingRule | None = None
    gates: tuple[GateLimit, ...] = ()
    expected_changes: tuple[ExpectedChange, ...] = ()
    grace_s: Mapping[str, float | None] = field(default_factory=dict)
    evidence_s: float = 5.0
    no_capacity_fails: bool = False
    prices: PriceBook | None = None
    budget: Budget | None = None
    design_notes: tuple[str, ...] = ()
    where: str = "The experiment"

    def __post_init__(self) -> None:
        refuse(self.where, chain(name_problems(self), target_problems(self), reference_problems(self)))
        refuse(self.where, size_problems(self))
        refuse(self.where, chain.from_iterable(self._impossible(target) for target in self.targets))
        refuse(self.where, gate_problems(self))
        object.__setattr__(self, "targets", tuple(self._treated(target) for target in self.targets))

    def target(self, name: str) -> Target:
        """Return a target by name."""
        for target in self.targets:
            if target.name == name:
                return target
        raise ConfigurationError(f"Target {shown(name)} is unknown{nearest(name, (t.name for t in self.targets))}.")

    def pricing(self, name: str) -> dict[str, Any]:
        """Return how a trial on a target is priced (`Trial.pricing`)."""
        nodes = self.target(name).nodes
        own = {"prices": self.prices.as_dict()} if self.prices else {}
        return own | ({"disk_gib": nodes.data_volume_gib} if nodes.cloud == "eks" else {})

    def workload(self, name: str) -> Workload:
        """Return a workload by name."""
        for workload in self.workloads:
            if workload.name == name:
                return workload
        raise ConfigurationError(f"Workload {shown(name)} is unknown{nearest(name, (w.name for w in self.workloads))}.")

    def treatments(self, variant: str, cloud: str) -> tuple[Treatment, ...]:
        """Return a variant's treatments on a cloud, in the order they are applied."""
        self._check_variant(variant)
        return resolved(self.variants[variant], cloud)

    def _check_variant(self, name: str) -> None:
        if name not in self.variants:
            raise ConfigurationError(f"Variant {shown(name)} is unknown{nearest(name, self.variants)}.")

    def workloads_on(self, target: Target) -> tuple[Workload, ...]:
        """Return the workloads that a target runs."""
        return tuple(workload for workload in self.workloads if target.serves(workload.name))

    def on_clouds(self, clouds: Iterable[str]) -> "Experiment":
        """Return the experiment with only the targets on these clouds; a cloud that it does not have is an error."""
        wanted = {cloud.strip() for cloud in clouds if cloud.strip()}
        unknown = wanted - {target.cloud for target in self.targets}
        if unknown or not wanted:
            raise ConfigurationError(
                f"Experiment {self.name!r} has no targets on {', '.join(sorted(unknown)) or 'no cloud'}: "
                f"choose of {', '.join(sorted({target.cloud for target in self.targets}))}."
            )
        targets = tuple(target for target in self.targets if target.cloud in wanted)
        cells = {cell.key for cell in replace(self, targets=targets, gates=(), expected_changes=()).all_cells()}
        gates = tuple(gate for gate in self.gates if gate.arm in cells)
        expected = tuple(change for change in self.expected_changes if change.arm is None or change.arm in cells)
        return replace(self, targets=targets, gates=gates, expected_changes=expected)

    def narrowed(self, *, target: str, setup: str, variant: str, workload: str) -> "Experiment":
        """Return the experiment with one cell, once; a combination that it does not have is an error."""
        chosen, served = self.target(target), self.workload(workload)
        if setup not in tuple(ScalingSetup):
            raise ConfigurationError(f"Scaling set-up {setup!r} is unknown: choose static or dynamic.")
        self._check_variant(variant)
        if variant not in chosen.variants:
            raise ConfigurationError(
                f"Target {target!r} was prepared for {', '.join(chosen.variants)}, not for variant {variant!r}: "
                "choose another target, or add the variant to it and prepare it again."
            )
        if not chosen.serves(workload):
            raise ConfigurationError(
                f"Target {target!r} runs the workloads {', '.join(chosen.workloads)}, not {workload!r}: choose another "
                "target, or add the workload to it and prepare it again."
            )
        if ScalingSetup(setup) not in served.offered_setups:
            raise ConfigurationError(
                f"Workload {workload!r} is {served.own_setup}, not {setup}: choose that, or let its manifest be "
                f"changed by `setups: [{served.own_setup}, {setup}]` in workloads.{workload}."
            )
        return replace(
            self,
            targets=(replace(chosen, variants=(variant,), workloads=(workload,)),),
            workloads=(served,),
            setups=(ScalingSetup(setup),),
            replicates=1,
            stop_early=None,
            gates=(),
            expected_changes=(),
        )

    def with_workload(self, workload: Workload) -> "Experiment":
        """Return the experiment with a workload in place of the one of the same name."""
        return replace(
            self, workloads=tuple(workload if item.name == workload.name else item for item in self.workloads)
        )

    def cells(self) -> Iterator[PlannedCell]:
        """Yield every cell, in the order of targets, workloads, set-ups and variants. Those of fallbacks are not among
        them, unless the fallback stands alone.
        """
        names = {target.name for target in self.targets}
        for target in self.targets:
            if target.fallback_of in names:
                continue
            for workload in self.workloads_on(target):
                for setup in self.setups:
                    if setup in workload.offered_setups:
                        for variant in target.variants:
                            if not self._vain(target, variant, setup):
                                yield PlannedCell(target.name, workload.name, setup, variant)

    def fallbacks(self, cell: PlannedCell) -> tuple[PlannedCell, ...]:
        """Return where a trial of a cell is tried after it got no capacity, in order."""
        return tuple(replace(cell, target=target.name) for target in in_order(self.targets, cell.target))

    def all_cells(self) -> Iterator[PlannedCell]:
        """Yield every cell, each with its fallbacks behind it."""
        for cell in self.cells():
            yield cell
            yield from self.fallbacks(cell)

    def left_out(self) -> tuple[str, ...]:
        """Return which variants have no trials in a set-up, because a treatment can change nothing there."""
        found = {
            variant: (setup, why)
            for target in self.targets
            for setup in self.setups
            for variant in target.variants
            if (why := self._vain(target, variant, setup))
        }
        return tuple(f"Variant {name} has no {setup} trials: {why}." for name, (setup, why) in found.items())

    def _vain(self, target: Target, variant: str, setup: ScalingSetup) -> str:
        return "; ".join(vain(self.treatments(variant, target.cloud), setup))

    def slots(self) -> dict[str, int]:
        """Return how many trials each cluster runs: known when the DAG is parsed."""
        clusters = {target.name: target.cluster for target in self.targets}
        counts: dict[str, int] = {}
        for cell in self.cells():
            counts[clusters[cell.target]] = counts.get(clusters[cell.target], 0) + self.replicates
        return counts

    def fallback_slots(self) -> dict[str, int]:
        """Return how many fallback slots follow each slot of a cluster."""
        counts = dict.fromkeys(self.slots(), 0)
        for cell in self.cells():
            cluster = self.target(cell.target).cluster
            counts[cluster] = max(counts[cluster], len(self.fallbacks(cell)))
        return counts

    def planned_trials(self) -> int:
        """Return how many trials a run has, with those in fallbacks, of which most are not needed."""
        return self.replicates * sum(1 for _ in self.all_cells())

    def arm(self, cell: PlannedCell) -> Arm:
        """Return the arm of a cell; its origin is `unknown` until the cluster was asked."""
        target, workload = self.target(cell.target), self.workload(cell.workload)
        model = workload.model
        stratum = Stratum(
            origin="unknown",
            cloud=target.cloud,
            setup=str(cell.setup),
            workload_content=workload.content,
            region=target.region,
            autoscaler=target.nodes.autoscaler,
            nodes=target.nodes_content or target.nodes.content,
            model_id=model.model_id if model else None,
            model_revision=model.revision if model else None,
            workload=workload.name,
            fallback=target.name if target.fallback_of else "",
        )
        treatments = self.treatments(cell.variant, target.cloud)
        return Arm(stratum, cell.variant, tuple(item.name for item in treatments))

    def plan(self, seed: int, *, dag_id: str, run_id: str) -> list[Trial]:
        """Draw which trial runs in which slot of which cluster. The same seed draws the same plan. Behind a trial stand
        those in its fallbacks, with its slot's number.
        """
        rng = random.Random(seed)
        cells = list(self.cells())
        arms = {cell: self.arm(cell) for cell in self.all_cells()}
        models = {workload.name: workload.model for workload in self.workloads}
        next_slot: dict[str, int] = {}
        planned: list[Trial] = []
        for replicate in range(self.replicates):
            drawn = list(cells)
            rng.shuffle(drawn)
            for cell in drawn:
                cluster = self.target(cell.target).cluster
                number = next_slot.get(cluster, 0)
                next_slot[cluster] = number + 1
                slot = Slot(
                    experiment=self.name,
                    dag_id=dag_id,
                    run_id=run_id,
                    cluster=cluster,
                    number=number,
                    replicate=replicate,
                    seed=seed,
                )
                served = Served(workload=cell.workload, model=models[cell.workload])
                for at, place in enumerate((cell, *self.fallbacks(cell))):
                    planned.append(
                        Trial(slot=replace(slot, fallback=at), arm=arms[place], target=place.target, served=served)
                    )
        return planned

    def _impossible(self, target: Target) -> Iterator[str]:
        """Yield why a variant is impossible on a target, or why its variants cannot share its nodes."""
        key, wanted = f"targets.{target.name}.variants", dict[str, NodeProfile]()
        for variant in target.variants:
            try:
                treatments = self.treatments(variant, target.cloud)
            except ConfigurationError as error:
                yield f"{key}: {variant!r} is impossible: {error}"
                continue
            wanted[variant] = treated_nodes(target.nodes, treatments)
            for workload in self.workloads_on(target):
                for problem in impossible(treatments, target, workload) or self._never(treatments, workload):
                    yield f"{key}: {variant!r} is impossible: {problem}"
        first, *others = wanted.items() or [("", target.nodes)]
        for variant, nodes in others:
            if nodes != first[1]:
                yield (
                    f"{key}: {first[0]!r} and {variant!r} need different nodes "
                    f"({_features(first[1])}; {_features(nodes)}): give each a target of its own."
                )

    def _never(self, treatments: Sequence[Treatment], workload: Workload) -> tuple[str, ...]:
        """Return why treatments can help in none of the set-ups that are tried."""
        reasons = [vain(treatments, setup) for setup in self.setups if setup in workload.offered_setups]
        return tuple(f"{'; '.join(told)}." for told in reasons) if all(reasons) else ()

    def _treated(self, target: Target) -> Target:
        """Return a target whose nodes are what all its variants need."""
        return target.treated(treated_nodes(target.nodes, self.treatments(target.variants[0], target.cloud)))


def joined(*experiments: Experiment) -> Experiment:
    """Return several experiments as one, under the first one's name. Equal names must mean equal things."""
    first, *others = experiments
    targets, workloads, variants = list(first.targets), list(first.workloads), dict(first.variants)
    for other in others:
        targets += other.targets
        for workload in other.workloads:
            known = next((item for item in workloads if item.name == workload.name), None)
            if known is None:
                workloads.append(workload)
            elif known != workload:
                raise ConfigurationError(f"{other.where}: workloads.{workload.name} is another one in {first.where}.")
        for name, treatments in other.variants.items():
            if variants.setdefault(name, treatments) != treatments:
                raise ConfigurationError(f"{other.where}: variants.{name} is another one in {first.where}.")
    names = {item.name: tuple(w.name for w in part.workloads_on(item)) for part in experiments for item in part.targets}
    return replace(
        first,
        targets=tuple(replace(target, workloads=names[target.name]) for target in targets),
        workloads=tuple(workloads),
        variants=variants,
        gates=tuple(gate for part in experiments for gate in part.gates),
        expected_changes=tuple(change for part in experiments for change in part.expected_changes),
    )


def _features(nodes: NodeProfile) -> str:
    return ", ".join(sorted(nodes.features)) or "no features"
