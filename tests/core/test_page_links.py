"""Addresses of the page: valid for names of any characters, and under any base path."""

from urllib.parse import parse_qs, urlsplit

from airflow_llm_provisioning.core.page_links import PREFIX, now_link, owned_link, run_link, target_link, trial_link

HARD = "manual__2026-11-30T01:00:00+00:00/ä&b=c#d?e%20 f"


def test_every_name_comes_back_from_its_address() -> None:
    """Run ids hold `:` and `+`; other names may hold any character."""
    parts = urlsplit(run_link(HARD, "dag.1", HARD))
    assert parts.path == f"/plugin/llm-deployments{PREFIX}/results"
    assert parse_qs(parts.query, strict_parsing=True) == {"experiment": [HARD], "dag": ["dag.1"], "run": [HARD]}
    assert parse_qs(urlsplit(trial_link(HARD)).query) == {"id": [HARD]}


def test_a_base_path_comes_before_both_prefixes() -> None:
    """Airflow may be served under a path."""
    assert now_link("/airflow/") == "/airflow/plugin/llm-deployments/airflow/llm-deployments/now"
    assert owned_link() == "/plugin/llm-deployments/llm-deployments/owned"
    assert target_link() == "/plugin/llm-deployments/llm-deployments/targets"


def test_the_prefix_is_the_plugins() -> None:
    """The page answers where the links lead."""
    from airflow_llm_provisioning import plugin

    assert plugin.PREFIX == PREFIX
