"""What a process of Airflow imports for the tasks that it forks, and that it is left alone unless it is asked.

`make compat` runs this on every Airflow that is supported.
"""

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
def held():
    files = (os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd"))
    return sorted(os.readlink(path) for path in files if os.path.exists(path)), len(os.listdir("/proc/self/task"))
print("AFTER import", "airflow_llm_provisioning.trials.close" in sys.modules, flush=True)
before = held()
if os.fork() == 0:
    print("AFTER fork", *(name in sys.modules for name in OF_TASKS), refused, flush=True)
    os._exit(0)
os.wait()
print("AFTER all", [there for there in held() if there not in before], flush=True)
"""


@pytest.mark.parametrize(("asked", "loaded"), [("False", "False False False"), ("True", "True True True")])
def test_a_process_imports_for_its_tasks_only_when_it_forks(asked: str, loaded: str) -> None:
    """Nothing at its start, everything before its first fork if the setting asks for it, and every module exists. What
    is imported opens no file and no connection, and starts no thread: a child would have them in a broken state.
    """
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
        "AFTER all []",
    ]
