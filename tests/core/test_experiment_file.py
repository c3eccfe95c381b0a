"""An experiment file becomes an experiment, or sentences that name file, key, what was found and what is allowed."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from broken_experiments import REPLACED, UNKNOWN_KEYS, WRONG_TYPES, with_nodes
from experiment_data import (
    EXAMPLES,
    EXPERIMENTS,
    a_manifest,
    experiment,
    experiment_data,
    no_file,
    simulated_data,
    target_data,
)

from airflow_llm_provisioning.core.experiment_file import read_experiment, read_experiment_text
from airflow_llm_provisioning.core.workload import ScalingSetup
from airflow_llm_provisioning.dag_factory import load_experiment
from airflow_llm_provisioning.exceptions import ConfigurationError

OWN = {"mine": {"manifest": a_manifest()}}


def refusals(data: Any) -> list[str]:
    """The lines of the refusal, without the file's name, which every line must begin with."""
    with pytest.raises(ConfigurationError) as raised:
        read_experiment(data, where="it.yaml", read_text=no_file)
    lines = str(raised.value).split("\n")
    assert all(line.startswith("it.yaml: ") and line.endswith(".") for line in lines), lines
    return [line.removeprefix("it.yaml: ") for line in lines]


def refused_text(text: str) -> str:
    with pytest.raises(ConfigurationError) as raised:
        read_experiment_text(text, where="it.yaml", read_text=no_file)
    assert str(raised.value).startswith("it.yaml")
    return str(raised.value)


@pytest.mark.parametrize(("data", "words"), UNKNOWN_KEYS)
def test_an_unknown_key_names_the_nearest_and_all_that_are_known(data: dict[str, Any], words: str) -> None:
    """At every level of the file; a target is named by its name, not by its number."""
    (told,) = refusals(data)
    assert_matches(told, words)
    assert "Known are " in told


def assert_matches(text: str, words: str) -> None:
    """Compare with `.*` as the only pattern, so that expectations read like the sentences."""
    pattern = ".*".join(re.escape(part) for part in words.split(".*"))
    assert re.search(pattern, text), text


UNKNOWN_NAMES = [
    (
        experiment_data(workloads={"w": {"profile": "phi3-2024"}}),
        "workloads.w.profile: Workload profile 'phi3-2024' is unknown: did you mean 'phi3-2025'? Known are phi3-2025, ",
    ),
    (
        experiment_data(target_data(variants=["baselin"])),
        "targets.eks-plain.variants: 'baselin' is unknown: did you mean 'baseline'? Known are ",
    ),
    (
        experiment_data(target_data(workloads=["phi3-2024"])),
        "targets.eks-plain.workloads: 'phi3-2024' is unknown: did you mean 'phi3-2025'?",
    ),
    (
        experiment_data(target_data(variants=["quick"]), variants={"quick": ["fast_downlod"]}),
        "variants.quick: Treatment 'fast_downlod' is unknown: did you mean 'fast_download'? Known are ",
    ),
    (
        experiment_data(variants={"fast_download": ["fast_download"], "unused": ["magic"]}),
        "variants.unused: Treatment 'magic' is unknown: known are ",
    ),
    (
        with_nodes(autoscaler="lunar"),
        "`targets.eks-plain.nodes.autoscaler` is 'lunar', which is unknown: did you mean 'luna'? Known are karpenter, ",
    ),
    (experiment_data(setups=["statik"]), "`setups.0` is 'statik', which is unknown: did you mean 'static'?"),
]


@pytest.mark.parametrize(("data", "words"), UNKNOWN_NAMES)
def test_an_unknown_name_names_the_nearest_and_all_that_are_known(data: dict[str, Any], words: str) -> None:
    """Profile, variant, workload, treatment (also of a variant that no target runs), node autoscaler, set-up."""
    (told,) = refusals(data)
    assert_matches(told, words)


@pytest.mark.parametrize(("data", "words"), REPLACED)
def test_a_key_of_version_0_1_says_what_replaced_it(data: dict[str, Any], words: str) -> None:
    """It is never ignored: a node boolean without effect would make a wrong arm."""
    (told,) = refusals(data)
    assert words in told


