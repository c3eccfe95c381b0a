"""BuildServingImage on Azure: an ACR Task run builds the image inside the registry and pushes it under a tag that
follows from its content.

Why not `docker build` here: the image has ten gigabytes, and the registry stands beside its builder. Nothing of this
needs a cluster. What it leaves: one image, whose own labels say whose it is (a registry's artifacts carry no Azure
tags). The uploaded source (one Dockerfile) lies in storage of ACR's own that ACR empties by itself.
"""

import gzip
import io
import tarfile
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from azure.core import PipelineClient
from azure.core.exceptions import HttpResponseError
from azure.core.pipeline.policies import UserAgentPolicy
from azure.core.rest import HttpRequest
from azure.mgmt.containerregistrytasks.models import AgentProperties, DockerBuildRequest, PlatformProperties

from airflow_llm_provisioning.core.names import preparation_tags
from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.core.workload import ImageRecipe
from airflow_llm_provisioning.exceptions import CloudError, ConfigurationError
from airflow_llm_provisioning.gateways.clouds.aks.arm import CALM, AzureAccount, BusyError, asking, is_absent
from airflow_llm_provisioning.gateways.clouds.aks.steps import (
    began_at,
    require_time_left,
    within,
    word,
)
from airflow_llm_provisioning.gateways.ledger import Entry

KIND: Final = "image"
CPU_CORES: Final = 2
# ACR Tasks: list price, USD a second and CPU core (azure.microsoft.com, Container Registry pricing, "Build"; the same
# figure at c3x.dev azurerm_container_registry, read 2026-11). The free grant of an account is not deducted.
USD_PER_CORE_SECOND: Final = 0.0001
# A base of 10 GiB is pulled, extended and pushed: tens of minutes (assumed); ACR itself allows 300 to 28,800 s.
RUN_LIMIT_S: Final = 7200
# Beyond the run's own limit: time in the queue.
QUEUE_LIMIT_S: Final = 1800
_ACTIVE: Final = frozenset({"Queued", "Started", "Running"})
# How far a run's creation stamp may lie before our intent: two clocks.
_SKEW: Final = timedelta(minutes=2)


