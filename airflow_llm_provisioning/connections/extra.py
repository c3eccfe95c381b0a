"""The fields of a connection's extra, made in Airflow's form, as a URI or as JSON.

The form stores an empty text for a field that was left empty (apache/airflow 20626); older forms put
`extra__<type>__` before a name; in a URI every value is text, `false` and JSON too.
"""

import json
from collections.abc import Mapping
from typing import Any


def given_fields(extra: Mapping[str, Any], conn_type: str) -> dict[str, Any]:
    """Return the fields that have a value, by their names without the prefix of older forms. The newer name wins."""
    filled = {name: value for name, value in extra.items() if value not in ("", None)}
    prefix = f"extra__{conn_type}__"
    return {name.removeprefix(prefix): value for name, value in filled.items() if name.startswith(prefix)} | {
        name: value for name, value in filled.items() if not name.startswith(prefix)
    }


def from_json(value: Any) -> Any:
    """Return what a JSON text of a mapping or a list holds; every other value as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def is_true(value: Any) -> bool:
    """Return whether a field says yes, also as the text of a URI: the text `false` does not."""
    return value.strip().lower() == "true" if isinstance(value, str) else bool(value)
