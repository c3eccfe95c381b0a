"""YAML that other programs wrote: read with their dates, within limits."""

from datetime import date

import pytest

from airflow_llm_provisioning.core.yaml_text import load_with_dates
from airflow_llm_provisioning.exceptions import ManifestError


def test_others_files_may_hold_dates() -> None:
    """A kubeconfig is read as its own readers read it."""
    assert load_with_dates("a: 2026-11-30", where="It") == {"a": date(2026, 11, 30)}
    assert load_with_dates("", where="It") is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: " + "{" * 60_000, "deeper than 100"),
        ("a: 1\n---\nb: 2", "several"),
        ("a: [", "no YAML"),
        ("a: 2026-13-45", "know"),
    ],
)
def test_they_have_the_same_limits(text: str, told: str) -> None:
    """Nesting is refused before a parser in Python looks at it for seconds."""
    with pytest.raises(ManifestError, match=told):
        load_with_dates(text, where="It")
