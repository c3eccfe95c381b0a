"""The direct loader: added to the manifest, refused where it cannot work, believed with evidence only."""

import re
from dataclasses import replace
from typing import Any

import pytest
from weight_traces import PHI3_BYTES, config_line, loaded_lines, v0_config_line, v1, view_of

from airflow_llm_provisioning.core.builtin_profiles import PHI3
from airflow_llm_provisioning.core.effects import EffectFacts
from airflow_llm_provisioning.core.experiment_file import read_experiment
from airflow_llm_provisioning.core.manifests import engine_args, ray_container, ray_groups, runtime_pip
from airflow_llm_provisioning.core.target import NodeProfile
from airflow_llm_provisioning.core.treatments import plan_deployment, treatment
from airflow_llm_provisioning.core.workload import DirectLoading, Workload, builtin_workload

LOADER = treatment("direct_loader")
CURRENT = builtin_workload("phi3-current", "phi3-current")
NODES = NodeProfile("t", "eks", "luna", "1.34")
BUFFERED = {"INSTANTTENSOR_BACKEND": "BUFFERED"}


def test_it_names_the_loader_to_the_engine_and_installs_it() -> None:
    """Load format in the engine's arguments, package at start, the buffered backend in every Ray container."""
    made = plan_deployment(CURRENT, [LOADER])
    assert [item.values["load_format"] for item in engine_args(made.manifest)] == ["instanttensor"]
    assert runtime_pip(made.manifest) == ("instanttensor==0.2.2",)
    for group in ray_groups(made.manifest):
        assert {"name": "INSTANTTENSOR_BACKEND", "value": "BUFFERED"} in ray_container(made.manifest, group)["env"]


def test_its_package_can_be_baked() -> None:
    """Together with `bake_packages` nothing is installed at start."""
    made = plan_deployment(CURRENT, [LOADER, treatment("bake_packages")])
    assert runtime_pip(made.manifest) == ()
    assert made.recipe.pip == ("instanttensor==0.2.2",)
    assert made.recipe.env == BUFFERED


def test_the_workload_may_name_another_loader() -> None:
    """An image that brings the package installs nothing."""
    mine = replace(CURRENT, direct_loader=DirectLoading("fastsafetensors", (), {}))
    made = plan_deployment(mine, [LOADER])
    assert engine_args(made.manifest)[0].values["load_format"] == "fastsafetensors"
    assert runtime_pip(made.manifest) == ()


@pytest.mark.parametrize(
    ("section", "loader"),
    [
        ({"format": "instanttensor"}, DirectLoading()),
        ({"format": "fastsafetensors"}, DirectLoading("fastsafetensors", ("fastsafetensors==0.5.0",), {})),
        ({"pip": [], "env": {"A": "1"}}, DirectLoading("instanttensor", (), {"A": "1"})),
    ],
)
def test_an_experiment_file_names_it(section: dict[str, Any], loader: DirectLoading) -> None:
    """Package and variables are the format's own unless they are given."""
    target = {
        "name": "t",
        "cluster": "c",
        "conn_id": "k",
        "variants": ["direct"],
        "nodes": {"cloud": "eks", "autoscaler": "luna", "kubernetes_minor": "1.34"},
    }
    served = {"mine": {"profile": "phi3-current", "direct_loader": section}}
    data = {"name": "e", "targets": [target], "workloads": served, "variants": {"direct": ["direct_loader"]}}
    (workload,) = read_experiment(data, where="e.yaml", read_text=str).workloads
    assert workload.direct_loader == loader


OTHERWISE = replace(
    CURRENT,
    manifest=plan_deployment(
        replace(CURRENT, direct_loader=DirectLoading("fastsafetensors", (), {})), [LOADER]
    ).manifest,
)
PICKLED = replace(CURRENT, model=replace(PHI3, weight_format="bin"))


