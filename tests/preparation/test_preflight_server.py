"""Preflight asks the API server for its version, and for what it would drop of the objects that treatments need."""

import asyncio
from typing import Any

import pytest
from cluster_in_background import BackgroundCluster, ClusterThread, simulated_target

from airflow_llm_provisioning.core.target import Target
from airflow_llm_provisioning.core.treatments import known_treatments, resolved
from airflow_llm_provisioning.core.workload import builtin_workload
from airflow_llm_provisioning.exceptions import ForbiddenError
from airflow_llm_provisioning.gateways.clouds.base import ClusterAccess
from airflow_llm_provisioning.gateways.kubernetes import Cluster
from airflow_llm_provisioning.gateways.preflight import check_target
from llm_provisioning_simulator.kube.authorization import Roles

ARTIFACT = "registry.example/weights/phi@sha256:" + "1" * 64
CURRENT = builtin_workload("phi3-current")


def a_target(minor: str = "1.34", *, autoscaler: str = "luna", variant: str = "image_volume", **nodes: Any) -> Target:
    told = {"treatments": {"image_volume": {"reference": ARTIFACT, "feature_gate": True}}}
    said = {**simulated_target().as_dict()["nodes"], "kubernetes_minor": minor, "autoscaler": autoscaler, **nodes}
    return simulated_target(nodes=said, options=told, variants=[variant])


def told_of(simulated: BackgroundCluster, target: Target) -> list[str]:
    """Return what preflight says of a target on a simulated cluster of 1.34.9, the notes too."""

    async def check() -> list[str]:
        async with Cluster.from_access(lambda: ClusterAccess(simulated.url), name="demo") as cluster:
            treatments = {name: resolved([] if name == "baseline" else [name], "eks") for name in target.variants}
            return [str(item) for item in await check_target(cluster, target, [CURRENT], treatments)]

    return asyncio.run(check())


def about(words: str, told: list[str]) -> list[str]:
    return [sentence for sentence in told if words in sentence]


def test_a_gate_that_is_off_is_seen_although_the_target_says_that_it_is_on(simulated: BackgroundCluster) -> None:
    """The API server takes the pod without its volume. The RayService keeps it, and nothing was stored."""
    (told,) = about("drops", told_of(simulated, a_target()))
    assert told.startswith("error: plain: image_volume: the API server of demo drops ")
    assert "spec.volumes[0] of a Pod without a word: switch on the feature gate" in told
    assert simulated.names("pods") == simulated.names("rayservices") == []


def test_a_gate_that_is_on_is_no_finding(simulated: BackgroundCluster) -> None:
    """Nor is anything else of this treatment."""
    simulated.call(lambda: setattr(simulated.simulated.store, "image_volumes", True))
    assert about("image_volume", told_of(simulated, a_target())) == []


def test_without_the_right_to_create_it_is_said_not_to_have_been_checked(simulated: BackgroundCluster) -> None:
    """A note for each kind of object: trials on a cluster with the gate run all the same."""
    simulated.fault("forbidden", ["create:pods"])
    (told,) = about("image_volume", told_of(simulated, a_target()))
    assert told.startswith("note: plain: not checked: whether demo keeps every field that image_volume gives to a Pod.")


@pytest.mark.parametrize(
    ("minor", "level", "words"),
    [("1.35", "error", "runs v1.34.9+simulated"), ("1.33", "note", "say 1.34"), ("1.34", "", "")],
)
def test_the_version_that_a_target_says_is_compared(
    simulated: BackgroundCluster, minor: str, level: str, words: str
) -> None:
    """By preflight of every target, of any variants."""
    told = about("nodes.kubernetes_minor of target 'plain'", told_of(simulated, a_target(minor, variant="baseline")))
    assert [sentence.partition(":")[0] for sentence in told] == ([level] if level else [])
    assert words in "".join(told)


def test_a_treatment_that_needs_a_newer_server_is_refused_by_its_real_version(
    simulated: BackgroundCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The target's own version would be enough; the sentence is the treatment's, and names what was found."""
    monkeypatch.setattr("airflow_llm_provisioning.core.treatments.image_volume.FIRST_MINOR", 35)
    (told,) = about("image_volume needs", told_of(simulated, a_target("1.36")))
    assert "image_volume needs Kubernetes 1.35 or later; these nodes run 1.34." in told
    assert told.endswith("The API server of demo runs v1.34.9+simulated.")


def test_karpenters_static_pools_are_tried_too() -> None:
    """A definition of NodePools that is older than its controller would make dynamic pools of them."""
    nodes = {"gpu_instance_type": "g6.4xlarge", "cpu_instance_type": "m6i.xlarge"}
    options = {"role": "r", "discovery": "d"}
    target = a_target(autoscaler="karpenter", variant="capacity_buffer_static", options=options, **nodes)
    with ClusterThread(autoscaler="karpenter") as cluster:
        assert about("drops", told_of(cluster, target)) == []
        assert cluster.names("nodepools") == []
    (pool,) = known_treatments()["capacity_buffer_static"].dry_runs(target, CURRENT)  # type: ignore[attr-defined]
    assert pool["spec"]["replicas"] == 1


def test_an_apply_that_creates_needs_the_right_to_create(simulated: BackgroundCluster) -> None:
    """As on a real API server: `patch` alone changes what is there. The docs' role for prepared objects grants both."""
    rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "patch"]}
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "made"}, "data": {"a": "1"}}

    def allow(*verbs: str) -> None:
        role = {"kind": "ClusterRole", "metadata": {"name": "r"}, "rules": [rule | {"verbs": list(verbs)}]}
        simulated.call(lambda: setattr(simulated.simulated.server, "roles", Roles([role])))

    async def apply(value: str) -> None:
        async with Cluster.from_access(lambda: ClusterAccess(simulated.url)) as cluster:
            await cluster.apply(manifest | {"data": {"a": value}})

    allow("get", "patch")
    with pytest.raises(ForbiddenError, match='cannot create resource "configmaps"'):
        asyncio.run(apply("1"))
    allow("get", "create", "patch")
    asyncio.run(apply("1"))
    allow("get", "patch")
    asyncio.run(apply("2"))
    (made,) = (item for item in simulated.objects("configmaps") if item["metadata"]["name"] == "made")
    assert made["data"] == {"a": "2"}
