"""A user says per role where pods run; what cannot be read is refused, and old files keep their meaning."""

from typing import Any

import pytest

from airflow_llm_provisioning.core.manifests import GPU_TOLERATION, place
from airflow_llm_provisioning.core.manifests.tree import Node
from airflow_llm_provisioning.core.role_marks import has_selector, problems
from airflow_llm_provisioning.core.target import NodeProfile, Target
from airflow_llm_provisioning.core.workload import builtin_workload
from airflow_llm_provisioning.exceptions import ConfigurationError
from airflow_llm_provisioning.gateways.autoscalers import AUTOSCALERS, nodes_gone_s

DEDICATED = {"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"}


def profile(cloud: str = "generic", autoscaler: str = "native", **options: Any) -> NodeProfile:
    return NodeProfile(name="t", cloud=cloud, autoscaler=autoscaler, kubernetes_minor="1.34", options=options)


def pods(given: NodeProfile) -> tuple[Node, Node]:
    """Return the pod specs of head and worker as they are applied."""
    native = AUTOSCALERS[given.autoscaler]
    head, workers = native.placement(given, "head"), native.placement(given, "worker")
    cluster = place(builtin_workload().manifest, head, workers)["spec"]["rayClusterConfig"]
    return cluster["headGroupSpec"]["template"]["spec"], cluster["workerGroupSpecs"][0]["template"]["spec"]


def test_each_role_has_its_nodes_and_the_taint_is_tolerated_where_it_is() -> None:
    """A tainted GPU pool for the workers, another pool for the head: only the workers tolerate the taint."""
    head, worker = pods(profile(node_selector={"head": {"pool": "cpu"}, "workers": {"pool": "gpu"}}))
    assert (head["nodeSelector"], worker["nodeSelector"]) == ({"pool": "cpu"}, {"pool": "gpu"})
    assert GPU_TOLERATION in worker["tolerations"]
    assert "tolerations" not in head


def test_a_role_without_a_selector_runs_anywhere() -> None:
    """The GPU pool is named for the workers only: the head does not land there."""
    head, worker = pods(profile(node_selector={"workers": {"pool": "gpu"}}))
    assert not head.get("nodeSelector")
    assert worker["nodeSelector"] == {"pool": "gpu"}


@pytest.mark.parametrize(
    "selector", [{"pool": "gpu"}, {"head": {"pool": "gpu"}, "workers": {"pool": "gpu"}}], ids=["flat", "per role"]
)
def test_a_head_on_the_workers_nodes_tolerates_their_taint(selector: dict[str, Any]) -> None:
    """As in files of version 0.1, where one selector is for both: on a tainted GPU pool neither stays Pending."""
    head, worker = pods(profile(node_selector=selector))
    assert head["nodeSelector"] == worker["nodeSelector"] == {"pool": "gpu"}
    assert GPU_TOLERATION in head["tolerations"]
    assert GPU_TOLERATION in worker["tolerations"]


def test_other_taints_are_tolerated_by_the_role_that_meets_them() -> None:
    """A list is for both roles; a mapping for each."""
    head, worker = pods(profile(tolerations={"workers": [DEDICATED]}))
    assert DEDICATED in worker["tolerations"]
    assert "tolerations" not in head
    head, worker = pods(profile(tolerations=[DEDICATED]))
    assert DEDICATED in head["tolerations"]
    assert DEDICATED in worker["tolerations"]


def test_a_clouds_own_pools_keep_their_selector_beside_tolerations() -> None:
    """Tolerations alone name no nodes."""
    given = NodeProfile(
        name="t",
        cloud="gke",
        autoscaler="native",
        kubernetes_minor="1.34",
        gpu_instance_type="g2-standard-8",
        options={"tolerations": {"workers": [DEDICATED]}},
    )
    placed = AUTOSCALERS["native"].placement(given, "worker")
    assert placed.node_selector == {"llm-provisioning/target": "t"}
    assert DEDICATED in placed.tolerations


