"""`owned`, `reap` and the DAG's tasks: what they print, their exit codes, and that no secret is in it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_in_background import TOKEN, BackgroundCluster, simulated_target
from operator_harness import context, run
from reaping_harness import abandoned_trial, end_entries

from airflow_llm_provisioning import cli
from airflow_llm_provisioning.connections import open_store
from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.core.names import LABEL_MANAGED_BY, OWNER
from airflow_llm_provisioning.exceptions import NotDeletedError
from airflow_llm_provisioning.gateways.kubernetes import Cluster
from airflow_llm_provisioning.operators import ListPlaces, ReapPlace

CANARY = "made-up-3"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command on an experiment file of the simulated target: exit code, output, errors."""
    monkeypatch.delenv("LLM_PROVISIONING_STORE", raising=False)
    monkeypatch.setenv("COLUMNS", "400")
    target = simulated_target().as_dict()
    nodes = {key: target["nodes"][key] for key in ("cloud", "autoscaler", "kubernetes_minor", "options")}
    chosen = {key: target[key] for key in ("name", "cluster", "conn_id")}
    whole = {
        "name": "nightly",
        "workloads": {"phi3": {"profile": "phi3-2025"}},
        "targets": [{**chosen, "variants": ["baseline"], "nodes": {**nodes, "gpu_skus": ["L4"]}}],
    }
    file = tmp_path / "experiment.yaml"
    file.write_text(yaml.safe_dump(whole))

    def one(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = cli.main([words[0], str(file), *words[1:]])
        out, err = capsys.readouterr()
        return code, out, err

    return one


def test_the_list_the_dry_run_and_the_reaper(simulated: BackgroundCluster, results_db: Path, command: Run) -> None:
    """`owned` objects, `reap` says what it would delete and deletes nothing, `reap --yes` deletes, and all is well."""
    abandoned_trial(simulated)
    end_entries(results_db)
    code, out, err = command("owned", "--format", "json")
    found = {(row["kind"], row["name"]): row for row in json.loads(out)["things"]}
    row = found["RayService", "llm-model-serve"]
    assert (code, row["state"], row["place"]) == (1, "expired", "cluster:demo/default")
    assert row["of"].startswith("trial nightly-")
    assert row["price_hour_usd"] is None
    nodes = [row for (kind, _), row in found.items() if kind == "Node"]
    assert {(row["state"], row["why"]) for row in nodes} == {("in use", "a pod of ours is on it")}
    assert any(row["price_hour_usd"] for row in nodes)
    assert "Results store: " in err
    code, out, _ = command("owned")
    assert code == 1
    assert "RayService" in out
    assert "expired" in out
    code, out, _ = command("reap")
    assert (code, simulated.names("rayservices")) == (1, ["llm-model-serve"])
    assert "Would be deleted" in out
    assert "Nothing was deleted: give --yes to delete." in out
    code, out, err = command("reap", "--yes", "--wait", "60")
    assert (code, simulated.names("rayservices")) == (0, [])
    assert out.endswith("Clean: 1 deleted and seen to be gone.\n")
    assert "Deleting RayService llm-model-serve" in err
    assert command("owned", "--format", "json")[0] == 0


def test_a_cluster_that_does_not_answer_is_exit_code_2(
    simulated: BackgroundCluster, results_db: Path, command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sentence is printed; unless the caller says that it does not exist any more."""
    monkeypatch.setitem(Cluster.__init__.__kwdefaults__, "retry_s", 0.1)
    open_store().close()
    simulated.fault("server_error_500", 10**6)
    code, out, _ = command("reap", "--yes")
    assert code == 2
    assert "Not clean" in out
    assert "answers 500" in out
    assert command("owned", "--gone-cluster", "demo")[0] == 0
    code, _, err = command("owned", "--gone-cluster", "demmo")
    assert code == 2
    assert "did you mean 'demo'?" in err


def test_no_secret_is_printed(simulated: BackgroundCluster, results_db: Path, command: Run) -> None:
    """Canaries in the content, the annotations and a label of objects that are listed, and in the connection."""
    held = {"stringData": {"token": CANARY}, "data": {"password": CANARY}}
    metadata = {
        "name": "theirs",
        "namespace": "default",
        "labels": {LABEL_MANAGED_BY: OWNER, "llm-provisioning/trial": "hf_" + "A1b2C3d4E5f6G7h8I9j0K1l2M3n4"},
        "annotations": {"note": CANARY},
    }
    for resource in ("secrets", "configmaps"):
        simulated.create(resource, {"metadata": metadata, **held})
    told = "".join(
        "".join(map(str, command(*words))) for words in (("owned",), ("owned", "--format", "json"), ("reap",))
    )
    told += "".join(map(str, command("reap", "--yes", "--wait", "0", "--format", "json")))
    assert "theirs" in told
    for secret in (CANARY, TOKEN, "A1b2C3d4E5f6G7h8I9j0K1l2M3n4"):
        assert secret not in told


def test_the_dags_tasks_reap_place_by_place(
    simulated: BackgroundCluster, results_db: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Every place is one argument of JSON; a place where something is left fails with its reason."""
    abandoned_trial(simulated)
    end_entries(results_db)
    simulated.fault("operator_silent", True)
    places: list[dict[str, Any]] = run(ListPlaces(task_id="p", experiment=Experiment("nightly", (simulated_target(),))))
    assert [place["name"] for place in places] == ["cluster:demo/default", "cluster:demo"]
    failing = context()
    with pytest.raises(NotDeletedError, match=r"cluster:demo/default: Not clean: 0 deleted.*1 not gone"):
        run(ReapPlace(task_id="r", place=places[0], wait_s=0.5), failing)
    # The page shows it though the task failed.
    seen = failing["ti"].pushed["llm_owned"]
    assert (seen["place"], "RayService" in {item["kind"] for item in seen["items"]}) == (places[0]["name"], True)
    simulated.fault("operator_silent", False)
    done = [run(ReapPlace(task_id="r", place=place, wait_s=60)) for place in places]
    assert [item["clean"] for item in done] == [True, True]
    assert simulated.names("rayservices") == []
