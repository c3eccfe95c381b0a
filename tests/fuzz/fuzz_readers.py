"""The readers that the fuzz tests try, each with one argument, as a process of its own calls them."""

import asyncio
import json
import os

from airflow_llm_provisioning.core.experiment_file import read_experiment_text
from airflow_llm_provisioning.core.manifests import check_ray_service, parse_documents
from airflow_llm_provisioning.core.recipe import ImageRecipe
from airflow_llm_provisioning.core.replay import replay
from airflow_llm_provisioning.core.secrets import redacted_text, redacted_value
from airflow_llm_provisioning.core.trace_file import read_trace_file
from airflow_llm_provisioning.exceptions import ConfigurationError, TraceError


def _no_file(_: str) -> str:
    raise ConfigurationError("The file cannot be read: No such file or directory.")


def experiment(text: str) -> None:
    """Read an experiment file."""
    read_experiment_text(text, where="it.yaml", read_text=_no_file)


def manifest(text: str) -> None:
    """Read and check a manifest."""
    check_ray_service(parse_documents(text, where="It").ray_service)


def trace(data: bytes) -> None:
    """Read a trace as an import does, take its secrets out, and compute it again."""
    found = read_trace_file(data)
    if not found.clean:
        found = found.cleaned()
        assert found.clean or found.unreadable_lines
    replay(found.data)


def recipe(text: str) -> None:
    """Read a recipe of JSON; its Dockerfile has no line more than its parts."""
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ConfigurationError("It is no mapping.")
    made = ImageRecipe.from_dict(value)
    lines = made.dockerfile().splitlines()
    assert len(lines) == 1 + bool(made.pip) + len(made.env)


def kubernetes(text: str) -> None:
    """Read a kubernetes connection; nothing is asked over the network."""
    from airflow_llm_provisioning.connections.cluster import _connection, _kubernetes_credentials

    async def credentials() -> None:
        await _kubernetes_credentials("fuzz", (await _connection("fuzz")).extra_dejson)

    os.environ["AIRFLOW_CONN_FUZZ"] = json.dumps({"conn_type": "kubernetes", "extra": json.loads(text)})
    _forget_masked()
    asyncio.run(credentials())


def database(text: str) -> None:
    """Read a store's connection."""
    fields = json.loads(text)
    from airflow_llm_provisioning.connections import store_url

    _forget_masked()
    os.environ["AIRFLOW_CONN_FUZZ"] = json.dumps({**fields, "conn_type": "sqlite"} if isinstance(fields, dict) else {})
    store_url("fuzz")


def _forget_masked() -> None:
    # Airflow keeps every secret that a process ever read in one pattern and compiles it anew for each: after hundreds
    # of connections that would be what is measured.
    from airflow.sdk._shared.secrets_masker import reset_secrets_masker

    reset_secrets_masker()


def texts(text: str) -> None:
    """Redact a value and a text, twice: the second time changes nothing."""
    value = json.loads(text)
    once = redacted_value(value)
    assert redacted_value(once) == once
    kept = redacted_text(text[:100_000])
    assert redacted_text(kept) == kept


REFUSALS = (ConfigurationError.__name__, "ManifestError", "ConnectionConfigError", TraceError.__name__)