def test_a_truth_value_is_the_label_that_was_meant() -> None:
    """YAML reads `gpu: true` as a truth value; the label on the node is the text `true`."""
    assert pods(profile(node_selector={"workers": {"gpu": True}}))[1]["nodeSelector"] == {"gpu": "true"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"node_selector": {"head": {}, "worker": {"a": "b"}}},
            "node_selector.'worker' is no role of a RayService: did",
        ),
        ({"node_selector": {"workers": ["a"]}}, "node_selector.workers is"),
        (
            {"node_selector": {"head": "cpu", "workers": {"pool": "gpu"}}},
            "node_selector.head is 'cpu': give the labels",
        ),
        ({"node_selector": {"workers": {"a": {"b": "c"}}}}, "node_selector.workers: every label has one value"),
        ({"node_selector": "pool=gpu"}, "node_selector is 'pool=gpu': give {head:"),
        ({"node_selector": {"workers": None}}, "node_selector.workers is"),
        ({"tolerations": {"worker": []}}, "tolerations.'worker' is no role"),
        ({"tolerations": {"workers": {"key": "a"}}}, "tolerations.workers is"),
        ({"tolerations": [{"keys": "a"}]}, "tolerations has the key 'keys': did you mean 'key'?"),
        ({"node_selector": {"workers": {"a b": "c"}}}, "node_selector.workers has the label 'a b', and no label can"),
        (
            {"node_selector": {"workers": {"a": "x y"}}},
            "node_selector.workers selects 'a' by 'x y'; a label's value has",
        ),
        ({"node_selector": {"a": "b" * 64}}, "node_selector selects 'a' by"),
        ({"tolerations": [{"key": "a", "operator": "Equals"}]}, "the operator 'Equals': did you mean 'Equal'?"),
        (
            {"tolerations": {"head": [{"key": "a", "effect": "NoSchedul"}]}},
            "effect 'NoSchedul': did you mean 'NoSchedule'?",
        ),
        ({"tolerations": [{"key": 5, "operator": "Exists"}]}, "tolerations has the key 5, and no taint can have it"),
    ],
)
def test_what_cannot_be_read_is_refused_once(options: dict[str, Any], words: str) -> None:
    """When the experiment is checked, with the key and what is meant."""
    assert words in "\n".join(problems(options))
    assert words in "\n".join(AUTOSCALERS["native"].check(profile(**options)))


@pytest.mark.parametrize("autoscaler", ["karpenter", "luna"])
def test_an_autoscaler_with_marks_of_its_own_refuses_them(autoscaler: str) -> None:
    """They would have no effect, and say nothing."""
    options = {"role": "r", "discovery": "d", "api_server": "https://x", "cluster_certificate": "Q0E="}
    found = AUTOSCALERS[autoscaler].check(profile("eks", autoscaler, node_selector={"a": "b"}, **options))
    assert any("node_selector names nodes that are there" in sentence for sentence in found)


def test_a_managed_node_group_needs_the_workers_selector() -> None:
    """Only the user knows its labels."""
    assert has_selector({"node_selector": {"workers": {"a": "b"}}})
    assert not has_selector({"node_selector": {"head": {"a": "b"}}})
    (problem,) = AUTOSCALERS["native"].check(profile("eks", node_selector={"head": {"a": "b"}}))
    assert "{workers: {label: value}}" in problem


def a_target(cloud: str = "generic", autoscaler: str = "native", **fields: Any) -> Target:
    nodes = {"cloud": cloud, "autoscaler": autoscaler, "kubernetes_minor": "1.34", **fields.pop("nodes", {})}
    return Target.from_dict({"name": "t", "cluster": "c", "conn_id": "k", "nodes": nodes, **fields})


def test_the_keys_of_a_target_are_its_nodes_options() -> None:
    """Beside `options` or in it, not both."""
    selector = {"workers": {"pool": "gpu"}}
    target = a_target(nodes={"node_selector": selector})
    assert target.nodes.options == {"node_selector": selector}
    assert Target.from_dict(target.as_dict()) == target
    with pytest.raises(ConfigurationError, match=r"`nodes\.node_selector` is given twice"):
        a_target(nodes={"node_selector": selector, "options": {"node_selector": selector}})


@pytest.mark.parametrize(
    ("target", "seconds"),
    [
        (a_target(), 0.0),
        (a_target(nodes_gone_s=900), 900),
        (a_target("eks", "karpenter"), 1800.0),
        (a_target("eks", "luna", nodes_gone_s=0), 0),
        (a_target("eks", "native"), 1800.0),
        (a_target("gke", "native"), 1800.0),
    ],
)
def test_nodes_are_waited_for_where_something_removes_them(target: Target, seconds: float) -> None:
    """On a cluster without a node autoscaler not at all, and otherwise as the target says."""
    assert nodes_gone_s(target) == seconds
