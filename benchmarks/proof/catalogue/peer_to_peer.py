"""Peers without effect: the pull went to the registry, beside them, through them, or before they were there."""

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

from airflow_llm_provisioning.core.dragonfly import ROLE, SCHEDULER, SEED
from airflow_llm_provisioning.core.workload import ScalingSetup
from llm_provisioning_simulator.instant_trial import Stage
from proof.catalogue.entry import NoOp
from proof.catalogue.preparations import world
from proof.recorded_trial import Manifest, Scenario
from proof.targets import target
from proof.workloads import SERVED_2025

GATE: Final = "wait-for-peer"
Objects = list[Manifest]


def without(kind: str) -> Callable[[Objects], Sequence[Manifest]]:
    """Leave out the objects of a kind."""
    return lambda objects: [item for item in objects if item["kind"] != kind]


def of_role(role: str, change: Callable[[Manifest], None]) -> Callable[[Objects], Sequence[Manifest]]:
    """Change the Deployment or the DaemonSet of a role."""

    def changed(objects: Objects) -> Sequence[Manifest]:
        for item in objects:
            template = item.get("spec", {}).get("template", {})
            if template.get("metadata", {}).get("labels", {}).get(ROLE) == role:
                change(item)
        return objects

    return changed


def configured(name: str, change: Callable[[dict[str, Any]], None]) -> Callable[[Objects], Sequence[Manifest]]:
    """Change a configuration file."""

    def changed(objects: Objects) -> Sequence[Manifest]:
        for item in objects:
            if item["kind"] == "ConfigMap":
                content = json.loads(item["data"][name])
                change(content)
                item["data"][name] = json.dumps(content)
        return objects

    return changed


def _no_replicas(item: Manifest) -> None:
    item["spec"]["replicas"] = 0


def on_other_nodes(on: Stage) -> None:
    """Let the peers run, after they were prepared, on nodes with a label that the trial's nodes do not have."""

    def change(item: Manifest) -> None:
        item["spec"]["template"]["spec"]["nodeSelector"] = {"dragonfly": "enabled"}

    store = on.cluster.store
    for item in store.list("daemonsets", "default"):
        store.mutate("daemonsets", item["metadata"]["name"], "default", change, manager="kubectl")


def _other_registry(content: dict[str, Any]) -> None:
    runtime = content["containerRuntime"]["containerd"]
    runtime.pop("proxyAllRegistries")
    runtime["registries"] = [{"hostNamespace": "ghcr.io", "serverAddr": "https://ghcr.io"}]


def _no_rules(content: dict[str, Any]) -> None:
    content["proxy"]["rules"] = []


def ungated(manifest: Manifest) -> None:
    """Take the wait for the peer out of every pod."""
    cluster = manifest["spec"]["rayClusterConfig"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        spec = group["template"]["spec"]
        spec["initContainers"] = [item for item in spec.get("initContainers", ()) if item["name"] != GATE]


def seed_restarted(on: Stage) -> None:
    """Delete the seed peer's pod after it was filled: the new one is empty, and ready."""
    store = on.cluster.store
    for pod in store.list("pods", "default"):
        if pod["metadata"].get("labels", {}).get(ROLE) == SEED:
            store.delete("pods", pod["metadata"]["name"], "default")


def scheduler_gone(on: Stage) -> None:
    """Scale the scheduler to nothing, as by hand: the peers of new nodes find none."""
    store = on.cluster.store
    for item in store.list("deployments", "default"):
        if item["metadata"]["name"].endswith(f"-{SCHEDULER}"):
            store.mutate("deployments", item["metadata"]["name"], "default", _no_replicas, manager="kubectl")


def _another_image(objects: Objects) -> Sequence[Manifest]:
    """Fill the seed peer with another image."""
    for item in objects:
        if item["kind"] == "Job":
            (container,) = item["spec"]["template"]["spec"]["containers"]
            container["image"] = "docker.io/rayproject/ray:2.46.0"
    return objects


def _peers(name: str, cloud: str = "gke", **fields: Any) -> NoOp:
    scenario = Scenario(target=target(cloud, "peer_to_peer"), declared=SERVED_2025, variant="peer_to_peer", **fields)
    return NoOp(name=name, scenario=scenario, claim="peer_to_peer")


PEERS: Final = (
    _peers("the seed peer was not filled", objects=without("Job")),
    _peers("the seed peer was filled with another image", objects=_another_image),
    _peers("there is no seed peer", "aks", objects=of_role(SEED, _no_replicas)),
    _peers("the scheduler was scaled to nothing after it was prepared", after_preparation=world(scheduler_gone)),
    _peers("the trial's nodes get no peer", after_preparation=world(on_other_nodes)),
    _peers("the mirror is of another registry", "aks", objects=configured("dfinit.yaml", _other_registry)),
    _peers("the peers lead no layer through the network", objects=configured("peer.yaml", _no_rules)),
    _peers(
        "the image's pull began before the peer was ready",
        "gke",
        manifest=ungated,
        setup=ScalingSetup.DYNAMIC,
    ),
    _peers("the seed peer was restarted after it was filled", after_preparation=world(seed_restarted)),
)
