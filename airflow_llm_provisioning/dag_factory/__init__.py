"""Experiment + targets -> tasks: a preparation per target, and numbered trial slots per cluster.

Call inside a `with DAG(...)`.
"""

from airflow_llm_provisioning.dag_factory.experiment_file import checked, configured_experiment, load_experiment
from airflow_llm_provisioning.dag_factory.form import single_trial_params
from airflow_llm_provisioning.dag_factory.preparing import preflight, preparation
from airflow_llm_provisioning.dag_factory.reaping import reaping
from airflow_llm_provisioning.dag_factory.slots import single_trial, trial_slot, trials
from airflow_llm_provisioning.dag_factory.wiring import group_key

__all__ = [
    "checked",
    "configured_experiment",
    "group_key",
    "load_experiment",
    "preflight",
    "preparation",
    "reaping",
    "single_trial",
    "single_trial_params",
    "trial_slot",
    "trials",
]
