"""What Airflow's plugin loader finds, and what it costs the processes that serve no page."""

import os
import subprocess
import sys
from importlib import metadata


def test_airflow_finds_the_plugin() -> None:
    """By the distribution's entry point; the navigation has one entry, whose address is relative."""
    (found,) = metadata.distribution("airflow-llm-provisioning").entry_points.select(group="airflow.plugins")
    (view,) = found.load().external_views

    assert (view["destination"], view["href"]) == ("nav", "llm-deployments/now")


def test_importing_it_costs_next_to_nothing() -> None:
    """Every task's process loads the plugin: no web framework, no SQLAlchemy of ours, less than 50 ms of CPU."""
    program = (
        "import time, sys; import airflow.plugins_manager; before = set(sys.modules); t = time.process_time();"
        "import airflow_llm_provisioning.plugin as p; p.LlmDeploymentsPlugin(); took = time.process_time() - t;"
        "new = set(sys.modules) - before;"
        "print(took); print(sorted(m for m in new if not m.startswith('airflow_llm_provisioning')))"
    )
    done = subprocess.run(  # noqa: S603 - this Python
        [sys.executable, "-c", program], env=os.environ, capture_output=True, text=True, check=True
    ).stdout.splitlines()

    assert float(done[-2]) < 0.05
    assert done[-1] == "[]"
