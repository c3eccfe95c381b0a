"""A quick simulated world: the same steps, but they take less time, so that a play makes fewer polls.

It also keeps what clients and servers make anew in every process of the same files: AWS's descriptions of its services,
moto's list of its modules. Kubeconfigs are read by libyaml. No call to the outside and no content of one changes.
"""

import functools
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Final
from unittest import mock

import requests.sessions
import yaml
from botocore import session as botocore_session
from botocore.client import ClientCreator
from botocore.hooks import EventAliaser
from moto import backends

from airflow_llm_provisioning.report import log_text
from llm_provisioning_simulator import server
from llm_provisioning_simulator.clouds import aks, eks, gke
from llm_provisioning_simulator.kube import admission
from llm_provisioning_simulator.profiles import NOISE, Profile, load_profile

FASTER: Final = 40.0
# Constants of kubelet, Ray and the node autoscalers: a wait makes a poll for each second of them.
_ALSO: Final = {"scale_down_after_s": 5.0, "status_sync_s": 2.0, "gcs_check_sleep_s": 1.0, "autoscaler_interval_s": 2.0}
_GRACE_S: Final = 2


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
        stack.enter_context(mock.patch.dict(admission._POD_SPEC, terminationGracePeriodSeconds=_GRACE_S))
        for owner, name, replacement in _kept():
            stack.enter_context(mock.patch.object(owner, name, replacement))
        yield


def _kept() -> Iterator[tuple[Any, str, Any]]:
    yield botocore_session, "create_loader", functools.cache(botocore_session.create_loader)
    for owner, name in (
        (ClientCreator, "_load_service_model"),
        (ClientCreator, "_create_client_class"),
        (EventAliaser, "_alias_event_name"),
    ):
        yield owner, name, _once_for_each_name(getattr(owner, name))
    yield yaml, "SafeLoader", getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    modules = tuple(backends.list_of_moto_modules())
    yield backends, "list_of_moto_modules", lambda: modules
    # The table for the task's log costs a tenth of a child and calls nothing.
    yield log_text, "told_trial", lambda _row: ""
    # No proxy is asked for on the machine, and looking for one reads the whole environment for each request.
    yield requests.sessions, "get_environ_proxies", lambda *_, **__: {}


def _once_for_each_name(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that answers from the first answer that any object gave for its first argument."""
    known: dict[str, Any] = {}

    def answer(this: Any, name: str, *arguments: Any) -> Any:
        if name not in known:
            known[name] = method(this, name, *arguments)
        return known[name]

    return answer


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
