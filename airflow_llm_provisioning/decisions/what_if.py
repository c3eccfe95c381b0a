"""What a variant would take that was never run, for every stratum of a selection, from the results store."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from airflow_llm_provisioning.core.arm import Arm
from airflow_llm_provisioning.core.names import nearest
from airflow_llm_provisioning.core.treatments import Treatment, resolved
from airflow_llm_provisioning.core.treatments.contradictions import contradictions
from airflow_llm_provisioning.core.what_if import Held, MeasuredStart, Prediction, held_against, measured_start, predict
from airflow_llm_provisioning.exceptions import ConfigurationError

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.store.results import ResultsStore
    from airflow_llm_provisioning.gateways.store.selection import Selection

# The newest trials of an arm that are read: more tell little more of how totals spread.
MOST: Final = 20

Arms = list[list[MeasuredStart]]


@dataclass(frozen=True, slots=True)
class Outlook:
    """What one stratum says about a variant. `arm`: the arm that is changed; `prediction`: None where `why` says that
    there is none. `run_s`: totals of trials that had exactly these treatments, which the prediction did not see.
    """

    arm: Arm
    treatments: tuple[str, ...]
    prediction: Prediction | None
    run_s: tuple[float, ...] = ()
    why: str = ""


def outlooks(
    store: "ResultsStore", selection: "Selection", variant: str, add: Sequence[str], drop: Sequence[str]
) -> list[Outlook]:
    """Return what `variant` would take with other treatments, for every stratum that has trials of it. `add`, `drop`:
    treatments, or groups of which each cloud has its own. Raises ConfigurationError where no stratum has the variant.
    """
    strata = starts_of(store, selection)
    found = [
        _outlook(arms, arm, add, drop)
        for arms in strata
        if (arm := next((s[0].facts.arm for s in arms if s[0].facts.arm.variant == variant), None)) is not None
    ]
    if not found:
        known = {starts[0].facts.arm.variant for arms in strata for starts in arms}
        told = nearest(variant, sorted(known)) if known else f": {_none_of(store, selection)}"
        raise ConfigurationError(f"No comparable trial of variant {variant!r} is in the selection{told}.")
    return found


def held(store: "ResultsStore", selection: "Selection") -> list[Held]:
    """Return every arm of a selection with what earlier trials of the other arms predict of it."""
    return [each for arms in starts_of(store, selection) for each in held_against(arms)]


def starts_of(store: "ResultsStore", selection: "Selection") -> list[Arms]:
    """Return the newest comparable trials of a selection as starts: by stratum, by set of treatments."""
    by_arm: dict[tuple[str, frozenset[str]], list[str]] = {}
    for trial in store.queries.measured(selection):
        if trial.exclusion is None:
            key = (trial.arm.stratum.key, frozenset(trial.arm.treatments))
            by_arm.setdefault(key, []).append(trial.trial_id)
    strata: dict[str, Arms] = {}
    for (stratum, _), ids in by_arm.items():
        starts = [found for row in store.trials_of(ids[-MOST:]) if (found := measured_start(row)) is not None]
        if starts:
            strata.setdefault(stratum, []).append(starts)
    return list(strata.values())


def _none_of(store: "ResultsStore", selection: "Selection") -> str:
    """Return why a selection has no trial to predict from."""
    left_out = Counter(trial.exclusion for trial in store.queries.measured(selection) if trial.exclusion is not None)
    if not left_out:
        return "it has no trial that became ready and has milestones"
    told = ", ".join(f"{reason}: {count}" for reason, count in sorted(left_out.items()))
    return f"its trials are left out of comparisons ({told})"


def _outlook(arms: Arms, arm: Arm, add: Sequence[str], drop: Sequence[str]) -> Outlook:
    try:
        wanted = _wanted(arm, add, drop)
    except ConfigurationError as error:
        return Outlook(arm, arm.treatments, None, why=str(error))
    names = tuple(item.name for item in wanted)
    stratum = arm.stratum
    if told := contradictions(wanted, stratum.cloud, stratum.autoscaler or "native"):
        return Outlook(arm, names, None, why=f"these treatments cannot be had together. {told[0]}")
    run_s = [start.total_s for starts in arms if starts[0].treatments == set(names) for start in starts]
    others = [starts for starts in arms if starts[0].treatments != set(names)]
    if not others:
        return Outlook(arm, names, None, tuple(run_s), "these treatments were run, and no others to predict them from")
    try:
        return Outlook(arm, names, predict(others, wanted), tuple(run_s))
    except ConfigurationError as error:
        return Outlook(arm, names, None, tuple(run_s), str(error))


def _wanted(arm: Arm, add: Iterable[str], drop: Iterable[str]) -> tuple[Treatment, ...]:
    cloud = arm.stratum.cloud
    left = list(arm.treatments)
    added, dropped = resolved(add, cloud), resolved(drop, cloud)
    for item in added:
        if item in dropped:
            raise ConfigurationError(f"{item.name} is both added and dropped.")
        if item.name in left:
            raise ConfigurationError(f"{item.name} cannot be added: variant {arm.variant!r} has it.")
    for item in dropped:
        if item.name not in left:
            raise ConfigurationError(
                f"{item.name} cannot be dropped: variant {arm.variant!r} has {', '.join(left) or 'no treatments'}."
            )
        left.remove(item.name)
    return resolved((*left, *(item.name for item in added)), cloud)
