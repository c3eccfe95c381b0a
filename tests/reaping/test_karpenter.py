"""Node pools and classes: written into the ledger before they are applied, listed, and reaped after their expiry."""

from pathlib import Path

import pytest
from cluster_in_background import ClusterThread, kubernetes_connection, simulated_target
from operator_harness import run
from reaping_harness import end_entries, listed, reaped

from airflow_llm_provisioning.operators import SetUpNodes


def test_node_pools_are_recorded_listed_and_reaped(results_db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an entry they would be reported every time as not recorded, and never deleted."""
    nodes = {**simulated_target().as_dict()["nodes"], "autoscaler": "karpenter"}
    nodes["options"] = {"role": "r", "discovery": "d"}
    target = simulated_target(nodes=nodes)
    with ClusterThread(autoscaler="karpenter") as cluster:
        monkeypatch.setenv("AIRFLOW_CONN_SIM", kubernetes_connection(cluster.url))
        run(SetUpNodes(task_id="s", target=target.as_dict()))
        found = {key: str(item.state) for key, item in listed(results_db, target).items() if key[0] != "Node"}
        made = {("NodePool", "plain-cpu"), ("NodePool", "plain-gpu"), ("EC2NodeClass", "plain")}
        assert {key for key in found if key[0] in ("NodePool", "EC2NodeClass")} == made
        assert {found[key] for key in made} == {"in use"}
        end_entries(results_db)
        done = reaped(results_db, target)
        assert {(item.kind, item.name) for item in done.deleted} == made
        assert done.clean, done.sentence()
        assert cluster.names("nodepools") == []
