"""Ranges that several treatments' effects have in common, each with its outside source."""

from collections.abc import Mapping
from typing import Final

from airflow_llm_provisioning.core.effects import Between, EffectFacts, PhaseChange, adds, seconds_for

# Whole pulls of large images from a cloud's own registry, in compressed bytes per second. The fast end is the same
# everywhere: layers are unpacked one after the other by one core.
_PULLED: Final = "98 MB/s, about 9.3 GB in 95 s (AI on EKS start-up workshop)"
OWN_REGISTRY_BYTES_S: Final[Mapping[str, Between]] = {
    "eks": Between(
        32e6, 98e6, f"ECR: 32 MB/s, 10.7 GB in 338 s on EC2 (awslabs/ai-on-eks, preload page), to {_PULLED}"
    ),
    "gke": Between(
        28e6, 98e6, f"Artifact Registry: 28 MB/s, 5.4 GB in 191 s (ai-on-gke@8676d66d startup-latency), to {_PULLED}"
    ),
    "aks": Between(24e6, 98e6, f"ACR: 24 MB/s, 4.08 GB in 168.8 s (Azure/acr issue 873), to {_PULLED}"),
}
# First reads of blocks that are not on the node yet.
FIRST_TOUCH_BYTES_S: Final[Mapping[str, Between]] = {
    "eks": Between(
        25e6,
        315e6,
        "first reads of a volume from a snapshot: 25 MB/s (aws-samples/bottlerocket-images-cache issue 13), 135 MB/s "
        "(AWS re:Post), 300 MiB/s where a volume initialisation rate is bought (Amazon EBS user guide)",
    ),
    "gke": Between(
        30e6,
        300e6,
        "first reads through Image Streaming: assumed around ai-on-gke@8676d66d startup-latency, where an image of 5.4 "
        "GB was up after 30 s",
    ),
    "aks": Between(
        24e6, 200e6, "first reads through artifact streaming: assumed, what the registry gives (Azure/acr issue 873)"
    ),
}
RAY_CONTENT_BYTES: Final = Between(100e6, 500e6, "assumed: what `ray start` reads; Ray's wheel unpacks to about 250 MB")
VLLM_CONTENT_BYTES: Final = Between(
    1.5e9, 4.0e9, "assumed: what importing vLLM and torch reads of the 6.8 GB that they install"
)
# What pip no longer fetches is in the image: from one wheel to vLLM with torch and CUDA's libraries.
BAKED_BYTES: Final = Between(5e6, 4e9, "assumed: from one wheel to vLLM with torch and CUDA, 6.8 GB unpacked")
# The treatments whose image is read block by block where it is touched first.
LAZY: Final = frozenset({"bottlerocket_snapshot", "gke_image_streaming", "aks_artifact_streaming", "preloaded_disk"})
# Longer than any runtime environment without packages takes.
_INSTALLS_S: Final = 30.0


def vllm_first_touch(cloud: str) -> tuple[PhaseChange, ...]:
    """Return what reading vLLM's content for the first time adds: where the head builds the application, and where the
    worker's engine starts.
    """
    rate = FIRST_TOUCH_BYTES_S.get(cloud)
    if rate is None:
        return ()
    amount = seconds_for(VLLM_CONTENT_BYTES, rate)
    return adds("app_build", amount), adds("engine_start", amount)


def ray_first_touch(cloud: str) -> tuple[PhaseChange, ...]:
    """Return what reading Ray's content for the first time adds: on the head its start; on the worker the first
    container that runs Ray, which waits for the head.
    """
    rate = FIRST_TOUCH_BYTES_S.get(cloud)
    if rate is None:
        return ()
    amount = seconds_for(RAY_CONTENT_BYTES, rate)
    return adds("head_ray_start", amount), adds("worker_wait_gcs", amount)


def installs_at_start(facts: EffectFacts) -> bool:
    """Return whether the measured variant installs packages when Ray starts."""
    return max(facts.seconds.get("head_runtime_env", 0.0), facts.seconds.get("worker_runtime_env", 0.0)) > _INSTALLS_S


def pulled_from_own_registry(facts: EffectFacts, added_bytes: Between | None = None) -> Between | None:
    """Return the seconds of a whole pull from the cloud's own registry, or None where size or cloud are not known.
    `added_bytes`: of what the image holds beside its base.
    """
    rate, size = OWN_REGISTRY_BYTES_S.get(facts.cloud), facts.image_bytes
    if rate is None or not size:
        return None
    low, high = (added_bytes.low, added_bytes.high) if added_bytes else (0.0, 0.0)
    return seconds_for(Between(size + low, size + high, rate.source), rate)


_ONE_PACKAGE_S: Final = Between(0.0, 5.0, "assumed: one wheel of some MB more in an environment that is made anyway")
_ENVIRONMENT_S: Final = Between(
    0.0, 25.0, "a runtime environment for one package takes 12.1 s with 2 CPUs (measured, Ray 2.60); none for hf_xet"
)
# Treatments that name a package to Ray, which makes one environment for all of them.
_INSTALLING: Final = ("direct_loader", "fast_download")


def installed_at_start(name: str, facts: EffectFacts) -> Between:
    """Return what a package that a treatment names to Ray adds to the runtime environment, where nothing is baked: the
    environment itself, or only its own share where there is one already.
    """
    made = any(facts.seconds.get(f"{role}_runtime_env", 0.0) > _ONE_PACKAGE_S.high for role in ("head", "worker"))
    added = [item for item in _INSTALLING if item in facts.treatments - facts.measured]
    return _ONE_PACKAGE_S if made or added[:1] != [name] else _ENVIRONMENT_S
