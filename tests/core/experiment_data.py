"""Data of an experiment file, small and valid; every keyword is a change to it."""

from pathlib import Path
from typing import Any

import yaml

from airflow_llm_provisioning.core.builtin_profiles import PHI3_CURRENT
from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.core.experiment_file import read_experiment
from airflow_llm_provisioning.core.manifests import builtin_manifest

EXAMPLES = Path(__file__).resolve().parents[2] / "airflow_llm_provisioning" / "example_dags" / "experiments"
EXPERIMENTS = sorted(path.name for path in EXAMPLES.glob("*.yaml") if "targets:" in path.read_text(encoding="utf-8"))


def target_data(name: str = "eks-plain", **fields: Any) -> dict[str, Any]:
    """A target on EKS with Luna; `nodes` adds to its nodes."""
    nodes = {"cloud": "eks", "autoscaler": "luna", "kubernetes_minor": "1.34", **fields.pop("nodes", {})}
    return {
        "name": name,
        "cluster": name,
        "conn_id": "k8s",
        "variants": ["baseline", "fast_download"],
        "nodes": nodes,
    } | fields


def experiment_data(*targets: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """An experiment with one target, or these."""
    return {"name": "nightly", "targets": list(targets) or [target_data()], **fields}


def experiment(*targets: dict[str, Any], **fields: Any) -> Experiment:
    """The experiment of such data, as `it.yaml`."""
    return read_experiment(experiment_data(*targets, **fields), where="it.yaml", read_text=no_file)


def no_file(path: str) -> str:
    """No file is beside the experiment."""
    raise AssertionError(f"{path} was read")


def a_manifest(name: str = "mine", *, worker_image: str | None = None) -> dict[str, Any]:
    """A RayService of a user's: today's stack under another name."""
    made = builtin_manifest(PHI3_CURRENT)
    made["metadata"]["name"] = name
    if worker_image is not None:
        (group,) = made["spec"]["rayClusterConfig"]["workerGroupSpecs"]
        group["template"]["spec"]["containers"][0]["image"] = worker_image
    return made


def simulated_data() -> dict[str, Any]:
    """What the simulated example's file says."""
    data: dict[str, Any] = yaml.safe_load((EXAMPLES / "simulated.yaml").read_text(encoding="utf-8"))
    return data
