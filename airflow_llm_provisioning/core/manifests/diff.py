"""What treatments changed in a manifest, as people read it: a unified diff without secrets.

A value that may be a secret is replaced by a number: equal numbers are equal values, so that a changed secret is seen
as changed and never shown.
"""

import difflib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from airflow_llm_provisioning.core.manifests.serve_config import dumped, serve_config
from airflow_llm_provisioning.core.manifests.tree import Node, copied
from airflow_llm_provisioning.core.secrets import Redactor
from airflow_llm_provisioning.exceptions import ManifestError


def manifest_diff(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Return the unified diff of two manifests as YAML; empty if they are equal.

    Keys stand as given; Serve's configuration is shown as what it says. Secrets are replaced as everywhere
    (`core.secrets`); the switches that treatments set are shown.
    """
    secrets = Redactor(_Numbers())
    old, new = (dumped(secrets.value(_readable(manifest))).splitlines() for manifest in (before, after))
    told = list(difflib.unified_diff(old, new, fromfile="before", tofile="after", lineterm=""))
    return "\n".join(told) + "\n" if told else ""


def _readable(manifest: Mapping[str, Any]) -> Node:
    made: Node = copied(manifest)
    spec = made.get("spec")
    if isinstance(spec, dict) and isinstance(spec.get("serveConfigV2"), str):
        # Text that is no configuration is shown as it is.
        with suppress(ManifestError):
            spec["serveConfigV2"] = serve_config(manifest) or spec["serveConfigV2"]
    return made


class _Numbers:
    """Replaces secrets by numbers, the same secret always by the same number."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def __call__(self, secret: str) -> str:
        return f"<redacted {self._numbers.setdefault(secret, len(self._numbers) + 1)}>"
