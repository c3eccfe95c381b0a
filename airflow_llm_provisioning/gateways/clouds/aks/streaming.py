"""EnableStreaming on Azure: convert the image in its registry, wait until the artifact is there, switch pools on.

The race this exists to prevent: a conversion is asynchronous, and a node that pulls before it ends gets the plain image
and keeps it (Azure/AgentBaker#8845). So the verb succeeds only when the registry says Succeeded AND lists the streaming
artifact among the image's referrers. What it leaves belongs to the image and is deleted with it.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from azure.mgmt.containerservice.models import AgentPoolArtifactStreamingProfile

from airflow_llm_provisioning.core.image_reference import ImageReference
from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.exceptions import CloudError
from airflow_llm_provisioning.gateways.clouds.aks.arm import AzureAccount, azure_errors
from airflow_llm_provisioning.gateways.clouds.aks.build import registry_name, registry_of
from airflow_llm_provisioning.gateways.clouds.aks.pools import POOL_LIMIT_S, Pools, streams
from airflow_llm_provisioning.gateways.clouds.aks.registry import Conversion, RegistryClient
from airflow_llm_provisioning.gateways.clouds.aks.streaming_checks import (
    cluster_problems,
    image_problems,
    registry_problems,
    request_problems,
)
from airflow_llm_provisioning.gateways.clouds.aks.tags import word
from airflow_llm_provisioning.gateways.clouds.tags import preparation_tags_of
from airflow_llm_provisioning.gateways.clouds.verbs import (
    Look,
    Outcome,
    Step,
    Verb,
    done,
    go_to,
    keep_until,
    not_yet,
    raise_problems,
    started_at,
)

KIND: Final = "streaming_artifact"
FEATURE: Final = ("Microsoft.ContainerService", "ArtifactStreamingPreview")
# How long a conversion takes is published nowhere; an hour is far beyond what pulling and pushing 15 GB twice needs.
CONVERSION_LIMIT_S: Final = 3600
REFERRER_LIMIT_S: Final = 600
# How long a conversion that is remembered as Succeeded may have no artifact before it is begun again.
REMEMBERED_LIMIT_S: Final = 120
FEATURE_LIMIT_S: Final = 1800

# azure-management-docs, container-registry/troubleshoot-artifact-streaming.md: the codes, and what to do about each.
ADVICE: Final[Mapping[str, str]] = {
    "UNKNOWN_ERROR": "try again; if it stays, ask Azure's support with the operation's id",
    "RESOURCE_NOT_FOUND": "the image was deleted or its tag moved: build it again",
    "UNSUPPORTED_PLATFORM": "only linux/amd64 images can be converted: build for that platform",
    "NO_SUPPORTED_PLATFORM_FOUND": "the index holds no linux/amd64 image: build for that platform",
    "UNSUPPORTED_MEDIATYPE": "push the image with Docker v2 or OCI manifests and gzip layers",
    "UNSUPPORTED_ARTIFACT_TYPE": "the reference names no container image",
    "IMAGE_NOT_RUNNABLE": "the image has no entrypoint or command that could run",
}


class EnableStreaming(Verb):
    """The verb `enable_streaming`. Steps: [feature] -> convert -> Succeeded -> referrer -> pools, one by one."""

    name = "enable_streaming"

    def __init__(self, account: AzureAccount) -> None:
        self._account = account
        self._pools = Pools(account)

    def problems(self, request: Mapping[str, Any]) -> Sequence[str]:
        """Return what is wrong with the request itself."""
        return request_problems(request)

    def begin(self, operation: Operation) -> Look:
        """Look at registry, image, cluster and pools; name everything that stands in the way; write the intent."""
        request = operation.request
        name = ImageReference.parse(request["image"])
        registry = registry_of(self._account, registry_name(name))
        problems = registry_problems(registry, name)
        data_plane = self._account.data_plane(str(name.host))
        with azure_errors(f"Reading image {request['image']}"):
            digest = data_plane.digest_of_tag(name.repository, str(name.tag))
            attributes = data_plane.manifest_attributes(name.repository, digest) if digest else None
            existing = data_plane.streaming_artifacts(name.repository, digest) if digest else []
        problems += image_problems(request, digest, attributes)
        problems += cluster_problems(self._account, request, registry)
        raise_problems(f"Streaming {request['image']}", problems, CloudError)
        artifact = f"{name.host}/{name.repository}@{digest}"
        tags = preparation_tags_of(operation, str(digest))
        entry_id = self._account.entries.intend(KIND, artifact, tags, keep_until(operation))
        return done("checked", digest=digest, existed=bool(existing), entry_id=entry_id, artifact=artifact)

    def steps(self, operation: Operation) -> Sequence[Step]:
        """Return the steps; their names are where the operation stands in its progress."""
        image, pool = operation.request["image"], operation.progress.get("pool", "")
        feature = Step("feature", self._register_feature, FEATURE_LIMIT_S, f"{_WHAT['feature']} {image}", timed=False)
        return (
            *([feature] if operation.request.get("register_feature") else []),
            self._conversion_step("convert", self._convert, CONVERSION_LIMIT_S, image),
            self._conversion_step("converting", self._look, CONVERSION_LIMIT_S, image),
            self._conversion_step("artifact", self._await_artifact, REFERRER_LIMIT_S, image),
            Step("pools", self._switch_pools, POOL_LIMIT_S, f"{_WHAT['pools']} {pool}".rstrip(), timed=False),
        )

    def clean_up(self, operation: Operation) -> Sequence[str]:
        """Cancel a conversion that still goes on; a finished artifact stays: it is whole, and the next try uses it."""
        progress = operation.progress
        name = ImageReference.parse(operation.request["image"])
        data_plane = self._account.data_plane(str(name.host))
        with azure_errors(f"Cancelling the conversion of {operation.request['image']}"):
            going = data_plane.conversion_of(name.repository, progress["digest"])
            if going is not None and going.going_on and going.operation_id:
                data_plane.cancel_conversion(name.repository, going.operation_id)
                return [f"conversion {going.operation_id} of {operation.request['image']}"]
            if not data_plane.streaming_artifacts(name.repository, progress["digest"]):
                self._account.entries.gone(KIND, name=progress["artifact"])
        return []

    def outcome(self, operation: Operation, seconds: float) -> Outcome:
        """Return what streams now; what was found converted took no time and costs nothing."""
        progress, request = operation.progress, operation.request
        conversion_s, switched = float(progress["conversion_s"]), "pool" in progress
        total_s = seconds if switched else conversion_s
        phases = {} if progress["reused"] else {"conversion": conversion_s}
        if switched:
            phases["pools"] = round(total_s - conversion_s, 3)
        pools = [f"{request['cluster']}/{name}" for name in request.get("pools") or ()]
        made = {"enabled": [request["image"], *pools], "digest": progress["digest"]}
        if progress["reused"] and not switched:
            return Outcome(made, True, 0.0, _PRICE_REUSED, total_s, phases)
        return Outcome(made, False, None, _PRICE_BASIS, total_s, phases)

    def _conversion_step(
        self, name: str, look: Callable[[Operation, RegistryClient, str], Look], limit_s: float, image: str
    ) -> Step:
        """Return a step that looks at the image's registry."""
        reference = ImageReference.parse(image)

        def looked(operation: Operation) -> Look:
            data_plane = self._account.data_plane(str(reference.host))
            with azure_errors(f"Converting image {image}"):
                return look(operation, data_plane, reference.repository)

        return Step(name, looked, limit_s, f"{_WHAT[name]} {image}", timed=False)

    def _register_feature(self, operation: Operation) -> Look:
        with azure_errors(f"Registering the preview feature {FEATURE[1]}"):
            state = self._account.features.features.get(*FEATURE).properties.state
            if state == "NotRegistered":
                state = self._account.features.features.register(*FEATURE).properties.state
        if state != "Registered":
            return not_yet(f"preview feature {FEATURE[1]}: {state}")
        return go_to("convert", "feature registered")

    def _convert(self, operation: Operation, data_plane: RegistryClient, repository: str) -> Look:
        """Find the artifact, or the conversion an earlier process began, or begin one."""
        digest = operation.progress["digest"]
        artifacts = data_plane.streaming_artifacts(repository, digest)
        going = data_plane.conversion_of(repository, digest)
        if artifacts and (going is None or not going.going_on):
            return self._converted(operation, artifacts[0])
        if going is not None and going.status == "Succeeded" and not operation.progress.get("again"):
            # Ended a moment ago in an earlier process, or long ago and its artifact was deleted.
            until = self._account.clock() + timedelta(seconds=REMEMBERED_LIMIT_S)
            return go_to("artifact", "Succeeded once", remembered_until_at=until.isoformat())
        if going is None or not going.going_on:
            going = data_plane.convert(repository, digest)
        return go_to("converting", "conversion begun", operation_id=going.operation_id)

    def _look(self, operation: Operation, data_plane: RegistryClient, repository: str) -> Look:
        operation_id = operation.progress.get("operation_id")
        going: Conversion | None
        if operation_id is None:
            going = data_plane.conversion_of(repository, operation.progress["digest"])
        else:
            going = data_plane.conversion(repository, operation_id)
        if going is None:
            return go_to("convert", "the registry has forgotten the conversion; looking again")
        if going.status == "Succeeded":
            return go_to("artifact", "conversion Succeeded")
        if going.going_on:
            return not_yet(f"conversion: {going.status} {going.progress or ''}".rstrip())
        code = going.error_code or "no code"
        advice = ADVICE.get(code, "see Azure's page on troubleshooting artifact streaming")
        said = f" ({going.message.rstrip('.')})" if going.message else ""
        raise CloudError(
            f"The conversion of {operation.request['image']} to a streaming artifact ended {going.status}: "
            f"{code}{said}; {advice}."
        )

    def _await_artifact(self, operation: Operation, data_plane: RegistryClient, repository: str) -> Look:
        artifacts = data_plane.streaming_artifacts(repository, operation.progress["digest"])
        if artifacts:
            return self._converted(operation, artifacts[0])
        until = operation.progress.get("remembered_until_at")
        if until is not None and self._account.clock() > datetime.fromisoformat(str(until)):
            words = "the remembered conversion has no artifact; converting again"
            return go_to("convert", words, remembered_until_at=None, again=True)
        return not_yet("conversion Succeeded, its artifact is not listed yet")

    def _converted(self, operation: Operation, artifact: str) -> Look:
        # Not there when `start` looked: then this operation made it, perhaps in a process that ended in between.
        reused = bool(operation.progress["existed"])
        seconds = 0.0 if reused else (self._account.clock() - started_at(operation)).total_seconds()
        image = ImageReference.parse(operation.request["image"])
        self._account.entries.created(operation.progress["entry_id"], f"{image.host}/{image.repository}@{artifact}")
        return go_to("pools", "converted", reused=reused, conversion_s=round(seconds, 3))

    def _switch_pools(self, operation: Operation) -> Look:
        """Switch the next pool on; when all are, the verb is done."""
        cluster = str(operation.request.get("cluster"))
        for name in operation.request.get("pools") or ():
            pool = self._pools.get(cluster, name)
            if pool is None:
                raise CloudError(f"Pool {name!r} of cluster {cluster!r} vanished while streaming was enabled.")
            state = word(pool.properties.provisioning_state)
            failed = state in ("Failed", "Canceled")
            if failed and operation.progress.get("pool") == name:
                location = str(self._pools.cluster(cluster).location)
                why = self._pools.failure(cluster, name, state, operation.progress.get("pool_operation_id"), location)
                raise CloudError(f"{why} The pool stays as AKS left it: enable streaming again once the cause is gone.")
            if failed or not streams(pool.properties):
                return self._switch(cluster, name, pool)
            if state != "Succeeded":
                return not_yet(f"pool {name}: {state.lower()}")
        return done()

    def _switch(self, cluster: str, name: str, pool: Any) -> Look:
        if not streams(pool.properties) and int(pool.properties.count or 0) > 0:
            raise CloudError(
                f"Pool {name!r} of cluster {cluster!r} has grown to {pool.properties.count} nodes meanwhile; switching "
                "streaming on would reimage them: scale it to 0 and enable streaming again."
            )
        pool.properties.artifact_streaming_profile = AgentPoolArtifactStreamingProfile(enabled=True)
        operation_id = self._pools.put(cluster, name, pool)
        # A pool has the step's whole limit: the step begins again with each.
        return go_to("pools", f"switching pool {name} on", pool=name, pool_operation_id=operation_id)


_WHAT: Final[Mapping[str, str]] = {
    "feature": f"Registering the preview feature {FEATURE[1]} for",
    "convert": "Beginning the conversion of",
    "converting": "The conversion of",
    "artifact": "Listing the streaming artifact (the conversion had Succeeded) of",
    "pools": "Switching streaming on for pool",
}
_PRICE_BASIS: Final = (
    "no price of a conversion is published; the artifact is stored beside the image (500 GiB are in Premium's price)"
)
_PRICE_REUSED: Final = "the artifact existed: nothing was converted"
