"""What the README promises exists: its commands, its files, its example."""

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest
import yaml

from airflow_llm_provisioning import cli
from airflow_llm_provisioning.core.experiment_file import read_experiment
from airflow_llm_provisioning.dag_factory import checked

ROOT = Path(__file__).resolve().parents[1]
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/architecture.md", "docs/measurement.md"]


def test_the_example_is_a_dag_of_three_tasks() -> None:
    """Copied as it stands, the example parses, in that order, with the deletion as teardown."""
    (example,) = [code for code in blocks("python") if "DAG(" in code]
    names: dict[str, object] = {}

    exec(compile(example, "README.md", "exec"), names)  # noqa: S102 - our own words

    applied, ready, deleted = names["applied"], names["ready"], names["deleted"]
    assert applied.downstream_task_ids >= {ready.task_id}  # type: ignore[attr-defined]
    assert ready.downstream_task_ids == {deleted.task_id}  # type: ignore[attr-defined]
    assert deleted.is_teardown  # type: ignore[attr-defined]


def test_every_make_target_named_exists() -> None:
    """A command of the README is a target of the Makefile."""
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    shown = re.compile(r"\bmake ([a-z]+)\b[^\n]*`|^make ([a-z]+)", re.MULTILINE)
    named = {target for page in PAGES for target in shown.findall(text(page))}

    assert {one or other for one, other in named} - {""} <= targets
    assert targets >= {"demo", "test", "ui", "bench", "clean", "constraints"}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_to_a_file_leads_somewhere(page: str) -> None:
    """Relative links point at what is in the repository."""
    links = re.findall(r"\]\(([^)#:]+)\)", text(page))

    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []


def test_every_command_line_shown_is_understood() -> None:
    """Commands and options of `llm-provisioning` in the README are ones its parser knows."""
    lines = [line for code in blocks("sh") for line in code.splitlines() if line.startswith("llm-provisioning ")]

    assert len(lines) == 7
    for line in lines:
        words = shlex.split(line, comments=True)[1:]
        with contextlib.redirect_stderr(io.StringIO()):
            assert callable(cli._parser().parse_args(words).command)


def test_every_experiment_shown_can_be_run() -> None:
    """The targets of the clouds' chapters parse, get their nodes, and can run the variants they name."""
    shown = [code for code in blocks("yaml") if "targets:" in code]

    assert shown
    for code in shown:
        assert checked(read_experiment(yaml.safe_load(code), where="README.md", read_text=str)).targets


def blocks(language: str) -> list[str]:
    """Return the README's code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text("README.md"), re.MULTILINE | re.DOTALL)


def text(page: str) -> str:
    """Return a page."""
    return (ROOT / page).read_text(encoding="utf-8")
