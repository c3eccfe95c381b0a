"""The DAGs: they parse, they serialise, and their shape is the experiment's."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, BaseOperator
from airflow_names import DagSerialization
from cluster_in_background import simulated_target

from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.core.fallbacks import fallback_targets
from airflow_llm_provisioning.core.manifests import with_env
from airflow_llm_provisioning.core.target import Target
from airflow_llm_provisioning.core.treatments import BaseTreatment, Step
from airflow_llm_provisioning.core.variants import BUILTIN_VARIANTS
from airflow_llm_provisioning.core.workload import builtin_workload
from airflow_llm_provisioning.dag_factory import (
    checked,
    group_key,
    load_experiment,
    preflight,
    preparation,
    single_trial_params,
    trials,
)
from airflow_llm_provisioning.exceptions import ConfigurationError
from airflow_llm_provisioning.operators.confidential import given

DAGS = Path(__file__).resolve().parents[1] / "airflow_llm_provisioning" / "example_dags"
SHIPPED = {
    "nightly_cold_start", "prepare_targets", "simulated_demo", "simulated_own_manifest", "single_trial", "reap",
    "tell_regressions",
}  # fmt: skip

PARSE = """
import sys
for name in {blocked!r}:
    sys.modules[name] = None
from airflow_names import DagBag, DagSerialization
bag = DagBag({folder!r})
import json
for dag in bag.dags.values():
    json.dumps(DagSerialization.to_dict(dag))
loaded = [name for name in {heavy!r} if sys.modules.get(name)]
print("RESULT", json.dumps([sorted(bag.dags), bag.import_errors, loaded]))
"""
CLOUD_SDKS = [
    "azure", "boto3", "botocore", "google.auth", "google.cloud", "googleapiclient", "moto", "altair",
]  # fmt: skip
HEAVY = ["boto3", "botocore", "azure.core", "google.auth", "kubernetes", "kubernetes_asyncio", "pandas"]


@contextmanager
def dag(**fields: Any) -> Iterator[DAG]:
    with DAG("d", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), **fields) as made:
        yield made


def experiment(*targets: Target, replicates: int = 2) -> Experiment:
    return Experiment("nightly", targets or (simulated_target(),), replicates=replicates)


def eks(name: str, *variants: str, **nodes: Any) -> Target:
    base = simulated_target().as_dict()["nodes"]
    return simulated_target(
        name=name, cluster=name, variants=list(variants), nodes={**base, "name": name, **nodes}, cloud_conn_id="aws"
    )


def parse(folder: Path, *, blocked: list[str], **env: str) -> list[Any]:
    script = PARSE.format(blocked=blocked, folder=str(folder), heavy=HEAVY)
    ran = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-W", "ignore", "-c", script],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent), **env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    found: list[Any] = json.loads(ran.stdout.partition("RESULT ")[2])
    return found


def test_the_shipped_dags_parse_without_any_cloud_sdk() -> None:
    """Nothing of an extra can be imported: no import error, every DAG serialises, and no client was loaded by us."""
    dags, errors, loaded = parse(DAGS, blocked=CLOUD_SDKS)
    assert set(dags) == SHIPPED
    assert errors == {}
    assert loaded == []


def test_a_configured_experiment_replaces_the_examples(tmp_path: Path) -> None:
    """`[llm_provisioning] experiment_file` leads the real DAGs; a file that is wrong is an import error in words."""
    file = tmp_path / "mine.yaml"
    file.write_text((DAGS / "experiments" / "example.yaml").read_text().replace("karpenter", "magic"))
    dags, errors, _ = parse(DAGS, blocked=[], AIRFLOW__LLM_PROVISIONING__EXPERIMENT_FILE=str(file))
    assert dags == ["simulated_demo", "simulated_own_manifest"]
    assert all("targets.0.nodes.autoscaler" in error and "magic" in error for error in errors.values())


@pytest.mark.parametrize("name", ["example", "own_manifest", "simulated"])
def test_the_shipped_experiments_are_possible(name: str) -> None:
    """Every variant fits its target, and every node autoscaler takes its profile."""
    assert load_experiment(DAGS / "experiments" / f"{name}.yaml").targets


def test_slots_are_unrolled_per_cluster() -> None:
    """As many as the plan will draw; clusters side by side, one slot after the other."""
    drawn = experiment(eks("a", "baseline", "fast_download"), eks("b", "baseline"))
    with dag() as made:
        trials(drawn)
    for cluster, count in drawn.slots().items():
        slots = [f"{cluster}.trial_{slot:02d}" for slot in range(count)]
        assert {task.rpartition(".")[0] for task in made.task_ids if task.startswith(f"{cluster}.")} == set(slots)
        for before, after in pairwise(slots):
            assert f"{after}.open" in made.get_task(f"{before}.close").downstream_task_ids
        assert made.get_task(f"{slots[0]}.open").upstream_task_ids == {"plan"}


def test_fallback_slots_follow_their_slot() -> None:
    """As many as the target with most fallbacks has; the next trial of the cluster waits for them."""
    first = eks("a", "baseline")
    drawn = experiment(first, *fallback_targets(first, ["us-east-1b", "us-east-1c"]))
    with dag() as made:
        _, judge = trials(drawn)
    places = ["trial_00", "trial_00_fallback_1", "trial_00_fallback_2", "trial_01"]
    for before, after in pairwise(f"{first.cluster}.{place}" for place in places):
        assert f"{after}.open" in made.get_task(f"{before}.close").downstream_task_ids
    assert judge.expected == drawn.planned_trials() == 3 * sum(drawn.slots().values())


def test_a_trial_is_setup_work_and_teardown() -> None:
    """`close` tears `open` down, and fails the run when it fails itself; the work between needs its predecessor."""
    with dag() as made:
        trials(experiment(replicates=1))
    opened, applied, waited, closed = (
        made.get_task(f"demo.trial_00.{name}") for name in ("open", "apply", "wait", "close")
    )
    assert (opened.is_setup, closed.is_teardown, closed.on_failure_fail_dagrun) == (True, True, True)
    assert opened in closed.upstream_list
    assert closed.trigger_rule.value == "all_done_setup_success"
    assert {applied.trigger_rule.value, waited.trigger_rule.value} == {"all_success"}
    assert (closed.apply_task_id, closed.wait_task_id) == (applied.task_id, waited.task_id)


def test_all_last_tasks_look_at_every_trial_and_decide_the_run() -> None:
    """Comparison and judgement run also after a failure; neither can hide the other's failure."""
    with dag() as made:
        plan, judge = trials(experiment())
    assert {task.task_id for task in made.leaves} == {"compare", "judge", "changes"}
    assert [task.task_id for task in made.roots] == [plan.task_id]
    closes = {task for task in made.task_ids if task.endswith(".close")}
    for task in made.leaves:
        assert task.upstream_task_ids == closes
        assert task.trigger_rule.value == "all_done"
    assert judge.expected == 8


