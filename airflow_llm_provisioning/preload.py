"""Imports once, in a process that forks tasks, what each task of this provider would import again.

A task is a fork of the scheduler (LocalExecutor) or of a Celery worker (airflow 3.3, task-sdk `supervisor.py`:
`WatchedSubprocess.start`), and the DAG processor forks once for each file. What the parent has imported, they have.
Airflow loads this module in each of its processes by the entry point `airflow.policy`; without the setting
`[llm_provisioning] preload` it does nothing.
"""

import logging
import os
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Final

from airflow.configuration import conf

# What parses a DAG file and runs a task, and the client of Kubernetes, most of what a task imports.
LIBRARIES: Final = (
    "aiohttp",
    "airflow.providers.common.compat.connection",
    "airflow.providers.common.sql.hooks.sql",
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
    "jinja2.ext",
    "kubernetes_asyncio.client",
    "kubernetes_asyncio.config",
)
# All modules of these packages. What one cloud alone needs is in packages below them and is left out.
PACKAGES: Final = (
    "connections",
    "core",
    "dag_factory",
    "decisions",
    "gateways.clouds",
    "gateways.kubernetes",
    "gateways.prices",
    "gateways.store",
    "operators",
    "preparation",
    "sensors",
    "trials",
)


def preload_before_forks() -> None:
    """Import everything before the first fork of this process, so not in a process that never forks."""
    os.register_at_fork(before=preload)


@cache
def preload() -> None:
    """Import everything, once. What cannot be imported is left to the task that needs it, whose log then says why."""
    for name in _names():
        try:
            import_module(name)
        except Exception as error:  # noqa: BLE001 - the process that forks must not fail by an import of a task
            logging.getLogger(__name__).warning("%s is not preloaded: %s: %s", name, type(error).__name__, error)


def _names() -> list[str]:
    # Not imported by this module: it is loaded in each of Airflow's processes.
    from airflow_llm_provisioning.compat import DAG_BAG

    names = [*LIBRARIES, DAG_BAG]
    for package in PACKAGES:
        path = f"{__package__}.{package}"
        modules = iter_modules(import_module(path).__path__)
        names += [path, *(f"{path}.{module.name}" for module in modules if not module.ispkg)]
    return names


if conf.getboolean("llm_provisioning", "preload", fallback=False):
    preload_before_forks()
