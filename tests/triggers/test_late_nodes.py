"""Nodes that come after the delete: waited for by their autoscaler's mark, within a bound."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_llm_provisioning.triggers.gone import Patience
from airflow_llm_provisioning.triggers.late_nodes import LOOK_EVERY_S, late_nodes

DELETED_AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
OPENED_AT = DELETED_AT - timedelta(minutes=2)


class ScriptedCluster:
    """A cluster whose nodes are listed as a script says, one entry a look; each look takes its pause and no time."""

    def __init__(self, *looks: Sequence[dict[str, Any]], leaves: bool = True) -> None:
        self.looks, self.leaves = list(looks), leaves
        self.at = DELETED_AT
        self.selectors: set[str | None] = set()
        self.waited_for: list[tuple[str, str | None]] = []

    def clock(self) -> datetime:
        return self.at

    def real_seconds(self, cluster_seconds: float) -> float:
        self.at += timedelta(seconds=cluster_seconds)
        return 0.0

    async def list(self, resource: str, labels: str | None = None) -> tuple[Sequence[dict[str, Any]], None]:
        assert resource == "nodes"
        self.selectors.add(labels)
        return (self.looks.pop(0) if self.looks else []), None

    async def wait_gone(
        self, resource: str, name: str, namespace: str | None, *, uid: str | None, timeout_s: float
    ) -> bool:
        self.waited_for.append((name, uid))
        return self.leaves


def node(name: str, made_at: datetime) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": f"uid-{name}", "creationTimestamp": made_at.isoformat()}}


def found(
    cluster: ScriptedCluster, *, pods: int = 1, limit_s: float = 600, known: Sequence[str] = ()
) -> dict[str, Any]:
    late = {
        "selector": "made-by=luna",
        "since": OPENED_AT.isoformat(),
        "pods": [f"pod-{number}" for number in range(pods)],
        "limit_s": limit_s,
    }
    patience = Patience(cluster, DELETED_AT, 1800)  # type: ignore[arg-type]
    return asyncio.run(late_nodes(cluster, late, known, patience))  # type: ignore[arg-type]


def test_a_node_that_comes_is_named_and_waited_for() -> None:
    """It came at the third look: its name, when it was made, and that it was gone; nobody looks on after it."""
    cluster = ScriptedCluster([], [], [node("n1", DELETED_AT + timedelta(seconds=9))])
    assert found(cluster) == {"pods": ["pod-0"], "limit_s": 600, "nodes": {"n1": 9.0}, "gone": True}
    assert cluster.waited_for == [("n1", "uid-n1")]
    assert cluster.at == DELETED_AT + timedelta(seconds=2 * LOOK_EVERY_S)
    assert cluster.selectors == {"made-by=luna"}


def test_nobody_waits_beyond_the_bound() -> None:
    """None came: it is said after the bound, and not later."""
    cluster = ScriptedCluster()
    assert found(cluster, limit_s=60) == {"pods": ["pod-0"], "limit_s": 60, "nodes": {}, "gone": True}
    assert cluster.at == DELETED_AT + timedelta(seconds=60)


def test_nodes_of_before_the_trial_and_its_own_are_not_late() -> None:
    """Another's node with the autoscaler's mark, and one that a pod of the trial was on: neither is named."""
    older, own = node("theirs", OPENED_AT - timedelta(seconds=30)), node("own", OPENED_AT + timedelta(seconds=30))
    cluster = ScriptedCluster([older, own], [older, own])
    assert found(cluster, limit_s=LOOK_EVERY_S, known=["own"])["nodes"] == {}
    assert cluster.waited_for == []


def test_a_node_that_was_made_before_the_delete_is_late_too() -> None:
    """It had booted and no pod had reached it yet."""
    cluster = ScriptedCluster([node("n1", DELETED_AT - timedelta(seconds=20))])
    assert found(cluster)["nodes"] == {"n1": -20.0}


def test_one_node_for_two_pods_leaves_the_other_to_the_bound() -> None:
    """A second one may still come, or both pods would have fitted on one: only the bound tells."""
    first = node("n1", DELETED_AT)
    cluster = ScriptedCluster([first], [first], [])
    assert list(found(cluster, pods=2, limit_s=20)["nodes"]) == ["n1"]
    assert cluster.at == DELETED_AT + timedelta(seconds=20)


def test_a_node_that_stays_is_told() -> None:
    """The wait ends, and says so."""
    cluster = ScriptedCluster([node("n1", DELETED_AT)], leaves=False)
    assert found(cluster)["gone"] is False
