"""set_up_node_pool: one autoscaled pool, labelled ours, with its GPU driver and its streaming as asked.

A pool that exists is reused only when it is ours and of the same content; another's is never touched.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from google.api_core import exceptions as google

from airflow_llm_provisioning.core.names import LABEL_CONTENT, fingerprint
from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.exceptions import CloudError
from airflow_llm_provisioning.gateways.clouds.gke.clients import READ, WRITE
from airflow_llm_provisioning.gateways.clouds.gke.clusters import PoolView, pool_view, read_cluster
from airflow_llm_provisioning.gateways.clouds.gke.errors import UnreadableAnswerError, google_errors
from airflow_llm_provisioning.gateways.clouds.gke.services import api_problems
from airflow_llm_provisioning.gateways.clouds.gke.steps import Change, Project, State, step_of
from airflow_llm_provisioning.gateways.clouds.gke.tags import GOOGLE_TAGS
from airflow_llm_provisioning.gateways.clouds.gpus import google_accelerators
from airflow_llm_provisioning.gateways.clouds.tags import preparation_tags_of
from airflow_llm_provisioning.gateways.clouds.verbs import Look, Outcome, Step, Verb, done, keep_until, raise_problems

ACCELERATORS: Final = google_accelerators()
_EFFECTS: Final = {
    "NoSchedule": "NO_SCHEDULE",
    "PreferNoSchedule": "PREFER_NO_SCHEDULE",
    "NoExecute": "NO_EXECUTE",
}
_NAME: Final = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")
_KNOWN: Final = frozenset(
    {"name", "machine_type", "gpu_sku", "gpu_count", "min_nodes", "max_nodes", "labels", "taints", "streaming"}
    | {"disk_image", "image_type", "disk_gib", "disk_type", "node_service_account", "driver_version", "zones", "spot"}
)


class NodePoolSetUp(Verb):
    """The verb `set_up_node_pool`."""

    name = "set_up_node_pool"
    limit_s = 2400.0

    def __init__(self, project: Project) -> None:
        self._project = project

    def problems(self, request: Mapping[str, Any]) -> Sequence[str]:
        """Return what is missing of the request."""
        return [f"`{key}` is missing" for key in ("pool", "cluster") if not request.get(key)]

    def begin(self, operation: Operation) -> Look:
        """Check the pool's description, its name and the cluster; write down what will be created."""
        request = operation.request
        pool, cluster = request["pool"], read_cluster(self._project, str(request["cluster"]))
        problems = [*pool_problems(pool), *api_problems(self._project, ("container.googleapis.com",))]
        if cluster.autopilot:
            problems.append("the cluster is Autopilot, which makes its nodes itself")
        existing = cluster.pools.get(str(pool.get("name")))
        if existing is not None:
            problems += _occupied(existing, pool)
        raise_problems(f"Node pool {pool.get('name')!r} of cluster {cluster.name}", problems)
        if existing is None:
            self._intend(operation)
        return done(found=existing is not None, trouble_before=existing.trouble if existing is not None else "")

    def steps(self, operation: Operation) -> Sequence[Step]:
        """Create the pool, wait for it."""
        name, cluster = operation.request["pool"]["name"], operation.request["cluster"]
        change = Change(
            "pool",
            f"create node pool {name} of cluster {cluster}",
            lambda: self._state(operation),
            lambda: self._create(operation),
            self._path(operation),
        )
        return (step_of(self._project, change), Step("noting the pool", self._noted, timed=False))

    def _noted(self, operation: Operation) -> Look:
        if not operation.progress["found"]:
            self._project.entries.created(self._intend(operation), self._path(operation))
        return done()

    def outcome(self, operation: Operation, seconds: float) -> Outcome:
        """Return the pool's name, and what Google said of a reused pool's errors; without nodes it costs nothing."""
        pool = operation.request["pool"]
        empty = not pool.get("min_nodes")
        basis = "a pool without nodes costs nothing" if empty else "its nodes run on; their price is not here"
        made = {"pool": pool["name"]}
        if operation.progress.get("trouble_before"):
            made["trouble"] = str(operation.progress["trouble_before"])
        return Outcome(made, bool(operation.progress["found"]), 0.0 if empty else None, basis)

    def clean_up(self, operation: Operation) -> Sequence[str]:
        """Delete the pool that a failed create left; wait until it is gone."""
        if operation.progress["found"]:
            return []
        pool = self._get(operation)
        if pool is None or not GOOGLE_TAGS.is_ours(pool.labels):
            self._project.entries.gone("node_pool", name=self._path(operation))
            return []
        if pool.status != "STOPPING":
            self._delete(operation)
        return [f"node pool {pool.name}"]

    def _delete(self, operation: Operation) -> None:
        path = self._path(operation)
        attempt = f"delete node pool {path.rpartition('/')[2]}"
        # An answer that cannot be decoded is one: the next look sees whether the pool goes.
        with suppress(UnreadableAnswerError), google_errors(attempt), suppress(google.NotFound):
            self._project.clients.container.delete_node_pool(request={"name": path}, **WRITE)

    def _path(self, operation: Operation) -> str:
        request = operation.request
        return f"{self._project.path}/clusters/{request['cluster']}/nodePools/{request['pool']['name']}"

    def _intend(self, operation: Operation) -> str:
        path = self._path(operation)
        return self._project.entries.intend("node_pool", path, self._labels(operation), keep_until(operation))

    def _labels(self, operation: Operation) -> dict[str, str]:
        return GOOGLE_TAGS.spell(preparation_tags_of(operation, fingerprint(operation.request["pool"])))

    def _get(self, operation: Operation) -> PoolView | None:
        path = self._path(operation)
        with google_errors(f"read node pool {path}"):
            try:
                return pool_view(self._project.clients.container.get_node_pool(request={"name": path}, **READ))
            except google.NotFound:
                return None

    def _state(self, operation: Operation) -> State:
        pool = self._get(operation)
        if pool is None:
            return "absent"
        if pool.status in {"ERROR", "RUNNING_WITH_ERROR"}:
            if operation.progress["found"] and _usable(pool):
                return "done"
            raise CloudError(
                f"Node pool {pool.name} is in {pool.status}: {pool.trouble or 'Google gives no reason'}. "
                "If it stays so, delete the pool, and it is set up again."
            )
        return "done" if pool.status in {"RUNNING", "RECONCILING"} else "pending"

    def _create(self, operation: Operation) -> Mapping[str, str]:
        entry = self._intend(operation)
        cluster = f"{self._project.path}/clusters/{operation.request['cluster']}"
        body = pool_body(operation.request["pool"], self._labels(operation))
        begun = self._project.clients.container.create_node_pool(
            request={"parent": cluster, "node_pool": body}, **WRITE
        )
        self._project.entries.created(entry, self._path(operation))
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
    problems += _image_problems(pool)
    problems += [
        f"taint effect {t.get('effect')!r} is unknown" for t in _taints(pool) if t.get("effect") not in _EFFECTS
    ]
    return problems