@pytest.mark.parametrize(("data", "words"), WRONG_TYPES)
def test_a_wrong_value_is_told_with_what_it_must_be(data: dict[str, Any], words: str) -> None:
    """Nothing is converted: text is no number, and a number is no text."""
    (told,) = refusals(data)
    assert_matches(told, words)


@pytest.mark.parametrize("data", [None, [], "nightly", 5])
def test_what_is_no_mapping_is_refused(data: Any) -> None:
    """An empty file too."""
    (told,) = refusals(data)
    assert told.startswith("an experiment is a mapping with `name` and `targets`; found ")


def test_every_problem_is_a_line_of_its_own() -> None:
    """One reading of the refusal is enough to mend the file."""
    data = experiment_data(target_data(nodes={"kubernetes_minor": 1.34}) | {"node": 1}, replicate=3, setups="static")
    assert [line.split()[0] for line in refusals(data)] == [
        "`targets.eks-plain.nodes.kubernetes_minor`",
        "`targets.eks-plain.node`",
        "`setups`",
        "`replicate`",
    ]
    names = experiment_data(target_data("a", variants=["x"]), target_data("b", variants=["y"]))
    assert [line.split(":")[0] for line in refusals(names)] == ["targets.a.variants", "targets.b.variants"]
    workloads = experiment_data(workloads={"a": {}, "b": {"profile": "x"}})
    assert [line.split(":")[0] for line in refusals(workloads)] == ["workloads.a", "workloads.b.profile"]


def test_of_very_many_problems_the_first_are_told() -> None:
    """And that there are more."""
    lines = refusals(experiment_data(*({"name": f"t{number}"} for number in range(30))))
    assert len(lines) == 21
    assert lines[-1] == "there are more problems; these are the first 20."


def test_a_value_that_may_be_a_secret_is_not_shown() -> None:
    """Environment, request and options may hold anything."""
    for key, value in (("fast_download", {"env": {"HF_TOKEN": 12345}}), ("completion", {"body": "hf_12345"})):
        (told,) = refusals(experiment_data(workloads={"w": {"profile": "phi3-2025", key: value}}))
        assert "12345" not in told
    (told,) = refusals(with_nodes(options="hf_12345"))
    assert "12345" not in told


WORKLOADS: list[tuple[dict[str, Any], str]] = [
    ({}, "workloads.w: either `profile` or `manifest` is needed; found neither"),
    (
        {"profile": "phi3-2025", "manifest": a_manifest()},
        "workloads.w: either `profile` or `manifest` is needed; found both",
    ),
    ({"manifest": 5}, "workloads.w.manifest: a file's path, YAML text or a mapping is needed; found 5"),
    (
        {"manifest": yaml.safe_dump_all([a_manifest("one"), a_manifest("two")])},
        "workloads.w.manifest holds 2 documents and 2 of them are a RayService; allowed is 1. Found: RayService/one, ",
    ),
    ({"manifest": {"kind": "Deployment", "apiVersion": "apps/v1"}}, "workloads.w.manifest must be one RayService: it "),
    ({"manifest": a_manifest("Not A Name")}, "workloads.w.manifest: RayService 'Not A Name' cannot be deployed: "),
    ({"manifest": "a: 1\na: 2\n"}, "workloads.w.manifest must be one RayService"),
    (
        {"manifest": a_manifest(), "completion": {}},
        "workloads.w: `completion` has no `body`, and without `model` there is no default: write the request's JSON ",
    ),
]


@pytest.mark.parametrize(("section", "words"), WORKLOADS)
def test_a_workload_that_cannot_be_is_refused_at_its_key(section: dict[str, Any], words: str) -> None:
    """Source, manifest and completion request."""
    (told,) = refusals(experiment_data(workloads={"w": section}))
    assert told.startswith(words)


