"""What is wrong with an experiment as a whole: each problem one sentence that begins with its key path."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from airflow_llm_provisioning.core.arm import BASELINE
from airflow_llm_provisioning.core.manifests.tree import kind_of, shown
from airflow_llm_provisioning.core.names import nearest
from airflow_llm_provisioning.core.treatments import groups, treatment
from airflow_llm_provisioning.exceptions import ConfigurationError

if TYPE_CHECKING:
    from airflow_llm_provisioning.core.experiment import Experiment

# A DAG with more tasks than this is slow to parse and to draw, and no cluster runs as many trials in a night.
MAX_TRIALS: Final = 1000


def name_problems(experiment: "Experiment") -> Iterator[str]:
    """Yield what is wrong with names, and whether anything is missing or stands there twice."""
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", experiment.name):
        yield (
            f"name {experiment.name!r} cannot be part of a Kubernetes name: use at most 40 lower-case letters, digits "
            "and inner hyphens."
        )
    if experiment.replicates < 1:
        yield f"replicates is {experiment.replicates}; at least 1 is needed."
    for kind, names in (
        ("targets", [target.name for target in experiment.targets]),
        ("workloads", [workload.name for workload in experiment.workloads]),
    ):
        if not names:
            yield f"{kind} is empty; at least one is needed."
        if twice := sorted(name for name, count in Counter(names).items() if count > 1):
            yield f"{kind}: {', '.join(twice)} stands there twice; every name must be unique."


def target_problems(experiment: "Experiment") -> Iterator[str]:
    """Yield what targets cannot share, and options of a wrong kind."""
    used: dict[str, set[str]] = {}
    for target in experiment.targets:
        used.setdefault(target.cluster, set()).add(target.namespace)
    for cluster, namespaces in sorted(used.items()):
        # The lock is a Lease, and a Lease lives in a namespace.
        if len(namespaces) > 1:
            yield (
                f"the targets on cluster {cluster!r} use the namespaces {', '.join(sorted(namespaces))}: give them "
                "one, or their trials would not see each other's lock."
            )
    for target in experiment.targets:
        for key in ("snapshot", "streaming"):
            options = target.options.get(key)
            if options is not None and not isinstance(options, Mapping):
                yield f"targets.{target.name}.options.{key} is {kind_of(options)}; a mapping of options is needed."
    if experiment.variants.get(BASELINE, ()):
        yield f"variants.{BASELINE} has treatments; the baseline is what the others are compared with, so it has none."


def reference_problems(experiment: "Experiment") -> Iterator[str]:
    """Yield what names a variant, treatment or workload that there is not."""
    for variant, treatments in experiment.variants.items():
        yield from (f"variants.{variant}: {problem}" for name in treatments for problem in _treatment_problems(name))
    workloads = {workload.name for workload in experiment.workloads}
    for target in experiment.targets:
        key = f"targets.{target.name}"
        if not target.variants:
            yield f"{key}.variants is empty; at least one is needed."
        yield from _unknown(f"{key}.variants", target.variants, experiment.variants)
        yield from _unknown(f"{key}.workloads", target.workloads, workloads)


def _treatment_problems(name: str) -> Iterator[str]:
    """Yield why a name in a variant is neither a treatment that can be used nor a group of them."""
    if name not in groups():
        try:
            treatment(name)
        except ConfigurationError as error:
            yield str(error)


def gate_problems(experiment: "Experiment") -> Iterator[str]:
    """Yield gates and expected changes of arms that no run has."""
    if not (experiment.gates or experiment.expected_changes):
        return
    cells, all_cells = ([cell.key for cell in found] for found in (experiment.cells(), experiment.all_cells()))
    for gate in experiment.gates:
        if gate.arm in all_cells and gate.arm not in cells:
            yield f"gates: {gate.arm} is a fallback, of which most runs have no trial: name its first target."
        else:
            yield from _unknown("gates", (gate.arm,), cells)
    arms = (change.arm for change in experiment.expected_changes if change.arm is not None)
    yield from _unknown("expected_changes", arms, all_cells)


def _unknown(key: str, names: Iterable[str], known: Collection[str]) -> Iterator[str]:
    return (f"{key}: {shown(name)} is unknown{nearest(name, known)}." for name in names if name not in known)


def size_problems(experiment: "Experiment") -> Iterator[str]:
    """Yield whether a run has no trial or too many, without making them."""
    tried = set(experiment.setups)
    setups = {workload.name: len(tried.intersection(workload.offered_setups)) for workload in experiment.workloads}
    served = (sum(setups[name] for name in target.workloads or setups) for target in experiment.targets)
    cells = sum(len(target.variants) * count for target, count in zip(experiment.targets, served, strict=True))
    if not cells:
        tried_setups = ", ".join(experiment.setups)
        yield f"there is no trial in it: no target runs a workload in one of the set-ups {tried_setups}."
    elif (trials := experiment.replicates * cells) > MAX_TRIALS:
        yield f"it has {trials} trials a run; at most {MAX_TRIALS} are allowed."
