"""Preflight asks a cluster for what the treatments of a target's variants need there."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from cluster_in_background import BackgroundCluster, simulated_target

from airflow_llm_provisioning.core.treatments import resolved
from airflow_llm_provisioning.gateways.preflight import Finding
from airflow_llm_provisioning.preparation import preflight as checking

SWITCH = "ENABLE_INIT_CONTAINER_INJECTION"


def look(*variants: str) -> list[Finding]:
    """Check the simulated target for variants of one treatment each; `baseline` has none."""
    target = replace(simulated_target(), variants=variants)
    treatments = {name: resolved([] if name == "baseline" else [name], target.cloud) for name in variants}
    return asyncio.run(checking._check(target, (), treatments))


def about_the_switch(findings: list[Finding]) -> list[str]:
    return [str(item) for item in findings if SWITCH in str(item) or "ray_start_trim" in str(item)]


def switch_on(simulated: BackgroundCluster) -> None:
    def change(item: dict[str, Any]) -> None:
        container = item["spec"]["template"]["spec"]["containers"][0]
        container["env"] = [{"name": SWITCH, "value": "false"}]

    def rolled_out(item: dict[str, Any]) -> None:
        item["status"]["observedGeneration"] = item["metadata"]["generation"]

    store, name = simulated.simulated.store, "kuberay-operator"
    simulated.call(lambda: store.mutate("deployments", name, name, change, manager="helm"))
    simulated.call(
        lambda: store.mutate("deployments", name, name, rolled_out, subresource="status", manager="kube-controller")
    )


def test_an_operator_without_the_switch_is_an_error_for_a_variant_that_needs_it(simulated: BackgroundCluster) -> None:
    """A target without such a variant is not told of it."""
    (told,) = about_the_switch(look("ray_start_trim"))
    assert told.startswith("error: ")
    assert f"has no {SWITCH}" in told
    assert about_the_switch(look("baseline")) == []


def test_an_operator_with_the_switch_is_an_error_for_a_variant_that_does_not_declare_it(
    simulated: BackgroundCluster,
) -> None:
    """Its baseline would be none."""
    switch_on(simulated)
    assert about_the_switch(look("ray_start_trim")) == []
    (told,) = about_the_switch(look("baseline"))
    assert "every trial on this cluster has ray_start_trim's start" in told


def test_what_may_not_be_listed_is_said_not_to_have_been_checked(simulated: BackgroundCluster) -> None:
    """A note, because the trial needs no such right."""
    simulated.fault("forbidden", ["list:deployments"])
    (told,) = about_the_switch(look("ray_start_trim"))
    assert told.startswith("note: ")
    assert "not checked: whether" in told


@pytest.mark.parametrize(("served", "is_told"), [("v1alpha1", True), ("v1beta1", False)])
def test_another_version_of_what_is_needed_is_told(simulated: BackgroundCluster, served: str, is_told: bool) -> None:
    """The cluster autoscaler 1.34 has CapacityBuffers of v1alpha1 only: to install the CRD would be wrong advice."""
    version = {"name": served, "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
    names = {"plural": "capacitybuffers", "singular": "capacitybuffer", "kind": "CapacityBuffer"}
    spec = {"group": "autoscaling.x-k8s.io", "names": names, "scope": "Namespaced", "versions": [version]}
    simulated.create(
        "customresourcedefinitions", {"metadata": {"name": f"capacitybuffers.{spec['group']}"}, "spec": spec}
    )
    told = " ".join(map(str, look("capacity_buffer_object")))
    words = (
        "serves capacitybuffers as autoscaling.x-k8s.io/v1alpha1 only, and this package writes autoscaling.x-k8s.io/v1"
    )
    assert (words in told) is is_told
    assert ("does not serve CapacityBuffer" in told) is is_told
