"""What README and pages show can be run: commands, examples, experiments."""

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
PAGES = [
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"),
    *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))),
]
WITH_THE_EXAMPLE = ["README.md", "docs/operators.md"]
WITH_EXPERIMENTS = ["README.md", "docs/eks.md", "docs/gke.md", "docs/aks.md"]


@pytest.mark.parametrize("page", WITH_THE_EXAMPLE)
def test_the_example_is_a_dag_of_three_tasks(page: str) -> None:
    """Copied as it stands, the example parses, in that order, with the deletion as teardown."""
    (example,) = [code for code in blocks(page, "python") if "DAG(" in code]
    names: dict[str, object] = {}

    exec(compile(example, page, "exec"), names)  # noqa: S102 - our own words

    applied, ready, deleted = names["applied"], names["ready"], names["deleted"]
    assert applied.downstream_task_ids >= {ready.task_id}  # type: ignore[attr-defined]
    assert ready.downstream_task_ids == {deleted.task_id}  # type: ignore[attr-defined]
    assert deleted.is_teardown  # type: ignore[attr-defined]


def test_every_make_target_named_exists() -> None:
    """A `make` command of any page is a target of the Makefile."""
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    shown = re.compile(r"\bmake ([a-z]+)\b[^\n]*`|^make ([a-z]+)", re.MULTILINE)
    named = {target for page in PAGES for target in shown.findall(text(page))}

    assert {one or other for one, other in named} - {""} <= targets
    assert targets >= {"demo", "test", "ui", "docs", "bench", "clean", "constraints"}


def test_every_command_line_shown_is_understood() -> None:
    """Commands and options of `llm-provisioning` on any page are ones its parser knows."""
    shown = [code for page in PAGES for language in ("sh", "bash") for code in blocks(page, language)]
    lines = [line.strip() for code in shown for line in code.splitlines()]
    commands = [line for line in lines if line.startswith("llm-provisioning ")]

    assert len(commands) >= 25
    for line in commands:
        words = shlex.split(line, comments=True)[1:]
        with contextlib.redirect_stderr(io.StringIO()):
            assert callable(cli._parser().parse_args(words).command), line


@pytest.mark.parametrize("page", WITH_EXPERIMENTS)
def test_every_experiment_shown_can_be_run(page: str) -> None:
    """The targets of README and cloud pages parse, get their nodes, and can run the variants they name."""
    shown = [code for code in blocks(page, "yaml") if "targets:" in code]

    assert shown
    for code in shown:
        assert checked(read_experiment(yaml.safe_load(code), where="README.md", read_text=str)).targets


def blocks(page: str, language: str) -> list[str]:
    """Return a page's code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text(page), re.MULTILINE | re.DOTALL)


def text(page: str) -> str:
    """Return a page."""
    return (ROOT / page).read_text(encoding="utf-8")
