"""What a process of Airflow imports for the tasks that it forks, and that it is left alone unless it is asked."""

import os
import subprocess
import sys

import pytest

# In a process of its own, because imports stay. Airflow itself loads the entry point.
PROGRAM = """
import logging, os, sys
import airflow
refused = []
logging.getLogger("airflow_llm_provisioning.preload").addHandler(type("H", (logging.Handler,), {
    "emit": lambda self, record: refused.append(record.getMessage())})())
OF_TASKS = "kubernetes_asyncio.client", "airflow_llm_provisioning.trials.close", "airflow_llm_provisioning.dag_factory"
print("AFTER import", "airflow_llm_provisioning.trials.close" in sys.modules, flush=True)
if os.fork() == 0:
    print("AFTER fork", *(name in sys.modules for name in OF_TASKS), refused, flush=True)
    os._exit(0)
os.wait()
"""


@pytest.mark.parametrize(("asked", "loaded"), [("False", "False False False"), ("True", "True True True")])
def test_a_process_imports_for_its_tasks_only_when_it_forks(asked: str, loaded: str) -> None:
    """Nothing at its start, everything before its first fork if the setting asks for it, and every module exists."""
    ran = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        env=os.environ | {"AIRFLOW__LLM_PROVISIONING__PRELOAD": asked},
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line for line in ran.stdout.splitlines() if line.startswith("AFTER ")] == [
        "AFTER import False",
        f"AFTER fork {loaded} []",
    ]