def test_parsing_twice_gives_the_same_dag() -> None:
    """No order is drawn at parse time: the DAG's version does not churn."""
    serialised = []
    for _ in range(2):
        with dag() as made:
            trials(experiment())
        serialised.append(json.dumps(DagSerialization.to_dict(made), sort_keys=True))
    assert serialised[0] == serialised[1]


VARIANTS = {**BUILTIN_VARIANTS, "preloaded": ("bake_packages", "preloaded_disk")}
PREPARED = [
    (eks("plain", "baseline", "fast_download"), ["set_up_nodes"]),
    (eks("baked", "baked_image"), ["build_image", "set_up_nodes"]),
    (eks("fast", "improved"), ["build_image", "snapshot_image", "set_up_nodes"]),
    (eks("gke", "improved", cloud="gke", options={"node_service_account": "n"}),
     ["build_image", "set_up_nodes", "enable_streaming", "warm_image"]),
    (eks("preloaded", "preloaded", cloud="gke", autoscaler="native", gpu_instance_type="g2-standard-12",
         cpu_instance_type="e2-standard-4"),
     ["build_image", "snapshot_image", "set_up_nodes", "enable_streaming"]),
    (eks("aks", "improved", cloud="aks"), ["build_image", "enable_streaming", "set_up_nodes"]),
]  # fmt: skip


@pytest.mark.parametrize(("target", "steps"), PREPARED, ids=lambda item: item.name if isinstance(item, Target) else "")
def test_a_target_is_prepared_as_its_variants_need(target: Target, steps: list[str]) -> None:
    """One after the other, and nothing that no variant needs."""
    with dag() as made:
        preparation(checked(Experiment("nightly", (target,), variants=VARIANTS)))
    chained = sorted(made.tasks, key=lambda task: len(task.get_flat_relative_ids(upstream=True)))
    assert [task.task_id.rpartition(".")[2] for task in chained] == steps
    for before, after in pairwise(chained):
        assert after.task_id in before.downstream_task_ids


