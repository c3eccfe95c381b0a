"""Streamed weights: Run:ai Model Streamer reads tensors from a bucket straight into memory and on to the GPU.

Nothing is downloaded to a disk first. vLLM knows the load format `runai_streamer` since 0.7; `s3://`, `gs://` and
`az://` are its sources (vllm, transformers_utils/runai_utils.py). A model id of the hub as source is downloaded and
then streamed from the disk. Ray 2.57 drops the address of a bucket (ray issues 64978 and 65477); Ray before the mend of
issue 58024 downloads the model to the disk as well. 15 GB took 4.2 s from S3 instead of 48 s from a gp3 volume
(run-ai/runai-model-streamer, docs/src/benchmarks.md); a counter-case took 303 s for 51.7 GiB.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from airflow_llm_provisioning.core.effects import Between, Effect, EffectFacts, becomes, gone, seconds_for
from airflow_llm_provisioning.core.fields import dig, items, mapping, text
from airflow_llm_provisioning.core.manifests import (
    engine_args,
    ray_container,
    ray_groups,
    with_added_pip,
    with_engine_args,
    with_env,
    with_weights_from,
)
from airflow_llm_provisioning.core.manifests.serve_config import applications, serve_config
from airflow_llm_provisioning.core.planned import PlannedFacts
from airflow_llm_provisioning.core.target import NodeProfile, Target
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.treatments.base import BaseTreatment, DeploymentPlan
from airflow_llm_provisioning.core.treatments.direct_loader import configured_with, too_old, unreadable
from airflow_llm_provisioning.core.verdicts import Verdict, cloud_says
from airflow_llm_provisioning.core.weight_loading import Streamed, downloads, streams
from airflow_llm_provisioning.core.weight_sources import ACCOUNT, bucket_of
from airflow_llm_provisioning.core.workload import Workload
from airflow_llm_provisioning.exceptions import ManifestError

FORMATS: Final = ("runai_streamer", "runai_streamer_sharded")
CLAIM: Final = "weights_bucket_region"
# The buckets that the nodes of each cloud are near to.
SCHEMES: Final[Mapping[str, str]] = {"eks": "s3", "gke": "gs", "aks": "az"}
_SINCE: Final = (0, 7)
_AZURE: Final = "az"
# Storage accounts: 3 to 24 lower-case letters and digits (Azure, "Storage account overview").
_ACCOUNT: Final = re.compile(r"[a-z0-9]{3,24}")
_SOURCE: Final = re.compile(r"(s3|gs|az)://[a-z0-9][a-z0-9._/-]{1,1000}", flags=re.IGNORECASE)
# The slowest published stream moved 183 MB/s (51.7 GiB in 303 s).
SLOWEST_BYTES_S: Final = 0.18e9


class WeightsStream(BaseTreatment):
    """Stream the weights from a bucket in the nodes' region."""

    name = "weights_stream"
    order = 10
    claims: tuple[str, ...] = (CLAIM,)

    def requires(self, profile: NodeProfile, workload: Workload) -> tuple[str, ...]:
        """Return why the engine cannot stream: its release, Ray's, the model's files, or the manifest."""
        found = [
            *too_old(workload, self.name, FORMATS[0], _SINCE),
            *unreadable(workload, self.name),
            *_ray_drops_it(workload),
        ]
        if workload.model is None:
            found.append(f"{self.name} needs to know the model: give workload {workload.name!r} a `model`.")
        try:
            self.change(DeploymentPlan.of(workload), workload)
        except ManifestError as error:
            found.append(str(error))
        return tuple(found)

    def requires_of(self, target: Target, workload: Workload) -> tuple[str, ...]:
        """Return why this target's bucket cannot be used: none is named, of another cloud, or in another region."""
        return (*_bucket_problems(target, self.name), *_account_problems(target, workload, self.name))

    def asks_cloud(self, target: Target) -> Mapping[str, Mapping[str, object]]:
        """Return that preflight asks where the bucket is: what the target says of it may be wrong."""
        told = target.told_of(self.name)
        asked = {"weights_source": told.get("source"), "weights_account": told.get("account")}
        return {CLAIM: {**asked, "cluster": target.cluster_name or target.cluster}}

    def change(self, plan: DeploymentPlan, workload: Workload) -> DeploymentPlan:
        """Name loader and bucket to every engine. Without a target, the loader alone."""
        told = workload.weights_stream
        extra = {"concurrency": told.concurrency}
        manifest = with_engine_args(
            with_added_pip(plan.manifest, told.pip), {"load_format": FORMATS[0], "model_loader_extra_config": extra}
        )
        source = plan.target.told_of(self.name).get("source") if plan.target else None
        if source and workload.model:
            manifest = with_weights_from(manifest, workload.model.model_id, str(source))
        account = plan.target.told_of(self.name).get("account") if plan.target else None
        if account:
            manifest = with_env(manifest, {ACCOUNT: str(account)})
        return plan.with_manifest(manifest)

    def verify(self, view: TraceView) -> Verdict:
        """Say whether every engine streamed just the pinned bytes from a bucket in its region, and nothing was
        downloaded.
        """
        told = configured_with(view, self.name, *FORMATS)
        if told.value != "yes":
            return told
        against = tuple(_refuted(view))
        if against:
            return Verdict(self.name, "no", (*told.evidence, *against))
        streamed = _streamed(view, self.name)
        region = cloud_says(view, CLAIM)
        evidence = (*told.evidence, *streamed.evidence, *region.evidence)
        if "no" in (streamed.value, region.value):
            return Verdict(self.name, "no", evidence)
        if streamed.value == "yes" and region.value == "unknown" and _slow(view):
            return Verdict(self.name, "unknown", (*evidence, "So slow a stream may come from another region."))
        return Verdict(self.name, streamed.value, evidence)

    def undeclared(self, view: TraceView) -> str | None:
        """Return what says that an engine of a trial without it streamed its weights, or None."""
        found = streams(view)
        return f"The engine streamed its weights: {found[0].text}." if found else None

    def effect(self, facts: EffectFacts) -> Effect | None:
        """Return that nothing is downloaded, and that loading takes the weights' bytes at the stream's rate."""
        if facts.weight_bytes is None:
            return None
        return Effect(
            (
                gone("weight_download", "the tensors go from the bucket to memory, not to a disk"),
                becomes("model_load", seconds_for(facts.weight_bytes, _RATE)),
            ),
            assumptions=("the bucket is in the nodes' region, and the image brings the streamer",),
        )


