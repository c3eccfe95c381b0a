"""What a preparation may have left otherwise than it was meant, or somebody changed after it: in the clouds' memory."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from llm_provisioning_simulator.instant_trial import Stage
from llm_provisioning_simulator.prepared import Prepared
from llm_provisioning_simulator.world import Image, digest_of


def _prepared_image(on: Stage, prepared: Prepared) -> Image:
    return on.world.images[str(prepared.image)]


def snapshot_of(change: Callable[[Stage, Prepared], Mapping[str, Any]]) -> Callable[[Stage, Prepared], None]:
    """Let the snapshot be another one than the plan's."""

    def after(on: Stage, prepared: Prepared) -> None:
        name = str(prepared.snapshot_id)
        on.world.snapshots[name] = replace(on.world.snapshots[name], **change(on, prepared))

    return after


def older_image_in_the_snapshot(on: Stage, prepared: Prepared) -> None:
    """The snapshot was taken of what the tag led to before it was built anew."""
    image = _prepared_image(on, prepared)
    old = replace(image, digest=digest_of("older", image.digest))
    on.world.contents[old.digest] = old
    name = str(prepared.snapshot_id)
    held = {str(prepared.image): old.digest}
    on.world.snapshots[name] = replace(on.world.snapshots[name], images=held)


def tag_moved(on: Stage, prepared: Prepared) -> None:
    """Somebody pushed another image of the same size under the tag."""
    image = _prepared_image(on, prepared)
    on.world.push(replace(image, digest=digest_of("moved", image.digest)))


def converted_at(after_s: float | None) -> Callable[[Stage, Prepared], None]:
    """Let the conversion end so many seconds after the preparation; None: it was never begun."""

    def after(on: Stage, prepared: Prepared) -> None:
        image = _prepared_image(on, prepared)
        on.world.aks_converted.pop((image.repository, image.digest))
        if after_s is not None:
            ended_at = on.clock.now() + timedelta(seconds=after_s)
            on.world.aks_converted[image.repository, image.digest] = ended_at

    return after


def other_repository_converted(on: Stage, prepared: Prepared) -> None:
    """The same digest was converted, in the repository beside it."""
    image = _prepared_image(on, prepared)
    made_at = on.world.aks_converted.pop((image.repository, image.digest))
    on.world.aks_converted[f"{image.repository}-staging", image.digest] = made_at


def world(change: Callable[[Stage], object]) -> Callable[[Stage, Prepared], None]:
    """Let a change need nothing of what was prepared."""

    def after(on: Stage, prepared: Prepared) -> None:
        change(on)

    return after


def registry_elsewhere(on: Stage, prepared: Prepared) -> None:
    """The repository is on another continent; what was pulled there before warmed no cache here."""
    image = _prepared_image(on, prepared)
    on.world.push(replace(image, region="europe-west4"))


def ubuntu_pools(on: Stage) -> None:
    """Let the pools run an image that cannot stream, whatever their setting says."""
    for name, pool in on.description.pools.items():
        on.description.pools[name] = replace(pool, image_type="UBUNTU_CONTAINERD")
    on.description.streaming = False


def without_the_streaming_role(on: Stage, _prepared: Prepared) -> None:
    """The nodes' account may pull, and may not use the streaming service."""
    kept = [item for item in on.world.gke_policy["bindings"] if "serviceUsage" not in item["role"]]
    on.world.gke_policy.update(bindings=kept)
