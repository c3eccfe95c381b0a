"""Service Usage and Resource Manager of the simulated project: which APIs are on, and who has which role."""

from collections.abc import Mapping
from typing import Any, Final

from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.clouds.gke.http import Call, GoogleError, Handler, Operations, long_running
from llm_provisioning_simulator.world import World

# An Any without a value, which protobuf's own JSON decoder refuses: Google's real answer.
METADATA: Final = "google.protobuf.Any"
STREAMING_API: Final = "containerfilesystem.googleapis.com"
ENABLED_FROM_THE_START: Final = (
    "container.googleapis.com",
    "cloudbuild.googleapis.com",
    "compute.googleapis.com",
    "artifactregistry.googleapis.com",
    "cloudresourcemanager.googleapis.com",
)


class ProjectServices:
    """The APIs of a project. The streaming API's state is the world's, because nodes depend on it."""

    def __init__(self, world: World, clock: SimClock, durations_s: Mapping[str, float]) -> None:
        self._world = world
        self._durations_s = durations_s
        self.enabled = set(ENABLED_FROM_THE_START)
        self.operations = Operations(clock, "acat.p2-")

    def service_usage(self) -> dict[str, Handler]:
        """Return the answers of serviceusage.v1."""
        return {
            "serviceusage.services.get": self._get,
            "serviceusage.services.batchGet": self._batch_get,
            "serviceusage.services.enable": self._enable,
            "serviceusage.operations.get": self._operation,
        }

    def resource_manager(self) -> dict[str, Handler]:
        """Return the answers of cloudresourcemanager.v3."""
        return {"cloudresourcemanager.projects.getIamPolicy": self._policy}

    def require(self, service: str) -> None:
        """Refuse as a disabled API does."""
        if not self.is_enabled(service):
            raise GoogleError(
                "PERMISSION_DENIED",
                f"{service} has not been used in this project before or it is disabled. Enable it by visiting "
                f"https://console.developers.google.com/apis/api/{service}/overview then retry.",
                reason="SERVICE_DISABLED",
                service=service,
            )

    def is_enabled(self, service: str) -> bool:
        """Say whether an API is on."""
        return self._world.gke_streaming_api_enabled if service == STREAMING_API else service in self.enabled

    def _service(self, project: str, service: str) -> dict[str, Any]:
        return {
            "name": f"projects/{project}/services/{service}",
            "parent": f"projects/{project}",
            "state": "ENABLED" if self.is_enabled(service) else "DISABLED",
        }

    async def _get(self, call: Call) -> dict[str, Any]:
        return self._service(call.path["v1Id1"], call.path["servicesId"])

    async def _batch_get(self, call: Call) -> dict[str, Any]:
        names = call.query.get("names", "").split(",")
        return {"services": [self._service(call.path["v1Id1"], name.rsplit("/", 1)[-1]) for name in names]}

    async def _enable(self, call: Call) -> dict[str, Any]:
        service = call.path["servicesId"]

        def effect() -> dict[str, Any]:
            if service == STREAMING_API:
                self._world.gke_streaming_api_enabled = True
            self.enabled.add(service)
            return {
                "@type": "type.googleapis.com/google.api.serviceusage.v1.EnableServiceResponse",
                "service": self._service(call.path["v1Id1"], service),
            }

        running = self.operations.begin(
            self._durations_s["enable_api"], effect, kind="ENABLE", target=service, fault=call.fault
        )
        return long_running(running, f"operations/{running.name}", METADATA)

    async def _operation(self, call: Call) -> dict[str, Any]:
        running = self.operations.get(call.path["operationsId"])
        return long_running(running, f"operations/{running.name}", METADATA)

    async def _policy(self, call: Call) -> dict[str, Any]:
        return self._world.gke_policy
