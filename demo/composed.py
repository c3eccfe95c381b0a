"""Airflow's settings of docker-compose.yaml, for processes of this machine: only addresses and paths of its containers
are replaced.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from stack import DAGS, ROOT

BIN: Final = Path(sys.prefix) / "bin"


def compose() -> dict[str, Any]:
    """Return docker-compose.yaml."""
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yaml").read_text(encoding="utf-8"))
    return loaded


def environment(home: Path, ports: Mapping[str, int]) -> dict[str, str]:
    """Return Airflow's settings of docker-compose.yaml for processes of this machine.

    `ports`: of `postgres`, `redis` and `api`, which listen on 127.0.0.1.
    """
    here = {
        "@postgres/": f"@127.0.0.1:{ports['postgres']}/",
        '"host": "postgres", "port": 5432': f'"host": "127.0.0.1", "port": {ports["postgres"]}',
        "redis://redis:6379": f"redis://127.0.0.1:{ports['redis']}",
        "http://airflow-apiserver:8080": f"http://127.0.0.1:{ports['api']}",
        "http://127.0.0.1:8080": f"http://127.0.0.1:{ports['api']}",
        "/run/secrets-of-airflow": str(home / "secrets"),
        "/opt/airflow/dags": str(DAGS),
    }
    found = {}
    # CLOUDS is Compose's variable; here the option of this script takes its place.
    for key, value in compose()["x-airflow"]["environment"].items():
        text = str(value)
        for of_container, of_process in here.items():
            text = text.replace(of_container, of_process)
        found[key] = text
    return found | {
        "AIRFLOW_HOME": str(home / "airflow"),
        # The pages read the logs of tasks and triggers here: nothing serves them from another folder.
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "airflow" / "logs"),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(ports["api"]),
        "AIRFLOW__API__WORKERS": "1",
        # Its default is every interface.
        "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_HOST": "127.0.0.1",
        "MALLOC_ARENA_MAX": "2",
        "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONWARNINGS": "ignore",
        "NO_PROXY": "127.0.0.1",
    }


def database_account() -> tuple[str, str]:
    """Return user and password of the databases, as docker-compose.yaml has them."""
    found = compose()["services"]["postgres"]["environment"]
    return found["POSTGRES_USER"], found["POSTGRES_PASSWORD"]
