"""One table of rights: a whole trial runs with exactly these, preflight asks for these, the docs grant these."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_in_background import BackgroundCluster, simulated_target
from operator_harness import close_trial, experiment, open_trial, run, wait

from airflow_llm_provisioning.core.rights import (
    APPLY_ALONE,
    LOOKED_AT,
    PREPARED,
    Rule,
    looked_at_rules,
    namespace_of,
    rbac,
    trial_rules,
)
from airflow_llm_provisioning.core.treatments import known_treatments, resolved
from airflow_llm_provisioning.core.treatments.wanted_objects import WantedObject, wanted_objects
from airflow_llm_provisioning.core.workload import builtin_workload
from airflow_llm_provisioning.dag_factory import load_experiment
from airflow_llm_provisioning.gateways import preflight_treatments
from airflow_llm_provisioning.operators import ApplyRayService
from airflow_llm_provisioning.preparation.preflight import _check
from llm_provisioning_simulator.kube.authorization import Access, Roles

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "iam" / "kubernetes.yaml"
OBJECTS = EXAMPLE.with_name("kubernetes-objects.yaml")
NAMESPACE = "serving"
EXPERIMENT = EXAMPLE.parents[2] / "airflow_llm_provisioning" / "example_dags" / "experiments" / "simulated.yaml"
# What a target must tell of its treatments.
TOLD = {
    "shared_weights": {"storage_class": "shared"},
    "weights_stream": {"source": "s3://weights/phi"},
    "image_volume": {"reference": "registry.example.com/weights:1"},
}


def enforce(simulated: BackgroundCluster, *rules: Rule) -> Roles:
    """Let the API server enforce a role with only these rules, for trials in their own namespace."""
    roles = Roles(rbac(NAMESPACE, rules))
    simulated.call(lambda: setattr(simulated.simulated.server, "roles", roles))
    return roles


def accesses(rules: tuple[Rule, ...]) -> set[Access]:
    return {
        Access(verb, rule.group, rule.resource, namespace_of(rule, NAMESPACE)) for rule in rules for verb in rule.verbs
    }


def look(*workloads: Any) -> list[Any]:
    return asyncio.run(_check(simulated_target(namespace=NAMESPACE), workloads))


def errors(findings: list[Any]) -> str:
    return "\n".join(str(item) for item in findings if item.blocks)


@pytest.mark.usefixtures("results_db")
def test_a_whole_trial_uses_these_rights_and_no_other(simulated: BackgroundCluster) -> None:
    """In a namespace of its own, with a role of the table's rules only: nothing is refused, and every right is used."""
    simulated.create("namespaces", {"metadata": {"name": NAMESPACE}})
    rules = trial_rules("luna")
    roles = enforce(simulated, *rules)
    trial = open_trial(namespace=NAMESPACE)
    whole = experiment(namespace=NAMESPACE)
    applied = run(ApplyRayService(task_id="apply", trial=trial, experiment=whole))
    wait(trial, applied)
    # A second trial of the same run renews the lock.
    open_trial(namespace=NAMESPACE)
    row = close_trial(trial)
    assert (row["status"], row["start"]) == ("succeeded", "cold")
    assert roles.refused == set()
    assert accesses(rules) - roles.used == set()
    assert roles.used - accesses(rules) == set()


def test_preflight_is_content_with_exactly_these_rights(simulated: BackgroundCluster) -> None:
    """Neither more is asked for, as service accounts or Karpenter's claims, nor is less enough."""
    simulated.create("namespaces", {"metadata": {"name": NAMESPACE}})
    enforce(simulated, *trial_rules("luna"), *looked_at_rules("luna"))
    findings = look()
    assert errors(findings) == ""
    assert not any("not checked: what needs" in item.sentence for item in findings)


@pytest.mark.parametrize("missing", trial_rules("luna"), ids=lambda rule: f"{rule.scope} {rule.group} {rule.resource}")
def test_preflight_names_every_right_that_is_missing(simulated: BackgroundCluster, missing: Rule) -> None:
    """One rule of the table is left out of the role: its verbs, its resource and where they are needed are named."""
    simulated.create("namespaces", {"metadata": {"name": NAMESPACE}})
    enforce(simulated, *(rule for rule in trial_rules("luna") if rule != missing), *looked_at_rules("luna"))
    told = errors(look())
    place = namespace_of(missing, NAMESPACE)
    where = f"namespace {place}" if place else "cluster-wide"
    group = ".events.k8s.io" if missing.group == "events.k8s.io" else ""
    for verb in missing.verbs:
        assert f"{verb} {missing.resource}{group} ({where})" in told


