"""Preflight against a simulated cluster: everything wrong at once, in sentences, and nothing changed."""

import asyncio
import sqlite3
import sys
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_in_background import BackgroundCluster, ClusterThread, kubernetes_connection, simulated_target
from operator_harness import apply, context, open_trial, run

from airflow_llm_provisioning import cli
from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.core.target import Target
from airflow_llm_provisioning.core.workload import builtin_workload
from airflow_llm_provisioning.exceptions import ConfigurationError
from airflow_llm_provisioning.gateways.kubernetes import Cluster
from airflow_llm_provisioning.gateways.preflight import Finding, check_target
from airflow_llm_provisioning.operators.experiment import Preflight
from airflow_llm_provisioning.preparation import preflight as checking


@pytest.fixture
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub does not answer, and the base image's registry says yes."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")

    async def there(_reference: str) -> bool:
        return True

    monkeypatch.setattr("airflow_llm_provisioning.gateways.registry.image_exists", there)


def look(target: Target, results_conn_id: str | None = None) -> list[Finding]:
    found = asyncio.run(checking._check(target))
    return found + [Finding("store", *told) for told in [asyncio.run(checking._store(results_conn_id))] if told]


def errors(findings: list[Finding]) -> str:
    return "\n".join(str(item) for item in findings if item.blocks)


def test_a_good_cluster_has_nothing_wrong(simulated: BackgroundCluster) -> None:
    """No error, and looking leaves no trace: no lock, no object."""
    before = simulated.names("configmaps")
    assert errors(look(simulated_target())) == ""
    assert simulated.names("leases") == []
    assert simulated.names("configmaps") == before


def test_every_missing_right_is_listed_at_once(simulated: BackgroundCluster) -> None:
    """Verb and resource, cluster-scoped nodes and the proxy included, in one sentence that says what to do."""
    simulated.fault("forbidden", ["create:rayservices", "watch:nodes", "services"])
    told = errors(look(simulated_target()))
    for right in ("create rayservices", "watch nodes", "get services/proxy", "create services/proxy"):
        assert right in told
    assert "bind a role that allows it" in told


def test_everything_wrong_is_listed_together(simulated: BackgroundCluster, tmp_path: Path, monkeypatch: Any) -> None:
    """Lock held, something left over, another autoscaler than the target's, rights, cloud connection, store: one look,
    every sentence.
    """
    apply(_opened(monkeypatch, tmp_path))
    simulated.fault("forbidden", ["delete:pods", "watch:pods"])
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AIRFLOW_CONN_BROKEN", f'{{"conn_type": "sqlite", "host": "{tmp_path}/file/x.db"}}')
    target = simulated_target(
        nodes={
            **simulated_target().as_dict()["nodes"],
            "autoscaler": "karpenter",
            "options": {"role": "r", "discovery": "d"},
        },
        cloud_conn_id="nowhere",
        region="us-west-2",
    )
    found = look(target, "broken")
    told = errors(found)
    for words in (
        "held by 'nightly/other/demo' until",
        "Node autoscaler karpenter was not found: there is no resource nodepools.karpenter.sh",
        "may not watch pods",
        "'nowhere' is not defined",
        "cannot be opened for writing",
    ):
        assert words in told
    notes = "\n".join(str(item) for item in found if not item.blocks)
    assert "RayService default/llm-model-serve already exists" in notes


def _opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    store = f'{{"conn_type": "sqlite", "host": "{tmp_path}/results.db"}}'
    monkeypatch.setenv("AIRFLOW_CONN_LLM_PROVISIONING_RESULTS", store)
    return open_trial(ctx=context(run_id="other"))


def test_an_expired_lock_is_no_obstacle(simulated: BackgroundCluster) -> None:
    """Its holder is dead; the next trial takes it over."""
    spec = {"holderIdentity": "dead", "leaseDurationSeconds": 1, "renewTime": "2026-01-01T00:00:00.000000Z"}
    metadata = {"name": "llm-provisioning-trial", "namespace": "default"}
    simulated.create("leases", {"metadata": metadata, "spec": spec})
    assert errors(look(simulated_target())) == ""


def test_an_unreachable_cluster_is_one_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing further can be said of it."""
    monkeypatch.setenv("AIRFLOW_CONN_SIM", kubernetes_connection("http://127.0.0.1:9"))
    monkeypatch.setitem(Cluster.__init__.__kwdefaults__, "retry_s", 0.3)
    (finding,) = look(simulated_target())
    assert finding.blocks
    assert "sim" in finding.sentence


def test_a_missing_extra_is_found_before_it_is_needed(
    simulated: BackgroundCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The packages of the target's cloud are not installed: the extra's name is said."""
    monkeypatch.setitem(sys.modules, "airflow.providers.google.common.hooks.base_google", None)
    nodes = {**simulated_target().as_dict()["nodes"], "cloud": "gke"}
    told = errors(look(simulated_target(nodes=nodes, cloud_conn_id="google")))
    assert "pip install 'airflow-llm-provisioning[google]'" in told


