"""What README and pages show can be run: commands, examples, experiments."""

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest
import yaml

from airflow_llm_provisioning import cli
from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.core.experiment_file import read_experiment_text
from airflow_llm_provisioning.core.treatments import BaseTreatment, plan_deployment
from airflow_llm_provisioning.core.treatments.registry import _CONTRACT
from airflow_llm_provisioning.core.workload import builtin_workload
from airflow_llm_provisioning.dag_factory import checked

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"),
    *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))),
]
WITH_THE_EXAMPLE = ["README.md", "docs/operators.md"]
WITH_EXPERIMENTS = [
    *("README.md", "docs/experiments.md", "docs/eks.md", "docs/gke.md", "docs/aks.md"),
    *(f"docs/treatments/{name}.md" for name in ("capacity_buffer", "image_volume", "peer_to_peer", "shared_weights")),
    *(f"docs/treatments/{name}.md" for name in ("soci_parallel_pull", "preloaded_disk", "weights_stream")),
    *("docs/treatments/compile_cache.md", "docs/treatments/capacity_buffer_object.md"),
    "docs/treatments/capacity_buffer_static.md",
]
A_TARGET = """
name: shown
targets:
  - name: plain
    cluster: one
    conn_id: kubernetes_default
    variants: [baseline]
    nodes: {cloud: generic, autoscaler: native, kubernetes_minor: "1.34"}
"""


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
    shown = re.compile(r"\bmake ([a-z-]+)\b[^\n]*`|^make ([a-z-]+)", re.MULTILINE)
    named = {target for page in PAGES for target in shown.findall(text(page))}

    assert {one or other for one, other in named} - {""} <= targets
    assert targets >= {"demo", "test", "ui", "docs", "bench", "clean", "constraints"}


def test_every_command_line_shown_is_understood() -> None:
    """Commands and options of `llm-provisioning` on any page are ones its parser knows."""
    shown = [code for page in PAGES for language in ("sh", "bash") for code in blocks(page, language)]
    lines = [line.strip() for code in shown for line in code.replace("\\\n", " ").splitlines()]
    commands = [line for line in lines if line.startswith("llm-provisioning ")]

    assert len(commands) >= 25
    for line in commands:
        words = shlex.split(line, comments=True)[1:]
        with contextlib.redirect_stderr(io.StringIO()):
            assert callable(cli._parser().parse_args(words).command), line


@pytest.mark.parametrize("page", WITH_EXPERIMENTS)
def test_every_experiment_shown_can_be_run(page: str) -> None:
    """The targets of README and pages are read as a file is, get their nodes, and can run the variants they name."""
    shown = [code for code in blocks(page, "yaml") if "targets:" in code]

    assert shown
    for code in shown:
        assert loaded(page, code).targets


def test_every_page_with_an_experiment_is_checked() -> None:
    """A page that gets a YAML experiment is in the list of the test above."""
    having = {page for page in PAGES for code in blocks(page, "yaml") if "targets:" in code}

    assert having == set(WITH_EXPERIMENTS)


def test_every_workload_shown_can_be_served() -> None:
    """Each `workloads` of the page of that name loads once an experiment and a target are around it."""
    shown = [code for code in blocks("docs/workloads.md", "yaml") if code.startswith("workloads:")]

    assert len(shown) == 2
    for code in shown:
        assert list(loaded("docs/workloads.md", A_TARGET + code).cells())


def test_the_treatment_shown_keeps_the_contract() -> None:
    """Copied as it stands, it has every part of the contract, and its change is in what a variant deploys."""
    (example,) = [code for code in blocks("docs/treatments.md", "python") if "BaseTreatment" in code]
    names: dict[str, type[BaseTreatment]] = {}

    exec(compile(example, "docs/treatments.md", "exec"), names)  # noqa: S102 - our own words

    shown, workload = names["FasterStart"](), builtin_workload()
    table = set(re.findall(r"^\| `(\w+)(?:\([^`]*\))?` \|.*\|.*\|$", text("docs/treatments.md"), re.MULTILINE))
    assert {*_CONTRACT} <= table
    assert [part for part in _CONTRACT if not hasattr(shown, part)] == []
    assert "VLLM_FAST" in str(plan_deployment(workload, [shown]).manifest)  # type: ignore[list-item]
    assert "VLLM_FAST" not in str(workload.manifest)


def loaded(page: str, code: str) -> Experiment:
    """Return the experiment of a page's YAML; a manifest that it names is the built-in one."""

    def read_text(_: str) -> str:
        return yaml.safe_dump(builtin_workload().manifest)

    return checked(read_experiment_text(code, where=page, read_text=read_text))


def blocks(page: str, language: str) -> list[str]:
    """Return a page's code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text(page), re.MULTILINE | re.DOTALL)


def text(page: str) -> str:
    """Return a page."""
    return (ROOT / page).read_text(encoding="utf-8")