def test_a_user_who_may_run_trials_only_is_told_what_was_not_checked(simulated: BackgroundCluster) -> None:
    """Looking at deployments is not needed for a trial: it is a note, and no error."""
    simulated.create("namespaces", {"metadata": {"name": NAMESPACE}})
    enforce(simulated, *trial_rules("luna"))
    findings = look()
    assert errors(findings) == ""
    told = "\n".join(item.sentence for item in findings)
    assert "not checked: what needs the right to list deployments (cluster-wide)" in told
    assert "not checked: whether a KubeRay operator runs" in told


def look_for_treatments(*names: str) -> str:
    target = replace(simulated_target(namespace=NAMESPACE), variants=names)
    variants = {name: resolved([name], target.cloud) for name in names}
    return errors(asyncio.run(_check(target, [builtin_workload("phi3-2025")], variants)))


def test_preflight_asks_for_the_rights_that_treatments_need(simulated: BackgroundCluster) -> None:
    """With the docs' second role nothing is missing; without it each verb, kind and place is named."""
    simulated.create("namespaces", {"metadata": {"name": NAMESPACE}})
    rights = (*trial_rules("luna"), *looked_at_rules("luna"))
    enforce(simulated, *rights, *PREPARED)
    assert "may not" not in look_for_treatments("capacity_buffer", "early_node")
    enforce(simulated, *rights)
    assert "may not" not in look_for_treatments("bake_packages")
    told = look_for_treatments("capacity_buffer", "early_node")
    for right in (
        f"create deployments (namespace {NAMESPACE})",
        f"patch deployments (namespace {NAMESPACE})",
        f"delete deployments (namespace {NAMESPACE})",
        "patch priorityclasses (cluster-wide)",
        f"create pods (namespace {NAMESPACE})",
    ):
        assert right in told
    assert "docs/iam/kubernetes-objects.yaml" in told


def test_a_kind_that_the_cluster_does_not_serve_is_an_error(
    simulated: BackgroundCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its definition is to be installed first. An optional one that is not served is no empty list."""
    wanted = [WantedObject("example.com/v1", "Cache", ("get",))]
    monkeypatch.setattr(preflight_treatments, "wanted_objects", lambda *_: wanted)
    told = look_for_treatments("bake_packages", "capacity_buffer_object")
    assert "does not serve CapacityBuffer (autoscaling.x-k8s.io/v1beta1)" in told
    assert "kind Cache of example.com/v1" in told
    assert "Install its CRD first" in told


@pytest.mark.parametrize("cloud", ["eks", "gke", "aks"])
def test_the_docs_role_has_every_object_that_a_treatment_makes(cloud: str) -> None:
    """A treatment that makes a new kind of object adds it to the table."""
    experiment = load_experiment(EXPERIMENT)
    (target, *_) = [item for item in experiment.targets if item.cloud == cloud]
    granted = {(rule.group, rule.resource, verb) for rule in PREPARED for verb in rule.verbs}
    made = 0
    for name, item in known_treatments().items():
        if item.clouds and cloud not in item.clouds:
            continue
        told = replace(target, options={**target.options, "treatments": TOLD})
        wanted = wanted_objects(told, [resolved([name], cloud)], experiment.workloads)
        for one in wanted:
            group, kind = one.api_version.rpartition("/")[0], one.kind.lower()
            plural = f"{kind}es" if kind.endswith("ss") else f"{kind}s"
            assert {(group, plural, verb) for verb in one.verbs} <= granted, (name, one)
            made += 1
    assert made > 3


def test_each_kind_of_cluster_has_its_own_list() -> None:
    """Karpenter's claims only with Karpenter; service accounts never."""
    resources = {name: {rule.resource for rule in trial_rules(name)} for name in ("native", "luna", "karpenter")}
    assert resources["karpenter"] - resources["native"] == {"nodeclaims"}
    assert resources["luna"] == resources["native"]
    assert "serviceaccounts" not in resources["karpenter"]


def test_the_example_of_the_docs_is_the_table() -> None:
    """What a user applies is what the code asks for."""
    written = list(yaml.safe_load_all(EXAMPLE.read_text()))
    assert written == rbac(NAMESPACE, (*trial_rules("native"), *APPLY_ALONE, *LOOKED_AT))
    assert list(yaml.safe_load_all(OBJECTS.read_text())) == rbac(NAMESPACE, PREPARED, name="llm-provisioning-objects")
