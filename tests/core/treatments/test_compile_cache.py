"""Compiled graphs of an earlier start: unpacked in the engine's pods, refused where they have no effect, believed with
evidence only.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from weight_traces import a_pod, config_line, line, v1, view_of

from airflow_llm_provisioning.core.effects import EffectFacts
from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.core.manifests import (
    engine_groups,
    pod_template,
    ray_container,
    ray_groups,
    with_engine_args,
    with_env,
)
from airflow_llm_provisioning.core.target import NodeProfile, Target
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.treatments import plan_deployment, treatment
from airflow_llm_provisioning.core.treatments.base import effect_of
from airflow_llm_provisioning.core.treatments.compile_cache import INIT, MOUNT, ROOT
from airflow_llm_provisioning.core.verdicts import cold_start
from airflow_llm_provisioning.core.workload import Workload, builtin_workload
from airflow_llm_provisioning.exceptions import ConfigurationError, ManifestError

CACHE = treatment("compile_cache")
CURRENT = builtin_workload("phi3-current", "phi3-current")
OLD = builtin_workload("phi3-2025", "phi3-2025")
KEY, GRAPHS, FUNCTION = "ab12cd34", "7a48b06768", "2cd01a12" * 8
DIGEST = "sha256:" + "a" * 64
FACTS = {"digest": DIGEST, "bytes": 150_000_000, "keys": [FUNCTION, GRAPHS], "starts": 2, "vllm": "0.22.0", "gpu": "L4"}
TOLD = {"digest": DIGEST, "bytes": 150_000_000}
PLACE = f"{ROOT}/torch_compile_cache"
ARTIFACT = f"{PLACE}/torch_aot_compile/{FUNCTION}/rank_0_0/model"
CONFIG = config_line("auto")
USING = v1(
    f"Using cache directory: {PLACE}/{GRAPHS}/rank_0_0/backbone for vLLM's torch.compile", 20, "backends.py:1051"
)
LOADED = v1("Directly load the compiled graph(s) for compile range (1, 2048) from the cache, took 1.122 s", 21)
AOT = v1(f"Directly load AOT compilation from path {ARTIFACT}", 21, "decorators.py:305")
HIT = (CONFIG, USING, LOADED, AOT)
# vLLM 0.10: no prefix below the rank, another sentence, no whole function.
OLDER = tuple(
    f"INFO 05-04 12:01:20 [backends.py:519] {text}"
    for text in (
        f"Using cache directory: {PLACE}/{GRAPHS}/rank_0_0 for vLLM's torch.compile",
        "Directly load the compiled graph(s) for dynamic shape from the cache, took 4.402 s",
    )
)


def a_target(*skus: str, **told: Any) -> Target:
    said = {key: value for key, value in {"storage_class": "efs-sc", **told}.items() if value}
    nodes = NodeProfile("t", "eks", "luna", "1.34", gpu_skus=skus or ("L4",))
    return Target("t", "c", "k", nodes, ("cached",), options={"treatments": {"compile_cache": said}})


def with_nodes(**fields: Any) -> Target:
    target = a_target("L4", "A10G")
    return replace(target, nodes=replace(target.nodes, **fields))


def planned(target: Target | None = None, *others: str, workload: Workload = CURRENT) -> Mapping[str, Any]:
    chosen = sorted([CACHE, *map(treatment, others)], key=lambda item: item.order)
    return plan_deployment(workload, chosen, target=target or a_target()).manifest


def unpacking(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    (group,) = engine_groups(manifest)
    (init,) = pod_template(manifest, group)["spec"]["initContainers"]
    return dict(init)


def made(**fields: Any) -> dict[str, Any]:
    """Return what a trial found of the preparation when it was opened."""
    return {"prepare_compile_cache": {"content": "c", "objects": [], "facts": {KEY: FACTS}, "problems": [], **fields}}


def ended(name: str = "worker", told: Any = TOLD, key: str = KEY) -> dict[str, Any]:
    """Return the recording's line of an engine pod whose init container has told what it unpacked."""
    init = {"name": INIT, "args": [f"{MOUNT}/{key}/cache.tar", ROOT]}
    pod = {**a_pod("worker", {"VLLM_CACHE_ROOT": ROOT}, {"initContainers": [init]})}
    pod["metadata"] = {**pod["metadata"], "name": name, "uid": name}
    state = {"terminated": {"exitCode": 0, "message": told if isinstance(told, str) else json.dumps(told)}}
    status = {"podIP": f"10.0.0.{len(name)}", "initContainerStatuses": [{"name": INIT, "state": state if told else {}}]}
    return line("pods", {**pod, "status": status}, 3, kind="MODIFIED")


