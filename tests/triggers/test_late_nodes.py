"""Nodes that appear after the delete are awaited by their autoscaler's label, within a limit."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_llm_provisioning.core.late_nodes import AwaitedNodes, LateNodes
from airflow_llm_provisioning.triggers.deadline import Deadline
from airflow_llm_provisioning.triggers.late_nodes import LOOK_EVERY_S, late_nodes

DELETED_AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
OPENED_AT = DELETED_AT - timedelta(minutes=2)


class ScriptedCluster:
    """A cluster whose node lists follow a script, one entry per request; each request takes its pause and no time."""

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
    late = AwaitedNodes("made-by=luna", OPENED_AT, limit_s, tuple(f"pod-{number}" for number in range(pods)))
    assert AwaitedNodes.from_dict(late.as_dict()) == late
    deadline = Deadline(cluster, DELETED_AT, 1800)  # type: ignore[arg-type]
    made = asyncio.run(late_nodes(cluster, late, known, deadline))  # type: ignore[arg-type]
    assert LateNodes.from_dict(made.as_dict()) == made
    return made.as_dict()


def test_a_late_node_is_named_and_awaited() -> None:
    """It appeared at the third request: its name, its creation and its end are reported, and no request follows."""
    cluster = ScriptedCluster([], [], [node("n1", DELETED_AT + timedelta(seconds=9))])
    assert found(cluster) == {"pods": ["pod-0"], "limit_s": 600, "nodes": {"n1": 9.0}, "gone": True}
    assert cluster.waited_for == [("n1", "uid-n1")]
    assert cluster.at == DELETED_AT + timedelta(seconds=2 * LOOK_EVERY_S)
    assert cluster.selectors == {"made-by=luna"}


def test_the_wait_ends_at_the_limit() -> None:
    """None appeared: this is reported after the limit, and not later."""
    cluster = ScriptedCluster()
    assert found(cluster, limit_s=60) == {"pods": ["pod-0"], "limit_s": 60, "nodes": {}, "gone": True}
    assert cluster.at == DELETED_AT + timedelta(seconds=60)


def test_nodes_of_before_the_trial_and_its_own_are_not_late() -> None:
    """A foreign node with the autoscaler's label, and one that hosted a pod of the trial, are not named."""
    older, own = node("theirs", OPENED_AT - timedelta(seconds=30)), node("own", OPENED_AT + timedelta(seconds=30))
    cluster = ScriptedCluster([older, own], [older, own])
    assert found(cluster, limit_s=LOOK_EVERY_S, known=["own"])["nodes"] == {}
    assert cluster.waited_for == []


def test_a_node_that_was_made_before_the_delete_is_late_too() -> None:
    """It had booted and no pod was on it yet."""
    cluster = ScriptedCluster([node("n1", DELETED_AT - timedelta(seconds=20))])
    assert found(cluster)["nodes"] == {"n1": -20.0}


def test_one_node_for_two_pods_waits_until_the_limit() -> None:
    """A second node may still appear, or one node was enough for both pods: only the limit decides."""
    first = node("n1", DELETED_AT)
    cluster = ScriptedCluster([first], [first], [])
    assert list(found(cluster, pods=2, limit_s=20)["nodes"]) == ["n1"]
    assert cluster.at == DELETED_AT + timedelta(seconds=20)


def test_a_remaining_node_is_reported() -> None:
    """The wait ends and reports it."""
    cluster = ScriptedCluster([node("n1", DELETED_AT)], leaves=False)
    assert found(cluster)["gone"] is False
