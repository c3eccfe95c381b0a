"""Objects that a treatment prepared: in the list while they are kept, deleted when nothing renews them."""

from pathlib import Path
from typing import Any

import pytest
from cluster_in_background import BackgroundCluster, simulated_target
from operator_harness import run
from reaping_harness import edit, end_entries, expire, listed, reaped

from airflow_llm_provisioning.connections import open_store
from airflow_llm_provisioning.core.names import LABEL_TARGET
from airflow_llm_provisioning.core.rights import OWNED, PREPARED, REAPED, namespace_of, rbac
from airflow_llm_provisioning.operators import PrepareObjects
from llm_provisioning_simulator.kube.authorization import Access, Roles

NOTE = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"made": "for {name}"}}
LOW = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "llm-low"}, "value": -10}


def prepare(*objects: dict[str, Any]) -> dict[str, Any]:
    """Prepare objects through the triggerer's way."""
    target = simulated_target().as_dict()
    operator = PrepareObjects(task_id="p", target=target, treatment="kept_warm", objects=list(objects))
    result: dict[str, Any] = run(operator)
    return result


def test_what_expired_is_deleted_with_the_rights_of_the_table(simulated: BackgroundCluster, results_db: Path) -> None:
    """While it is kept it is in use by its preparation; after its expiry the reaper deletes it and closes its entry. A
    role of the table's rules is enough for the operator and for the reaper.
    """
    rules = (*OWNED, *REAPED, *PREPARED)
    roles = Roles(rbac("default", rules))
    simulated.call(lambda: setattr(simulated.simulated.server, "roles", roles))
    done = prepare(NOTE, LOW)
    names = {item["kind"]: item["name"] for item in done["objects"]}
    before = listed(results_db)
    assert ("ConfigMap", names["ConfigMap"]) in before
    assert ("PriorityClass", "llm-low") in before
    assert reaped(results_db).deleted == ()
    end_entries(results_db)
    expire(simulated, "configmaps", names["ConfigMap"])
    simulated.call(
        lambda: simulated.simulated.store.mutate("priorityclasses", "llm-low", None, _expire, manager="kubectl")
    )
    gone = reaped(results_db)
    assert {(item.kind, item.name) for item in gone.deleted} == set(names.items())
    assert gone.clean
    store = open_store()
    assert store.ledger.open_entries() == []
    store.close()
    asked = {access for access in roles.refused if access.resource not in ("nodepools", "nodeclaims")}
    assert {access for access in asked if "nodeclass" not in access.resource} == set()
    assert Access("delete", "", "configmaps", namespace_of(PREPARED[0], "default")) in roles.used


def _expire(item: dict[str, Any]) -> None:
    item["metadata"]["labels"]["llm-provisioning/expires"] = "20260101T000000Z"


@pytest.mark.usefixtures("results_db")
def test_a_copied_label_is_reported_and_not_deleted(simulated: BackgroundCluster, results_db: Path) -> None:
    """Labels of a preparation on another object of the same kind, for another target: it stays."""
    (name,) = (item["name"] for item in prepare(NOTE)["objects"])
    labels = next(o for o in simulated.objects("configmaps") if o["metadata"]["name"] == name)["metadata"]["labels"]
    other = {"metadata": {"name": "theirs", "namespace": "default", "labels": {**labels, LABEL_TARGET: "other"}}}
    simulated.create("configmaps", other)
    end_entries(results_db)
    for one in (name, "theirs"):
        expire(simulated, "configmaps", one)
    edit(simulated, "configmaps", "theirs", {"llm-provisioning/content": "000000000000"})
    gone = reaped(results_db)
    assert [item.name for item in gone.deleted] == [name]
    assert "theirs" in simulated.names("configmaps")