class BuildImage:
    """The verb `build_image`. Steps: look for the tag -> adopt or schedule a run -> wait -> read the digest."""

    def __init__(self, account: AzureAccount, registry: str | None) -> None:
        self._account = account
        self._registry = registry

    def problems(self, request: Mapping[str, Any]) -> Sequence[str]:
        """Return what is wrong with the request itself."""
        problems = []
        if not (request.get("registry") or self._registry):
            problems.append("no container registry is named: set the extra `registry` of the azure connection")
        try:
            ImageRecipe.from_dict(request.get("recipe") or {})
        except ConfigurationError as error:
            problems.append(str(error).rstrip("."))
        if not request.get("repository"):
            problems.append("`repository` is missing")
        return problems

    def check(self, operation: Operation) -> Operation:
        """Find the registry, see whether the image exists, and write the intent where it does not."""
        request = operation.request
        registry = str(request.get("registry") or self._registry).partition(".")[0]
        found = registry_of(self._account, registry)
        login_server = str(found.login_server)
        tag = ImageRecipe.from_dict(request["recipe"]).tag()
        image = f"{login_server}/{request['repository']}:{tag}"
        operation = operation.at("checked", registry=registry, login_server=login_server, tag=tag, image=image)
        with asking(f"Looking for image {image}"):
            digest = self._account.data_plane(login_server).digest_of_tag(request["repository"], tag)
        earlier = self._open_entry(image)
        if digest is not None:
            return self._done(operation.at("found", entry_id=earlier and earlier.entry_id), digest, run=None)
        expires_at = began_at(operation) + timedelta(days=float(request.get("keep_days", 7)))
        tags = preparation_tags(tag, expires_at, request.get("target"))
        entry_id = self._account.ledger.intend(KIND, image, self._account.place, tags, expires_at)
        return within(
            operation,
            self._account.clock(),
            "looking for a run of this build",
            QUEUE_LIMIT_S,
            entry_id=entry_id,
            labels=tags,
            # Runs have no name of ours. Those that were active before our intent was written cannot be ours.
            others=self._active_before(registry, earlier),
        )

    def step(self, operation: Operation) -> Operation:
        """Schedule the run, or look at it."""
        progress = operation.progress
        require_time_left(operation, self._account.clock(), f"The build of {progress['image']}")
        if progress.get("run_id") is None:
            return self._adopt_or_schedule(operation)
        with asking(f"Reading build run {progress['run_id']} of registry {progress['registry']}"):
            run = self._account.tasks.runs.get(self._group, progress["registry"], progress["run_id"]).properties
        if word(run.status) in _ACTIVE:
            return operation.at(f"build run {progress['run_id']}: {word(run.status).lower()}")
        return self._ended(operation, run)

    def undo(self, operation: Operation) -> bool:
        """Cancel a run that still goes on; close the entry if no image is there."""
        progress = operation.progress
        run_id = progress.get("run_id")
        if run_id is not None and not progress.get("adopted"):
            with asking(f"Reading build run {run_id} of registry {progress['registry']}"):
                status = word(self._account.tasks.runs.get(self._group, progress["registry"], run_id).properties.status)
            if status in _ACTIVE:
                with asking(f"Cancelling build run {run_id} of registry {progress['registry']}"):
                    self._account.tasks.runs.cancel(self._group, progress["registry"], run_id)
                return False
        if progress.get("entry_id") is not None and self._digest(progress) is None:
            self._account.ledger.gone(progress["entry_id"])
        return True

    @property
    def _group(self) -> str:
        return self._account.registries_group

    def _digest(self, progress: Mapping[str, Any]) -> str | None:
        with asking(f"Looking for image {progress['image']}"):
            repository = str(progress["image"]).partition("/")[2].rpartition(":")[0]
            return self._account.data_plane(progress["login_server"]).digest_of_tag(repository, progress["tag"])

    def _open_entry(self, image: str) -> Entry | None:
        entries = self._account.ledger.open_entries(self._account.place)
        return next((entry for entry in entries if entry.kind == KIND and entry.name == image), None)

    def _runs(self, registry: str) -> list[Any]:
        with asking(f"Listing the build runs of registry {registry}"):
            return [run.properties for run in self._account.tasks.runs.list(self._group, registry, top=50)]

    def _active(self, registry: str) -> list[Any]:
        return [run for run in self._runs(registry) if word(run.status) in _ACTIVE]

    def _run_that_made(self, registry: str, image: str, digest: str) -> Any:
        """Return the run that pushed this image in an earlier life of the operation, or None."""
        runs = (run for run in self._runs(registry) if word(run.status) == "Succeeded" and run.output_images)
        return next((run for run in runs if _made(run, image, digest)), None)

    def _active_before(self, registry: str, earlier: Entry | None) -> list[str]:
        """Return the active runs that cannot be ours: all, or with an `earlier` intent those older than it."""
        return [
            run.run_id
            for run in self._active(registry)
            if earlier is None or (run.create_time and run.create_time < earlier.intended_at - _SKEW)
        ]

    def _adopt_or_schedule(self, operation: Operation) -> Operation:
        """Go on with a run that an earlier life of this operation may have scheduled, or schedule one.

        A run that turns out to be somebody else's is recognised when it ends: its images are not ours.
        """
        progress = operation.progress
        image = progress["image"]
        others = set(progress.get("others") or ())
        # In this order: a run that ends between the two questions has left its tag by the second.
        candidates = [run.run_id for run in self._active(progress["registry"]) if run.run_id not in others]
        if candidates:
            return operation.at(f"found build run {candidates[0]}", run_id=candidates[0], adopted=True)
        digest = self._digest(progress)
        if digest is not None:
            return self._done(operation, digest, self._run_that_made(progress["registry"], image, digest))
        recipe = ImageRecipe.from_dict(operation.request["recipe"])
        source = self._upload(progress["registry"], dockerfile(recipe, progress["labels"]))
        build = DockerBuildRequest(
            image_names=[image.partition("/")[2]],
            is_push_enabled=True,
            docker_file_path="Dockerfile",
            source_location=source,
            timeout=RUN_LIMIT_S,
            platform=PlatformProperties(os="Linux", architecture="amd64"),  # the only one that streams
            agent_configuration=AgentProperties(cpu=CPU_CORES),
        )
        with asking(f"Scheduling the build of {image}"):
            run = self._account.tasks.registries.schedule_run(self._group, progress["registry"], build).properties
        limit_s = RUN_LIMIT_S + QUEUE_LIMIT_S
        return within(
            operation,
            self._account.clock(),
            f"build run {run.run_id}: scheduled",
            limit_s,
            run_id=run.run_id,
            adopted=False,
        )

    def _upload(self, registry: str, text: str) -> str:
        """Upload the build's source and return its path as ACR knows it. The address holds a secret: kept nowhere."""
        with asking(f"Asking registry {registry} where to upload the build's source"):
            target = self._account.tasks.registries.get_build_source_upload_url(self._group, registry)
        headers = {"x-ms-blob-type": "BlockBlob", "Content-Type": "application/octet-stream"}
        timeouts = {key: value for key, value in CALM.items() if key.endswith("_timeout")}
        client: Any = PipelineClient(base_url="", policies=[UserAgentPolicy("airflow-llm-provisioning")], **timeouts)
        with client, asking(f"Uploading the build's source for registry {registry}"):
            request = HttpRequest("PUT", target.upload_url, headers=headers, content=_archive(text))
            response = client.send_request(request)
            if response.status_code >= 400:
                raise HttpResponseError(response=response)
        return str(target.relative_path)

    def _ended(self, operation: Operation, run: Any) -> Operation:
        progress = operation.progress
        image = progress["image"]
        digest = self._digest(progress)
        if word(run.status) == "Succeeded" and digest is not None and _made(run, image, digest):
            return self._done(operation, digest, run)
        if progress.get("adopted"):
            others = [*(progress.get("others") or ()), progress["run_id"]]
            return operation.at("that run was not ours", run_id=None, adopted=None, others=others)
        if word(run.status) == "Succeeded":
            raise CloudError(
                f"Build run {run.run_id} of {image} succeeded, but the registry has no such tag: "
                "look at the run's log and at the registry's retention and lock policies."
            )
        why = " ".join(str(run.run_error_message or "no reason given").split())
        raise CloudError(
            f"Build run {run.run_id} of {image} ended {word(run.status)}: {why.rstrip('.')}. "
            f"Its log: az acr task logs --registry {progress['registry']} --run-id {run.run_id}"
        )

    def _done(self, operation: Operation, digest: str, run: Any) -> Operation:
        progress = operation.progress
        image, repository = progress["image"], progress["image"].partition("/")[2].rpartition(":")[0]
        with asking(f"Reading the size of {image}"):
            attributes = self._account.data_plane(progress["login_server"]).manifest_attributes(repository, digest)
        size = (attributes or {}).get("imageSize")
        if progress.get("entry_id") is not None:
            identity = f"{progress['login_server']}/{repository}@{digest}"
            self._account.ledger.created(progress["entry_id"], identity)
        phases = _phases(run)
        price = None if run is None else round(phases.get("build", 0.0) * CPU_CORES * USD_PER_CORE_SECOND, 4)
        return operation.succeeded(
            image=image,
            digest=digest,
            size_bytes=None if size is None else int(size),
            reused=run is None,
            seconds=round(sum(phases.values()), 3),
            price_usd=0.0 if run is None else price,
            price_basis=_PRICE_REUSED if run is None else _PRICE_BASIS,
            log_url=None if run is None else self._log_link(progress["registry"], run.run_id),
            phases=phases,
            run_id=None if run is None else run.run_id,
        )

    def _log_link(self, registry: str, run_id: str) -> str | None:
        """Return the log's address without its signature, which is a secret; None where there is none."""
        try:
            with asking(f"Asking for the log of build run {run_id}"):
                link = self._account.tasks.runs.get_log_sas_url(self._group, registry, run_id).log_link
        except CloudError:
            return None  # the log is a courtesy: its absence must not hide how the build ended
        return str(link).partition("?")[0] if link else None


