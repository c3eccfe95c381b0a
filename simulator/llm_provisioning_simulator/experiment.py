"""The experiment file that a simulator is made for."""

from pathlib import Path

from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.core.experiment_file import read_experiment_text
from airflow_llm_provisioning.exceptions import ConfigurationError


def simulated_experiment(path: Path) -> Experiment:
    """Read an experiment and the manifests beside it. Raises ConfigurationError with file and key."""

    def text(of: Path) -> str:
        try:
            return of.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"The file {of} cannot be read: {error}.") from error

    return read_experiment_text(text(path), where=str(path), read_text=lambda name: text(path.parent / name))
