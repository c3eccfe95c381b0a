"""EnableStreaming on Azure: convert the image in its registry, wait until the artifact is there, switch pools on.

The race this exists to prevent: a conversion is asynchronous, and a node that pulls before it ends gets the plain image
and keeps it (Azure/AgentBaker#8845). So the verb succeeds only when the registry says Succeeded AND lists the streaming
artifact among the image's referrers. What it leaves belongs to the image and is deleted with it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from azure.mgmt.containerservice.models import AgentPoolArtifactStreamingProfile

from airflow_llm_provisioning.core.names import preparation_tags
from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.exceptions import CloudError
from airflow_llm_provisioning.gateways.clouds.aks.arm import AzureAccount, asking
from airflow_llm_provisioning.gateways.clouds.aks.build import registry_of
from airflow_llm_provisioning.gateways.clouds.aks.pools import POOL_LIMIT_S, Pools, streams
from airflow_llm_provisioning.gateways.clouds.aks.registry import Conversion, RegistryClient
from airflow_llm_provisioning.gateways.clouds.aks.steps import (
    ImageName,
    began_at,
    raise_problems,
    require_time_left,
    within,
    word,
)
from airflow_llm_provisioning.gateways.clouds.aks.streaming_checks import (
    cluster_problems,
    image_problems,
    registry_problems,
    request_problems,
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


class EnableStreaming:
    """The verb `enable_streaming`. Steps: [feature] -> convert -> Succeeded -> referrer -> pools, one by one."""

    def __init__(self, account: AzureAccount) -> None:
        self._account = account
        self._pools = Pools(account)

    def problems(self, request: Mapping[str, Any]) -> Sequence[str]:
        """Return what is wrong with the request itself."""
        return request_problems(request)

    def check(self, operation: Operation) -> Operation:
        """Look at registry, image, cluster and pools; name everything that stands in the way; write the intent."""
        request = operation.request
        name = ImageName.parse(request["image"])
        registry = registry_of(self._account, name.registry)
        problems = registry_problems(registry, name)
        data_plane = self._account.data_plane(name.login_server)
        with asking(f"Reading image {request['image']}"):
            digest = data_plane.digest_of_tag(name.repository, str(name.tag))
            attributes = data_plane.manifest_attributes(name.repository, digest) if digest else None
            existing = data_plane.streaming_artifacts(name.repository, digest) if digest else []
        problems += image_problems(request, digest, attributes)
        problems += cluster_problems(self._account, request, registry)
        raise_problems(f"Streaming {request['image']}", problems, CloudError)
        artifact = f"{name.login_server}/{name.repository}@{digest}"
        expires_at = began_at(operation) + timedelta(days=float(request.get("keep_days", 7)))
        tags = preparation_tags(str(digest), expires_at, request.get("target"))
        entry_id = self._account.ledger.intend(KIND, artifact, self._account.place, tags, expires_at)
        return within(
            operation,
            self._account.clock(),
            "checked",
            FEATURE_LIMIT_S if request.get("register_feature") else CONVERSION_LIMIT_S,
            stage="feature" if request.get("register_feature") else "convert",
            digest=digest,
            existed=bool(existing),
            entry_id=entry_id,
        )

    def step(self, operation: Operation) -> Operation:
        """Do what the operation's stage asks for."""
        progress = operation.progress
        stage = progress["stage"]
        what = f"{_WHAT[stage]} {operation.request['image'] if stage != 'pools' else progress.get('pool', '')}".strip()
        if progress.get("remembered") and self._is_late(operation):
            return self._again(operation)
        require_time_left(operation, self._account.clock(), what)
        if stage == "feature":
            return self._register_feature(operation)
        if stage == "pools":
            return self._switch_pools(operation)
        name = ImageName.parse(operation.request["image"])
        data_plane = self._account.data_plane(name.login_server)
        with asking(f"Converting image {operation.request['image']}"):
            if stage == "convert":
                return self._convert(operation, data_plane, name.repository)
            if stage == "converting":
                return self._look(operation, data_plane, name.repository)
            return self._await_artifact(operation, data_plane, name.repository)

    def undo(self, operation: Operation) -> bool:
        """Cancel a conversion that still goes on; a finished artifact stays: it is whole, and the next try uses it."""
        progress = operation.progress
        if "digest" not in progress:
            return True
        name = ImageName.parse(operation.request["image"])
        data_plane = self._account.data_plane(name.login_server)
        with asking(f"Cancelling the conversion of {operation.request['image']}"):
            going = data_plane.conversion_of(name.repository, progress["digest"])
            if going is not None and going.going_on and going.operation_id:
                data_plane.cancel_conversion(name.repository, going.operation_id)
                return False
            if not data_plane.streaming_artifacts(name.repository, progress["digest"]):
                self._account.ledger.gone(progress["entry_id"])
        return True

    def _register_feature(self, operation: Operation) -> Operation:
        with asking(f"Registering the preview feature {FEATURE[1]}"):
            state = self._account.features.features.get(*FEATURE).properties.state
            if state == "NotRegistered":
                state = self._account.features.features.register(*FEATURE).properties.state
        if state != "Registered":
            return operation.at(f"preview feature {FEATURE[1]}: {state}")
        return within(operation, self._account.clock(), "feature registered", CONVERSION_LIMIT_S, stage="convert")

    def _convert(self, operation: Operation, data_plane: RegistryClient, repository: str) -> Operation:
        """Find the artifact, or the conversion an earlier life began, or begin one."""
        digest = operation.progress["digest"]
        artifacts = data_plane.streaming_artifacts(repository, digest)
        going = data_plane.conversion_of(repository, digest)
        if artifacts and (going is None or not going.going_on):
            return self._converted(operation, artifacts[0])
        if going is not None and going.status == "Succeeded" and not operation.progress.get("again"):
            # Ended a moment ago in an earlier life of this operation, or long ago and its artifact was deleted.
            now = self._account.clock()
            return within(operation, now, "Succeeded once", REMEMBERED_LIMIT_S, stage="artifact", remembered=True)
        if going is None or not going.going_on:
            going = data_plane.convert(repository, digest)
        return within(
            operation,
            self._account.clock(),
            "conversion begun",
            CONVERSION_LIMIT_S,
            stage="converting",
            operation_id=going.operation_id,
        )

    def _is_late(self, operation: Operation) -> bool:
        return self._account.clock() > datetime.fromisoformat(str(operation.progress["deadline_at"]))

    def _again(self, operation: Operation) -> Operation:
        return within(
            operation,
            self._account.clock(),
            "the remembered conversion has no artifact; converting again",
            CONVERSION_LIMIT_S,
            stage="convert",
            remembered=False,
            again=True,
        )

    def _look(self, operation: Operation, data_plane: RegistryClient, repository: str) -> Operation:
        operation_id = operation.progress.get("operation_id")
        going: Conversion | None
        if operation_id is None:
            going = data_plane.conversion_of(repository, operation.progress["digest"])
        else:
            going = data_plane.conversion(repository, operation_id)
        if going is None:
            return operation.at("the registry has forgotten the conversion; looking again", stage="convert")
        if going.status == "Succeeded":
            return within(operation, self._account.clock(), "conversion Succeeded", REFERRER_LIMIT_S, stage="artifact")
        if going.going_on:
            return operation.at(f"conversion: {going.status} {going.progress or ''}".rstrip())
        code = going.error_code or "no code"
        advice = ADVICE.get(code, "see Azure's page on troubleshooting artifact streaming")
        said = f" ({going.message.rstrip('.')})" if going.message else ""
        raise CloudError(
            f"The conversion of {operation.request['image']} to a streaming artifact ended {going.status}: "
            f"{code}{said}; {advice}."
        )

    def _await_artifact(self, operation: Operation, data_plane: RegistryClient, repository: str) -> Operation:
        artifacts = data_plane.streaming_artifacts(repository, operation.progress["digest"])
        if artifacts:
            return self._converted(operation, artifacts[0])
        return operation.at("conversion Succeeded, its artifact is not listed yet")

    def _converted(self, operation: Operation, artifact: str) -> Operation:
        # Not there when `start` looked: then this operation made it, perhaps in a life that ended in between.
        reused = bool(operation.progress["existed"])
        seconds = 0.0 if reused else (self._account.clock() - began_at(operation)).total_seconds()
        name = ImageName.parse(operation.request["image"])
        identity = f"{name.login_server}/{name.repository}@{artifact}"
        self._account.ledger.created(operation.progress["entry_id"], identity)
        operation = operation.at("converted", stage="pools", reused=reused, conversion_s=round(seconds, 3))
        return self._switch_pools(operation)

    def _switch_pools(self, operation: Operation) -> Operation:
        """Switch the next pool on; when all are, the verb is done."""
        cluster = str(operation.request.get("cluster"))
        for name in operation.request.get("pools") or ():
            pool = self._pools.get(cluster, name)
            if pool is None:
                raise CloudError(f"Pool {name!r} of cluster {cluster!r} vanished while streaming was enabled.")
            state = word(pool.properties.provisioning_state)
            written = operation.progress.get("pool") == name
            failed = state in ("Failed", "Canceled")
            if written and failed:
                location = str(self._pools.cluster(cluster).location)
                why = self._pools.failure(cluster, name, state, operation.progress.get("pool_operation_id"), location)
                raise CloudError(f"{why} The pool stays as AKS left it: enable streaming again once the cause is gone.")
            if failed or not streams(pool.properties):
                return self._switch(operation, cluster, name, pool)
            if state != "Succeeded":
                return operation.at(f"pool {name}: {state.lower()}")
        return self._done(operation)

    def _switch(self, operation: Operation, cluster: str, name: str, pool: Any) -> Operation:
        if not streams(pool.properties) and int(pool.properties.count or 0) > 0:
            raise CloudError(
                f"Pool {name!r} of cluster {cluster!r} has grown to {pool.properties.count} nodes meanwhile; switching "
                "streaming on would reimage them: scale it to 0 and enable streaming again."
            )
        pool.properties.artifact_streaming_profile = AgentPoolArtifactStreamingProfile(enabled=True)
        operation_id = self._pools.put(cluster, name, pool)
        return within(
            operation,
            self._account.clock(),
            f"switching pool {name} on",
            POOL_LIMIT_S,
            pool=name,
            pool_operation_id=operation_id,
        )

    def _done(self, operation: Operation) -> Operation:
        progress = operation.progress
        conversion_s = float(progress["conversion_s"])
        switched = "pool" in progress
        total_s = (self._account.clock() - began_at(operation)).total_seconds() if switched else conversion_s
        reused = bool(progress["reused"]) and not switched
        phases = {} if progress["reused"] else {"conversion": conversion_s}
        if switched:
            phases["pools"] = round(total_s - conversion_s, 3)
        image, pools = operation.request["image"], operation.request.get("pools") or ()
        return operation.succeeded(
            enabled=[image, *(f"{operation.request['cluster']}/{name}" for name in pools)],
            digest=progress["digest"],
            reused=reused,
            seconds=round(total_s, 3),
            price_usd=0.0 if reused else None,
            price_basis=_PRICE_REUSED if reused else _PRICE_BASIS,
            phases=phases,
        )


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
