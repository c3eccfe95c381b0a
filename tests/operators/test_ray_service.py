"""ApplyRayService, WaitServeEndpoint and DeleteRayService alone: any kubeconfig, any manifest, no store."""

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.sdk import DAG
from cluster_in_background import BackgroundCluster, kube_config, kubernetes_connection, simulated_target
from operator_harness import context, run, stored

from airflow_llm_provisioning.core.manifests import place, with_identity
from airflow_llm_provisioning.core.workload import builtin_workload
from airflow_llm_provisioning.exceptions import (
    ClusterUnreachableError,
    ConflictError,
    ConnectionConfigError,
    ForbiddenError,
    ManifestError,
)
from airflow_llm_provisioning.gateways.autoscalers import AUTOSCALERS
from airflow_llm_provisioning.gateways.kubernetes import Cluster
from airflow_llm_provisioning.operators import ApplyRayService, DeleteRayService
from airflow_llm_provisioning.sensors import WaitServeEndpoint

SERVED = "microsoft/Phi-3-mini-4k-instruct"


def manifest(name: str = "my-llm") -> dict[str, Any]:
    luna, nodes = AUTOSCALERS["luna"], simulated_target().nodes
    placed = place(
        builtin_workload().manifest, head=luna.placement(nodes, "head"), workers=luna.placement(nodes, "worker")
    )
    return with_identity(placed, name=name, namespace="default", labels={})


def apply(ctx: Any = None, **fields: Any) -> dict[str, Any]:
    operator = ApplyRayService(task_id="apply", cluster="sim", **fields)
    applied: dict[str, Any] = run(operator, ctx)
    return applied


def delete(rayservice: dict[str, Any], **fields: Any) -> dict[str, Any]:
    deleted: dict[str, Any] = run(DeleteRayService(task_id="delete", rayservice=rayservice, **fields))
    return deleted


@pytest.fixture
def _no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a results store was opened outside every experiment")

    monkeypatch.setattr("airflow_llm_provisioning.connections.open_store", refuse)


@pytest.mark.usefixtures("_no_store")
@pytest.mark.parametrize("deferrable", [False, True])
def test_the_three_work_alone(simulated: BackgroundCluster, deferrable: bool) -> None:
    """Applied, ready with a first answer, deleted with its nodes gone: no plan, target, trial or store."""
    before = simulated.names("nodes")
    applied = apply(manifest=manifest())
    completion = {
        "path": "/v1/chat/completions",
        "body": {"model": SERVED, "messages": [{"role": "user", "content": "Hi"}]},
        "expect_model": SERVED,
    }
    waiting = WaitServeEndpoint(
        task_id="wait", rayservice=applied, completion=completion, timeout=7200, deferrable=deferrable
    )
    ready = run(waiting)
    assert (ready["outcome"], ready["origin"]) == ("ready", "simulated")
    assert ready["endpoint_ready_at"] < ready["first_completion_at"]
    gone = delete(applied, wait_for_nodes=True, timeout_s=3600, deferrable=deferrable)
    assert (gone["deleted"], gone["pods_gone"], gone["nodes_gone"]) == (True, True, True)
    assert simulated.names("rayservices") == []
    assert simulated.names("nodes") == before


@pytest.mark.parametrize("form", ["dict", "yaml", "json"])
def test_any_form_of_manifest_is_taken(simulated: BackgroundCluster, form: str) -> None:
    """A dict, YAML text, JSON text; the namespace defaults and can be overridden."""
    made = manifest()
    del made["metadata"]["namespace"]
    given = {"dict": made, "yaml": yaml.safe_dump(made), "json": json.dumps(made)}[form]
    assert apply(manifest=given)["namespace"] == "default"
    simulated.create("namespaces", {"metadata": {"name": "other"}})
    assert apply(manifest=given, namespace="other")["namespace"] == "other"
    assert "namespace" not in made["metadata"]


def test_a_file_is_a_template(simulated: BackgroundCluster, tmp_path: Path) -> None:
    """A path in the DAG's search path is read and rendered, as Airflow does it."""
    text = yaml.safe_dump(manifest("llm-xyz")).replace("xyz", "{{ params.suffix }}")
    (tmp_path / "service.yaml").write_text(text)
    with DAG("d", schedule=None, template_searchpath=str(tmp_path)):
        operator = ApplyRayService(task_id="a", cluster="sim", manifest="service.yaml")
    operator.resolve_template_files()
    operator.render_template_fields({"params": {"suffix": "x"}})
    assert run(operator)["name"] == "llm-x"