_PRICE_BASIS: Final = (
    f"ACR Tasks list price: {USD_PER_CORE_SECOND} USD a second and core, {CPU_CORES} cores, while the run ran; "
    "free grant not deducted, the registry's daily price not included"
)
_PRICE_REUSED: Final = "the image existed: nothing was built"


def registry_of(account: AzureAccount, registry: str) -> Any:
    """Return the registry as ARM knows it, or say that there is none."""
    group = account.registries_group
    try:
        with asking(f"Reading container registry {registry} in resource group {group}"):
            return account.registries.registries.get(group, registry)
    except BusyError:
        raise
    except CloudError as error:
        if is_absent(error):
            raise CloudError(
                f"There is no container registry {registry!r} in resource group {group!r}: create one (Premium), "
                "or name the right one in the extras `registry` and `registry_resource_group`."
            ) from error
        raise


def dockerfile(recipe: ImageRecipe, labels: Mapping[str, str]) -> str:
    """Return the recipe's Dockerfile with our labels: the only mark of ownership a registry keeps with an image."""
    lines = [f'LABEL "{key}"="{value}"' for key, value in sorted(labels.items())]
    return recipe.dockerfile() + "\n".join(lines) + "\n"


def _archive(text: str) -> bytes:
    """Return a tar.gz that holds the Dockerfile; the same text gives the same bytes."""
    data = text.encode()
    entry = tarfile.TarInfo("Dockerfile")
    entry.size = len(data)
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        archive.addfile(entry, io.BytesIO(data))
    return gzip.compress(raw.getvalue(), mtime=0)


def _phases(run: Any) -> dict[str, float]:
    """Return {queue, build} in seconds from the run's own stamps; {} without a run or stamps."""
    if run is None or not (run.create_time and run.start_time and run.finish_time):
        return {}
    return {
        "queue": round((run.start_time - run.create_time).total_seconds(), 3),
        "build": round((run.finish_time - run.start_time).total_seconds(), 3),
    }


def _made(run: Any, image: str, digest: str) -> bool:
    """Return whether a run says that it pushed this image; a run that lists no images is believed."""
    if not run.output_images:
        return True
    repository, _, tag = image.partition("/")[2].rpartition(":")
    return any(
        (item.repository, item.tag) == (repository, tag) and item.digest in (None, digest) for item in run.output_images
    )