def seen(*lines: str, pods: Sequence[Mapping[str, Any]] | None = None, steps: Any = None) -> TraceView:
    return view_of(*lines, more=[ended()] if pods is None else pods, prepared_steps=made() if steps is None else steps)


def test_every_engine_pod_unpacks_the_archive_into_a_place_of_its_own() -> None:
    """Read-only the claim, writable the copy; the head, which compiles nothing, is left as it is."""
    manifest = planned()
    head, worker = ray_groups(manifest)
    assert "initContainers" not in pod_template(manifest, head)["spec"]
    spec = pod_template(manifest, worker)["spec"]
    source, copy = (next(item for item in spec["volumes"] if item["name"].endswith(end)) for end in ("source", "cache"))
    assert source["persistentVolumeClaim"]["readOnly"] is True
    assert copy["emptyDir"] == {}
    container, init = ray_container(manifest, worker), unpacking(manifest)
    assert {"name": "VLLM_CACHE_ROOT", "value": ROOT} in container["env"]
    assert {"name": copy["name"], "mountPath": ROOT} in container["volumeMounts"]
    assert init["image"] == container["image"]
    assert re.fullmatch(rf"{MOUNT}/[0-9a-f]{{8}}/cache\.tar", init["args"][0])


def test_the_archive_follows_from_the_engine_and_its_image() -> None:
    """A level or a loader is another cache; the user's own claim keeps all of them apart by folders."""
    others = ((), ("optimization_level_1",), ("direct_loader",))
    assert len({unpacking(planned(None, *names))["args"][0] for names in others}) == 3
    spec = pod_template(planned(a_target(claim="mine")), engine_groups(planned())[0])["spec"]
    assert [item["persistentVolumeClaim"]["claimName"] for item in spec["volumes"] if "emptyDir" not in item] == [
        "mine"
    ]


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        (
            with_env(CURRENT.manifest, {"VLLM_CACHE_ROOT": "/x"}),
            "'VLLM_CACHE_ROOT' cannot be set: the Ray container of",
        ),
        (with_env(CURRENT.manifest, {"VLLM_DISABLE_COMPILE_CACHE": "1"}), r"env sets VLLM_DISABLE_COMPILE_CACHE to 1"),
        (
            with_engine_args(CURRENT.manifest, {"enforce_eager": True}),
            r"llm_configs\[0\].engine_kwargs sets enforce_ea",
        ),
        (with_engine_args(CURRENT.manifest, {"optimization_level": 0}), "sets optimization_level to 0 .*leave one of"),
        (with_engine_args(CURRENT.manifest, {"compilation_config": {"mode": 0}}), r"sets compilation_config\.mode"),
        (
            with_engine_args(CURRENT.manifest, {"compilation_config": {"cache_dir": "/c"}}),
            r"compilation_config\.cache_d",
        ),
        (
            with_engine_args(CURRENT.manifest, {"tensor_parallel_size": 2}),
            "which has 1 GPUs, and the engines .* take 2",
        ),
    ],
)
def test_what_outweighs_a_cache_is_refused(manifest: Mapping[str, Any], words: str) -> None:
    """With the place in the manifest that says otherwise."""
    (told,) = CACHE.requires(a_target().nodes, replace(CURRENT, manifest=manifest))
    assert re.search(words, told), told


def test_an_engine_that_compiles_nothing_by_another_treatment_is_refused() -> None:
    """Level 0 in one variant with it; level 1 is another key and no contradiction."""
    with pytest.raises(ManifestError, match="leave one of the two out"):
        planned(None, "optimization_level_0")
    assert unpacking(planned(None, "optimization_level_1"))


