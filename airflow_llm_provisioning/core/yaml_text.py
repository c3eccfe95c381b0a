"""YAML text of a user's -> plain JSON values, with limits on size, depth and aliases."""

from typing import Any, Final

from airflow_llm_provisioning.core.manifests.compose import MAX_TEXT_BYTES, compose
from airflow_llm_provisioning.core.manifests.values import json_value
from airflow_llm_provisioning.exceptions import ManifestError

MAX_BYTES: Final = MAX_TEXT_BYTES


def load_yaml(text: str, *, where: str) -> Any:
    """Return the one document of YAML or JSON text. `where`: names the text in every refusal, a ManifestError."""
    documents = compose(text, where)
    if len(documents) != 1:
        raise ManifestError(f"{where} holds {len(documents)} YAML documents; allowed is one.")
    return json_value(documents[0], where=where)