@pytest.mark.parametrize(
    ("workload", "words"),
    [
        (builtin_workload("phi3-2025", "phi3-2025"), "knows since 0.18; workload 'phi3-2025' installs vllm==0.5.4"),
        (PICKLED, "reads safetensors files only, and microsoft/Phi-3-mini-4k-instruct has bin files"),
        (OTHERWISE, "load_format cannot be 'instanttensor' in application 'llm': .*sets it to 'fastsafetensors'"),
    ],
)
def test_it_is_refused_where_it_cannot_work(workload: Workload, words: str) -> None:
    """An old engine, files that it cannot read, a user who decided otherwise."""
    told = LOADER.requires(NODES, workload)
    assert any(re.search(words, sentence) for sentence in told), told


def test_a_loader_that_was_used_is_believed() -> None:
    """The configuration line, the backend in the pod's environment, and the engine's own loading line with its rate."""
    found = LOADER.verify(view_of(config_line("instanttensor"), *loaded_lines(), env=BUFFERED))
    assert found.value == "yes"
    assert "The engine loaded its weights in 0.84 s, 9.10 GB/s." in found.evidence


NO_GDS = v1("GDS not enabled, setting `nogds=True`.", 7, "weight_utils.py:1061", "WARNING")
# The library's own warnings: it degrades by itself, and vLLM never sees an error.
OWN = "/site-packages/fastsafetensors/copier/gds.py:203: UserWarning: "
UNSUPPORTED = f"{OWN}GDS is not supported in this platform but nogds is False. use nogds=True"
NO_CUFILE = f"{OWN}libcufile.so does not exist but nogds is False. use nogds=True"
TOOK_DIRECT = "[InstantTensor][DEBUG] Using backend URING"
TOOK_BUFFERED = "[InstantTensor][DEBUG] Using backend URING_BUFFERED"
MIXED = {"INSTANTTENSOR_BACKEND": "URING,BUFFERED"}


@pytest.mark.parametrize(
    ("lines", "env", "words"),
    [
        ((config_line("auto"), *loaded_lines(6.4)), BUFFERED, "ran with load_format=auto"),
        ((v0_config_line("auto"),), BUFFERED, "vLLM 0.5.4 ran with load_format=auto"),
        ((config_line("LoadFormat.SAFETENSORS"), *loaded_lines()), BUFFERED, "load_format=safetensors"),
        ((config_line("instanttensor"), *loaded_lines(58.3)), {}, "read around the page cache"),
        ((config_line("instanttensor"), *loaded_lines()), {"INSTANTTENSOR_BACKEND": "AIO"}, "around the page cache"),
        ((config_line("fastsafetensors"), NO_GDS, *loaded_lines()), {}, "GDS not enabled, setting `nogds=True`"),
        ((config_line("fastsafetensors"), UNSUPPORTED, *loaded_lines()), {}, "GDS is not supported in this platform"),
        ((config_line("fastsafetensors"), NO_CUFILE, *loaded_lines()), {}, "libcufile.so does not exist"),
        ((config_line("instanttensor"), *loaded_lines()), {"INSTANTTENSOR_BACKEND": "URING, AIO"}, "=URING,AIO: Inst"),
        ((config_line("instanttensor"), *loaded_lines()), {"INSTANTTENSOR_BACKEND": "AIO,BUFFERED"}, "around the pa"),
        ((config_line("instanttensor"), TOOK_DIRECT, *loaded_lines()), MIXED, "took the backend URING: it read around"),
        ((config_line("instanttensor"), config_line("auto"), *loaded_lines()), BUFFERED, "load_format=auto"),
    ],
)
def test_a_loader_that_fell_back_is_refuted(lines: tuple[str, ...], env: dict[str, str], words: str) -> None:
    """Another format in the configuration, the page cache left out, no GPUDirect Storage, one rank of two."""
    found = LOADER.verify(view_of(*lines, env=env))
    assert found.value == "no"
    assert words in " ".join(found.evidence)


SHORT = v1("Initializing a V1 LLM engine (v0.22.1) with config: model='m'")


