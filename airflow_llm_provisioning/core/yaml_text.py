"""YAML text from outside -> plain values, with limits on size, depth and aliases."""

from typing import Any, Final

import yaml

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


def load_with_dates(text: str, *, where: str) -> Any:
    """Return the one document of a text as PyYAML's safe loader gives it, with dates and bytes; None of an empty one.

    For what others read with that loader, a kubeconfig or a Serve configuration. Raises ManifestError for what is no
    YAML or exceeds a limit.
    """
    # The parser in Python takes seconds for nesting that this refuses at once.
    if len(compose(text, where)) > 1:
        raise ManifestError(f"{where} holds several YAML documents; allowed is one.")
    try:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe
    except (yaml.YAMLError, ValueError) as error:
        raise ManifestError(f"{where} holds a value that YAML does not know.") from error