IMPOSSIBLE = [
    (
        experiment_data(target_data(variants=["image_delivery"], nodes={"cloud": "generic", "autoscaler": "native"})),
        "targets.eks-plain.variants: 'image_delivery' is impossible: 'image_delivery' stands for one of ",
    ),
    (
        experiment_data(target_data(variants=["mine"]), variants={"mine": ["gke_image_streaming"]}),
        "'mine' is impossible: Treatment 'gke_image_streaming' exists on gke, not on 'eks'",
    ),
    (
        experiment_data(
            target_data(variants=["baked_image"]), workloads={"w": {"manifest": a_manifest(worker_image="other:1")}}
        ),
        "'baked_image' is impossible: bake_packages prepares one image, and the Ray containers of workload 'w' run 2: ",
    ),
    (
        experiment_data(target_data(variants=["baseline", "improved"])),
        "'baseline' and 'improved' need different nodes (no features; image_snapshot): give each a target of its own",
    ),
    (
        experiment_data(replicates=5, stop_early={"half_width_pct": 5}),
        "`stop_early.min_replicates` is 5 and must be less than `replicates`, which is 5",
    ),
    (
        experiment_data(gates=[{"arm": "nowhere/w/static/baseline", "max_seconds": 60.0}]),
        "gates: 'nowhere/w/static/baseline' is unknown",
    ),
    (
        experiment_data(gates=[{"arm": "x"}]),
        "`gates.0`: The gate of x needs either `max_seconds` or `against`; found neither, and no `max_serving_slower`.",
    ),
    (
        experiment_data(replicates=300),
        "it has 1200 trials a run; at most 1000 are allowed",
    ),
    (
        experiment_data(target_data("a"), target_data("a")),
        "targets: a stands there twice; every name must be unique",
    ),
    (
        experiment_data(target_data("a", cluster="c"), target_data("b", cluster="c", namespace="other")),
        "the targets on cluster 'c' use the namespaces default, other: give them one, or their trials would not see",
    ),
    (
        experiment_data(variants={"baseline": ["fast_download"], "fast_download": ["fast_download"]}),
        "variants.baseline has treatments; the baseline is what the others are compared with, so it has none",
    ),
    (
        experiment_data(workloads=OWN, setups=["dynamic"]),
        "there is no trial in it: no target runs a workload in one of the set-ups dynamic",
    ),
]


@pytest.mark.parametrize(("data", "words"), IMPOSSIBLE)
def test_an_impossible_combination_is_refused_before_money_is_spent(data: dict[str, Any], words: str) -> None:
    """When the DAG is parsed."""
    (told,) = refusals(data)
    assert words in told


def test_a_manifest_stands_beside_the_experiment(tmp_path: Path) -> None:
    """Its path is relative to the file; the other objects in it are named and left to the user."""
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "llm-config"}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump_all([config, a_manifest()]), encoding="utf-8")
    it = tmp_path / "it.yaml"
    target = target_data(variants=["baseline"], nodes={"gpu_skus": ["L4"], "options": OPTIONS})
    it.write_text(yaml.safe_dump(experiment_data(target, workloads={"w": {"manifest": "mine.yaml"}})))
    (workload,) = load_experiment(it).workloads
    assert (workload.manifest["metadata"]["name"], workload.others) == ("mine", ("ConfigMap/llm-config",))
    assert (workload.profile, workload.completion, workload.offered_setups) == (None, None, (ScalingSetup.STATIC,))


OPTIONS = {"api_server": "https://x.eks.amazonaws.com", "cluster_certificate": "Q0E="}


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("nowhere.yaml", "No such file or directory"),
        (".", "it is not a regular file"),
        ("/dev/zero", "it is not a regular file"),
        ("a\0b.yaml", "embedded null byte"),
        ("binary.yaml", "it is not text in UTF-8"),
        ("large.yaml", "has 5,000,001 bytes; at most 5,000,000 are read"),
    ],
)
def test_a_manifest_file_that_cannot_be_read_is_named(tmp_path: Path, path: str, words: str) -> None:
    """With key and reason, and without a traceback; a device is not read at all."""
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "large.yaml").write_text("#" * 5_000_001)
    it = tmp_path / "it.yaml"
    it.write_text(json.dumps(experiment_data(workloads={"w": {"manifest": path}})))
    with pytest.raises(ConfigurationError) as raised:
        load_experiment(it)
    told = str(raised.value)
    assert told.startswith(f"{it}: workloads.w.manifest: The file ")
    assert words in told
    assert "\n" not in told


