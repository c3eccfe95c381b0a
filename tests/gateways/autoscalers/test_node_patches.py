"""Nodes that another package's treatment changes: merge patches of what an autoscaler renders."""

from typing import Any

import pytest
from node_profiles import profile

from airflow_llm_provisioning.core.experiment import NodeProfile, Target
from airflow_llm_provisioning.gateways.autoscalers import AUTOSCALERS, shared_cluster_problems
from airflow_llm_provisioning.gateways.autoscalers.patches import merged


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        # RFC 7386, appendix A.
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_merge_patch_does_what_the_rfc_says(target: Any, patch: Any, result: Any) -> None:
    """Every example of its appendix."""
    assert merged(target, patch) == result


def patched(cloud: str, autoscaler: str, **patches: Any) -> NodeProfile:
    return profile(cloud, autoscaler, options={"patches": patches})


def test_a_patch_changes_every_object_of_its_kind_and_no_other() -> None:
    """Both node pools, and not the node class."""
    limits = {"spec": {"limits": {"cpu": None, "memory": "1Ti"}}}
    given = patched("eks", "karpenter", NodePool=limits)
    assert list(AUTOSCALERS["karpenter"].check(given)) == []
    node_class, *pools = AUTOSCALERS["karpenter"].setup(given).manifests
    assert [pool["spec"]["limits"] for pool in pools] == [{"memory": "1Ti"}] * 2
    plain = AUTOSCALERS["karpenter"].setup(profile("eks", "karpenter")).manifests
    assert node_class == plain[0]
    assert [{**pool, "spec": {**pool["spec"], "limits": None}} for pool in pools] == [
        {**pool, "spec": {**pool["spec"], "limits": None}} for pool in plain[1:]
    ]


@pytest.mark.parametrize(("cloud", "kind"), [("eks", "EC2NodeClass"), ("aks", "AKSNodeClass")])
def test_each_clouds_node_class_can_be_patched(cloud: str, kind: str) -> None:
    """By its own kind."""
    given = patched(cloud, "karpenter", **{kind: {"spec": {"tags": {"team": "ml"}}}})
    assert list(AUTOSCALERS["karpenter"].check(given)) == []
    node_class = AUTOSCALERS["karpenter"].setup(given).manifests[0]
    assert (node_class["kind"], node_class["spec"]["tags"]) == (kind, {"team": "ml"})


def test_lunas_configuration_and_its_files_are_patched_alike() -> None:
    """Those who use Helm get the same values as the ConfigMap."""
    given = patched("aks", "luna", ConfigMap={"data": {"scaleDown.nodeUnneededDuration": "1m"}})
    assert list(AUTOSCALERS["luna"].check(given)) == []
    setup = AUTOSCALERS["luna"].setup(given)
    assert setup.manifests[0]["data"]["scaleDown.nodeUnneededDuration"] == "1m"
    assert "--set scaleDown.nodeUnneededDuration=1m" in setup.files["additional-helm-values.txt"]


def test_two_targets_with_different_patches_cannot_share_lunas_configuration() -> None:
    """The patch is a part of what the cluster has only once."""
    one = Target("one", "c1", "conn", profile("aks"), ("baseline",))
    other = Target("other", "c1", "conn", patched("aks", "luna", ConfigMap={"data": {"a": "b"}}), ("baseline",))
    (problem,) = shared_cluster_problems([one, other])
    assert "one" in problem
    assert "other" in problem


@pytest.mark.parametrize(
    ("autoscaler", "patches", "said"),
    [
        (
            "karpenter",
            {"Pod": {"spec": {}}},
            "names 'Pod', and karpenter does not render that: its objects are EC2Node",
        ),
        ("karpenter", {"AKSNodeClass": {}}, "names 'AKSNodeClass'"),
        ("native", {"NodePool": {"spec": {}}}, "it renders no Kubernetes objects"),
        ("karpenter", {"NodePool": "spec"}, "patches.NodePool is 'spec'"),
        ("karpenter", {"NodePool": {"metadata": {"name": "x"}}}, "would make it another object"),
        ("karpenter", {"NodePool": {"metadata": None}}, "would make it another object"),
        ("karpenter", {"NodePool": {"apiVersion": "karpenter.sh/v2"}}, "would make it another object"),
        ("luna", {"ConfigMap": {"kind": "Secret"}}, "would make it another object"),
        ("luna", ["ConfigMap"], "give a mapping of a kind"),
    ],
)
def test_a_patch_that_cannot_be_applied_is_refused(autoscaler: str, patches: Any, said: str) -> None:
    """When the experiment is checked, in a sentence, and once."""
    named = {"node_selector": {"pool": "trials"}} if autoscaler == "native" else {}
    given = profile("eks", autoscaler, options={"patches": patches, **named})
    (problem,) = AUTOSCALERS[autoscaler].check(given)
    assert said in problem
