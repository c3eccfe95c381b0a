"""Fast downloads without effect: the client ignores the switch, another client is used, or nothing is downloaded."""

from dataclasses import replace
from typing import Any, Final

from airflow_llm_provisioning.core.builtin_profiles import PHI3_2025
from airflow_llm_provisioning.core.workload import ScalingSetup
from proof.catalogue.edits import (
    claim,
    in_runtime_env,
    off_on_the_worker,
    with_loader,
    with_volume,
    without_xet_on_the_worker,
)
from proof.catalogue.entry import NoOp, Truth
from proof.recorded_trial import NODES_GONE_S, Scenario
from proof.targets import target
from proof.workloads import SERVED_2025, SERVED_CURRENT, changed, with_pip


def _fast(name: str, truth: Truth = "not applied", why_unseen: str = "", **fields: Any) -> NoOp:
    fields = {"target": target("eks", "plain"), "declared": SERVED_2025, "variant": "fast_download", **fields}
    return NoOp(name=name, scenario=Scenario(**fields), claim="fast_download", truth=truth, why_unseen=why_unseen)


DOWNLOADS: Final = (
    _fast("hf_transfer on huggingface_hub 1.0", declared=with_pip(huggingface_hub="1.0.1")),
    _fast(
        "hf_transfer on huggingface_hub 2.4, dynamic",
        declared=with_pip(huggingface_hub="2.4.0"),
        setup=ScalingSetup.DYNAMIC,
    ),
    _fast("hf_xet overrides hf_transfer", declared=with_pip(huggingface_hub="0.31.4", hf_xet="1.1.0")),
    _fast("huggingface_hub 0.34 installs hf_xet", declared=with_pip(huggingface_hub="0.34.1")),
    _fast("hf_transfer is switched on and not installed", declared=changed(replace(PHI3_2025, fast_download_pip=()))),
    _fast(
        "hf_transfer is installed and not switched on",
        declared=SERVED_2025,
        manifest=in_runtime_env(HF_HUB_ENABLE_HF_TRANSFER="0"),
    ),
    _fast("hf_transfer is switched off on the worker", manifest=off_on_the_worker, target=target("gke", "plain")),
    _fast(
        "hf_xet is disabled although its switch is on",
        declared=SERVED_CURRENT,
        manifest=in_runtime_env(HF_HUB_DISABLE_XET="1"),
    ),
    _fast("hf_xet is disabled on the worker alone", declared=SERVED_CURRENT, manifest=without_xet_on_the_worker),
    _fast("the loader generates random weights", declared=SERVED_CURRENT, manifest=with_loader("dummy")),
    _fast(
        "the loader of the old engine generates random weights",
        manifest=with_loader("dummy"),
        target=target("aks", "plain"),
    ),
    _fast(
        "the weights are in a cache already",
        declared=SERVED_CURRENT,
        manifest=with_volume("/home/ray/.cache/huggingface"),
        before_submission=claim,
        earlier=1,
        pause_s=NODES_GONE_S,
    ),
    _fast(
        "the weights are in a cache already, and the engine does not log it",
        manifest=with_volume("/home/ray/.cache/huggingface"),
        before_submission=claim,
        earlier=1,
        pause_s=NODES_GONE_S,
        truth="unknown",
        why_unseen="vLLM 0.5.4 logs no download; only the volume of the cache can be seen.",
    ),
)
