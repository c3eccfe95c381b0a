"""A factorial plan over an experiment's targets: which combinations each target runs, and what is left out and why.

A target lists `design` among its variants for the combinations that leave its nodes as they are, and `design with
TREATMENT` (several joined by `+`) for those that need the nodes that the treatment needs. What is impossible on its
cloud, with its nodes or with its workloads is left out.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from airflow_llm_provisioning.core.factorial import Design, confounding, variant_name
from airflow_llm_provisioning.core.target import NodeProfile, Target
from airflow_llm_provisioning.core.treatments import impossible, resolved, treated_nodes
from airflow_llm_provisioning.core.workload import Workload
from airflow_llm_provisioning.exceptions import ConfigurationError

_ENTRY: Final = re.compile(r"design(?: with (?P<names>\S+))?")


@dataclass(frozen=True, slots=True)
class Placed:
    """The targets with their generated variants. `notes`: every combination that is left out with its reason, and what
    can then not be told apart, in sentences.
    """

    targets: tuple[Target, ...]
    notes: tuple[str, ...]


def place_design(design: Design, targets: Sequence[Target], workloads: Sequence[Workload]) -> Placed:
    """Return the targets with the plan's combinations in place of their `design` entries.

    Raises ConfigurationError where an entry names a treatment that is impossible on the target's cloud.
    """
    reasons: dict[tuple[str, str], str] = {}
    placed = tuple(_placed(design, target, workloads, reasons) for target in targets)
    return Placed(placed, tuple(_notes(design, placed, reasons)))


def _placed(
    design: Design, target: Target, workloads: Sequence[Workload], reasons: dict[tuple[str, str], str]
) -> Target:
    chosen: list[str] = []
    for entry in target.variants:
        asked = _ENTRY.fullmatch(entry)
        if asked is None:
            chosen.append(entry)
            continue
        names = tuple((asked["names"] or "").split("+")) if asked["names"] else ()
        nodes = treated_nodes(target.nodes, resolved(names, target.cloud))
        served = [workload for workload in workloads if target.serves(workload.name)]
        for combination in design.combinations():
            why = _why_not(combination, target, nodes, served)
            if why is None:
                chosen.append(variant_name(combination))
            elif why:
                reasons[target.cloud, variant_name(combination)] = why
    return replace(target, variants=tuple(dict.fromkeys(chosen)))


def _why_not(
    combination: Sequence[str], target: Target, nodes: NodeProfile, workloads: Iterable[Workload]
) -> str | None:
    """Return why a target does not run a combination; "" where it belongs on other nodes, None where it runs it."""
    try:
        treatments = resolved(combination, target.cloud)
    except ConfigurationError as error:
        return str(error)
    for workload in workloads:
        if problems := impossible(treatments, target, workload):
            return " ".join(problems)
    return None if treated_nodes(target.nodes, treatments) == nodes else ""


def _notes(design: Design, targets: Sequence[Target], reasons: Mapping[tuple[str, str], str]) -> list[str]:
    told = design.confounded()
    for cloud in dict.fromkeys(target.cloud for target in targets):
        run = {name for target in targets if target.cloud == cloud for name in target.variants}
        names = {variant_name(combination): combination for combination in design.combinations()}
        absent = [name for name in names if name not in run]
        if not absent or len(absent) == len(names):
            continue
        for name in absent:
            why = reasons.get((cloud, name), "no target lists it, or it needs nodes that no target has")
            told.append(f"{cloud}: combination {name} is left out: {why.rstrip('.')}.")
        kept = [combination for name, combination in names.items() if name in run]
        told += [f"{cloud}: {sentence}" for sentence in confounding(design.treatments, kept)]
    return told
