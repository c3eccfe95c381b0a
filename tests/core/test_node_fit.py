"""What pods ask for, against what nodes give: the scheduler's rules, and sentences with both numbers."""

from typing import Any

import pytest

from airflow_llm_provisioning.core.node_fit import Demand, demands, misfit, tolerates
from airflow_llm_provisioning.core.quantity import quantity
from airflow_llm_provisioning.core.workload import builtin_workload

GPU_TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}


def node(
    *, labels: dict[str, str] | None = None, taints: Any = (), ready: str = "True", **gives: str
) -> dict[str, Any]:
    allocatable = {"cpu": "16", "memory": "60Gi", **{key.replace("_", "/"): value for key, value in gives.items()}}
    return {
        "metadata": {"labels": {}},
        "spec": {"taints": list(taints)},
        "status": {"allocatable": allocatable, "conditions": [{"type": "Ready", "status": ready}]},
    }


def demand(cpu: float = 8.0, *, selector: dict[str, str] | None = None, tolerations: Any = (), **more: float) -> Demand:
    requests = {"cpu": cpu, **{key.replace("_", "/"): value for key, value in more.items()}}
    return Demand("gpu", requests, selector or {}, tolerations)


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("500m", 0.5), ("8", 8.0), (8, 8.0), ("20Gi", 20 * 1024**3), ("1e3", 1000.0), ("2k", 2000.0),
        ("1.5Gi", 1.5 * 1024**3),
        ("", None), ("x", None), ("5Q", None), (None, None), (True, None), ("1.2.3", None), ("-1", None),
    ],
)  # fmt: skip
def test_quantities(text: Any, amount: float | None) -> None:
    """As Kubernetes writes them; what is none is missing, and not 0."""
    assert quantity(text) == amount


def test_what_the_groups_of_a_workload_ask_for() -> None:
    """The head's first; requests, and limits where there are no requests."""
    head, worker = demands(builtin_workload().manifest)
    assert (head.group, head.requests["cpu"], head.accelerators) == ("headgroup", 2.0, ())
    assert (worker.requests["memory"], worker.accelerators) == (20 * 1024**3, ("nvidia.com/gpu",))


def test_one_node_that_fits_is_enough() -> None:
    """Others may be full, tainted or of another pool."""
    assert misfit(demand(), [node(taints=[GPU_TAINT]), node()]) is None


@pytest.mark.parametrize(
    ("asked", "nodes", "words"),
    [
        (demand(), [], "there is no node"),
        (demand(64.0), [node(), node(cpu="4")], "of 2 nodes 2 too small (cpu: 64 asked, at most 16 there)"),
        (demand(memory=64 * 1024**3), [node()], "(memory: 64.0 Gi asked, at most 60.0 Gi there)"),
        (demand(nvidia_gpu=1.0), [node()], "1 too small"),
        (demand(selector={"pool": "gpu"}), [node()], "of 1 nodes 1 without the label pool=gpu"),
        (demand(), [node(taints=[GPU_TAINT])], "1 with the taint nvidia.com/gpu, which the pod does not tolerate"),
        (demand(), [node(ready="Unknown")], "1 not ready"),
        (demand(), [{**node(), "spec": {"unschedulable": True}}], "1 cordoned"),
        (demand(64.0), [node(), node(taints=[GPU_TAINT])], "1 too small (cpu: 64 asked, at most 16 there)"),
    ],
)
def test_why_a_pod_fits_on_no_node(asked: Demand, nodes: list[Any], words: str) -> None:
    """How many nodes, why each does not do, and the two numbers."""
    assert words in (misfit(asked, nodes) or "")


@pytest.mark.parametrize(
    ("toleration", "holds"),
    [
        ({"key": "nvidia.com/gpu", "operator": "Exists"}, True),
        ({"operator": "Exists"}, True),
        ({"key": "nvidia.com/gpu", "operator": "Equal", "value": "present", "effect": "NoSchedule"}, True),
        ({"key": "nvidia.com/gpu", "value": "absent"}, False),
        ({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "other", "operator": "Exists"}, False),
    ],
)
def test_tolerations_match_as_the_schedulers(toleration: dict[str, Any], holds: bool) -> None:
    """Key, value and effect, where an empty one matches all (Kubernetes docs, "Taints and Tolerations")."""
    assert tolerates(toleration, GPU_TAINT) is holds
