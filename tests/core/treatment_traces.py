"""A made-up trace of a deployment for the verdicts of treatments, and what its containers are given."""

import json
from collections.abc import Mapping
from typing import Any

from airflow_llm_provisioning.core.manifests import ray_container, ray_groups
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.treatments import (
    known_treatments,
)
from airflow_llm_provisioning.core.verdicts import Verdict
from airflow_llm_provisioning.core.workload import builtin_workload

SERVED = [builtin_workload(name, name) for name in ("phi3-2025", "phi3-current")]
DIGEST, OTHER_DIGEST = "sha256:" + "1" * 64, "sha256:" + "2" * 64
IMAGE = "registry.example/serving:r-1"
TRANSFER = {"HF_HUB_ENABLE_HF_TRANSFER": "1"}
XET = {"HF_XET_HIGH_PERFORMANCE": "1"}


def line(resource: str, obj: Mapping[str, Any], second: int = 0, kind: str = "ADDED") -> dict[str, Any]:
    return {"received_at": f"2026-05-04T12:00:{second:02d}Z", "type": kind, "resource": resource, "object": obj}


def pod(role: str, *, env: Mapping[str, str], digest: str, image: str) -> dict[str, Any]:
    owner = {"kind": "RayCluster", "name": "c", "uid": "rc", "controller": True}
    return {
        "metadata": {
            "name": role,
            "uid": role,
            "labels": {"ray.io/node-type": role, "ray.io/cluster": "c"},
            "ownerReferences": [owner],
            "creationTimestamp": "2026-05-04T12:00:01Z",
        },
        "spec": {
            "nodeName": f"node-{role}",
            "containers": [
                {"name": "main", "image": image, "env": [{"name": key, "value": env[key]} for key in sorted(env)]}
            ],
        },
        "status": {"containerStatuses": [{"name": "main", "imageID": f"{image.partition(':')[0]}@{digest}"}]},
    }


def trace(
    *,
    pip: tuple[str, ...] = (),
    env: Mapping[str, str] | None = None,
    worker_env: Mapping[str, str] | None = None,
    recipe: tuple[str, ...] | None = (),
    prepared: Mapping[str, Any] | None = None,
    digest: str = DIGEST,
    image: str = IMAGE,
    pulled: str | None = None,
    evidence: tuple[tuple[str, bool | None], ...] = (),
    variables: Mapping[str, str] | None = None,
    args: Mapping[str, Any] | None = None,
    log: str = "",
    young: bool = False,
) -> TraceView:
    """Return the view of a small trial: what was configured, how both pods' images came, what the cloud said, what the
    engine's log says. `young`: the nodes came after the submission.
    """
    runtime_env = {key: value for key, value in (("pip", list(pip)), ("env_vars", dict(variables or {}))) if value}
    trial = {
        "recipe": {"pip": list(recipe)} if recipe is not None else {},
        "prepared": dict(prepared or {}),
        "model": {"weight_bytes": 7_642_182_880},
    }
    header = {"format": 1, "origin": "simulated", "rayservice": {"name": "s", "uid": "rs"}, "trial": trial}
    config = json.dumps({"applications": [{"name": "llm", "args": dict(args or {}), "runtime_env": runtime_env}]})
    service = {"metadata": {"name": "s", "uid": "rs", "creationTimestamp": "2026-05-04T12:00:00Z"}}
    owner = {"kind": "RayService", "name": "s", "uid": "rs", "controller": True}
    lines = [
        line("trace", header, kind="HEADER"),
        line("rayservices", {**service, "spec": {"serveConfigV2": config}}),
        line("rayclusters", {"metadata": {"name": "c", "uid": "rc", "ownerReferences": [owner]}}),
    ]
    for role in ("head", "worker"):
        told = (worker_env if role == "worker" and worker_env is not None else env) or {}
        lines.append(line("pods", pod(role, env=told, digest=digest, image=image), 1))
        if pulled:
            event = {
                "metadata": {"uid": f"e-{role}", "name": f"e-{role}"},
                "reason": "Pulled",
                "message": pulled,
                "involvedObject": {"kind": "Pod", "name": role, "uid": role},
            }
            lines.append(line("events", event, 2))
    if young:
        stamp = "2026-05-04T12:00:01Z"
        lines += [
            line("nodes", {"metadata": {"name": f"node-{role}", "uid": f"n-{role}", "creationTimestamp": stamp}}, 1)
            for role in ("head", "worker")
        ]
    if log:
        read = {"received_at": "2026-05-04T12:00:03Z", "resource": "ray-log-file", "filename": "worker-1.out"}
        lines.append({**read, "object": log})
    lines += [
        line("trace", {"claim": claim, "holds": holds, "detail": "d", "source": "s"}, 3, "EVIDENCE")
        for claim, holds in evidence
    ]
    return TraceView(lines)


def verdict(name: str, view: TraceView) -> Verdict:
    return known_treatments()[name].verify(view)


def environments(manifest: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the environment of every Ray container."""
    containers = [ray_container(manifest, group) for group in ray_groups(manifest)]
    return [{item["name"]: item["value"] for item in container.get("env") or ()} for container in containers]
