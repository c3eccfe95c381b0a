"""Numbers as the processes draw them, and first reads of an image's content.

The only place where the process model meets the profile and the delivery of images. It knows no Ray.
"""

import asyncio
import random
from dataclasses import dataclass, field

from llm_provisioning_simulator.app.download import DownloadLimits
from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.profiles import Profile
from llm_provisioning_simulator.runtime import ContainerContext


@dataclass(frozen=True, slots=True)
class Costs:
    """A profile and the seeded noise on it; the same seed draws the same numbers in the same order."""

    profile: Profile
    rng: random.Random

    def draw(self, name: str) -> float:
        """Return a number of the profile with noise."""
        return self.profile.sample(name, self.rng)

    def value(self, name: str) -> float:
        """Return a number of the profile as written."""
        return self.profile.value(name)

    def count(self, name: str) -> int:
        """Return a whole number of the profile as written."""
        return round(self.profile.value(name))

    def download_limits(self) -> DownloadLimits:
        """Return the constants of the hub's clients."""
        return DownloadLimits(
            plain_parallel_files=self.count("plain_parallel_files"),
            hf_transfer_connections=self.count("hf_transfer_connections"),
            hf_transfer_min_file_bytes=self.count("hf_transfer_min_file_bytes"),
            xet_connections=self.count("xet_connections"),
            xet_high_performance_connections=self.count("xet_high_performance_connections"),
        )


@dataclass(slots=True)
class FirstTouch:
    """Who reads a part of an image first on a node waits for its bytes; everybody after finds them local."""

    clock: SimClock
    _reads: dict[tuple[str, str, str], asyncio.Event] = field(default_factory=dict)

    async def read(self, ctx: ContainerContext, content: str, size_bytes: float) -> None:
        """Read `content` of the container's image on its node."""
        rate = ctx.delivery.first_touch_bytes_s
        if rate is None:
            return
        key = (ctx.node.name, ctx.image.digest, content)
        if (running := self._reads.get(key)) is not None:
            await running.wait()
            return
        done = self._reads[key] = asyncio.Event()
        try:
            await self.clock.sleep(size_bytes / rate)
        except asyncio.CancelledError:
            # The next reader begins again. Those that waited for this one go on; their pod is being deleted.
            self._reads.pop(key, None)
            raise
        finally:
            done.set()
