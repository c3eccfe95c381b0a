"""The verb `build_image` on Azure: an ACR Task run builds the image in the registry, under a tag for its content.

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
from azure.mgmt.containerregistrytasks.models import (
    AgentProperties,
    Credentials,
    DockerBuildRequest,
    PlatformProperties,
    SourceRegistryCredentials,
)

from airflow_llm_provisioning.core.image_reference import ImageReference
from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.core.workload import ImageRecipe
from airflow_llm_provisioning.exceptions import CloudError, ConfigurationError
from airflow_llm_provisioning.gateways.clouds.aks.arm import (
    AZURE_CLIENT_DEFAULTS,
    AzureAccount,
    azure_errors,
    is_absent,
)
from airflow_llm_provisioning.gateways.clouds.aks.attachment import in_abac_mode
from airflow_llm_provisioning.gateways.clouds.aks.tags import word
from airflow_llm_provisioning.gateways.clouds.tags import preparation_tags_of
from airflow_llm_provisioning.gateways.clouds.verbs import (
    Look,
    Outcome,
    Step,
    TransientError,
    Verb,
    done,
    finished,
    go_to,
    keep_until,
    not_yet,
)
from airflow_llm_provisioning.gateways.prices import list_prices
from airflow_llm_provisioning.gateways.store.ledger import Entry

KIND: Final = "image"
_SCHEDULING: Final = "scheduling"
_RUNNING: Final = "running"
CPU_CORES: Final = 2
# ACR Tasks: USD a second and CPU core. The free grant of an account is not deducted.
USD_PER_CORE_SECOND: Final = list_prices().amounts("aks", "build")["core"]
# A base of 10 GiB is pulled, extended and pushed: tens of minutes (assumed); ACR itself allows 300 to 28,800 s.
RUN_LIMIT_S: Final = 7200
# Beyond the run's own limit: time in the queue.
QUEUE_LIMIT_S: Final = 1800
_ACTIVE: Final = frozenset({"Queued", "Started", "Running"})
# How far a run's creation stamp may lie before our intent: two clocks.
_SKEW: Final = timedelta(minutes=2)


class BuildImage(Verb):
    """The verb `build_image`. Steps: look for the tag -> adopt or schedule a run -> wait -> read the digest."""

    name = "build_image"

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

    def begin(self, operation: Operation) -> Look:
        """Find the registry, see whether the image exists, and write the intent where it does not."""
        request = operation.request
        registry = str(request.get("registry") or self._registry).partition(".")[0]
        described = registry_of(self._account, registry)
        login_server = str(described.login_server)
        repository, tag = str(request["repository"]), ImageRecipe.from_dict(request["recipe"]).tag()
        image = f"{login_server}/{repository}:{tag}"
        known: dict[str, Any] = {"registry": registry, "login_server": login_server, "repository": repository}
        known |= {"tag": tag, "abac": in_abac_mode(described)}
        with azure_errors(f"Looking for image {image}"):
            digest = self._account.data_plane(login_server).digest_of_tag(repository, tag)
        earlier = self._account.entries.open_entry(KIND, image)
        if digest is not None:
            entry_id = earlier and earlier.entry_id
            return finished("found", **self._found({**known, "image": image, "entry_id": entry_id}, digest, run=None))
        tags = preparation_tags_of(operation, tag)
        entry_id = self._account.entries.intend(KIND, image, tags, keep_until(operation))
        return done(
            "looking for a run of this build",
            **known,
            image=image,
            entry_id=entry_id,
            labels=tags,
            # Runs have no name of ours. Those that were active before our intent was written cannot be ours.
            others=self._active_before(registry, earlier),
        )

    def steps(self, operation: Operation) -> Sequence[Step]:
        """Schedule the run, look at it."""
        what = f"The build of {operation.progress['image']}"
        return (
            Step(_SCHEDULING, self._adopt_or_schedule, QUEUE_LIMIT_S, what, timed=False),
            Step(_RUNNING, self._run, RUN_LIMIT_S + QUEUE_LIMIT_S, what, timed=False),
        )

    def clean_up(self, operation: Operation) -> Sequence[str]:
        """Cancel a run that still goes on; close the entry if no image is there."""
        progress = operation.progress
        run_id = progress.get("run_id")
        if run_id is not None and not progress.get("adopted"):
            with azure_errors(f"Reading build run {run_id} of registry {progress['registry']}"):
                status = word(self._account.tasks.runs.get(self._group, progress["registry"], run_id).properties.status)
            if status in _ACTIVE:
                with azure_errors(f"Cancelling build run {run_id} of registry {progress['registry']}"):
                    self._account.tasks.runs.cancel(self._group, progress["registry"], run_id)
                return [f"build run {run_id} of registry {progress['registry']}"]
        if progress.get("entry_id") is not None and self._digest(progress) is None:
            self._account.entries.gone(KIND, name=progress["image"])
        return []

    def outcome(self, operation: Operation, seconds: float) -> Outcome:
        """Return the image; its seconds and its price are those of the run that made it."""
        progress = operation.progress
        made = {key: progress[key] for key in ("image", "digest", "size_bytes", "log_url", "run_id")}
        phases = progress["phases"]
        if progress["run_id"] is None:
            return Outcome(made, True, 0.0, _PRICE_REUSED, seconds=0.0, phases=phases)
        if "build" not in phases:
            return Outcome(made, False, None, _PRICE_UNKNOWN, phases=phases)
        price = round(phases["build"] * CPU_CORES * USD_PER_CORE_SECOND, 4)
        return Outcome(made, False, price, _PRICE_BASIS, seconds=sum(phases.values()), phases=phases)

    def _run(self, operation: Operation) -> Look:
        progress = operation.progress
        with azure_errors(f"Reading build run {progress['run_id']} of registry {progress['registry']}"):
            run = self._account.tasks.runs.get(self._group, progress["registry"], progress["run_id"]).properties
        if word(run.status) in _ACTIVE:
            return not_yet(f"build run {progress['run_id']}: {word(run.status).lower()}")
        return self._ended(operation, run)

    @property
    def _group(self) -> str:
        return self._account.registries_group

    def _digest(self, progress: Mapping[str, Any]) -> str | None:
        with azure_errors(f"Looking for image {progress['image']}"):
            data_plane = self._account.data_plane(progress["login_server"])
            return data_plane.digest_of_tag(progress["repository"], progress["tag"])

    def _runs(self, registry: str) -> list[Any]:
        with azure_errors(f"Listing the build runs of registry {registry}"):
            return [run.properties for run in self._account.tasks.runs.list(self._group, registry, top=50)]

    def _active(self, registry: str) -> list[Any]:
        return [run for run in self._runs(registry) if word(run.status) in _ACTIVE]

    def _run_that_made(self, registry: str, image: str, digest: str) -> Any:
        """Return the run that pushed this image in an earlier process of the operation, or None."""
        runs = (run for run in self._runs(registry) if word(run.status) == "Succeeded" and run.output_images)
        return next((run for run in runs if _made(run, image, digest)), None)

    def _active_before(self, registry: str, earlier: Entry | None) -> list[str]:
        """Return the active runs that cannot be ours: all, or with an `earlier` intent those older than it."""
        return [
            run.run_id
            for run in self._active(registry)
            if earlier is None or (run.create_time and run.create_time < earlier.intended_at - _SKEW)
        ]

    def _adopt_or_schedule(self, operation: Operation) -> Look:
        """Go on with a run that an earlier process may have scheduled for this operation, or schedule one.

        A run that turns out to be another's is recognised when it ends: its images are not ours.
        """
        progress = operation.progress
        image = progress["image"]
        others = set(progress.get("others") or ())
        # In this order: a run that ends between the two questions has left its tag by the second.
        candidates = [run.run_id for run in self._active(progress["registry"]) if run.run_id not in others]
        if candidates:
            return go_to(_RUNNING, f"found build run {candidates[0]}", run_id=candidates[0], adopted=True)
        digest = self._digest(progress)
        if digest is not None:
            return finished(**self._found(progress, digest, self._run_that_made(progress["registry"], image, digest)))
        recipe = ImageRecipe.from_dict(operation.request["recipe"])
        source = self._upload(progress["registry"], dockerfile(recipe, progress["labels"]))
        build = DockerBuildRequest(
            image_names=[f"{progress['repository']}:{progress['tag']}"],
            is_push_enabled=True,
            docker_file_path="Dockerfile",
            source_location=source,
            timeout=RUN_LIMIT_S,
            platform=PlatformProperties(os="Linux", architecture="amd64"),  # the only one that streams
            agent_configuration=AgentProperties(cpu=CPU_CORES),
            credentials=_CALLER if progress.get("abac") else None,
        )
        with azure_errors(f"Scheduling the build of {image}"):
            run = self._account.tasks.registries.schedule_run(self._group, progress["registry"], build).properties
        return go_to(_RUNNING, f"build run {run.run_id}: scheduled", run_id=run.run_id, adopted=False)

    def _upload(self, registry: str, text: str) -> str:
        """Upload the build's source and return its path as ACR knows it. The address holds a secret: kept nowhere."""
        with azure_errors(f"Asking registry {registry} where to upload the build's source"):
            target = self._account.tasks.registries.get_build_source_upload_url(self._group, registry)
        headers = {"x-ms-blob-type": "BlockBlob", "Content-Type": "application/octet-stream"}
        timeouts = {key: value for key, value in AZURE_CLIENT_DEFAULTS.items() if key.endswith("_timeout")}
        client: Any = PipelineClient(base_url="", policies=[UserAgentPolicy("airflow-llm-provisioning")], **timeouts)
        with client, azure_errors(f"Uploading the build's source for registry {registry}"):
            request = HttpRequest("PUT", target.upload_url, headers=headers, content=_archive(text))
            response = client.send_request(request)
            if response.status_code >= 400:
                raise HttpResponseError(response=response)
        return str(target.relative_path)

    def _ended(self, operation: Operation, run: Any) -> Look:
        progress = operation.progress
        image = progress["image"]
        digest = self._digest(progress)
        if word(run.status) == "Succeeded" and digest is not None and _made(run, image, digest):
            return finished(**self._found(progress, digest, run))
        if progress.get("adopted"):
            others = [*(progress.get("others") or ()), progress["run_id"]]
            return go_to(_SCHEDULING, "that run was not ours", run_id=None, adopted=None, others=others)
        if word(run.status) == "Succeeded":
            raise CloudError(
                f"Build run {run.run_id} of {image} succeeded, but the registry has no such tag: "
                "look at the run's log and at the registry's retention and lock policies."
            )
        why = " ".join(str(run.run_error_message or "no reason given").split())
        advice = _ABAC_ADVICE if progress.get("abac") else ""
        raise CloudError(
            f"Build run {run.run_id} of {image} ended {word(run.status)}: {why.rstrip('.')}. {advice}"
            f"Its log: az acr task logs --registry {progress['registry']} --run-id {run.run_id}"
        )

    def _found(self, progress: Mapping[str, Any], digest: str, run: Any) -> dict[str, Any]:
        """Note the image in the ledger; return what the outcome is made of. `run`: the one that made it, if any."""
        with azure_errors(f"Reading the size of {progress['image']}"):
            data_plane = self._account.data_plane(progress["login_server"])
            attributes = data_plane.manifest_attributes(progress["repository"], digest)
        size = (attributes or {}).get("imageSize")
        if progress.get("entry_id") is not None:
            identity = f"{progress['login_server']}/{progress['repository']}@{digest}"
            self._account.entries.created(progress["entry_id"], identity)
        return {
            **progress,
            "digest": digest,
            "size_bytes": None if size is None else int(size),
            "log_url": None if run is None else self._log_link(progress["registry"], run.run_id),
            "phases": _phases(run),
            "run_id": None if run is None else run.run_id,
        }

    def _log_link(self, registry: str, run_id: str) -> str | None:
        """Return the log's address without its signature, which is a secret; None where there is none."""
        try:
            with azure_errors(f"Asking for the log of build run {run_id}"):
                link = self._account.tasks.runs.get_log_sas_url(self._group, registry, run_id).log_link
        except CloudError:
            return None  # the log is a courtesy: its absence must not hide how the build ended
        return str(link).partition("?")[0] if link else None


