"""An engine's arguments are found in both forms, changed in place, and never taken from the user."""

from typing import Any

import pytest
import yaml

from airflow_llm_provisioning.core.manifests import engine_args, serve_config, with_engine_args, with_weights_from
from airflow_llm_provisioning.core.workload import builtin_workload
from airflow_llm_provisioning.exceptions import ManifestError

CURRENT = builtin_workload("c", "phi3-current").manifest
ORIGIN = builtin_workload("o", "phi3-2025").manifest
PHI3 = "microsoft/Phi-3-mini-4k-instruct"


def a_service(*applications: dict[str, Any]) -> dict[str, Any]:
    return {"spec": {"serveConfigV2": yaml.safe_dump({"applications": list(applications)})}}


def args_of(manifest: dict[str, Any], application: int = 0) -> dict[str, Any]:
    args: dict[str, Any] = serve_config(manifest)["applications"][application]["args"]
    return args


def test_both_forms_take_an_argument_in_their_own_spelling() -> None:
    """`ray.serve.llm` as values with underscores, the origin's application as texts with hyphens."""
    made = with_engine_args(CURRENT, {"load_format": "x", "compilation_config": {"cache_dir": "/c"}})
    told = args_of(made)["llm_configs"][0]["engine_kwargs"]
    assert (told["load_format"], told["compilation_config"]) == ("x", {"cache_dir": "/c"})
    told = args_of(with_engine_args(ORIGIN, {"load_format": "x", "max_num_seqs": 8, "extra_config": {"a": 1}}))
    assert (told["load-format"], told["max-num-seqs"], told["extra-config"]) == ("x", "8", '{"a": 1}')


def test_engine_kwargs_are_made_where_there_are_none() -> None:
    """A model without arguments of its own."""
    made = with_engine_args(
        a_service({"args": {"llm_configs": [{"model_loading_config": {"model_id": "m"}}]}}), {"a": 1}
    )
    assert args_of(made)["llm_configs"][0]["engine_kwargs"] == {"a": 1}


def test_the_same_value_again_changes_nothing() -> None:
    """Also where the user writes it as a text."""
    assert with_engine_args(ORIGIN, {"gpu_memory_utilization": 0.7, "dtype": "bfloat16"}) == ORIGIN


def test_a_mapping_is_merged_into_the_users() -> None:
    """In both forms; another value of one key is a conflict."""
    manifest = a_service(
        {"name": "a", "args": {"model": "m", "dtype": "auto", "model-loader-extra-config": '{"b": 2}'}}
    )
    made = args_of(with_engine_args(manifest, {"model_loader_extra_config": {"a": 1}}))
    assert yaml.safe_load(made["model-loader-extra-config"]) == {"a": 1, "b": 2}
    with pytest.raises(ManifestError, match=r"model-loader-extra-config.b cannot be 3 in application 'a': .*args sets"):
        with_engine_args(manifest, {"model_loader_extra_config": {"b": 3}})


@pytest.mark.parametrize(
    "application",
    [
        {"name": "plain", "args": {}},
        {"name": "env", "runtime_env": {"env_vars": {"MODEL_ID": "m"}}},
        {"name": "other", "args": {"model": "m", "threshold": 1}},
    ],
)
def test_an_application_without_an_engines_arguments_is_refused(application: dict[str, Any]) -> None:
    """KubeRay's sample names its model in a variable; an argument `model` alone may be anything."""
    assert engine_args(a_service(application)) == ()
    with pytest.raises(
        ManifestError, match=f"no application holds vLLM's arguments.*applications: {application['name']}"
    ):
        with_engine_args(a_service(application), {"load_format": "x"})


def test_every_engine_of_every_application_is_changed() -> None:
    """Several models of one builder, and an application beside it."""
    models = [{"model_loading_config": {"model_id": name}, "engine_kwargs": {}} for name in ("m", "n")]
    manifest = a_service({"args": {"llm_configs": models}}, {"name": "b", "args": {"model": "m", "dtype": "auto"}})
    made = with_engine_args(manifest, {"load_format": "x"})
    assert [item.values["load_format"] for item in engine_args(made)] == ["x"] * 3


def test_weights_come_from_elsewhere_under_the_same_name() -> None:
    """The builder keeps `model_id`; an own application takes `served-model-name`, so that requests find the model."""
    made = args_of(with_weights_from(CURRENT, PHI3, "s3://b/phi"))["llm_configs"][0]["model_loading_config"]
    assert made == {"model_id": PHI3, "model_source": "s3://b/phi"}
    told = args_of(with_weights_from(ORIGIN, PHI3, "/weights"))
    assert (told["model"], told["served-model-name"]) == ("/weights", PHI3)


def test_weights_of_another_source_are_the_users_own() -> None:
    """A path, a bucket or another model is not replaced."""
    moved = with_weights_from(CURRENT, PHI3, "s3://mine/phi")
    assert with_weights_from(moved, PHI3, "s3://mine/phi") == moved
    with pytest.raises(ManifestError, match=r"cannot read 'microsoft/.*' from '/w': .*reads 's3://mine/phi'"):
        with_weights_from(moved, PHI3, "/w")