def test_a_buffers_objects_know_the_manifest_and_the_built_image() -> None:
    """Placeholders have the shape of head and workers on the target's nodes; the image is the build's result."""
    target = eks("buffered", "buffered")
    variants = {"baseline": (), "buffered": ("bake_packages", "capacity_buffer")}
    with dag() as made:
        preparation(checked(Experiment("nightly", (target,), variants=variants)))
    tasks = {task.task_id.rpartition(".")[2]: task for task in made.tasks}
    assert set(tasks) == {"build_image", "set_up_nodes", "prepare_capacity_buffer"}
    prepare: Any = tasks["prepare_capacity_buffer"]
    assert prepare.image.operator is tasks["build_image"]
    assert prepare.upstream_task_ids >= {tasks["set_up_nodes"].task_id}
    head, worker = [item["spec"]["template"] for item in prepare.objects.given if item["kind"] == "Deployment"]
    assert {container["image"] for pod in (head, worker) for container in pod["spec"]["containers"]} == {"{image}"}
    assert "nvidia.com/gpu" in worker["spec"]["containers"][0]["resources"]["limits"]
    assert worker["metadata"]["labels"]["elotl-luna"] == "true"


def test_a_step_is_given_the_manifests_of_the_variants_that_want_it() -> None:
    """A baseline beside it has the same image, and unpacks no cache: the Job is for the other one. Variants with two
    images have a Job of each, in the one task that waits for the build.
    """
    told = {"treatments": {"compile_cache": {"storage_class": "efs-sc"}}}
    target = replace(eks("cached", "baseline", "cached"), options=told)
    workload = builtin_workload("phi3-current", "phi3-current")
    variants: dict[str, tuple[str, ...]] = {"baseline": (), "cached": ("compile_cache",)}
    with dag() as made:
        preparation(checked(Experiment("nightly", (target,), (workload,), variants=variants)))
    (prepare,) = [task for task in made.tasks if task.task_id.endswith("prepare_compile_cache")]
    assert [item["kind"] for item in given(prepare.objects)] == ["PersistentVolumeClaim", "Job"]
    newer = replace(workload.with_image("docker.io/rayproject/ray-llm:2.57.0-py312-cu130"), name="newer")
    two = replace(target, variants=("baked", "cached"))
    variants["baked"] = ("bake_packages", "compile_cache")
    with dag() as made:
        preparation(checked(Experiment("nightly", (two,), (workload, newer), variants=variants)))
    tasks = {task.task_id.rpartition(".")[2]: task for task in made.tasks}
    both: Any = tasks["prepare_compile_cache"]
    jobs = [item["spec"]["template"]["spec"] for item in given(both.objects) if item["kind"] == "Job"]
    assert [job["containers"][0]["image"] for job in jobs] == ["{image}", "{image-1}"]
    builds = {task.task_id for name, task in tasks.items() if name.startswith("build_image")}
    assert {image.operator.task_id for image in both.image} == builds
    assert both.upstream_task_ids >= builds


def test_preparation_needs_the_clouds_connection() -> None:
    """Said when the DAG is parsed, with the field's name."""
    target = simulated_target(variants=["baked_image"])
    with dag(), pytest.raises(ConfigurationError, match="give it `cloud_conn_id`"):
        preparation(experiment(target))


def test_several_images_are_built_side_by_side_unless_nodes_hold_one() -> None:
    """Two workloads need two images: each is built and streamed; a snapshot is part of the nodes and holds one."""
    both = (builtin_workload(), builtin_workload("phi3-current", "phi3-current"))
    streaming = eks("gke", "improved", cloud="gke", options={"node_service_account": "n"})
    with dag() as made:
        preparation(checked(replace(experiment(streaming), workloads=both)))
    names = [task_id.rpartition(".")[2] for task_id in made.task_ids]
    assert sorted(name.rsplit("_", 1)[0] for name in names if name != "set_up_nodes") == [
        "build_image", "build_image", "enable_streaming", "enable_streaming", "warm_image", "warm_image",
    ]  # fmt: skip
    with (
        dag(),
        pytest.raises(ConfigurationError, match=r"need 2 different images.*give each image a target of its own"),
    ):
        preparation(checked(replace(experiment(eks("x", "improved")), workloads=both)))


@pytest.mark.parametrize("treatment", ["capacity_buffer", "peer_to_peer"])
def test_objects_that_hold_one_image_want_a_target_for_each(treatment: str) -> None:
    """A second preparation would remove the objects of the first, and its trials would not be what they say."""
    both = (builtin_workload(), builtin_workload("phi3-current", "phi3-current"))
    told = {"treatments": {"peer_to_peer": {"scheduler_tag": "v2.5.0"}}}
    target = replace(eks("x", "kept"), options=told)
    one = Experiment("nightly", (target,), variants={"kept": (treatment,)})
    with dag():
        preparation(checked(one))
    refused = rf"want prepare_{treatment} need 2 different images.*give each image a target of its own"
    with dag(), pytest.raises(ConfigurationError, match=refused):
        preparation(checked(replace(one, workloads=both)))