def test_an_unknown_cloud_is_refused(tmp_path: Path) -> None:
    """With the clouds of this installation; the core itself knows none."""
    it = tmp_path / "it.yaml"
    it.write_text(json.dumps(experiment_data(target_data(variants=["baseline"], nodes={"cloud": "ekss"}))))
    words = r"it\.yaml: targets\.eks-plain\.nodes\.cloud: 'ekss' is unknown: did you mean 'eks'\? Known are aks, eks, "
    with pytest.raises(ConfigurationError, match=words):
        load_experiment(it)


BOMB = "a: &a [x, x]\n" + "".join(
    f"{n}: &{n} [*{p}, *{p}, *{p}]\n" for p, n in zip("abcdefghijk", "bcdefghijkl", strict=True)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, "allowed are 200,000"),
        ("a: " + "[" * 200 + "]" * 200, "nested deeper than 100 levels"),
        ("#" + "x" * 5_000_000, "has 5,000,001 bytes; allowed are 5,000,000"),
        ("name: a\nname: b\n", "name: the key stands there twice; allowed is once"),
        ("a: [", "is no YAML: line 2, column 1"),
        ("", "holds 0 YAML documents; allowed is one"),
        ("a: 1\n---\nb: 2\n", "holds 2 YAML documents; allowed is one"),
        ("a: !!python/object/apply:os.system [ls]\n", "holds the tag"),
        ("a: 2026-01-01\n", "found the date '2026-01-01'"),
    ],
    ids=["aliases", "depth", "size", "twice", "syntax", "empty", "two", "tag", "date"],
)
def test_hostile_or_broken_text_is_one_sentence(text: str, words: str) -> None:
    """It ends before it costs memory."""
    assert words in refused_text(text)


def test_the_examples_are_read() -> None:
    """As they are shipped."""
    for name in EXPERIMENTS:
        assert load_experiment(EXAMPLES / name).targets


def test_what_is_left_out_has_the_documented_default() -> None:
    """Both set-ups, three replicates, the built-in workload and variants."""
    made = experiment()
    assert (made.setups, made.replicates) == ((ScalingSetup.STATIC, ScalingSetup.DYNAMIC), 3)
    assert [workload.name for workload in made.workloads] == ["phi3-2025"]
    assert made.variants["improved"] == ("fast_download", "bake_packages", "image_delivery")


def test_the_baseline_need_not_be_written_down() -> None:
    """It is always the empty variant."""
    made = experiment(target_data(variants=["baseline", "mine"]), variants={"mine": ["fast_download"]})
    assert dict(made.variants) == {"baseline": (), "mine": ("fast_download",)}


def test_a_workloads_section_changes_a_builtin_profile() -> None:
    """Image, set-ups, download and request are the file's; the model keeps its known sizes."""
    section = {
        "profile": "phi3-current",
        "image": "registry.example/mine:1",
        "setups": ["dynamic"],
        "model": {"id": "microsoft/Phi-3-mini-4k-instruct"},
        "fast_download": {"pip": ["hf_xet==1.9"], "env": {"A": "1"}},
        "completion": {"path": "/v1/completions", "expect_model": "x", "replicas": 2},
    }
    (workload,) = experiment(workloads={"w": section}).workloads
    assert workload.images == ("registry.example/mine:1",)
    assert workload.offered_setups == (ScalingSetup.DYNAMIC,)
    assert workload.model is not None
    assert workload.model.weight_bytes == 7_642_181_880
    assert (workload.fast_download.pip, dict(workload.fast_download.env)) == (("hf_xet==1.9",), {"A": "1"})
    assert workload.completion is not None
    assert {key: workload.completion[key] for key in ("path", "expect_model", "replicas")} == section["completion"]
    assert workload.completion["body"]["model"] == "microsoft/Phi-3-mini-4k-instruct"


def test_no_completion_ends_a_trial_at_the_ready_endpoint() -> None:
    """`completion: null` takes the built-in profile's own request away."""
    (workload,) = experiment(workloads={"w": {"profile": "phi3-2025", "completion": None}}).workloads
    assert workload.completion is None


def test_the_simulated_example_has_every_cell() -> None:
    """Six targets, two set-ups, nine variants in all: 18 cells twice."""
    made = read_experiment(simulated_data(), where="simulated.yaml", read_text=no_file)
    assert len(list(made.cells())) == 18
    assert sum(made.slots().values()) == 36
