"""Cloud Storage of the simulated project, as far as a bucket's place goes."""

from typing import Any

from llm_provisioning_simulator.clouds.gke.http import Call, GoogleError, Handler
from llm_provisioning_simulator.world import World


class CloudStorage:
    """The buckets of the world, by name."""

    def __init__(self, world: World) -> None:
        self._world = world

    def handlers(self) -> dict[str, Handler]:
        """Return the answers of storage.v1."""
        return {"storage.buckets.get": self._get}

    async def _get(self, call: Call) -> dict[str, Any]:
        name = call.path["bucket"]
        found = self._world.buckets.get(f"gs://{name}")
        if found is None:
            raise GoogleError("NOT_FOUND", "The specified bucket does not exist.")
        return {"kind": "storage#bucket", "name": name, "location": found.region.upper(), "locationType": "region"}
