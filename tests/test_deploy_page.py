"""The settings that docs/deploy.md tells a user to write, as far as they can be tried without a cluster."""

import configparser
import re
from pathlib import Path
from typing import Any

import yaml
from airflow.configuration import conf

from airflow_llm_provisioning.core.names import DEFAULT_STORE
from airflow_llm_provisioning.get_provider_info import get_provider_info

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "deploy.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Return the page's blocks of this language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def block(language: str) -> str:
    """Return the page's one block of this language."""
    (found,) = blocks(language)
    return found


def known(section: str, option: str) -> bool:
    """Return whether Airflow or this provider has an option."""
    ours = get_provider_info()["config"]
    return option in ours[section]["options"] if section in ours else conf.has_option(section, option)


def test_every_setting_of_the_page_exists() -> None:
    """In the values of the Helm chart and in airflow.cfg; Airflow ignores an option that it does not know."""
    named = []
    for settings in blocks("ini"):
        ini = configparser.ConfigParser()
        ini.read_string(settings)
        named += [(section, option) for section in ini.sections() for option in ini[section]]
    assert len(named) == 3
    config: dict[str, dict[str, Any]] = yaml.safe_load(block("yaml"))["config"]
    named += [(section, option) for section, options in config.items() for option in options]
    assert {section for section, _ in named} == {"llm_provisioning", "operators"}
    assert [f"[{section}] {option}" for section, option in named if not known(section, option)] == []
    assert not known("llm_provisioning", "preloads")


def test_the_secret_of_the_values_is_the_stores_connection() -> None:
    """Its environment variable is the connection's; tasks and triggerers have the same rights in the cloud."""
    values = yaml.safe_load(block("yaml"))
    (secret,) = values["secret"]
    assert secret["envName"] == f"AIRFLOW_CONN_{DEFAULT_STORE.upper()}"
    accounts = [values["triggerer"]["serviceAccount"], values["workers"]["kubernetes"]["serviceAccount"]]
    assert accounts[0] == accounts[1]