def _image_problems(pool: Mapping[str, Any]) -> list[str]:
    problems = []
    if pool.get("streaming") and not str(pool.get("image_type", "COS_CONTAINERD")).upper().startswith("COS_CONTAINERD"):
        problems.append(f"streaming needs COS_CONTAINERD, not {pool['image_type']}")
    if pool.get("disk_image") == "":
        problems.append("its secondary boot disk has no image: prepare one first (SnapshotImage)")
    if pool.get("disk_image") and not pool.get("streaming"):
        # GKE's page on secondary boot disks: the cache of container images needs image streaming.
        problems.append("a secondary boot disk with container images needs image streaming: set `streaming`")
    return problems


def pool_body(pool: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, Any]:
    """Return the container v1 NodePool of a description.

    Limits count all zones together, so a regional cluster does not triple them.
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
    if pool.get("disk_image"):
        config["secondary_boot_disks"] = [{"mode": "CONTAINER_IMAGE_CACHE", "disk_image": pool["disk_image"]}]
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


def _usable(pool: PoolView) -> bool:
    """Return whether a pool that was found serves trials although it is marked as in error.

    The mark of a refused scale-up stays for days after the quota was raised and nodes ran (k8s-config-connector issue
    321): it is about an earlier attempt. A pool that runs with another error is partly usable, as Google says of
    RUNNING_WITH_ERROR; a trial on it shows whether that is enough.
    """
    return pool.status == "RUNNING_WITH_ERROR" or pool.lacked_capacity


def _taints(pool: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return list(pool.get("taints") or ())


def _occupied(existing: PoolView, pool: Mapping[str, Any]) -> list[str]:
    if not GOOGLE_TAGS.is_ours(existing.labels):
        return ["a pool of that name exists and is not ours (its resource labels lack our mark): take another name"]
    if existing.labels.get(GOOGLE_TAGS.key(LABEL_CONTENT)) != fingerprint(pool):
        return ["a pool of that name is ours but was made from another description: delete it or take another name"]
    return []
