"""Azure's spelling of our tags, and of its own words."""

import re
from collections.abc import Mapping
from typing import Any, Final

from airflow_llm_provisioning.gateways.clouds.tags import TagScheme

# A tag's name may not hold <, >, %, &, \, ? and / (Azure Resource Manager, "Use tags", limitations).
_NOT_IN_TAG_NAMES: Final = re.compile(r"[<>%&\\?/]")


def _spelled(tags: Mapping[str, str]) -> dict[str, str]:
    return {_NOT_IN_TAG_NAMES.sub("_", key): value for key, value in tags.items()}


AZURE_TAGS: Final = TagScheme(_spelled)
"""`llm-provisioning/content` -> `llm-provisioning_content`. An image's labels carry our own spelling."""


def word(value: Any, absent: str = "?") -> str:
    """Return an SDK's enumeration member, or the string it may also be, as Azure writes it."""
    return absent if value is None else str(getattr(value, "value", value))