@pytest.mark.parametrize("lines", [(), loaded_lines(), (SHORT,), (config_line("instanttensor"),)])
def test_a_silent_recording_is_unknown(lines: tuple[str, ...]) -> None:
    """No configuration line, one without the format, no loading line."""
    assert LOADER.verify(view_of(*lines, env=BUFFERED)).value == "unknown"


@pytest.mark.parametrize(
    "backend", ["MMAP", "URING_BUFFERED", "AIO_BUFFERED,MMAP", "buffered", " BUFFERED , MMAP ", "BUFFERED,URING"]
)
def test_every_backend_through_the_page_cache_is_believed(backend: str) -> None:
    """The policy, its members and MMAP, which each system has."""
    view = view_of(config_line("instanttensor"), *loaded_lines(), env={"INSTANTTENSOR_BACKEND": backend})
    assert LOADER.verify(view).value == "yes"


def test_of_a_list_of_backends_the_first_that_the_system_has_counts() -> None:
    """Which that is, InstantTensor says for debugging only; without its word it is unknown."""
    lines = (config_line("instanttensor"), *loaded_lines())
    found = LOADER.verify(view_of(*lines, env=MIXED))
    assert found.value == "unknown"
    assert "of which InstantTensor takes the first that it can" in " ".join(found.evidence)
    assert LOADER.verify(view_of(*lines, TOOK_BUFFERED, env=MIXED)).value == "yes"


def test_fastsafetensors_for_several_gpus_is_unknown() -> None:
    """Some releases of vLLM leave GPUDirect Storage out then, and say nothing."""
    shared = config_line("fastsafetensors").replace("load_format", "tensor_parallel_size=2, load_format", 1)
    found = LOADER.verify(view_of(shared, *loaded_lines()))
    assert found.value == "unknown"
    assert "loads for 2 GPUs" in " ".join(found.evidence)


def test_a_backend_that_the_image_sets_counts() -> None:
    """Baked with the package, as the trial's header says."""
    view = view_of(config_line("instanttensor"), *loaded_lines(), recipe={"base": "b", "pip": [], "env": BUFFERED})
    assert LOADER.verify(view).value == "yes"


def test_fastsafetensors_with_gpu_direct_is_believed() -> None:
    """It says nothing where it copied directly, and it needs no variable."""
    assert LOADER.verify(view_of(config_line("fastsafetensors"), *loaded_lines())).value == "yes"


def test_a_baseline_with_such_a_loader_is_told() -> None:
    """`undeclared` names the engine's load format."""
    told = LOADER.undeclared(view_of(config_line("instanttensor"), *loaded_lines()))
    assert told is not None
    assert "load_format is instanttensor" in told
    assert LOADER.undeclared(view_of(config_line("auto"), *loaded_lines())) is None


def test_its_package_is_installed_at_start_where_nothing_is_baked() -> None:
    """Ray makes one environment for all packages: it is counted once, and not where there is one already."""
    asked = frozenset({"direct_loader", "fast_download"})
    facts = EffectFacts(cloud="gke", setup="static", weight_bytes=PHI3_BYTES, treatments=asked)
    made = replace(facts, seconds={"head_runtime_env": 130.0})

    def added(name: str, facts: EffectFacts) -> float:
        (change,) = [item for item in treatment(name).effect(facts).changes if item.phase == "runtime_env"]  # type: ignore[attr-defined]
        return float(change.amount.high)

    assert added("direct_loader", facts) > 12 > added("fast_download", facts)
    assert added("fast_download", replace(facts, treatments=frozenset({"fast_download"}))) > 12
    assert added("direct_loader", made) < 12


def test_its_effect_follows_from_bytes() -> None:
    """Without the bytes it is not known."""
    facts = EffectFacts(cloud="eks", autoscaler="luna", setup="static", weight_bytes=PHI3_BYTES)
    baked = replace(facts, treatments=frozenset({"bake_packages", "direct_loader"}))
    (change,) = LOADER.effect(baked).changes  # type: ignore[attr-defined]
    assert change.phase == "model_load"
    assert LOADER.effect(replace(facts, weight_bytes=None)) is None  # type: ignore[attr-defined]