@pytest.mark.parametrize(
    ("target", "workload", "words"),
    [
        (a_target(), CURRENT, None),
        (a_target(storage_class=None, claim="mine"), CURRENT, None),
        (a_target(storage_class=None), CURRENT, "needs options.treatments.compile_cache.storage_class on target 't'"),
        (a_target(access_mode="ReadWriteOnce"), CURRENT, "access_mode is ReadWriteOnce, and one node cannot share it"),
        (a_target(size="much"), CURRENT, "size is no size like 10Gi"),
        (a_target("L4", "A10G"), CURRENT, "is for one kind of GPU, and luna may choose among L4, A10G: name one of"),
        (
            with_nodes(autoscaler="native", gpu_instance_type="g6.4xlarge", cpu_instance_type="m6i.xlarge"),
            CURRENT,
            None,
        ),
        (with_nodes(gpu_instance_type="g6.4xlarge"), CURRENT, None),
        (a_target(), OLD, "needs vLLM 0.8 or later; workload 'phi3-2025' installs vllm==0.5.4"),
    ],
)
def test_a_target_that_cannot_have_it_is_refused(target: Target, workload: Workload, words: str | None) -> None:
    """No class, a mode of one node, no size, GPUs of several kinds, an engine of before."""
    given: Any = {"workloads": (workload,), "variants": {"cached": ("compile_cache",)}}
    if words is None:
        Experiment("e", (target,), **given)
        return
    with pytest.raises(ConfigurationError, match=words):
        Experiment("e", (target,), **given)
    assert "has no StorageClass" in CACHE.on_cluster({"storageclasses": []}, declared=True)[0]
    assert CACHE.on_cluster({"storageclasses": [{}]}, declared=True) == ()


@pytest.mark.parametrize(
    "lines",
    [
        HIT,
        (CONFIG, v1("reconstructed serializable fn from standalone compile artifacts. num_artifacts=23"), AOT),
        OLDER,
    ],
)
def test_graphs_that_were_found_are_believed(lines: tuple[str, ...]) -> None:
    """The prepared archive in the pod, and the engine's own line; the start counts as cold for all that."""
    view = seen(*lines)
    found = CACHE.verify(view)
    assert found.value == "yes", found.evidence
    assert "which the Job prepared with vllm 0.22.0, gpu L4." in found.evidence[0]
    assert "CUDA graphs were captured anew: no cache holds them." in found.evidence
    assert CACHE.kept(view).value == "yes"
    plain, kept = (cold_start(view, given) for given in ({}, {"compile_cache": CACHE.kept(view)}))
    assert plain.value == "no"
    assert kept.value != "no"


ANEW = v1("Compiling a graph for compile range (1, 2048) takes 11.31 s", 30, "backends.py:342")


@pytest.mark.parametrize(
    ("lines", "fields", "words"),
    [
        ((CONFIG, USING, ANEW), {}, "Pod worker, engine: .*Compiling a graph for"),
        ((*HIT, ANEW), {}, "Compiling a graph for"),
        (
            (CONFIG, v1(f"Cannot load aot compilation from path {ARTIFACT}, error: x")),
            {},
            "Cannot load aot compilation",
        ),
        (
            (*HIT, v1(f"Compiling model again due to a load failure from {ARTIFACT}, reason: ")),
            {},
            "due to a load fail",
        ),
        ((CONFIG, v1(f"saved AOT compiled function to {ARTIFACT}")), {}, "saved AOT compiled function"),
        ((CONFIG, v1("vLLM's torch.compile cache is disabled.")), {}, "cache is disabled"),
        ((CONFIG.replace("enforce_eager=False", "enforce_eager=True"),), {}, "the engine compiles nothing"),
        ((CONFIG, USING.replace(ROOT, "/home/ray/.cache/vllm"), LOADED), {}, f"is at /home.*, not below {ROOT}"),
        (HIT, {"pods": ()}, "has no init container llm-compile-cache"),
        (
            HIT,
            {"pods": [ended(told={"error": "FileNotFoundError: cache.tar"})]},
            "unpacked no cache: FileNotFoundError",
        ),
        (
            HIT,
            {"pods": [ended(told=TOLD | {"digest": "sha256:b"})]},
            r"\(sha256:b\), which is not what the Job prepared",
        ),
        (HIT, {"steps": {}}, "No cache was prepared for the target"),
        (HIT, {"steps": made(problems=["PersistentVolumeClaim x is gone."])}, "PersistentVolumeClaim x is gone"),
    ],
)
def test_a_cache_without_effect_is_refuted(lines: tuple[str, ...], fields: dict[str, Any], words: str) -> None:
    """Compiled anew, in part too; refused by the loader; switched off; nothing compiled; elsewhere; not brought there;
    empty; another archive; never prepared; gone.
    """
    found = CACHE.verify(seen(*lines, **fields))
    assert found.value == "no"
    assert re.search(words, " ".join(found.evidence)), found.evidence


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ({"nvidia.com/gpu.product": "NVIDIA-A10G"}, "made on L4, and the node of pod worker has NVIDIA-A10G"),
        ({"cloud.google.com/gke-accelerator": "nvidia-tesla-t4"}, "made on L4, and the node .* has nvidia-tesla-t4"),
        ({"nvidia.com/gpu.product": "NVIDIA-L4"}, None),
        ({"karpenter.k8s.aws/instance-gpu-name": "l4"}, None),
        ({}, None),
    ],
)
def test_a_cache_of_another_gpu_is_told_as_such(label: dict[str, str], words: str | None) -> None:
    """The trial counts by the GPU that it got: there the engine compiles anew, and both kinds are named."""
    node = {"metadata": {"name": "gpu-node-1", "uid": "n", "labels": label}}
    pod = ended()
    pod["object"]["spec"]["nodeName"] = "gpu-node-1"
    found = CACHE.verify(seen(CONFIG, USING, ANEW, pods=[line("nodes", node, 2), pod]))
    assert found.value == "no"
    assert bool(re.search("The cache was made on", " ".join(found.evidence))) is (words is not None)
    assert re.search(words or "Compiling a graph", " ".join(found.evidence)), found.evidence


