"""Trials, preparations and a sweep as in a store and a file: small, simple, with invented numbers."""

from collections.abc import Mapping
from typing import Any

from trial_builders import OPENED_AT, a_result

from airflow_llm_provisioning.core.result import PhaseResult, Preparation, TrialResult

PHASES: Mapping[str, float] = {
    "operator_start": 2,
    "head_pod_creation": 1,
    "head_node_request": 6,
    "head_node_boot": 60,
    "head_node_setup": 10,
    "head_scheduling": 1,
    "head_image_pull": 250,
    "head_container_start": 2,
    "head_ray_start": 9,
    "serve_start": 3,
    "head_runtime_env": 140,
    "app_build": 5,
    "ray_autoscaling": 5,
    "worker_node_request": 6,
    "worker_node_boot": 110,
    "worker_node_setup": 10,
    "worker_gpu_setup": 60,
    "worker_scheduling": 1,
    "worker_image_pull": 250,
    "worker_init_start": 1,
    "worker_wait_gcs": 30,
    "worker_ray_start": 4,
    "worker_runtime_env": 140,
    "replica_start": 2,
    "engine_start": 20,
    "weight_download": 190,
    "model_load": 6,
    "graph_capture": 18,
    "engine_init": 5,
    "app_start": 1,
    "service_creation": 2,
    "endpoint_publish": 1,
}
ENVIRONMENT: dict[str, Any] = {
    "cluster": {"gitVersion": "v1.34.0"},
    "ray": "2.33.0",
    "head": {"node": "n1", "instance_type": "m5.xlarge", "zone": "us-west-2a"},
    "worker": {"node": "n2", "instance_type": "g6.4xlarge", "gpu": "L4"},
}


def a_trial(
    trial_id: str,
    *,
    cloud: str = "eks",
    setup: str = "static",
    variant: str = "baseline",
    factor: float = 1.0,
    phases: Mapping[str, float] = PHASES,
    **values: Any,
) -> TrialResult:
    """One comparable trial; `factor` stretches all its phases."""
    stages = tuple(PhaseResult(name, s * factor, s * factor - 0.5, s * factor + 0.5) for name, s in phases.items())
    total_s = sum(stage.duration_s for stage in stages)
    fields: dict[str, Any] = {
        "cluster": f"{cloud}-cluster",
        "total_s": total_s,
        "total_low_s": total_s - 1,
        "total_high_s": total_s + 1,
        "completion_s": total_s + 3,
        "environment": ENVIRONMENT,
        "phases": stages,
    }
    return a_result(trial_id, cloud=cloud, setup=setup, variant=variant, **fields | values)


def a_preparation(target: str = "eks-fast", **values: Any) -> Preparation:
    """A built image with an unknown price."""
    fields: dict[str, Any] = {
        "target": target,
        "cloud": target.partition("-")[0],
        "verb": "build_image",
        "content": "abc",
        "result": {"image": "registry/serving:r-abc"},
        "origin": "simulated",
        "seconds": 612.0,
        "prepared_at": OPENED_AT,
        "price_basis": "the simulator sells nothing",
    }
    return Preparation(**fields | values)


def a_sweep(cloud: str = "eks", setup: str = "static", *, rows: int = 2) -> dict[str, Any]:
    """A sweep of one cell; the first number has the most influence."""
    moved = [
        {
            "cloud": cloud,
            "setup": setup,
            "quantity": f"number_{index}_s",
            "unit": "s of something",
            "value": 2.0,
            "low": 1.0,
            "high": 4.0,
            "reduction_pct": 50.0,
            "reduction_at_low_pct": 50.0 - 8.0 / (index + 1),
            "reduction_at_high_pct": 50.0 + 6.0 / (index + 1),
            "file": "eks.toml",
            "source_or_assumption": f"because of reason {index}",
            "assumed": index % 2 == 0,
        }
        for index in range(rows)
    ]
    cell = {"cloud": cloud, "setup": setup, "baseline_s": 1000.0, "improved_s": 500.0, "reduction_pct": 50.0}
    return {"cells": [cell | {"published_pct": 26.0}], "rows": moved, "unread": {cloud: ["idle_s"]}, "lines": []}
