"""How far the arms of a selection are above their floors, from the results store."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from airflow_llm_provisioning.core.floor import ArmFloor, arm_floors
from airflow_llm_provisioning.core.measured import Measured
from airflow_llm_provisioning.core.phase_means import PathMeans, phase_means
from airflow_llm_provisioning.core.start_facts import StartFacts, start_facts

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.store.results import ResultsStore
    from airflow_llm_provisioning.gateways.store.selection import Selection

# Trials of an arm that are read for its facts: one may have lost what another one saw.
_READ: Final = 2


def floors(store: "ResultsStore", selection: "Selection", measured: Sequence[Measured] | None = None) -> list[ArmFloor]:
    """Return the floors of every arm of a selection (`core.floor.arm_floors`). `measured`: its trials with their
    phases, where they were read already.
    """
    paths = store.queries.phase_means(selection, totals=True) if measured is None else phase_means(measured)
    return arm_floors(paths, facts_of(store, paths))


def facts_of(store: "ResultsStore", paths: Iterable[PathMeans]) -> dict[str, StartFacts]:
    """Return key of the arm -> its facts, from a few of its newest trials.

    An arm whose image was not pulled does not tell its size: it is then that of an arm of the same stratum.
    """
    ids = [trial_id for path in paths if path.number == 1 for _, trial_id in path.totals[-_READ:]]
    told: dict[str, list[StartFacts]] = {}
    for trial in reversed(store.trials_of(ids)):
        told.setdefault(trial.arm.key, []).append(start_facts(trial))
    found = {key: _filled(each) for key, each in told.items()}
    sizes = _sizes(found)
    return {
        key: replace(facts, image_bytes=facts.image_bytes or sizes.get(facts.arm.stratum.key))
        for key, facts in found.items()
    }


def _filled(told: list[StartFacts]) -> StartFacts:
    """Return the newest trial's facts, with what only another one tells."""

    def known(name: str) -> Any:
        return next((value for one in told if (value := getattr(one, name))), None)

    return replace(
        told[0],
        image_bytes=known("image_bytes"),
        weight_bytes=known("weight_bytes"),
        head_instance_type=known("head_instance_type"),
        worker_instance_type=known("worker_instance_type"),
    )


def _sizes(found: Mapping[str, StartFacts]) -> dict[str, int]:
    """Return key of the stratum -> the size of its image; the baseline's before any other."""
    ordered = sorted(found.values(), key=lambda facts: facts.arm.is_baseline)
    return {facts.arm.stratum.key: facts.image_bytes for facts in ordered if facts.image_bytes}
