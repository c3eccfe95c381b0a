"""Airflow masks what it takes for a secret in every log line, so a made-up password must be no word of a log."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.sdk._shared.secrets_masker import SecretsMasker

from llm_provisioning_simulator import server

ROOT = Path(__file__).resolve().parents[2]
LINE = (
    "Trial simulated-demo-1f on eks-plain: simulated, cold; recorded by airflow from default/llm, user admin, postgres "
    "llm_provisioning at us-west-2, token of the cluster simulated"
)


def of_the_simulator() -> list[dict[str, Any]]:
    urls = {"aws": "http://127.0.0.1:1"}
    made = [server._kubernetes_connection("eks-plain", urls["aws"])]
    return made + [connection(urls, "a-region") for connection in server._CLOUD_CONNECTIONS.values()]


def of_compose() -> list[dict[str, Any]]:
    services = yaml.safe_load((ROOT / "docker-compose.yaml").read_text(encoding="utf-8"))["services"]
    variables = services["airflow-apiserver"]["environment"]
    return [json.loads(value) for name, value in variables.items() if name.startswith("AIRFLOW_CONN_")]


@pytest.mark.parametrize("connections", [of_the_simulator, of_compose])
def test_a_log_line_is_not_masked(connections: Any) -> None:
    """With every secret of the shipped connections known to Airflow's own masker, as in a task that reads them."""
    masker = SecretsMasker()
    found = connections()
    assert found
    for connection in found:
        masker.add_mask(connection.get("password"))
        masker.add_mask(connection.get("extra"))
        for user in json.loads((connection.get("extra") or {}).get("kube_config", "{}")).get("users", []):
            masker.add_mask(user["user"]["token"])
    assert masker.redact(LINE) == LINE
