"""A GKE project with one cluster and one image, and requests about it."""

from datetime import UTC, datetime
from typing import Any

import pytest

pytest.importorskip("google.cloud.container_v1", reason="needs the [google] extra")

from gke_world import POOL, PROJECT, REGION, GoogleProject

from airflow_llm_provisioning.core.operation import Operation
from llm_provisioning_simulator.world import Image

IMAGE = f"{REGION}-docker.pkg.dev/{PROJECT}/ray-serving/ray-serving:r-1"
DIGEST = "sha256:" + "a" * 64
ENABLE = "serviceusage.services.enable"
UPDATE_CLUSTER = "container.projects.locations.clusters.update"
POOLS = "container.projects.locations.clusters.nodePools."
STREAM: dict[str, Any] = {"image": IMAGE, "digest": DIGEST, "cluster": "main", "pools": None, "target": "gke-streaming"}
SET_UP: dict[str, Any] = {"cluster": "main", "pool": POOL, "target": "gke-streaming"}


def push(google: GoogleProject, reference: str) -> None:
    google.world.push(Image(reference, DIGEST, (100, 200, 300), {}, {}, REGION, datetime(2026, 1, 1, tzinfo=UTC)))
    host, project, repository = reference.split("/")[:3]
    name = f"projects/{project}/locations/{host.removesuffix('-docker.pkg.dev')}/repositories/{repository}"
    google.stand_in.registry.repositories[name] = {"name": name, "format": "DOCKER", "mode": "STANDARD_REPOSITORY"}


def fail(google: GoogleProject, method: str, **fault: object) -> None:
    google.stand_in.faults[method] = {"times": 1, **fault}


def error_of(ended: Operation) -> str:
    assert ended.state == "failed", ended
    assert ended.error is not None
    return ended.error
