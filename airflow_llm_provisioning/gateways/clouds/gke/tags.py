"""Google's spelling of our tags: labels, annotations and build tags allow lower case only, no dot and no slash."""

from collections.abc import Mapping
from typing import Any, Final

from airflow_llm_provisioning.core.names import label_keys_for_google
from airflow_llm_provisioning.gateways.clouds.tags import TagScheme

GOOGLE_TAGS: Final = TagScheme(label_keys_for_google)


def build_tags(labels: Mapping[str, str]) -> list[str]:
    """Return labels as Cloud Build tags (word characters, dots, hyphens): `key.value`, keys hold no dot."""
    return sorted(f"{key}.{value}" for key, value in labels.items())


def read_build_tags(tags: Any) -> dict[str, str]:
    """Return the labels that build tags spell."""
    return {key: value for key, dot, value in (str(tag).partition(".") for tag in tags) if dot}
