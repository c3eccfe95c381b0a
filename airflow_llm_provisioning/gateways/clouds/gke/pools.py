"""set_up_node_pool: one autoscaled pool, labelled ours, with its GPU driver and its streaming as asked.

A pool that exists is reused only when it is ours and of the same content; another's is never touched.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from google.api_core import exceptions as google

from airflow_llm_provisioning.core.names import (
    LABEL_CONTENT,
    LABEL_MANAGED_BY,
    OWNER,
    fingerprint,
    label_keys_for_google,
    preparation_tags,
)
from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.exceptions import CloudError, ConfigurationError
from airflow_llm_provisioning.gateways.clouds.gke.clients import READ, WRITE
from airflow_llm_provisioning.gateways.clouds.gke.clusters import PoolView, pool_view, read_cluster
from airflow_llm_provisioning.gateways.clouds.gke.errors import asking
from airflow_llm_provisioning.gateways.clouds.gke.services import api_problems
from airflow_llm_provisioning.gateways.clouds.gke.steps import Change, Project, State, advance, seconds_since

# GKE's names of the GPUs, and the machine family each comes with: cloud.google.com/compute/docs/gpus
ACCELERATORS: Final[Mapping[str, tuple[str, str]]] = {
    "L4": ("nvidia-l4", "g2-"),
    "T4": ("nvidia-tesla-t4", "n1-"),
    "A100": ("nvidia-tesla-a100", "a2-highgpu"),
    "A100-80GB": ("nvidia-a100-80gb", "a2-ultragpu"),
    "H100": ("nvidia-h100-80gb", "a3-highgpu"),
}
_EFFECTS: Final = {
    "NoSchedule": "NO_SCHEDULE",
    "PreferNoSchedule": "PREFER_NO_SCHEDULE",
    "NoExecute": "NO_EXECUTE",
}
_NAME: Final = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")
_KNOWN: Final = frozenset(
    {"name", "machine_type", "gpu_sku", "gpu_count", "min_nodes", "max_nodes", "labels", "taints", "streaming"}
    | {"image_type", "disk_gib", "disk_type", "node_service_account", "driver_version", "zones", "spot"}
)
_MANAGED_BY: Final = next(iter(label_keys_for_google({LABEL_MANAGED_BY: OWNER})))
_CONTENT: Final = next(iter(label_keys_for_google({LABEL_CONTENT: ""})))


class NodePoolSetUp:
    """The verb `set_up_node_pool`."""

    deadline_s = 2400.0

    def __init__(self, project: Project) -> None:
        self._project = project

    def start(self, request: Mapping[str, Any]) -> Operation:
        """Check the pool's description, its name and the cluster; write down what will be created."""
        pool, cluster = request["pool"], read_cluster(self._project, str(request["cluster"]))
        problems = [*pool_problems(pool), *api_problems(self._project, ("container.googleapis.com",))]
        if cluster.autopilot:
            problems.append("the cluster is Autopilot, which makes its nodes itself")
        existing = cluster.pools.get(str(pool.get("name")))
        if existing is not None:
            problems += _occupied(existing, pool)
        if problems:
            raise ConfigurationError(
                f"Node pool {pool.get('name')!r} of cluster {cluster.name} cannot be set up: {'; '.join(problems)}."
            )
        now = self._project.clock()
        expires_at = (now + timedelta(days=float(request.get("keep_days", 30)))).isoformat()
        operation = Operation("set_up_node_pool", dict(request)).at(
            "starting", started_at=now.isoformat(), expires_at=expires_at, found=existing is not None
        )
        if existing is None:
            self._intend(operation)
        return operation

    def step(self, operation: Operation) -> Operation:
        """Create the pool, wait for it."""
        name, cluster = operation.request["pool"]["name"], operation.request["cluster"]
        change = Change(
            "pool",
            f"create node pool {name} of cluster {cluster}",
            lambda: self._state(operation),
            lambda: self._create(operation),
            self._path(operation),
        )
        operation, ready = advance(self._project, operation, [change])
        if not ready:
            return operation
        reused = bool(operation.progress["found"])
        if not reused:
            self._project.ledger.created(self._intend(operation), self._path(operation))
        empty = not operation.request["pool"].get("min_nodes")
        return operation.succeeded(
            pool=name,
            reused=reused,
            seconds=round(seconds_since(self._project, operation.progress["started_at"]), 3),
            price_usd=0.0 if empty else None,
            price_basis="a pool without nodes costs nothing" if empty else "its nodes run on; their price is not here",
            phases=dict(operation.progress.get("phases") or {}),
        )

    def clean(self, operation: Operation) -> bool:
        """Delete the pool that a failed create left; wait until it is gone."""
        if operation.progress["found"]:
            return True
        pool = self._get(operation)
        if pool is None or pool.labels.get(_MANAGED_BY) != OWNER:
            self._project.ledger.gone(self._intend(operation))
            return True
        if pool.status != "STOPPING":
            with asking(f"delete node pool {pool.name}"):
                try:
                    self._project.clients.container.delete_node_pool(request={"name": self._path(operation)}, **WRITE)
                except google.NotFound:
                    return False
                except google.BadRequest as error:
                    if "incompatible operation" not in str(error):
                        raise
        return False

    def _path(self, operation: Operation) -> str:
        request = operation.request
        return f"{self._project.path}/clusters/{request['cluster']}/nodePools/{request['pool']['name']}"

    def _intend(self, operation: Operation) -> str:
        expires_at = datetime.fromisoformat(operation.progress["expires_at"])
        return self._project.ledger.intend(
            "node_pool", self._path(operation), self._project.place, self._labels(operation), expires_at
        )

    def _labels(self, operation: Operation) -> dict[str, str]:
        expires_at = datetime.fromisoformat(operation.progress["expires_at"])
        content = fingerprint(operation.request["pool"])
        return label_keys_for_google(preparation_tags(content, expires_at, operation.request.get("target")))

    def _get(self, operation: Operation) -> PoolView | None:
        path = self._path(operation)
        with asking(f"read node pool {path}"):
            try:
                return pool_view(self._project.clients.container.get_node_pool(request={"name": path}, **READ))
            except google.NotFound:
                return None

    def _state(self, operation: Operation) -> State:
        pool = self._get(operation)
        if pool is None:
            return "absent"
        if pool.status in {"ERROR", "RUNNING_WITH_ERROR"}:
            raise CloudError(f"Node pool {pool.name} is in {pool.status}: {pool.trouble or 'Google gives no reason'}.")
        return "done" if pool.status in {"RUNNING", "RECONCILING"} else "pending"

    def _create(self, operation: Operation) -> Mapping[str, str]:
        entry = self._intend(operation)
        cluster = f"{self._project.path}/clusters/{operation.request['cluster']}"
        body = pool_body(operation.request["pool"], self._labels(operation))
        begun = self._project.clients.container.create_node_pool(
            request={"parent": cluster, "node_pool": body}, **WRITE
        )
        self._project.ledger.created(entry, self._path(operation))
        return {"kind": "container", "name": begun.name}


