"""What treatments changed in a manifest, as people read it: a unified diff without secrets.

A value that may be a secret is replaced by a number: equal numbers are equal values, so that a changed secret is seen
as changed and never shown.
"""

import difflib
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from airflow_llm_provisioning.core.manifests.serve_config import dumped, serve_config
from airflow_llm_provisioning.core.manifests.tree import Node, copied
from airflow_llm_provisioning.exceptions import ManifestError

_CONFIDENTIAL: Final = r"(?:api[-_]?key|access[-_]?key|token|passw(?:or)?d|secret|credentials?|private[-_]?key)"
_SECRET_KEY: Final = re.compile(rf"(?:.*[-_.])?{_CONFIDENTIAL}|.*(?:Password|Token|Secret|ApiKey)", re.IGNORECASE)
_SECRET_OPTION: Final = re.compile(rf"--?(?:[\w-]*[-_])?{_CONFIDENTIAL}", re.IGNORECASE)
_ASSIGNED: Final = re.compile(
    rf"(\b\w*{_CONFIDENTIAL}\s*=\s*|--[\w-]*{_CONFIDENTIAL}\s+)([^\s=][^\s;&|]*)", re.IGNORECASE
)


def manifest_diff(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Return the unified diff of two manifests as YAML; empty if they are equal.

    Keys stand as given; Serve's configuration is shown as what it says. Values of variables (except known switches),
    of keys named like secrets, and texts that look like credentials are replaced.
    """
    secrets = _Secrets()
    old, new = (dumped(secrets.hide(_readable(manifest))).splitlines() for manifest in (before, after))
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


class _Secrets:
    """Replaces secrets by numbers, the same secret always by the same number."""

    def __init__(self) -> None:
        # Late: the trace's package imports the manifests'.
        from airflow_llm_provisioning.core.trace.redaction import KEPT_ENV
        from airflow_llm_provisioning.core.trace.secret_shapes import SHAPES

        self._kept = KEPT_ENV
        self._shapes = [re.compile(shape.pattern, re.ASCII) for shape in SHAPES]
        self._numbers: dict[str, int] = {}

    def hide(self, value: Any, key: str = "") -> Any:
        """Return a value without secrets. `key`: where it stands in its parent."""
        if isinstance(value, dict):
            if key in ("env_vars", "data", "stringData"):
                return {name: self._variable(name, item) for name, item in value.items()}
            return {name: self.hide(item, name) for name, item in value.items()}
        if isinstance(value, list):
            return [self._entry(item, key, value[index - 1] if index else None) for index, item in enumerate(value)]
        if isinstance(value, str):
            return self._number(value) if value and _SECRET_KEY.fullmatch(key) else self._text(value)
        return value

    def _entry(self, item: Any, key: str, previous: Any) -> Any:
        if isinstance(item, dict) and key in ("env", "envs") and isinstance(item.get("value"), str):
            return {**self.hide(item), "value": self._variable(str(item.get("name")), item["value"])}
        if isinstance(item, str) and isinstance(previous, str) and _SECRET_OPTION.fullmatch(previous):
            return self._number(item)
        return self.hide(item)

    def _variable(self, name: str, value: Any) -> Any:
        if not isinstance(value, str) or not value or name in self._kept:
            return value
        return self._number(value)

    def _text(self, value: str) -> str:
        for shape in self._shapes:
            value = shape.sub(lambda match: self._number(match.group()), value)
        return _ASSIGNED.sub(lambda match: match.group(1) + self._number(match.group(2)), value)

    def _number(self, secret: str) -> str:
        if re.fullmatch(r"<redacted \d+>", secret):
            return secret
        return f"<redacted {self._numbers.setdefault(secret, len(self._numbers) + 1)}>"
