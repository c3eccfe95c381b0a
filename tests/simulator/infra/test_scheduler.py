"""What fits where: quantities, taints, selectors, room; and the scheduler's words for what does not."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_provisioning_simulator.infra.demand import missing, pod_demand, quantity, room_left
from llm_provisioning_simulator.infra.scheduler import obstacles_on, selects, tolerates

Object = dict[str, Any]


def a_pod(*, demand: Object | None = None, **spec: Any) -> Object:
    return {"spec": {"containers": [{"name": "main", "resources": {"requests": demand or {}}}], **spec}}


def a_node(labels: Object | None = None, **spec: Any) -> Object:
    return {"metadata": {"labels": labels or {}}, "spec": spec}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("500m", 0.5),
        ("8Gi", 8 * 1024**3),
        ("2", 2.0),
        (3, 3.0),
        ("1000Mi", 1000 * 1024**2),
        ("1e3", 1000.0),
        ("5k", 5000.0),
    ],
)
def test_quantities_are_read_as_kubernetes_writes_them(text: str | float, value: float) -> None:
    """Suffixes of both kinds, plain and scientific numbers."""
    assert quantity(text) == pytest.approx(value)


def test_an_init_container_counts_only_where_it_is_larger() -> None:
    """Init containers run before the others, so the larger of both is reserved; limits stand in for requests."""
    pod = a_pod(demand={"cpu": "2", "memory": "1Gi"})
    pod["spec"]["containers"].append({"name": "side", "resources": {"limits": {"cpu": "1"}}})
    pod["spec"]["initContainers"] = [{"name": "first", "resources": {"requests": {"cpu": "200m", "memory": "4Gi"}}}]
    assert pod_demand(pod) == {"cpu": 3.0, "memory": 4 * 1024**3}


@pytest.mark.parametrize(
    ("toleration", "tolerated"),
    [
        ({"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}, True),
        ({"key": "gpu", "value": "present"}, True),
        ({"operator": "Exists"}, True),
        ({"key": "gpu", "value": "absent"}, False),
        ({"key": "gpu", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "other", "operator": "Exists"}, False),
    ],
)
def test_a_taint_is_tolerated_as_kubernetes_does(toleration: Object, tolerated: bool) -> None:
    """Key, value, operator and effect all count."""
    taint = {"key": "gpu", "value": "present", "effect": "NoSchedule"}
    assert tolerates(a_pod(tolerations=[toleration]), [taint]) is tolerated


def test_a_preference_keeps_nobody_away() -> None:
    """PreferNoSchedule is no obstacle."""
    assert tolerates(a_pod(), [{"key": "gpu", "effect": "PreferNoSchedule"}])


@pytest.mark.parametrize(
    ("rule", "fits"),
    [
        ({"key": "sku", "operator": "In", "values": ["L4", "A10"]}, True),
        ({"key": "sku", "operator": "NotIn", "values": ["L4"]}, False),
        ({"key": "sku", "operator": "Exists"}, True),
        ({"key": "sku", "operator": "DoesNotExist"}, False),
        ({"key": "absent", "operator": "DoesNotExist"}, True),
    ],
)
def test_required_affinity_is_honoured(rule: Object, fits: bool) -> None:
    """Each operator of a node selector term, beside the plain selector."""
    terms = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [rule]}]}}
    pod = a_pod(affinity={"nodeAffinity": terms}, nodeSelector={"zone": "a"})
    assert selects(pod, {"sku": "L4", "zone": "a"}) is fits
    assert not selects(pod, {"sku": "L4", "zone": "b"})


def test_a_node_is_counted_under_the_first_filter_it_fails() -> None:
    """Cordon, taint, selector, then every resource that is short."""
    pod = a_pod(demand={"cpu": "4", "nvidia.com/gpu": "1"}, nodeSelector={"pool": "gpu"})
    taint = {"key": "not-ready", "effect": "NoSchedule"}
    assert obstacles_on(pod, a_node(unschedulable=True, taints=[taint]), {}) == ["node(s) were unschedulable"]
    assert obstacles_on(pod, a_node(taints=[taint]), {}) == ["node(s) had untolerated taint(s)"]
    assert obstacles_on(pod, a_node(), {}) == ["node(s) didn't match Pod's node affinity/selector"]
    assert obstacles_on(pod, a_node({"pool": "gpu"}), {"cpu": 2.0}) == [
        "Insufficient cpu",
        "Insufficient nvidia.com/gpu",
    ]
    assert obstacles_on(pod, a_node({"pool": "gpu"}), {"cpu": 4.0, "nvidia.com/gpu": 1.0}) == []


@given(st.lists(st.integers(1, 4000), max_size=8), st.integers(1, 16000))
def test_room_is_what_the_pods_leave(millicores: list[int], offered: int) -> None:
    """A pod that takes exactly the rest fits, and one millicore more does not."""
    pods = [a_pod(demand={"cpu": f"{amount}m"}) for amount in millicores]
    room = room_left({"cpu": f"{offered}m"}, pods)
    rest = offered - sum(millicores)
    assert room["cpu"] == pytest.approx(rest / 1000)
    assert missing({"cpu": (rest + 1) / 1000}, room) == ["cpu"]
    if rest > 0:
        assert missing({"cpu": rest / 1000}, room) == []