@pytest.mark.parametrize(
    ("lines", "pods", "steps"),
    [
        ((CONFIG,), None, None),
        (HIT, [ended(told="")], None),
        (HIT, [ended(told="no json")], None),
        (HIT, None, made(facts={})),
    ],
)
def test_a_silent_recording_is_unknown(lines: tuple[str, ...], pods: Any, steps: Any) -> None:
    """No line about graphs; an init container whose end, or words, were not recorded; a Job that told nothing."""
    assert CACHE.verify(seen(*lines, pods=pods, steps=steps)).value == "unknown"


def log_of(pod: str, *lines: str) -> dict[str, Any]:
    told = {"received_at": "2026-05-04T12:00:51Z", "resource": "ray-log-file", "node_ip": f"10.0.0.{len(pod)}"}
    return {**told, "filename": f"worker-{pod}.out", "object": "\n".join(lines)}


@pytest.mark.parametrize(
    ("second", "value", "words"),
    [
        (HIT, "yes", "Pod worker-2 unpacked 150.0 MB"),
        ((CONFIG, USING, ANEW), "no", "Pod worker-2, engine: .*Compiling a graph for"),
        ((), "unknown", "No engine on pod worker-2 logged"),
    ],
)
def test_every_pod_of_the_engine_must_hold(second: tuple[str, ...], value: str, words: str) -> None:
    """A hit on one worker says nothing of the other."""
    pods = [ended(), ended("worker-2"), log_of("worker", *HIT), *([log_of("worker-2", *second)] if second else [])]
    found = CACHE.verify(seen(pods=pods))
    assert found.value == value, found.evidence
    assert re.search(words, " ".join(found.evidence)), found.evidence


def test_graphs_of_another_key_are_not_what_was_kept() -> None:
    """The archive is the prepared one, and the engine found graphs that were in no archive: something else was warm."""
    other = [text.replace(FUNCTION, "0" * 64) for text in HIT]
    found = CACHE.kept(seen(*other))
    assert found.value == "no"
    assert "are in no prepared archive" in " ".join(found.evidence)


def test_a_baseline_with_such_an_archive_is_told() -> None:
    """`undeclared` names pod and init container; graphs found without it are an objection to a cold start alone."""
    assert "Pod worker has the init container" in (CACHE.undeclared(seen(*HIT)) or "")
    assert CACHE.undeclared(seen(*HIT, pods=())) is None


def test_its_effect_is_on_compiling_and_on_the_start_of_the_worker() -> None:
    """Graphs are still captured."""
    found = effect_of(CACHE, EffectFacts(cloud="eks", setup="static"))
    assert found is not None
    assert {phase for change in found.changes for phase in change.named()} == {"compile", "worker_init_start"}
