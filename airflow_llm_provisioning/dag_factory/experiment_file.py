"""An experiment from its YAML file, checked as far as that goes without asking a cloud."""

from collections.abc import Iterator
from pathlib import Path

from airflow_llm_provisioning.compat import conf
from airflow_llm_provisioning.core.experiment import Experiment, joined
from airflow_llm_provisioning.exceptions import ConfigurationError


def configured_experiment(*defaults: Path) -> Experiment:
    """Return the experiment of Airflow's `[llm_provisioning] experiment_file`, or that of the given files together,
    under the first one's name. Raises ConfigurationError where neither is named.
    """
    configured = conf.get("llm_provisioning", "experiment_file", fallback="")
    if configured:
        return load_experiment(Path(configured))
    if not defaults:
        raise ConfigurationError("No experiment is named: give its file, or set [llm_provisioning] experiment_file.")
    return joined(*(load_experiment(path) for path in defaults))


def load_experiment(path: Path) -> Experiment:
    """Read an experiment from a YAML file; every combination in it is checked, before money is spent.

    A manifest that the file names is read relative to it. Raises ConfigurationError with file and key.
    """
    from airflow_llm_provisioning.core.experiment_file import read_experiment_text

    def beside(name: str) -> str:
        return read_text(path.parent / name)

    return checked(read_experiment_text(read_text(path), where=str(path), read_text=beside))


def read_text(path: Path) -> str:
    """Return a file's text, or raise a ConfigurationError. A file over 5 MB, a folder or a device is not read."""
    from airflow_llm_provisioning.core.manifests.tree import shown
    from airflow_llm_provisioning.core.yaml_text import MAX_BYTES

    shown_path = shown(str(path), 200)[1:-1]
    try:
        # A path may hold a null character (ValueError), and a device would never end.
        if path.exists() and not path.is_file():
            raise ConfigurationError(f"The file {shown_path} cannot be read: it is not a regular file.")
        if (size := path.stat().st_size) > MAX_BYTES:
            raise ConfigurationError(f"The file {shown_path} has {size:,} bytes; at most {MAX_BYTES:,} are read.")
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"The file {shown_path} cannot be read: {_reason(error)}.") from error


def _reason(error: OSError | ValueError) -> str:
    """Return why, in the system's words; the path stands in the sentence already."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "it is not text in UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)


def checked(experiment: Experiment) -> Experiment:
    """Return the experiment, or raise what makes its nodes impossible."""
    from airflow_llm_provisioning.core.refusals import refuse
    from airflow_llm_provisioning.gateways.autoscalers import AUTOSCALERS, shared_cluster_problems

    refuse(experiment.where, _unknown_clouds(experiment))
    for target in experiment.targets:
        autoscaler = AUTOSCALERS[target.nodes.autoscaler]
        try:
            problems = autoscaler.check(target.nodes)
        except ConfigurationError as error:
            raise ConfigurationError(f"{experiment.where}: targets.{target.name}.nodes.cloud: {error}") from error
        if problems:
            raise ConfigurationError(
                f"{experiment.where}: target {target.name!r} cannot get its nodes from {autoscaler.name}: "
                f"{' '.join(problems)}"
            )
    shared = shared_cluster_problems(experiment.targets)
    if shared:
        raise ConfigurationError(f"{experiment.where}: {' '.join(shared)}")
    return experiment


def _unknown_clouds(experiment: Experiment) -> Iterator[str]:
    """Yield a sentence for every target on a cloud that this installation does not know."""
    from airflow_llm_provisioning.core.manifests.tree import shown
    from airflow_llm_provisioning.core.names import nearest
    from airflow_llm_provisioning.gateways.clouds.registry import known_clouds

    for target in experiment.targets:
        if target.cloud not in known_clouds():
            told = f"{shown(target.cloud)} is unknown{nearest(target.cloud, known_clouds())}."
            yield f"targets.{target.name}.nodes.cloud: {told}"
