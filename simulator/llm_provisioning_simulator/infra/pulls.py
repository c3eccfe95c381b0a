"""How a kubelet gets the image of one container onto its machine, and what it says about it on the way.

Wordings are those of kubelet 1.34. A streamed image is "pulled" within seconds and reports its full size: what it costs
comes later, when it is read. GKE says on the Node that an image is streamed, AKS on the pod.
"""

import logging
import math
import re
from typing import Any, Final

from llm_provisioning_simulator.infra import delivery
from llm_provisioning_simulator.infra.durations import go_duration
from llm_provisioning_simulator.infra.machines import ClusterContext, LocalImage, Machine
from llm_provisioning_simulator.infra.peerpulls import pull_through
from llm_provisioning_simulator.infra.pulltroubles import disk_full, not_found, pull_trouble
from llm_provisioning_simulator.world import Delivery, Image, normalise, streaming_artifact

# A reference as the kubelet can parse it (github.com/distribution/reference): no upper case, no blanks in the name.
_REFERENCE: Final = re.compile(
    r"([A-Za-z0-9.-]+(:\d+)?/)?[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
    r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@[a-z0-9]+:[0-9a-f]{32,})?"
)
_LOG: Final = logging.getLogger(__name__)


class PullError(Exception):
    """The image cannot be had now; the message is the runtime's. `reason`: of the container's state; `event`: of the
    event that says the message.
    """

    def __init__(self, message: str, reason: str = "ErrImagePull", event: str = "Failed") -> None:
        super().__init__(message)
        self.reason = reason
        self.event = event


class ImagePuller:
    """The image manager of one machine's kubelet."""

    def __init__(self, ctx: ClusterContext, machine: Machine) -> None:
        self._ctx = ctx
        self._machine = machine

    async def ensure(self, pod: dict[str, Any], container: dict[str, Any], field_path: str) -> LocalImage:
        """Return the container's image once it is on the machine. PullError: it is not, after one attempt."""
        reference = container["image"]
        if not _REFERENCE.fullmatch(reference):
            text = f'couldn\'t parse image name "{reference}": invalid reference format'
            raise PullError(
                f'Failed to apply default image tag "{reference}": {text}', "InvalidImageName", "InspectFailed"
            )
        local = self._local(reference)
        policy = container.get("imagePullPolicy")
        if policy == "Never" and local is None:
            text = f'Container image "{reference}" is not present with pull policy of Never'
            raise PullError(text, "ErrImageNeverPull", "ErrImageNeverPull")
        always = policy == "Always"
        if local is not None and not always:
            text = f'Container image "{reference}" already present on machine'
            self._event(pod, "Pulled", text, field_path)
            return local
        self._event(pod, "Pulling", f'Pulling image "{reference}"', field_path)
        asked_at, waits = self._ctx.clock.now(), self._machine.pulling.locked()
        async with self._machine.pulling:
            started_at = self._ctx.clock.now() if waits else asked_at
            secrets = bool(pod["spec"].get("imagePullSecrets"))
            local = await self._pull(reference, self._local(reference), pull_secrets=secrets)
        ended_at = self._ctx.clock.now()
        took = go_duration((ended_at - started_at).total_seconds())
        waited = go_duration((ended_at - asked_at).total_seconds())
        size = local.image.compressed_bytes
        text = (
            f'Successfully pulled image "{reference}" in {took} ({waited} including waiting). Image size: {size} bytes.'
        )
        self._event(pod, "Pulled", text, field_path)
        if local.delivery.kind == "streamed" and self._machine.spec.cloud == "aks":
            self._say_upgraded(pod, reference, local, field_path)
        return local

    def _local(self, reference: str) -> LocalImage | None:
        """Return an image that is there already: pulled before, or on the data volume since boot."""
        found = self._machine.images.get(normalise(reference))
        if found is not None:
            return found
        world, spec = self._ctx.world, self._machine.spec
        digest = delivery.snapshot_digest(world, spec, reference)
        image = world.contents.get(digest) if digest else None
        if image is None:
            return None
        arrived = self._decide(reference, image)
        return self._keep(reference, image, arrived) if arrived.kind == "present" else None

    async def _pull(self, reference: str, present: LocalImage | None, *, pull_secrets: bool) -> LocalImage:
        ctx, spec = self._ctx, self._machine.spec
        image = None if ctx.faults.image_pull_backoff else ctx.world.find_image(reference)
        refused = pull_trouble(ctx.world, ctx.faults, spec, reference, image, pull_secrets=pull_secrets)
        if refused is not None or image is None:
            await ctx.pause("image_missing_answer_s")
            raise PullError(refused or not_found(reference))
        if present is not None and present.image.digest == image.digest:
            await ctx.pause("image_missing_answer_s")
            return present
        arrived = self._decide(reference, image, pull_secrets=pull_secrets)
        if arrived.kind == "pull":
            system = self._machine.operating_system
            if (peer := ctx.peers.proxy(self._machine.name, normalise(reference))) is not None:
                await pull_through(ctx, peer, reference, image, spec)
            elif image.digest in ctx.world.weight_images:
                await ctx.clock.sleep(delivery.plain_pull_s(image, ctx.profile, ctx.rng, spec))
            else:
                await ctx.clock.sleep(delivery.pull_s(image, ctx.profile, ctx.rng, spec, system))
            if (full := disk_full(reference, image, spec, ctx.profile.value("unpacked_ratio"))) is not None:
                raise PullError(full)
            delivery.remember_pull(ctx.world, spec, image)
        else:
            await ctx.clock.sleep(arrived.mount_s)
        if arrived.kind == "streamed" and spec.cloud == "gke":
            self._say_streamed(reference)
        return self._keep(reference, image, arrived)

    def _decide(self, reference: str, image: Image, *, pull_secrets: bool = False) -> Delivery:
        ctx = self._ctx
        now = ctx.clock.now()
        return delivery.deliver(
            ctx.world, self._machine.spec, reference, image, ctx.profile, ctx.rng, now, pull_secrets=pull_secrets
        )

    def _keep(self, reference: str, image: Image, arrived: Delivery) -> LocalImage:
        _LOG.info("%s on %s: %s, because %s", reference, self._machine.name, arrived.kind, arrived.why)
        local = LocalImage(image, arrived)
        self._machine.images[normalise(reference)] = local
        return local

    def _say_streamed(self, reference: str) -> None:
        self._ctx.store.record_event(
            self._machine.reference,
            "ImageStreaming",
            f"Image {reference} is backed by image streaming.",
            component="gcfs-snapshotter",
            style="kubelet",
            host=self._machine.name,
        )

    def _say_upgraded(self, pod: dict[str, Any], reference: str, local: LocalImage, field_path: str) -> None:
        """Report as AKS's acr-nodemon does: reason Pulling, no time stamp (recorded on Kubernetes 1.27.3)."""
        text = (
            f'Streaming enabled for "{reference}", upgraded to streaming artifact with digest '
            f'"{streaming_artifact(local.image.digest)}", container started in {math.ceil(local.delivery.mount_s)}s'
        )
        self._ctx.store.record_event(
            pod,
            "Pulling",
            text,
            component="acr-nodemon, kubelet",
            style="undated",
            field_path=field_path,
            host=self._machine.name,
        )

    def _event(self, pod: dict[str, Any], reason: str, message: str, field_path: str) -> None:
        self._ctx.store.record_event(
            pod,
            reason,
            message,
            component="kubelet",
            style="kubelet",
            field_path=field_path or None,
            host=self._machine.name,
        )
