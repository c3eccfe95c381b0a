"""Stated outcomes: two experiments on one cluster, clocks that differ, a store that is not the right one, rights."""

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cluster_in_background import BackgroundCluster, kubernetes_connection, simulated_target
from kube_fake_api import FakeApi, fake_api
from operator_harness import apply, open_trial
from reaping_harness import abandoned_trial, end_entries, listed, reaped

from airflow_llm_provisioning.connections import open_store
from airflow_llm_provisioning.core.names import LABEL_MANAGED_BY, LABEL_TARGET, OWNER, trial_labels
from airflow_llm_provisioning.core.rights import OWNED, REAPED, Rule, namespace_of, rbac
from airflow_llm_provisioning.reaping.owned import Survey, survey
from llm_provisioning_simulator.kube.authorization import Access, Roles

NAME = "llm-model-serve"


def test_two_experiments_on_one_cluster(simulated: BackgroundCluster, results_db: Path, tmp_path: Path) -> None:
    """With its own store the other experiment reports what is not its own, and leaves it; with the common ledger it may
    delete what expired.
    """
    abandoned_trial(simulated)
    end_entries(results_db)
    other = simulated_target(name="theirs")
    done = reaped(tmp_path / "none.db", other)
    assert done.deleted == ()
    assert [item.name for item in done.unrecorded if item.kind == "RayService"] == [NAME]
    assert "its target plain is not one of this experiment" in done.unrecorded[0].why
    assert [item.name for item in reaped(results_db, other).deleted] == [NAME]


@pytest.mark.parametrize(("ahead_s", "left_s"), [(-600, -300), (600, 300)])
def test_ten_minutes_between_the_clocks_delete_nothing_early(
    monkeypatch: pytest.MonkeyPatch, ahead_s: float, left_s: float
) -> None:
    """The API server's clock is behind ours, or ahead: what only one of the two takes for expired is kept, and the
    difference is said. When both take it for expired, it is.
    """

    async def look(left: float) -> Survey:
        async with fake_api() as api:
            _serve_at(api, monkeypatch, ahead_s)
            labels = trial_labels("night-1", "plain", datetime.now(UTC) + timedelta(seconds=left))
            await api.put("rayservices", NAME, "default", metadata={"labels": labels})
            return await survey((simulated_target(),), None)

    found = asyncio.run(look(left_s))
    (item,) = [item for item in found.items if item.kind == "RayService"]
    assert str(item.state) == "unknown"
    way = "ahead of" if ahead_s > 0 else "behind"
    assert f"s {way} ours: the earlier one of the two counts." in found.notes[0]
    (item,) = [item for item in asyncio.run(look(-1200)).items if item.kind == "RayService"]
    assert str(item.state) == "expired"


def _serve_at(api: FakeApi, monkeypatch: pytest.MonkeyPatch, ahead_s: float) -> None:
    """Let the server's replies bear its own clock."""
    monkeypatch.setenv("AIRFLOW_CONN_SIM", kubernetes_connection(api.url))
    answer = api._answer

    async def dated(request: web.Request) -> web.StreamResponse:
        response = await answer(request)
        at = datetime.now(UTC) + timedelta(seconds=ahead_s)
        response.headers["Date"] = format_datetime(at, usegmt=True)
        return response

    monkeypatch.setattr(api, "_answer", dated)


def _accesses(rules: tuple[Rule, ...]) -> set[Access]:
    return {
        Access(verb, rule.group, rule.resource, namespace_of(rule, "default")) for rule in rules for verb in rule.verbs
    }


def test_what_is_stuck_is_told_with_exactly_the_rights_of_the_table(
    simulated: BackgroundCluster, results_db: Path
) -> None:
    """The operator is down and the namespace is being deleted: both sentences are the reason. Then all of it goes. A
    role of the table's rules is enough, and nothing else is asked for.
    """
    abandoned_trial(simulated)
    end_entries(results_db)
    rules = (*OWNED, *REAPED)
    roles = Roles(rbac("default", rules))
    simulated.call(lambda: setattr(simulated.simulated.server, "roles", roles))
    simulated.fault("operator_silent", True)
    conditions = [
        {"type": "NamespaceFinalizersRemaining", "status": "True", "message": "Some content has finalizers remaining"}
    ]
    status = {"phase": "Terminating", "conditions": conditions}

    def ending(item: dict[str, Any]) -> None:
        item["status"] = status

    change = simulated.simulated.store.mutate
    simulated.call(lambda: change("namespaces", "default", None, ending, subresource="status", manager="x"))
    done = reaped(results_db, wait_s=0.5)
    (item,) = done.left
    assert not done.clean
    assert "finalizer ray.io/rayservice-finalizer is pending: the KubeRay operator" in item.why
    assert "namespace default is Terminating; Some content has finalizers remaining" in item.why
    simulated.fault("operator_silent", False)
    assert reaped(results_db).clean
    assert simulated.names("rayservices") == []
    not_served = {"nodepools", "nodeclaims", "ec2nodeclasses", "aksnodeclasses", "capacitybuffers"}
    assert {access for access in roles.refused if access.resource not in not_served} == set()
    never_here = {("delete", "rayclusters"), ("delete", "pods"), ("delete", "leases")}
    # A get explains what is left; here it was the RayService alone.
    explaining = {("get", "rayclusters"), ("get", "pods"), ("get", "services")}
    unused = {(access.verb, access.resource) for access in _accesses(rules) - roles.used}
    assert unused <= never_here | explaining


def test_a_node_that_never_goes_is_told(simulated: BackgroundCluster, results_db: Path) -> None:
    """Older than any autoscaler needs, of our target, while no trial runs: reported, never deleted, never clean."""
    open_store().close()
    simulated.create("nodes", {"metadata": {"name": "stays", "labels": {LABEL_TARGET: "plain"}}})
    assert str(listed(results_db)["Node", "stays"].state) == "in use"
    began_at = simulated.clock.now()
    simulated.until(lambda: simulated.clock.now() - began_at > timedelta(seconds=2000))
    done = reaped(results_db, everything=True)
    (node,) = done.stuck
    assert node.why == "no trial runs, and its node autoscaler has not removed it"
    assert done.sentence() == "Not clean: 0 deleted and seen to be gone; 1 not removed by the node autoscaler."
    assert "stays" in simulated.names("nodes")


def test_a_service_of_another_kind_with_the_owners_label_alone_is_left(
    simulated: BackgroundCluster, results_db: Path
) -> None:
    """`managed-by` says nothing of a run."""
    open_store().close()
    metadata = {"name": "theirs", "namespace": "default", "labels": {LABEL_MANAGED_BY: OWNER}}
    simulated.create("services", {"metadata": metadata, "spec": {"ports": [{"port": 80}]}})
    done = reaped(results_db, wait_s=0, everything=True)
    assert "theirs" in {item.name for item in done.unrecorded}
    assert "theirs" in simulated.names("services")


def test_an_experiment_has_not_ended_while_a_trial_holds_its_cluster(
    simulated: BackgroundCluster, results_db: Path
) -> None:
    """Everything was to go, and something is kept because a running trial may use it: named, and not clean."""
    trial = open_trial()
    apply(trial)
    done = reaped(results_db, everything=True)
    assert not done.clean
    assert {item.kind for item in done.kept} >= {"RayService", "Lease"}
    assert done.deleted == ()
    assert "kept because a running trial may use them" in done.sentence()
    assert reaped(results_db).clean