def test_karpenters_cluster_shows_its_resource() -> None:
    """Each node autoscaler is found by its own sign; on another's cluster Luna is missed."""
    with ClusterThread(autoscaler="karpenter") as cluster:
        nodes = {**simulated_target().as_dict()["nodes"], "options": {"role": "r", "discovery": "d"}}
        karpenter = simulated_target(nodes={**nodes, "autoscaler": "karpenter"})
        assert "karpenter was not found" not in errors(_check_at(cluster, karpenter))
        assert "no deployment elotl/elotl-luna-manager" in errors(_check_at(cluster, simulated_target()))


def _check_at(cluster: BackgroundCluster, target: Target) -> list[Finding]:
    from airflow_llm_provisioning.gateways.clouds.base import ClusterAccess

    async def check() -> list[Finding]:
        async with Cluster.from_access(lambda: ClusterAccess(cluster.url)) as opened:
            return await check_target(opened, target)

    return asyncio.run(check())


@pytest.mark.usefixtures("_no_network", "results_db")
def test_the_task_passes_with_notes_and_fails_with_every_error(
    simulated: BackgroundCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is only noted is returned; one error fails it, with all sentences of all targets together."""
    good = simulated_target()
    notes = run(Preflight(task_id="p", experiment=Experiment("n", (good,))))
    assert {note["level"] for note in notes} == {"note"}
    assert any("The hub could not be asked" in note["sentence"] for note in notes)
    bad = [simulated_target(name=name, conn_id=f"missing_{name}") for name in ("a", "b")]
    with pytest.raises(ConfigurationError, match="missing_a") as raised:
        run(Preflight(task_id="p", experiment=Experiment("n", (good, *bad))))
    assert "missing_b" in str(raised.value)
    assert "note:" not in str(raised.value)


def test_a_base_image_that_is_gone_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials that pull it would fail; an unknown answer is only a note."""

    async def gone(_reference: str) -> bool:
        return False

    monkeypatch.setattr("airflow_llm_provisioning.gateways.registry.image_exists", gone)
    level, sentence = asyncio.run(checking._base_image(Experiment("n", (simulated_target(),)))) or ("", "")
    assert level == "error"
    assert "rayproject/ray-ml:2.33.0.914af0-py311" in sentence
    assert "phi3-current" in sentence


def test_whoever_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """No network: neither hub nor registry answers; it is said that they were not checked, and when the waiting ended.
    Without its store no trial can be recorded, so that one blocks.
    """
    for name in ("STORE_LIMIT_S", "HUB_LIMIT_S", "REGISTRY_LIMIT_S"):
        monkeypatch.setattr(checking, name, 0.1)
    answer = threading.Event()

    def silent(*_: Any) -> Any:
        answer.wait(60)

    async def swallowed(_reference: str) -> bool:
        await asyncio.to_thread(silent)
        return True

    monkeypatch.setattr("airflow_llm_provisioning.gateways.registry.image_exists", swallowed)
    monkeypatch.setattr("airflow_llm_provisioning.gateways.hub.resolve_model", silent)
    monkeypatch.setattr("airflow_llm_provisioning.connections.open_store", silent)
    began = time.monotonic()
    experiment = Experiment("n", (simulated_target(),))

    async def unchecked(*_: Any) -> list[Finding]:
        return []

    monkeypatch.setattr(checking, "_check", unchecked)
    found = asyncio.run(checking.check_experiment(experiment, results_conn_id="store"))
    took_s = time.monotonic() - began
    answer.set()
    assert took_s < 30
    assert {item.level for item in found if "not checked:" in item.sentence} == {"note"}
    told = [str(item) for item in found]
    assert len(told) == 3
    for words in (
        "store behind 'store' did not answer within 0.1 s",
        "registry did not answer",
        "hub could not be asked",
    ):
        assert any(words in sentence for sentence in told)
    assert [item.sentence[:17] for item in found if item.blocks] == ["The results store"]


def test_a_store_of_a_newer_version_blocks(results_db: Path) -> None:
    """Its schema is not ours to write: both versions are said."""
    assert asyncio.run(checking._store("llm_provisioning_results")) is None
    with closing(sqlite3.connect(results_db)) as database, database:
        database.execute("UPDATE llmp_schema_version SET version_num = '9999'")
    level, sentence = asyncio.run(checking._store("llm_provisioning_results")) or ("", "")
    assert level == "error"
    assert "schema 9999" in sentence


def test_the_command_looks_at_the_store_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The connection that is named, else the default one; what is wrong with it fails the command."""
    asked: list[str | None] = []

    async def looked(*_: Any, results_conn_id: str | None, **__: Any) -> list[Finding]:
        asked.append(results_conn_id)
        return [Finding("n", "error", "The store is gone.")]

    monkeypatch.setattr(checking, "check_experiment", looked)
    file = (
        Path(__file__).resolve().parents[2]
        / "airflow_llm_provisioning"
        / "example_dags"
        / "experiments"
        / "simulated.yaml"
    )
    assert cli.main(["preflight", str(file)]) == 1
    assert cli.main(["preflight", str(file), "--store-conn", "mine"]) == 1
    assert asked == ["llm_provisioning_results", "mine"]
    assert capsys.readouterr().out == "error: n: The store is gone.\n" * 2


def test_an_unknown_target_is_an_error_that_names_the_nearest() -> None:
    """Nothing to check is not a good answer."""
    experiment = Experiment("n", (simulated_target(),))
    with pytest.raises(ConfigurationError, match=r"Target 'plane' is not in experiment 'n': did you mean 'plain'\?"):
        asyncio.run(checking.check_experiment(experiment, only=["plane"]))


@pytest.mark.parametrize(("name", "is_told"), [("fast_download", True), ("early_node", False)])
def test_an_entry_point_without_effect_is_told_where_its_name_is_used(
    name: str, is_told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variant of the experiment has this package's own treatment, and its author may mean the other one."""
    monkeypatch.setattr(checking, "ignored_treatments", lambda: {name: "It has no effect."})

    async def no_findings(*_: Any) -> list[Finding]:
        return []

    monkeypatch.setattr(checking, "_check", no_findings)
    for asked in ("_store", "_model", "_base_image"):
        monkeypatch.setattr(checking, asked, _nothing)
    found = asyncio.run(checking.check_experiment(Experiment("n", (simulated_target(),))))
    assert ("note: n: It has no effect." in map(str, found)) is is_told


async def _nothing(*_: Any) -> None:
    return None


@pytest.mark.parametrize(
    ("replicas", "ready", "words"),
    [(0, None, "is scaled to 0 replicas"), (1, None, "has 0 of 1 replicas ready")],
)
def test_an_operator_without_a_ready_replica_blocks(
    simulated: BackgroundCluster, replicas: int, ready: int | None, words: str
) -> None:
    """A deployment that is there and does not run starts no RayService."""

    def change(item: dict[str, Any]) -> None:
        item["spec"]["replicas"] = replicas
        item["status"] = {} if ready is None else {"readyReplicas": ready}

    for subresource in ("", "status"):
        simulated.call(
            lambda sub=subresource: simulated.simulated.store.mutate(
                "deployments", "kuberay-operator", "kuberay-operator", change, subresource=sub, manager="somebody"
            )
        )
    assert words in errors(look(simulated_target()))


def test_no_operator_at_all_blocks(simulated: BackgroundCluster) -> None:
    """The CRDs alone deploy nothing."""
    simulated.call(lambda: simulated.simulated.store.delete("deployments", "kuberay-operator", "kuberay-operator"))
    assert "no deployment kuberay-operator was found" in errors(look(simulated_target()))


def fits(simulated: BackgroundCluster, **target: Any) -> list[Finding]:
    nodes = {"cloud": "generic", "autoscaler": "native", "kubernetes_minor": "1.34", **target.pop("nodes", {})}
    found = simulated_target(nodes=nodes, **target)
    return asyncio.run(checking._check(found, (builtin_workload(),)))


def test_a_workload_that_fits_on_no_fixed_node_blocks(simulated: BackgroundCluster) -> None:
    """A kubeconfig alone: there is no GPU, nothing makes one, and every start would be warm."""
    found = fits(simulated)
    told = errors(found)
    assert "a pod of group headgroup fits on no node that is there" in told
    assert "with the taint CriticalAddonsOnly, which the pod does not tolerate" in told
    assert "Nothing makes nodes here, so it stays Pending" in told
    notes = "\n".join(str(item) for item in found if not item.blocks)
    assert "every start is warm" in notes


def test_a_workload_whose_nodes_are_made_is_a_note(simulated: BackgroundCluster) -> None:
    """Luna makes nodes with NVIDIA's GPUs: nothing fits now, and something will."""
    found = asyncio.run(checking._check(simulated_target(), (builtin_workload(),)))
    assert errors(found) == ""
    assert any("The node autoscaler has to make one that it fits on" in item.sentence for item in found)
    assert not any("every start is warm" in item.sentence for item in found)


def test_an_accelerator_that_nothing_makes_blocks(simulated: BackgroundCluster) -> None:
    """The profile names NVIDIA's GPUs, and the manifest asks for another device."""
    manifest = yaml.safe_load(yaml.safe_dump(builtin_workload().manifest).replace("nvidia.com/gpu", "amd.com/gpu"))
    workload = replace(builtin_workload(), manifest=manifest)
    told = errors(asyncio.run(checking._check(simulated_target(), (workload,))))
    assert "No node has amd.com/gpu, and the node profile makes none" in told
