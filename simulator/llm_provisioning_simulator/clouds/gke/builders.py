"""What an instance of the simulated project does at its start: the one kind of script that the simulator understands.

A script is understood where it pulls `$image@$digest` with containerd and copies the layers onto the disk whose device
it names, with a `snapshots.metadata` beside them: the layout that GKE's nodes read (gke-disk-image-builder,
ai-on-gke/tools). Everything else ends without a word, as a script that does something else would.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.world import World

_DEVICE: Final = re.compile(r"/dev/disk/by-id/google-([\w-]+)")
_FILLED: Final = re.compile(r'^echo "([^"$]+)\$digest"$', re.MULTILINE)
_FAILED: Final = re.compile(r"""^trap 'echo "([^"$]+)\$stage""", re.MULTILINE)
_READS: Final = frozenset(
    {"roles/artifactregistry.reader", "roles/artifactregistry.admin", "roles/editor", "roles/owner"}
)
_GIB: Final = 1024**3
# As in kubelet.toml: what a compressed layer takes on a disk.
UNPACKED_RATIO: Final = 2.15
# Debian with containerd; assumed, 2 to 5 GB.
SYSTEM_BYTES: Final = 3_000_000_000
# The size of a Debian boot disk where none is asked for (Compute Engine, operating system details).
DEBIAN_GIB: Final = 10


@dataclass(frozen=True, slots=True)
class Ran:
    """What a script did: what it said last, and the disk that it filled with the image of a digest."""

    said: str
    disk: str | None = None
    digest: str | None = None


class Builder:
    """Runs start scripts against the world."""

    def __init__(self, world: World, clock: SimClock, durations_s: Mapping[str, float]) -> None:
        self._world, self._clock, self._durations_s = world, clock, durations_s

    async def run(self, instance: Mapping[str, Any], disks: Mapping[str, Mapping[str, Any]]) -> Ran:
        """Do what the instance's script says. `disks`: device name -> disk that is attached under it."""
        attributes = {item["key"]: item["value"] for item in (instance.get("metadata") or {}).get("items", ())}
        script = attributes.get("startup-script", "")
        filled, failed, device = _FILLED.search(script), _FAILED.search(script), _DEVICE.search(script)
        understood = "images pull" in script and "snapshots.metadata" in script
        if not (understood and filled and failed and device):
            return Ran("finished")
        await self._clock.sleep(self._durations_s["builder_boot"])
        if not any(card.get("accessConfigs") for card in instance.get("networkInterfaces", ())):
            return Ran(f"{failed[1]}install containerd (line 0)")
        await self._clock.sleep(self._durations_s["builder_install"])
        disk = disks.get(device[1])
        if disk is None:
            return Ran(f"{failed[1]}make the file system on {device[0]} (line 0)")
        return await self._filled(instance, attributes, disk, filled[1], failed[1])

    async def _filled(
        self,
        instance: Mapping[str, Any],
        attributes: Mapping[str, str],
        disk: Mapping[str, Any],
        filled: str,
        failed: str,
    ) -> Ran:
        reference = f"{attributes.get('llm-image', '')}@{attributes.get('llm-digest', '')}"
        image = self._world.find_image(reference)
        if image is None or not self._may_read(instance):
            return Ran(f"{failed}pull {reference} (line 0)")
        await self._clock.sleep(image.compressed_bytes / self._durations_s["build_pull_bytes_s"])
        unpacked = image.compressed_bytes * UNPACKED_RATIO
        if SYSTEM_BYTES + image.compressed_bytes + unpacked > _boot_gib(instance) * _GIB:
            return Ran(f"{failed}pull {reference} (line 0)")
        if unpacked > int(disk["sizeGb"]) * _GIB:
            return Ran(f"{failed}copy the layers (line 0)")
        await self._clock.sleep(unpacked / self._durations_s["builder_copy_bytes_s"])
        return Ran(f"{filled}{image.digest}", disk["name"], image.digest)

    def _may_read(self, instance: Mapping[str, Any]) -> bool:
        account = next((found.get("email", "") for found in instance.get("serviceAccounts", ())), "")
        return account in ("", "default") or bool(self._world.roles_of(account) & _READS)


def _boot_gib(instance: Mapping[str, Any]) -> int:
    """Return the size of an instance's boot disk."""
    asked = [disk.get("initializeParams") or {} for disk in instance.get("disks", ()) if disk.get("boot")]
    return int(asked[0].get("diskSizeGb", DEBIAN_GIB)) if asked else DEBIAN_GIB
