"""A diff shows what a treatment changed, Serve's configuration as YAML, and no secret."""

from typing import Any

import pytest
from sample_manifests import sample, small

from airflow_llm_provisioning.core.manifests import manifest_diff, with_added_pip, with_env, with_image


def test_a_diff_reads_like_the_manifest() -> None:
    """Serve's configuration is no long text, and lines that did not change stand around."""
    before = sample("skyray-baseline")
    after = with_added_pip(
        with_image(before, {"rayproject/ray-ml:2.33.0.914af0-py311": "mine:1"}), ["hf_transfer==0.1.9"]
    )
    told = manifest_diff(before, after)
    assert told.startswith("--- before\n+++ after\n@@ ")
    assert told.endswith("\n")
    assert "         - vllm==0.5.4\n+        - hf_transfer==0.1.9\n" in told
    assert told.count("-          - image: ") + told.count("image: rayproject") >= 2
    assert told.count("image: mine:1") == 2


def test_equal_manifests_have_no_diff() -> None:
    """Also where only the spelling of Serve's configuration differs."""
    before = sample("skyray-baseline")
    after = sample("skyray-baseline")
    after["spec"]["serveConfigV2"] = "# A comment.\n" + after["spec"]["serveConfigV2"]
    assert manifest_diff(before, before) == ""
    assert manifest_diff(before, after) == ""


def test_known_switches_are_shown_and_other_values_are_not() -> None:
    """A treatment's switch is what a reader looks for."""
    told = manifest_diff(small(), with_env(small(), {"HF_XET_HIGH_PERFORMANCE": "1", "MINE": "made-up"}))
    assert "value: '1'" in told or 'value: "1"' in told
    assert "name: MINE" in told
    assert "made-up" not in told


def test_a_changed_secret_is_seen_and_not_shown() -> None:
    """Equal numbers are equal values."""
    first, second = with_env(small(), {"A": "made-up-1"}), with_env(small(), {"A": "made-up-2"})
    told = manifest_diff(first, second)
    assert "made-up" not in told
    assert "<redacted 1>" in told
    assert "<redacted 2>" in told
    assert manifest_diff(first, with_env(small(), {"A": "made-up-1"})) == ""


LEAKS: list[tuple[str, Any]] = [
    ("serveConfigV2", "applications: [{import_path: 'm:a', args: {engine_kwargs: {api_key: made-up-x}}}]"),
    ("serveConfigV2", "applications: [{import_path: 'm:a', runtime_env: {env_vars: {OPENAI: made-up-x}}}]"),
    ("serveConfigV2", "no: [yaml, api_key=made-up-x"),
    ("headGroupSpec", {"rayStartParams": {"redis-password": "made-up-x"}}),
    ("headGroupSpec", {"args": ["--api-key", "made-up-x"]}),
    ("headGroupSpec", {"args": ["serve --hf-token made-up-x --port 80"]}),
    ("headGroupSpec", {"command": ["bash", "-c", "export WANDB_API_KEY=made-up-x; ray start"]}),
    ("headGroupSpec", {"env": [{"name": "A", "value": "made-up-x"}]}),
    ("headGroupSpec", {"url": "https://me:made-up-x@example.org/x"}),
    ("headGroupSpec", {"note": "hf_" + "madeupx" * 4}),
    ("gcsFaultToleranceOptions", {"redisPassword": "made-up-x"}),
]


@pytest.mark.parametrize(("key", "value"), LEAKS)
def test_secrets_are_found_by_name_place_and_shape(key: str, value: Any) -> None:
    """In arguments, commands, start parameters, addresses and Serve's configuration."""
    after = small()
    after["spec"][key] = value
    told = manifest_diff({}, after)
    assert "made-up-x" not in told
    assert "madeupx" not in told
    assert "<redacted" in told


def test_what_only_sounds_like_a_secret_is_shown() -> None:
    """A reference to a Secret is none, nor is a tokenizer."""
    after = small("applications: [{import_path: 'm:a', args: {tokenizer: slow, max_tokens: 5}}]")
    after["spec"]["secretKeyRef"] = {"name": "hf-secret", "key": "hf_api_token"}
    told = manifest_diff(small(), after)
    for shown in ("tokenizer: slow", "max_tokens: 5", "name: hf-secret", "key: hf_api_token"):
        assert shown in told