def test_applying_again_changes_the_same_object(simulated: BackgroundCluster) -> None:
    """A repeated run is the same object, a changed manifest the next generation of it; a lost reply makes no second."""
    simulated.fault("lost_reply", {"rayservices": 1})
    first = apply(manifest=manifest())
    changed = manifest()
    changed["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["maxReplicas"] = 2
    second = apply(manifest=changed)
    assert first["uid"] == second["uid"]
    assert second["generation"] > first["generation"]
    assert simulated.names("rayservices") == ["my-llm"]


def test_somebody_elses_fields_are_not_taken(simulated: BackgroundCluster) -> None:
    """An object that another manager made and that differs is refused, not overwritten."""
    theirs = manifest()
    theirs["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["maxReplicas"] = 9
    simulated.create("rayservices", theirs)
    with pytest.raises(ConflictError, match=r"conflict with .*workerGroupSpecs"):
        apply(manifest=manifest())


def test_deleting_again_is_success(simulated: BackgroundCluster) -> None:
    """Gone already, or never there; another owner's object of that name is left alone."""
    applied = apply(manifest=manifest())
    assert delete(applied, timeout_s=3600)["deleted"] is True
    again = delete(applied)
    assert (again["deleted"], again["pods_gone"], again["nodes_gone"]) == (False, True, None)
    another = apply(manifest=manifest())
    assert another["uid"] != applied["uid"]
    assert delete(applied)["deleted"] is False
    assert simulated.names("rayservices") == ["my-llm"]
    by_name = {"cluster": "sim", "name": "my-llm"}
    assert delete(by_name, timeout_s=3600)["deleted"] is True


def someone_elses_pod(node: str) -> dict[str, Any]:
    """Return a pod that keeps a node from being empty."""
    metadata = {"name": f"tenant-{node}"[:60].rstrip("-."), "namespace": "default"}
    return {"metadata": metadata, "spec": {"nodeName": node, "containers": [{"name": "c", "image": "tenant:1"}]}}


def test_nodes_that_stay_are_reported(simulated: BackgroundCluster) -> None:
    """Beyond the limit it is no error: they may serve others, as these do."""
    applied = apply(manifest=manifest())
    simulated.until(lambda: any((pod["spec"].get("nodeName")) for pod in simulated.objects("pods", "default")))
    used = {pod["spec"]["nodeName"] for pod in simulated.objects("pods", "default") if pod["spec"].get("nodeName")}
    for node in used:
        simulated.create("pods", someone_elses_pod(node))
    gone = delete(applied, wait_for_nodes=True, timeout_s=1500, deferrable=True)
    assert gone["nodes_gone"] is False
    assert all(f"{node} (other pods are on it: default/tenant-{node}"[:60] in gone["nodes_why"] for node in used)
    assert gone["waited_s"] >= 1500


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "the text holds 0 documents"),
        ("kind: Pod\napiVersion: v1", "it is a v1 Pod, not a ray.io RayService"),
        (manifest("x" * 40) | {"metadata": {"name": "x" * 48}}, "48 characters and KubeRay allows 47"),
        ("nowhere/service.txt", "The path of a file must end in .yaml"),
    ],
)
def test_a_bad_manifest_is_refused_before_any_connection_is_read(given: Any, words: str) -> None:
    """There is no connection `sim` in this test."""
    with pytest.raises(ManifestError, match=words):
        apply(manifest=given)


def test_forbidden_is_one_sentence(simulated: BackgroundCluster) -> None:
    """Verb, resource, cluster."""
    simulated.fault("forbidden", ["patch:rayservices"])
    with pytest.raises(ForbiddenError, match=r"patch.*rayservices") as raised:
        apply(manifest=manifest())
    assert "\n" not in str(raised.value)


def test_a_missing_connection_is_named() -> None:
    """With what to do."""
    with pytest.raises(ConnectionConfigError, match="'sim' is not defined: create it"):
        apply(manifest=manifest())


def test_an_unreachable_cluster_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempt, object, cluster; within the patience that is set."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("AIRFLOW_CONN_SIM", kubernetes_connection(f"http://127.0.0.1:{port}"))
    monkeypatch.setitem(Cluster.__init__.__kwdefaults__, "retry_s", 0.3)
    with pytest.raises(ClusterUnreachableError, match="sim") as raised:
        apply(manifest=manifest())
    assert "\n" not in str(raised.value)


def test_a_kubeconfig_file_is_enough(simulated: BackgroundCluster, tmp_path: Path, monkeypatch: Any) -> None:
    """Any kubeconfig: the connection only names its path."""
    (tmp_path / "config").write_text(json.dumps(kube_config(simulated.url)))
    extra = {"kube_config_path": str(tmp_path / "config")}
    monkeypatch.setenv("AIRFLOW_CONN_FILE", json.dumps({"conn_type": "kubernetes", "extra": extra}))
    operator = ApplyRayService(task_id="a", cluster={"conn_id": "file"}, manifest=manifest())
    applied = run(operator)
    assert applied["cluster"] == {"conn_id": "file"}
    assert delete(applied, timeout_s=3600)["pods_gone"] is True


def test_tasks_are_told_apart_by_a_label(simulated: BackgroundCluster) -> None:
    """Who applied it is on the object: the same task of the same run is the same value."""
    ctx = context(task_id="a")
    for _ in range(2):
        apply(ctx, manifest=manifest())
    (first,) = [item["metadata"]["labels"]["llm-provisioning/applied-by"] for item in simulated.objects("rayservices")]
    apply(context(task_id="b"), manifest=manifest())
    (second,) = [item["metadata"]["labels"]["llm-provisioning/applied-by"] for item in simulated.objects("rayservices")]
    assert first != second


def test_results_are_small_json(simulated: BackgroundCluster) -> None:
    """XCom gets names and instants: no manifest, no token."""
    applied = apply(manifest=manifest())
    assert set(applied) == {
        "cluster", "name", "namespace", "uid", "generation", "created_at", "applied_at", "replied_at", "reattached",
    }  # fmt: skip
    assert applied["applied_at"] <= applied["replied_at"]
    assert stored(applied) == applied
    assert os.environ["AIRFLOW_CONN_SIM"] not in json.dumps(applied)
