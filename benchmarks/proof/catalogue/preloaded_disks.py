"""Images that are pulled in full, or came another way, although a disk image with their layers was prepared."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from airflow_llm_provisioning.core.workload import ScalingSetup
from llm_provisioning_simulator.instant_trial import Stage
from llm_provisioning_simulator.prepared import Prepared
from llm_provisioning_simulator.world import DiskImage
from proof.catalogue.entry import NoOp
from proof.catalogue.preparations import tag_moved, world
from proof.recorded_trial import Scenario
from proof.targets import target, with_other_nodes
from proof.workloads import SERVED_2025

_PLANNED: Final = target("gke", "preloaded_disk", "native")
_OTHER: Final = "projects/simulated/global/images/llm-disk-of-another-image"


def pools(which: Callable[[str], bool] = lambda _name: True, **changes: Any) -> Callable[[Stage, Prepared], None]:
    """Let node pools have been made otherwise."""

    def after(on: Stage, _prepared: Prepared) -> None:
        for name, pool in on.description.pools.items():
            if which(name):
                on.description.pools[name] = replace(pool, **changes)

    return after


def holds_nothing(on: Stage, prepared: Prepared) -> None:
    """Let the disk image hold no layers."""
    path = str(prepared.disk_image)
    on.world.disk_images[path] = replace(on.world.disk_images[path], digests=frozenset())


def another_disk(on: Stage, prepared: Prepared) -> None:
    """Let the pools have the disk of an image that was prepared for something else."""
    on.world.disk_images[_OTHER] = DiskImage(_OTHER, frozenset({"sha256:" + "0" * 64}), 40)
    pools(disk_image=_OTHER)(on, prepared)


def empty_and_streamed(on: Stage, prepared: Prepared) -> None:
    """Let the disk image hold no layers, and an earlier pull in the region have warmed the streaming cache."""
    holds_nothing(on, prepared)
    image = on.world.images[str(prepared.image)]
    on.world.gke_warm_cache.add((on.description.region, image.digest))


def _disk(name: str, after: Callable[[Stage, Prepared], Prepared | None] | None = None, **fields: Any) -> NoOp:
    entry = {key: fields.pop(key) for key in ("truth", "why_unseen", "claim") if key in fields}
    if after is not None:
        fields["after_preparation"] = after
    scenario = Scenario(**{"target": _PLANNED, "declared": SERVED_2025, "variant": "preloaded_disk", **fields})
    return NoOp(name=name, scenario=scenario, **{"claim": "preloaded_disk", **entry})


PRELOADED_DISKS: Final = (
    _disk(
        "the pools were made before the disk image, without a secondary boot disk",
        nodes=with_other_nodes(_PLANNED, without="preloaded_disk"),
    ),
    _disk("the disk image holds no layers", holds_nothing),
    _disk("the image was built again after the disk image", tag_moved, setup=ScalingSetup.DYNAMIC),
    _disk("the pools have the disk of another image", another_disk),
    _disk("only the GPU's pool has the disk", pools(lambda name: name.endswith("-cpu"), disk_image="")),
    _disk("image streaming is off on the pools", pools(streaming=False)),
    _disk(
        "the streaming API is off for a disk",
        world(lambda on: setattr(on.world, "gke_streaming_api_enabled", False)),
        setup=ScalingSetup.DYNAMIC,
    ),
    _disk(
        "the disk image holds no layers, and the image was streamed",
        empty_and_streamed,
        truth="unknown",
        why_unseen="only the node's own log tells from which of both the layers came",
    ),
    _disk("the plain variant's nodes have the disk", variant="fast_baked", claim="nothing_undeclared"),
)