class _Announce(BaseTreatment):
    """A treatment that builds no image and has two steps: one for each image, one for the target."""

    name = "announce"
    steps = (
        Step("pull_each", "airflow.sdk:BaseOperator", lambda context: {"doc": context.image["image"]}),
        Step("once", "airflow.sdk:BaseOperator", lambda _: {}, per_image=False, before_nodes=False),
    )


def test_a_step_runs_also_where_no_image_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given the image that the pods pull; nothing of a treatment is left out silently."""
    monkeypatch.setattr(Experiment, "treatments", lambda *_: (_Announce(),))
    monkeypatch.setattr("airflow_llm_provisioning.dag_factory.preparing._operator", lambda _: _Noted)
    with dag() as made:
        preparation(experiment(eks("x", "baseline")))
    chained = sorted(made.tasks, key=lambda task: len(task.get_flat_relative_ids(upstream=True)))
    assert [task.task_id.rpartition(".")[2] for task in chained] == ["pull_each", "set_up_nodes", "once"]
    assert chained[0].doc == builtin_workload().images[0]


class _Noted(BaseOperator):
    def __init__(self, *, results_conn_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)


IMPOSSIBLE = [
    ([("x", ["magic"], {})], "'magic' is unknown: known are baked_image, baseline"),
    ([("x", ["baked_image", "improved"], {})], "need different nodes .*give each a target of its own"),
    (
        [("x", ["improved"], {"cloud": "generic", "autoscaler": "native"})],
        "targets.x.variants: 'improved' is impossible: 'image_delivery' stands for one of .* on 'generic' none of them",
    ),
    (
        [("x", ["baseline"], {"cloud": "oci"})],
        "targets.x.nodes.cloud: 'oci' is unknown: known are aks, eks, generic, gke",
    ),
    ([("x", ["baseline"], {"autoscaler": "karpenter"})], "cannot get its nodes from karpenter: .*option role"),
    ([("x", ["baseline"], {}), ("y", ["improved"], {"cluster": "x"})], "Luna has one configuration per cluster"),
]


@pytest.mark.parametrize(("targets", "words"), IMPOSSIBLE)
def test_an_impossible_target_is_refused_when_parsed(targets: list[Any], words: str) -> None:
    """Before money is spent, in one sentence."""
    with pytest.raises(ConfigurationError, match=words):
        checked(experiment(*(_on(name, variants, dict(nodes)) for name, variants, nodes in targets)))


def _on(name: str, variants: list[str], nodes: dict[str, Any]) -> Target:
    cluster = nodes.pop("cluster", name)
    return replace(eks(name, *variants, **nodes), cluster=cluster)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "is no YAML"),
        ("", "holds 0 YAML documents"),
        ("name: x\ntargets: 3", "`targets` must be a list; found 3"),
    ],
)
def test_a_bad_file_is_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    """No YAML, nothing, nonsense."""
    (tmp_path / "e.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=words):
        load_experiment(tmp_path / "e.yaml")


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    """Its path is in the message."""
    with pytest.raises(ConfigurationError, match=r"nowhere\.yaml cannot be read"):
        load_experiment(tmp_path / "nowhere.yaml")


def test_no_manifest_is_stored_with_the_dag() -> None:
    """A user's manifest may hold anything: neither the stored DAG nor a rendered field has a word of it."""
    secret = "hf_" + "Abcdefghijklmnopqrstuvwxyz0123456789"[:34]
    plain = builtin_workload()
    mine = replace(plain, name="mine", profile=None, manifest=with_env(plain.manifest, {"HF_TOKEN": secret}))
    drawn = replace(experiment(), workloads=(mine,))
    with dag(params=single_trial_params(drawn)) as made:
        preflight(drawn)
        trials(drawn)
    stored = json.dumps(DagSerialization.to_dict(made))
    assert secret not in stored
    assert "serveConfigV2" not in stored
    assert not [
        task.task_id
        for task in made.tasks
        if "experiment" in task.template_fields and task.task_id in ("plan", "preflight")
    ]


@pytest.mark.parametrize(
    ("name", "key"), [("llm-eks_1", "llm-eks_1"), ("gke.prod/eu", r"gke_prod_eu_[0-9a-f]{6}"), ("x" * 300, r"x+_\w{6}")]
)
def test_any_clusters_name_makes_a_task_group(name: str, key: str) -> None:
    """Airflow allows fewer characters than clouds do; two names never fall together."""
    assert re.fullmatch(key, group_key(name))
    assert group_key("a.b") != group_key("a/b")
