"""A simulated cluster for one case: slow enough for a disturbance, fast enough for a test, and watched from outside."""

import json
import threading
import urllib.request
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

from cluster_in_background import BackgroundCluster, ClusterThread

from airflow_llm_provisioning.core.names import LABEL_TRIAL
from llm_provisioning_simulator.profiles import Profile

SPEED: Final = 5.0
# Minutes of booting, pulling and installing are not tested here.
QUICKER: Final = 10.0
LONGEST_NODE_IDLE_S: Final = 20.0
RESOURCES_OF_A_TRIAL: Final = ("rayservices", "rayclusters", "pods", "leases")


class WatchedCluster:
    """One cluster. `compile_s`: virtual seconds of the engine's start, most of a trial here.

    Its own watch through the API records every RayService.
    """

    def __init__(self, name: str, cloud: str, *, compile_s: float) -> None:
        self.name = name
        self._thread = ClusterThread(speed=SPEED, cloud=cloud, change=lambda profile: _quick(profile, compile_s))
        self._uids: dict[str, str] = {}

    def __enter__(self) -> Self:
        self.cluster: BackgroundCluster = self._thread.__enter__()
        self._nodes_before = set(self.cluster.names("nodes"))
        threading.Thread(target=self._watch, name=f"watch-{self.name}", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.__exit__(kind, error, trace)

    def seen(self) -> int:
        """Return how many RayServices have existed."""
        return len(self._uids)

    def of_each_trial(self) -> Counter[str]:
        """Return the number of RayServices per trial."""
        return Counter(self._uids.values())

    def left(self) -> list[str]:
        """Return everything of any trial that still exists: objects, its lock, its nodes."""
        found = [
            f"{resource}/{item['metadata']['name']}"
            for resource in RESOURCES_OF_A_TRIAL
            for item in self.cluster.objects(resource)
            if item["metadata"].get("namespace") == "default"
        ]
        return found + [f"nodes/{name}" for name in self.nodes_made()]

    def nodes_made(self) -> list[str]:
        """Return the nodes that did not exist at the beginning."""
        return sorted(set(self.cluster.names("nodes")) - self._nodes_before)

    def start_engines_in(self, compile_s: float) -> None:
        """Let engines that start from now on need so many virtual seconds: nothing more happens to their trials."""
        profile = self.cluster.simulated.profile
        changed = profile.with_values(compile_s=compile_s).quantities
        self.cluster.call(lambda: object.__setattr__(profile, "quantities", changed))

    def hold(self, request: str) -> Callable[[], bool]:
        """Leave the next such request (`delete:leases`) without an answer; return a function that reports whether it
        arrived.
        """
        self.cluster.fault("held_reply", {request: 1})
        return lambda: self.cluster.call(lambda: self.cluster.simulated.faults.held_reply)[request] == 0

    def _watch(self) -> None:
        url = f"{self.cluster.url}/apis/ray.io/v1/rayservices?watch=true&timeoutSeconds=7200"
        # The watch ends with the server.
        with suppress(OSError), urllib.request.urlopen(url, timeout=7200) as lines:  # noqa: S310 - our own http address
            for line in lines:
                self._note(json.loads(line))

    def _note(self, event: dict[str, Any]) -> None:
        if event["type"] == "ADDED":
            metadata = event["object"]["metadata"]
            self._uids[metadata["uid"]] = metadata["labels"][LABEL_TRIAL]


def _quick(profile: Profile, compile_s: float) -> Profile:
    values: dict[str, float] = {}
    for name, quantity in profile.quantities.items():
        if not quantity.fixed and quantity.unit.split()[0] == "s":
            values[name] = quantity.value / QUICKER
        elif not quantity.fixed and "bytes/s" in quantity.unit:
            values[name] = quantity.value * QUICKER * 2
    return profile.with_values(**values | {"scale_down_after_s": LONGEST_NODE_IDLE_S, "compile_s": compile_s})
