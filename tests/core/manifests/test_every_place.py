"""What was found wrong in one place of a manifest, tried in every place: null values, lists for mappings, braces."""

import copy
from typing import Any

import pytest
import yaml
from sample_manifests import NAMES, sample, small
from test_fuzz import attempt, go_through, places

from airflow_llm_provisioning.core.experiment_file import read_experiment
from airflow_llm_provisioning.core.manifest import serve_service
from airflow_llm_provisioning.core.manifests import check_ray_service, parse_documents
from airflow_llm_provisioning.core.workload import ScalingSetup
from airflow_llm_provisioning.exceptions import ConfigurationError, ManifestError

TRIED = ("kuberay-llm-serve", "skyray-autoscale")
CHAT = "{% for m in messages %}{{ m['content'] }}{% endfor %}{{ eos_token }} {{ params }}"


@pytest.mark.parametrize("put", [None, [], {}, "", 5])
@pytest.mark.parametrize("name", TRIED)
def test_any_value_may_be_missing(name: str, put: Any) -> None:
    """`metadata.labels:` with nothing behind it was a TypeError: here every list, mapping and text is tried."""
    whole = sample(name)
    for path in places(whole):
        manifest = copy.deepcopy(whole)
        parent: Any = manifest
        for key in path[:-1]:
            parent = parent[key]
        if type(parent[path[-1]]) is not type(put):
            parent[path[-1]] = put
            go_through(manifest)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("metadata", "labels"), ["a"], "metadata.labels"),
        (("metadata", "annotations"), {"a": 5}, "metadata.annotations"),
        (("spec", "rayClusterConfig", "workerGroupSpecs"), [None, 5], "workerGroupSpecs"),
        (("spec", "rayClusterConfig", "headGroupSpec", "template", "metadata"), {"annotations": {"a": True}}, "text"),
    ],
)  # fmt: skip
def test_a_wrong_kind_is_refused_with_its_place(path: tuple[str, ...], value: Any, words: str) -> None:
    """By the parser or the check, before a cluster is asked."""
    manifest = small()
    parent: Any = manifest
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    with pytest.raises(ManifestError, match=words):
        check_ray_service(parse_documents(manifest, where="It").ray_service)


@pytest.mark.parametrize("name", NAMES)
def test_a_namespace_and_a_secret_beside_it_are_left_to_the_user(name: str) -> None:
    """Most published manifests hold other objects; they are named, and the RayService is taken."""
    others = [{"kind": "Namespace", "metadata": {"name": "n"}}, {"kind": "Secret", "metadata": {"name": "hf-token"}}]
    text = yaml.safe_dump_all([*others, sample(name)])
    parsed = parse_documents(text, where="It")
    assert parsed.ray_service == parse_documents(sample(name), where="It").ray_service
    assert parsed.others == ("Namespace/n", "Secret/hf-token")


def test_braces_in_a_workloads_manifest_survive_every_change() -> None:
    """A chat template goes through the experiment, both set-ups and the baseline's rendering to the letter."""
    manifest = small(yaml.safe_dump({"applications": [{"import_path": "m:a", "args": {"chat_template": CHAT}}]}))
    manifest["metadata"]["annotations"] = {"chat": CHAT}
    target = {"name": "t", "cluster": "t", "conn_id": "k", "variants": ["baseline"],
              "nodes": {"cloud": "eks", "autoscaler": "luna", "kubernetes_minor": "1.34"}}  # fmt: skip
    data = {"name": "n", "targets": [target], "workloads": {"mine": {"manifest": manifest}}}
    workload = read_experiment(data, where="it.yaml", read_text=lambda path: path).workload("mine")
    made = attempt(lambda: workload.manifest_for(ScalingSetup.STATIC))
    assert made["metadata"]["annotations"]["chat"] == CHAT
    assert yaml.safe_load(made["spec"]["serveConfigV2"])["applications"][0]["args"]["chat_template"] == CHAT


def test_the_serve_services_own_name_counts() -> None:
    """KubeRay takes `spec.serveService.metadata.name`."""
    manifest = small()
    assert serve_service(manifest) == f"{manifest['metadata']['name']}-serve-svc"
    manifest["spec"]["serveService"] = {"metadata": {"name": "mine"}}
    assert serve_service(manifest) == "mine"
    manifest["spec"]["serveService"] = {"metadata": None}
    assert serve_service(manifest) == f"{manifest['metadata']['name']}-serve-svc"


@pytest.mark.parametrize("key", ["snapshot", "streaming"])
@pytest.mark.parametrize("value", [["a"], "x", 5, True])
def test_a_targets_options_of_a_wrong_kind_are_a_problem_of_the_file(key: str, value: Any) -> None:
    """Told when the file is read, not when a preparation runs."""
    from airflow_llm_provisioning.dag_factory.experiment_file import checked

    target = {"name": "t", "cluster": "t", "conn_id": "k", "variants": ["baseline"], "options": {key: value},
              "nodes": {"cloud": "eks", "autoscaler": "luna", "kubernetes_minor": "1.34"}}  # fmt: skip
    data = {"name": "n", "targets": [target]}
    with pytest.raises(ConfigurationError, match=rf"it.yaml: targets.t.options.{key} is .*; a mapping of options"):
        checked(read_experiment(data, where="it.yaml", read_text=lambda path: path))
