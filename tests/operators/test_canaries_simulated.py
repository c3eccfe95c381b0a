"""One whole trial of a manifest that is full of secrets: none of them is in anything that leaves."""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import operator_harness
import pytest
import yaml
from airflow.sdk.execution_time.task_runner import _serialize_rendered_fields
from cluster_in_background import BackgroundCluster

from airflow_llm_provisioning.cli import main
from airflow_llm_provisioning.connections import open_store
from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.core.manifests.groups import ray_container, ray_groups
from airflow_llm_provisioning.operators import ApplyRayService

CANARY = "made-up-2"


def with_canaries(manifest: Any) -> dict[str, Any]:
    """Return a manifest with canaries where the simulated cluster takes any value."""
    made: dict[str, Any] = copy.deepcopy(manifest)
    made["metadata"].setdefault("annotations", {}).update(
        {"team.example/api-key": CANARY, "note": json.dumps({"password": CANARY})}
    )
    for group in ray_groups(made):
        container = ray_container(made, group)
        container.setdefault("env", []).extend(
            [{"name": "HF_TOKEN", "value": CANARY}, {"name": "INDEX", "value": f"https://u:{CANARY}@x.example"}]
        )
    config = yaml.safe_load(made["spec"]["serveConfigV2"])
    for application in config["applications"]:
        environment = application.setdefault("runtime_env", {})
        environment["env_vars"] = {**(environment.get("env_vars") or {}), "OPENAI_API_KEY": CANARY}
    made["spec"]["serveConfigV2"] = yaml.safe_dump(config, sort_keys=False)
    return made


def test_no_canary_is_in_anything_that_leaves(
    simulated: BackgroundCluster,
    results_db: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """XCom, rendered fields, events, logs, the database's bytes, tables, the report, an export and a replay."""
    plain = operator_harness.experiment

    def experiment(**target: Any) -> Experiment:
        made = plain(**target)
        workloads = tuple(replace(item, manifest=with_canaries(item.manifest)) for item in made.workloads)
        return replace(made, workloads=workloads)

    monkeypatch.setattr(operator_harness, "experiment", experiment)
    trial = operator_harness.open_trial()
    applied = operator_harness.apply(trial)
    (service,) = simulated.objects("rayservices", "default")
    assert json.dumps(service).count(CANARY) >= 6
    ready = operator_harness.wait(trial, applied, deferrable=True)
    closed = operator_harness.close_trial(trial, deferrable=True)
    fields = _serialize_rendered_fields(ApplyRayService(task_id="a", trial=trial, experiment=experiment()))
    store = open_store()
    recorded = store.trace(trial["trial_id"])
    store.close()
    written = [tmp_path / "report.html", tmp_path / "trace.gz"]
    assert main(["report", "--out", str(written[0])]) == 0
    assert main(["trace", "export", trial["trial_id"], str(written[1])]) == 0
    for form in ("table", "csv", "json"):
        assert main(["results", "--what", "trials", "--format", form]) == 0
    assert main(["replay", str(written[1])]) == 0
    out = capfd.readouterr()
    told = json.dumps([trial, applied, ready, closed, fields], default=str) + out.out + out.err + caplog.text
    assert CANARY not in told
    from airflow_llm_provisioning.core.trace import decode_trace

    lines = decode_trace(recorded).lines
    assert len(lines) > 50
    assert CANARY not in json.dumps(lines)
    assert "team.example/api-key" in json.dumps(lines)
    for path in [*results_db.parent.iterdir(), *written]:
        if path.is_file():
            assert CANARY.encode() not in path.read_bytes(), path
