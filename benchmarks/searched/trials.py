"""One trial of any combination of treatments, as plain data; the same combination is run once.

A combination that the treatments themselves refuse is not run, and its reason is kept.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from proof.catalogue.ray_start_trim import operator_set_to
from proof.recorded_trial import Scenario, run
from proof.targets import target
from proof.workloads import SERVED_2025, SERVED_CURRENT

from airflow_llm_provisioning.core.floor import cold_sentence, gap_sentence, trial_floor
from airflow_llm_provisioning.core.result import TrialResult, TrialStatus
from airflow_llm_provisioning.core.target import Target
from airflow_llm_provisioning.core.treatments import (
    impossible,
    known_treatments,
    plan_deployment,
    resolved,
    steps_of,
    treated_nodes,
    vain,
)
from airflow_llm_provisioning.core.workload import ScalingSetup
from airflow_llm_provisioning.exceptions import ProvisioningError
from llm_provisioning_simulator.instant_trial import Stage
from llm_provisioning_simulator.prepared import Prepared
from llm_provisioning_simulator.profiles import load_profile
from searched.forms import FORMS, form_of

WORKLOADS: Final = {"phi3-2025": SERVED_2025, "phi3-current": SERVED_CURRENT}
VARIANT: Final = "searched"
# Until the pods are gone, and shorter than any autoscaler keeps an empty node: the second trial finds the nodes.
_WARM_PAUSE_S: Final = 20.0
Told = dict[str, Any]


class Combination(NamedTuple):
    """Treatments in a stratum. `names`: sorted; `form`: what of the target they need (`forms`), or is given anyway."""

    cloud: str
    autoscaler: str
    setup: str
    workload: str
    names: tuple[str, ...]
    form: tuple[str, ...] = ()

    def of(self, names: Iterable[str]) -> "Combination":
        """Return other treatments in the same stratum, on the target that they need."""
        chosen = tuple(sorted(set(names)))
        return self._replace(names=chosen, form=form_of(self.cloud, self.autoscaler, chosen))

    def bare(self) -> "Combination":
        """Return the baseline on the same target."""
        return self._replace(names=())


@dataclass(slots=True)
class Book:
    """The trials that were run, and what was refused. `budget`: trials that may still be run; None: no limit."""

    pool: Executor
    budget: int | None = None
    known: dict[Combination, Told] = field(default_factory=dict)
    refused: dict[Combination, str] = field(default_factory=dict)

    def run(self, asked: Sequence[Combination]) -> list[Told]:
        """Return the trials of combinations, without those that are refused or beyond the budget."""
        missing = [one for one in dict.fromkeys(asked) if one not in self.known and not self.refuses(one)]
        if self.budget is not None:
            missing = missing[: self.budget]
            self.budget -= len(missing)
        for one, told in zip(missing, self.pool.map(trial, missing), strict=True):
            self.known[one] = told
        return [self.known[one] for one in dict.fromkeys(asked) if one in self.known]

    def refuses(self, one: Combination) -> bool:
        """Return whether the treatments refuse a combination; `refused` has the reason."""
        if one not in self.refused and (reason := refusal(one)) is not None:
            self.refused[one] = reason
        return one in self.refused


def treatments_on(cloud: str) -> tuple[str, ...]:
    """Return the installed treatments that exist on a cloud, in the order they are applied."""
    return tuple(name for name, item in known_treatments().items() if not item.clouds or cloud in item.clouds)


def refusal(one: Combination) -> str | None:
    """Return why a combination cannot be planned, in a sentence, or None."""
    try:
        chosen = resolved(one.names, one.cloud)
        groups = [item.group for item in chosen if item.group]
        if len(groups) != len(set(groups)):
            return "two of them are alternatives to each other"
        where, served = _target(one), WORKLOADS[one.workload]
        if sentences := impossible(chosen, where, served):
            return " ".join(sentences)
        if sentences := vain(chosen, ScalingSetup(one.setup)):
            return f"{'; '.join(sentences)}."
        plan_deployment(served, chosen, ScalingSetup(one.setup), where)
    except ProvisioningError as error:
        return str(error)
    return None


def trial(one: Combination, *, warm: bool = False) -> Told:
    """Run one trial without noise; with `warm` the one after it, on the nodes that it left."""
    try:
        row = run(scenario(one, warm=warm))[-1].row
    except Exception as error:  # noqa: BLE001 - what cannot be run is told beside the others
        return _base(one) | {"counts": False, "why": f"{type(error).__name__}: {error}"}
    return told(one, row, warm=warm)


def scenario(one: Combination, *, warm: bool = False) -> Scenario:
    """Return the scenario of a combination."""
    return Scenario(
        target=_target(one),
        declared=WORKLOADS[one.workload],
        setup=ScalingSetup(one.setup),
        variant=VARIANT,
        variants={VARIANT: one.names},
        noise=False,
        earlier=1 if warm else 0,
        pause_s=_WARM_PAUSE_S,
        after_preparation=_prepared(one.names),
        gates=frozenset[str]().union(*(FORMS[name].gates for name in one.form)),
    )


def _target(one: Combination) -> Target:
    plain = target(one.cloud, "plain", one.autoscaler)
    for form in (FORMS[name] for name in one.form):
        nodes = replace(plain.nodes, **form.fields, options={**plain.nodes.options, **form.options})
        plain = replace(plain, nodes=nodes)
    name = f"{one.cloud}-{one.autoscaler}-{VARIANT}"
    # A target's nodes have its name, as those of an experiment's file do.
    where = replace(plain, name=name, variants=(VARIANT,), nodes=replace(plain.nodes, name=name))
    return where.treated(treated_nodes(where.nodes, resolved(one.names, one.cloud)))


def _prepared(names: Sequence[str]) -> Callable[[Stage, Prepared], Prepared | None]:
    """Return what does, after the clouds' preparations, what else the treatments' own steps leave."""

    def prepare(on: Stage, prepared: Prepared) -> Prepared | None:
        for name in names:
            if name in BY_HAND:
                BY_HAND[name](on, prepared)
        return None

    return prepare


BY_HAND: Final[Mapping[str, Callable[[Stage, Prepared], object]]] = {
    # The KubeRay operator's own setting, which `helm upgrade` changes.
    "ray_start_trim": operator_set_to("false"),
}
"""What a treatment needs that no step of the preparation makes, because it belongs to the whole cluster."""


def told(one: Combination, row: TrialResult, *, warm: bool = False) -> Told:
    """Return a trial as plain data. `counts`: ready, cold except for what is declared, and every treatment verified."""
    found = trial_floor(row)
    why = list(_objections(row, declared=bool(one.names), warm=warm))
    return _base(one) | {
        "total_s": row.total_s,
        "counts": not why,
        "why": "; ".join(why),
        "start": row.start,
        "verdicts": {str(item["claim"]): str(item["value"]) for item in row.verdicts},
        "phases": {phase.name: round(phase.duration_s, 1) for phase in row.phases},
        "floor_s": None
        if found is None or found.cold is None
        else [round(found.cold.low, 1), round(found.cold.high, 1)],
        "floor_gap": None if found is None else gap_sentence(found),
        "floor": None if found is None else cold_sentence(found),
        "usd_hour": _usd_hour(one, row),
        "tokens_s": (row.speed or {}).get("tokens_s"),
    }


def _base(one: Combination) -> Told:
    chosen = resolved(one.names, one.cloud)
    return {
        "origin": "simulated",
        **one._asdict(),
        "names": list(one.names),
        "total_s": None,
        "keeps_warm": sorted({kind for item in chosen for kind in item.keeps_warm}),
        "prepared": [step.name for step in steps_of(chosen)],
    }


def _objections(row: TrialResult, *, declared: bool, warm: bool) -> Iterator[str]:
    if row.status is not TrialStatus.SUCCEEDED or row.total_s is None:
        yield f"{row.status}: {row.reason}"
        return
    if not warm and row.start != "cold":
        cold = [sentence for item in row.verdicts if item["claim"] == "cold_start" for sentence in item["evidence"]]
        yield f"start {row.start}: {' '.join(cold)}"
    if row.applied != ("applied" if declared else "none"):
        doubted = [f"{item['claim']} {item['value']}" for item in row.verdicts if item["value"] != "yes"]
        yield f"{row.applied}: {', '.join(doubted)}"


def _usd_hour(one: Combination, row: TrialResult) -> dict[str, float | None]:
    """Return what the two machines cost an hour at the simulated cloud's own rates; None where one is not known."""
    profile = load_profile(one.cloud, one.autoscaler)
    rates = {size.name: size.usd_hour for size in profile.instance_types}
    roles = {role: (row.environment.get(role) or {}).get("instance_type") for role in ("head", "worker")}
    return {role: rates.get(str(name)) for role, name in roles.items()}