_RATE: Final = Between(
    SLOWEST_BYTES_S, 3.77e9, "Run:ai streamer from S3: 51.7 GiB in 303 s; 15 GB in 4.24 s (docs/src/benchmarks.md)"
)


def _bucket_problems(target: Target, name: str) -> Iterator[str]:
    told, where = target.told_of(name), f"options.treatments.{name}"
    source, region = text(told.get("source")), text(told.get("region"))
    if not _SOURCE.fullmatch(source):
        yield f"{name} needs {where}.source on target {target.name!r}: s3://, gs:// or az:// and the model's folder."
        return
    wanted, scheme = SCHEMES.get(target.cloud), source.partition("://")[0].lower()
    if wanted is not None and scheme != wanted:
        yield f"{name}: the bucket {source} is not one of {target.cloud}, whose nodes read {wanted}://."
    if not region:
        yield f"{name} needs {where}.region on target {target.name!r}: the bucket's own region."
    elif target.region and region != target.region:
        yield (
            f"{name}: the bucket {source} is in {region} and the nodes are in {target.region}: copy it, because a "
            "stream from another region is slow and is paid for."
        )


def _account_problems(target: Target, workload: Workload, name: str) -> Iterator[str]:
    """Yield what is wrong with the storage account of an `az://` address, which names a container only."""
    told, where = target.told_of(name), f"options.treatments.{name}.account"
    source, account = text(told.get("source")), text(told.get("account"))
    if source.partition("://")[0].lower() != _AZURE:
        if account:
            yield f"{name}: {where} on target {target.name!r} is for az:// sources, and the source is {source}."
    elif account and not _ACCOUNT.fullmatch(account):
        yield f"{name}: {where} on target {target.name!r} is no storage account's name: 3 to 24 of a to z, 0 to 9."
    elif not account and not _names_account(workload):
        yield f"{name} needs {where} on target {target.name!r}: {source} names a container, not its storage account."


def _names_account(workload: Workload) -> bool:
    """Return whether the user's manifest names the storage account itself."""
    manifest = workload.manifest
    given = [item for group in ray_groups(manifest) for item in items(ray_container(manifest, group).get("env"))]
    over = [dig(application, "runtime_env", "env_vars") for _, application in applications(serve_config(manifest))]
    return any(mapping(item).get("name") == ACCOUNT for item in given) or any(ACCOUNT in mapping(env) for env in over)


def _ray_drops_it(workload: Workload) -> Iterator[str]:
    version = text(dig(workload.manifest, "spec", "rayClusterConfig", "rayVersion"))
    try:
        built = any(item.builder for item in engine_args(workload.manifest))
    except ManifestError:
        return
    if built and re.match(r"2\.57(\.|$)", version):
        yield (
            f"weights_stream: ray.serve.llm of Ray {version} drops the address of a bucket (ray issue 65477): use "
            "another release."
        )


def _refuted(view: TraceView) -> Iterator[str]:
    """Yield what says that the weights did not come straight from a bucket."""
    if view.applications and bucket_of(view) is None:
        yield "Serve's configuration names no bucket as the source: a model of the hub is downloaded first."
    yield from (f"The weights were downloaded first: {line}" for line in downloads(view))


def _streamed(view: TraceView, claim: str) -> Verdict:
    """Say whether what was streamed are the pinned weights: each line all of them, or all lines together (ranks that
    share the work).
    """
    found, wanted = streams(view), PlannedFacts.of(view.trial).weight_bytes
    sentences = tuple(item.text for item in found)
    if not found:
        return Verdict(claim, "unknown", ("No line of the streamer was recorded.",))
    if wanted is None:
        return Verdict(claim, "unknown", (*sentences, "How many bytes the model has is not known."))
    whole = all(item.holds(wanted) for item in found)
    if whole or (len(found) > 1 and _together(found).holds(wanted)):
        return Verdict(claim, "yes", (*sentences, f"The pinned weights have {wanted / 2**30:.1f} GiB."))
    return Verdict(claim, "no", (*sentences, f"The pinned weights have {wanted / 2**30:.1f} GiB: it is another model."))


def _together(found: tuple[Streamed, ...]) -> Streamed:
    unit = max(item.unit_bytes for item in found) * len(found)
    return Streamed(sum(item.size_bytes for item in found), unit, max(item.seconds for item in found), "")


def _slow(view: TraceView) -> bool:
    rates = [rate for item in streams(view) if (rate := item.rate_bytes_s) is not None]
    return any(rate < SLOWEST_BYTES_S for rate in rates)