# In ABAC mode a run has no access of its own to its registry: it must act as the identity that schedules it (ACR docs,
# container-registry-rbac-abac-repository-permissions; azure-cli, test_acr_abac_build, recorded 2026-03-24).
_CALLER: Final = Credentials(source_registry=SourceRegistryCredentials(identity="[caller]"))
_ABAC_ADVICE: Final = (
    "The registry is in ABAC mode: a run that may not push says no more than this. See that the connection's identity "
    "has the role Container Registry Repository Contributor on the registry. "
)
_PRICE_BASIS: Final = (
    f"ACR Tasks list price: {USD_PER_CORE_SECOND} USD a second and core, {CPU_CORES} cores, while the run ran; "
    "free grant not deducted, the registry's daily price not included"
)
_PRICE_UNKNOWN: Final = "the run does not say when it began and ended, so what it is charged for is not known"
_PRICE_REUSED: Final = "the image existed: nothing was built"


def registry_name(image: ImageReference) -> str:
    """Return the name of an image's registry as an ARM object."""
    return (image.host or "").partition(".")[0]


def registry_of(account: AzureAccount, registry: str) -> Any:
    """Return the registry as ARM knows it, or say that there is none."""
    group = account.registries_group
    try:
        with azure_errors(f"Reading container registry {registry} in resource group {group}"):
            return account.registries.registries.get(group, registry)
    except TransientError:
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
    name = ImageReference.parse(image)
    return any(
        (item.repository, item.tag) == (name.repository, name.tag) and item.digest in (None, digest)
        for item in run.output_images
    )