def pool_problems(pool: Mapping[str, Any]) -> list[str]:
    """Return every reason why a pool's description cannot work, in sentences."""
    problems = []
    unknown = sorted(set(pool) - _KNOWN)
    if unknown:
        problems.append(f"unknown fields {', '.join(unknown)}")
    if not _NAME.fullmatch(str(pool.get("name", ""))):
        problems.append("its name needs at most 40 lower-case letters, digits and inner hyphens, a letter first")
    machine, sku = str(pool.get("machine_type") or ""), pool.get("gpu_sku")
    if not machine:
        problems.append("machine_type is missing")
    if sku and sku not in ACCELERATORS:
        problems.append(f"GPU {sku} is not offered by GKE; one of {', '.join(ACCELERATORS)}")
    elif sku and machine and not machine.startswith(ACCELERATORS[sku][1]):
        problems.append(f"GPU {sku} needs a {ACCELERATORS[sku][1]}* machine, not {machine}")
    low, high = pool.get("min_nodes", 0), pool.get("max_nodes", 1)
    if not 0 <= low <= high or high < 1:
        problems.append(f"min_nodes {low} and max_nodes {high} do not fit")
    if pool.get("streaming") and not str(pool.get("image_type", "COS_CONTAINERD")).upper().startswith("COS_CONTAINERD"):
        problems.append(f"streaming needs COS_CONTAINERD, not {pool['image_type']}")
    problems += [
        f"taint effect {t.get('effect')!r} is unknown" for t in _taints(pool) if t.get("effect") not in _EFFECTS
    ]
    return problems


def pool_body(pool: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, Any]:
    """Return the container v1 NodePool of a description. Limits count all zones together, so a regional cluster
    does not triple them.
    """
    config: dict[str, Any] = {
        "machine_type": pool["machine_type"],
        "image_type": pool.get("image_type", "COS_CONTAINERD"),
        "labels": dict(pool.get("labels") or {}),
        "resource_labels": dict(labels),
        "taints": [
            {"key": taint["key"], "value": taint.get("value", ""), "effect": _EFFECTS[taint["effect"]]}
            for taint in _taints(pool)
        ],
        # Said either way: a pool that says nothing would follow the cluster's default.
        "gcfs_config": {"enabled": bool(pool.get("streaming", False))},
        "disk_size_gb": int(pool.get("disk_gib", 100)),
        "disk_type": pool.get("disk_type", "pd-balanced"),
        "oauth_scopes": ["https://www.googleapis.com/auth/cloud-platform"],
    }
    if pool.get("node_service_account"):
        config["service_account"] = pool["node_service_account"]
    if pool.get("spot"):
        config["spot"] = True
    if pool.get("gpu_sku"):
        driver = {"gpu_driver_version": pool.get("driver_version", "LATEST")}
        config["accelerators"] = [
            {
                "accelerator_type": ACCELERATORS[pool["gpu_sku"]][0],
                "accelerator_count": int(pool.get("gpu_count") or 1),
                "gpu_driver_installation_config": driver,
            }
        ]
    low = int(pool.get("min_nodes", 0))
    scaling = {
        "enabled": True,
        "total_min_node_count": low,
        "total_max_node_count": int(pool.get("max_nodes", 1)),
        # Any zone that has the machine; a GPU is rarely free in all of them.
        "location_policy": "ANY",
    }
    body = {"name": pool["name"], "config": config, "autoscaling": scaling, "initial_node_count": low}
    if pool.get("zones"):
        body["locations"] = list(pool["zones"])
    return body


def _taints(pool: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return list(pool.get("taints") or ())


def _occupied(existing: PoolView, pool: Mapping[str, Any]) -> list[str]:
    if existing.labels.get(_MANAGED_BY) != OWNER:
        return ["a pool of that name exists and is not ours (its resource labels lack our mark): take another name"]
    if existing.labels.get(_CONTENT) != fingerprint(pool):
        return ["a pool of that name is ours but was made from another description: delete it or take another name"]
    return []
