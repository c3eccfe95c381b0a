"""`llm-provisioning init`: what it copies, what it refuses, what it prints."""

from pathlib import Path

import pytest

from airflow_llm_provisioning import cli
from airflow_llm_provisioning.commands import init
from airflow_llm_provisioning.dag_factory import load_experiment

EXAMPLES = Path(cli.__file__).parent / "example_dags"
COPIED = {
    "experiments/example.yaml",
    "experiments/factorial.yaml",
    "experiments/experiment.schema.json",
    "experiments/my_service.yaml",
    "experiments/own_manifest.yaml",
    "experiments/simulated.yaml",
    "nightly_cold_start.py",
    "prepare_targets.py",
    "simulated_demo.py",
    "simulated_own_manifest.py",
    "single_trial.py",
}


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_examples_are_copied_into_a_new_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every file has the content of the shipped one, its path is printed, and the experiment can be loaded."""
    folder = tmp_path / "airflow" / "dags"
    assert cli.main(["init", str(folder)]) == 0
    assert files(folder) >= COPIED
    assert all((folder / name).read_bytes() == (EXAMPLES / name).read_bytes() for name in files(folder))
    printed = capsys.readouterr().out
    assert all(str(folder / name) in printed for name in COPIED)
    assert load_experiment(folder / "experiments" / "example.yaml").targets


def test_the_next_steps_name_commands_and_dags_that_exist(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command of step 2 is one that the parser accepts with the printed path; the DAGs are among the files."""
    cli.main(["init", str(tmp_path)])
    printed = capsys.readouterr().out
    (command,) = [line.partition("llm-provisioning ")[2].split() for line in printed.splitlines() if "Run: " in line]
    parsed = cli._parser().parse_args(command)
    assert parsed.experiment.exists()
    for dag in ("prepare_targets", "single_trial", "nightly_cold_start", "simulated_demo"):
        assert dag in printed.partition("Next:")[2]


def test_an_existing_file_is_named_and_nothing_is_copied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The user's own single_trial.py stays as it is, and no other file appears beside it."""
    own = tmp_path / "single_trial.py"
    own.write_text("mine", encoding="utf-8")
    assert cli.main(["init", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert str(own) in error
    assert "--force" in error
    assert files(tmp_path) == {"single_trial.py"}
    assert own.read_text(encoding="utf-8") == "mine"


def test_force_overwrites_and_keeps_other_files(tmp_path: Path) -> None:
    """Files of the same names are replaced; a file of another name is not touched."""
    (tmp_path / "single_trial.py").write_text("mine", encoding="utf-8")
    (tmp_path / "other.py").write_text("mine", encoding="utf-8")
    assert cli.main(["init", str(tmp_path), "--force"]) == 0
    assert (tmp_path / "single_trial.py").read_bytes() == (EXAMPLES / "single_trial.py").read_bytes()
    assert (tmp_path / "other.py").read_text(encoding="utf-8") == "mine"


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file stands where the folder should be: its path is in the message, and there is no traceback."""
    taken = tmp_path / "taken"
    taken.write_text("a file", encoding="utf-8")
    assert cli.main(["init", str(taken / "dags")]) == 2
    assert str(taken) in capsys.readouterr().err


def test_byte_code_is_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow leaves `__pycache__` beside the DAGs that it runs; `init` copies the other files only."""
    shipped = tmp_path / "shipped"
    (shipped / "__pycache__").mkdir(parents=True)
    (shipped / "a_dag.py").write_text("", encoding="utf-8")
    (shipped / "__pycache__" / "a_dag.cpython-311.pyc").write_bytes(b"")
    monkeypatch.setattr(init, "EXAMPLES", shipped)
    cli.main(["init", str(tmp_path / "dags")])
    assert files(tmp_path / "dags") == {"a_dag.py"}


def test_help_says_what_is_never_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    """`init --help` names the folder, the option and the exit codes."""
    with pytest.raises(SystemExit, match="0"):
        cli.main(["init", "--help"])
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("DIR", "--force", "exit code"))
