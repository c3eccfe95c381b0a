"""Faults of a preparation, and changes after it, in the state of the simulated clouds."""

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
    """Replace the planned snapshot by another one."""

    def after(on: Stage, prepared: Prepared) -> None:
        name = str(prepared.snapshot_id)
        on.world.snapshots[name] = replace(on.world.snapshots[name], **change(on, prepared))

    return after


def older_image_in_the_snapshot(on: Stage, prepared: Prepared) -> None:
    """Let the snapshot contain the image that the tag named before it was built again."""
    image = _prepared_image(on, prepared)
    old = replace(image, digest=digest_of("older", image.digest))
    on.world.contents[old.digest] = old
    name = str(prepared.snapshot_id)
    held = {str(prepared.image): old.digest}
    on.world.snapshots[name] = replace(on.world.snapshots[name], images=held)


def tag_moved(on: Stage, prepared: Prepared) -> None:
    """Push another image of the same size under the tag."""
    image = _prepared_image(on, prepared)
    on.world.push(replace(image, digest=digest_of("moved", image.digest)))


def converted_at(after_s: float | None) -> Callable[[Stage, Prepared], None]:
    """Let the conversion end so many seconds after the preparation; None: it never began."""

    def after(on: Stage, prepared: Prepared) -> None:
        image = _prepared_image(on, prepared)
        on.world.aks_converted.pop((image.repository, image.digest))
        if after_s is not None:
            ended_at = on.clock.now() + timedelta(seconds=after_s)
            on.world.aks_converted[image.repository, image.digest] = ended_at

    return after


def other_repository_converted(on: Stage, prepared: Prepared) -> None:
    """Convert the same digest in another repository."""
    image = _prepared_image(on, prepared)
    made_at = on.world.aks_converted.pop((image.repository, image.digest))
    on.world.aks_converted[f"{image.repository}-staging", image.digest] = made_at


def world(change: Callable[[Stage], object]) -> Callable[[Stage, Prepared], None]:
    """Use a change that does not need the prepared artefacts."""

    def after(on: Stage, prepared: Prepared) -> None:
        change(on)

    return after


def registry_in_another_region(on: Stage, prepared: Prepared) -> None:
    """Put the repository on another continent, so that earlier pulls warmed no cache here."""
    image = _prepared_image(on, prepared)
    on.world.push(replace(image, region="europe-west4"))


def ubuntu_pools(on: Stage) -> None:
    """Give the pools a node image that cannot stream, independent of their setting."""
    for name, pool in on.description.pools.items():
        on.description.pools[name] = replace(pool, image_type="UBUNTU_CONTAINERD")
    on.description.streaming = False


def without_the_streaming_role(on: Stage, _prepared: Prepared) -> None:
    """Let the nodes' account pull, but not use the streaming service."""
    kept = [item for item in on.world.gke_policy["bindings"] if "serviceUsage" not in item["role"]]
    on.world.gke_policy.update(bindings=kept)
