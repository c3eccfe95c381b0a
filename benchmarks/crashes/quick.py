"""A quick simulated world: the same steps, but they take less time, so that a play makes fewer polls.

It also keeps what clients of the clouds read from files again at every start of a process.
"""

import functools
import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Final
from unittest import mock

from botocore import loaders

from llm_provisioning_simulator import server
from llm_provisioning_simulator.clouds import aks, eks, gke
from llm_provisioning_simulator.profiles import NOISE, Profile, load_profile

FASTER: Final = 20.0
# A constant of the node autoscalers.
_ALSO: Final = {"scale_down_after_s": 5.0}


@contextmanager
def quick_world() -> Iterator[None]:
    """Make everything that takes time quick."""
    logging.disable(logging.CRITICAL)
    with ExitStack() as stack:
        for owner, name in (
            (eks, "MACHINE_DURATIONS"),
            (eks, "BUILD_DURATIONS"),
            (gke, "DURATIONS_S"),
            (aks, "DURATIONS_S"),
        ):
            stack.enter_context(mock.patch.object(owner, name, _quick(getattr(owner, name))))
        stack.enter_context(mock.patch.object(server, "load_profile", _quick_profile))
        stack.enter_context(mock.patch.object(loaders, "create_loader", functools.cache(loaders.create_loader)))
        yield


def _quick(durations: Mapping[str, float]) -> dict[str, float]:
    return {name: value * FASTER if name.endswith("_bytes_s") else value / FASTER for name, value in durations.items()}


@functools.cache
def _quick_profile(cloud: str, autoscaler: str) -> Profile:
    profile = load_profile(cloud, autoscaler)
    changed: dict[str, Any] = {NOISE: 0.0, **_ALSO}
    for name, quantity in profile.quantities.items():
        if name.endswith("_bytes_s"):
            changed[name] = quantity.value * FASTER
        elif name.endswith("_s") and not quantity.fixed:
            changed[name] = quantity.value / FASTER
    return profile.with_values(**changed)
