"""Which trial runs in which slot, and which revision of each model all of them serve."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.core.names import fingerprint
from airflow_llm_provisioning.core.trial import Trial
from airflow_llm_provisioning.core.workload import Workload
from airflow_llm_provisioning.exceptions import ConfigurationError, ProvisioningError

# What an integer column of a database holds.
MIN_SEED: Final = -(2**63)
MAX_SEED: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Plan:
    """A DAG run's trials in the order they were drawn."""

    seed: int
    trials: tuple[Trial, ...]


def draw_plan(
    experiment: Experiment,
    *,
    dag_id: str,
    run_id: str,
    seed: int | None,
    overrides: Mapping[str, str],
    log: Any,
) -> Plan:
    """Draw the trials of a DAG run.

    `seed`: None draws it from the run's own id, so that a cleared task draws the same plan. `overrides`: {model_id,
    revision, image} of a form; they change every workload of the experiment, and with it the arm.

    Raises ConfigurationError for a seed of more than 64 bits: the results store could not keep it.
    """
    if seed is not None and not MIN_SEED <= seed <= MAX_SEED:
        raise ConfigurationError(f"The seed {seed} is not in [{MIN_SEED}, {MAX_SEED}]: give another one, or none.")
    chosen = {key: value for key, value in overrides.items() if value}
    for workload in experiment.workloads:
        if others := workload.left_to_the_user:
            log.warning("%s", others)
        changed = workload.with_image(chosen["image"]) if "image" in chosen else workload
        experiment = experiment.with_workload(_with_model(changed, chosen, log))
    drawn = int(fingerprint({"dag_id": dag_id, "run_id": run_id}, 8), 16) if seed is None else seed
    trials = experiment.plan(drawn, dag_id=dag_id, run_id=run_id)
    return Plan(drawn, tuple(replace(trial, served=replace(trial.served, overrides=chosen)) for trial in trials))


def _with_model(workload: Workload, chosen: Mapping[str, str], log: Any) -> Workload:
    """Return the workload with the model that a form names, or its own, as the hub knows it now."""
    from airflow_llm_provisioning.gateways.hub import resolve_model

    own = workload.model
    model_id = chosen.get("model_id") or (own.model_id if own else None)
    if model_id is None:
        return workload
    same = own is not None and own.model_id == model_id
    revision = chosen.get("revision") or (own.revision if same and own else None)
    try:
        found = resolve_model(model_id, revision)
    except ProvisioningError as error:
        if same and own is not None and own.revision == revision:
            log.warning("The hub was not reached; what the experiment says of %s is used. %s", model_id, error)
            return workload
        raise ConfigurationError(
            f"Model {model_id} is not the workload's own, and the hub could not tell its revision and size: {error}"
        ) from error
    if workload.profile is None:
        # A manifest says itself which revision its engine loads: what the hub calls newest today is not pinned by it.
        found = replace(found, revision=revision)
    return workload.with_model(found)
