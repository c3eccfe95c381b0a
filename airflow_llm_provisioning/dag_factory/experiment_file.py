"""An experiment from its YAML file, checked as far as that goes without asking a cloud."""

from dataclasses import replace
from pathlib import Path

from airflow.sdk import conf

from airflow_llm_provisioning.core.experiment import Experiment, experiment_from
from airflow_llm_provisioning.exceptions import ConfigurationError


def configured_experiment(*defaults: Path) -> Experiment:
    """Return the experiment of Airflow's `[llm_provisioning] experiment_file`, or of the given files' targets
    together.
    """
    configured = conf.get("llm_provisioning", "experiment_file", fallback="")
    if configured:
        return load_experiment(Path(configured))
    first, *others = [load_experiment(path) for path in defaults]
    return replace(first, targets=first.targets + tuple(target for other in others for target in other.targets))


def load_experiment(path: Path) -> Experiment:
    """Read an experiment from a YAML file; every variant is checked against its target, before money is spent."""
    import yaml

    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigurationError(f"The experiment file {path} cannot be read: {error}") from error
    return checked(experiment_from(data))


def checked(experiment: Experiment) -> Experiment:
    """Return the experiment, or raise what makes one of its cells impossible."""
    from airflow_llm_provisioning.core.treatments import check_target
    from airflow_llm_provisioning.core.workload import workload
    from airflow_llm_provisioning.gateways.autoscalers import AUTOSCALERS, shared_cluster_problems

    workload(experiment.profile)
    for target in experiment.targets:
        check_target(target)
        autoscaler = AUTOSCALERS[target.nodes.autoscaler]
        problems = autoscaler.check(target.nodes)
        if problems:
            raise ConfigurationError(
                f"Target {target.name!r} cannot get its nodes from {autoscaler.name}: {' '.join(problems)}"
            )
    shared = shared_cluster_problems(experiment.targets)
    if shared:
        raise ConfigurationError(" ".join(shared))
    return experiment
