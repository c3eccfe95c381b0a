"""The two distributions: what their wheels and sdists hold, and what the command line says without the simulator."""

import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest

from airflow_llm_provisioning import cli
from airflow_llm_provisioning.commands import plugins

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {"airflow_llm_provisioning": ROOT, "llm_provisioning_simulator": ROOT / "simulator"}


def build(source: Path, target: str, folder: Path) -> Path:
    """Build a `wheel` or an `sdist` with the build backend alone: no isolated environment, no network."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)  # noqa: S603 - our own build backend
    (built,) = folder.iterdir()
    return built


def files_of(wheel: Path) -> set[str]:
    """Return the names of the files in a wheel."""
    return set(zipfile.ZipFile(wheel).namelist())


def tracked(package: str) -> set[str]:
    """Return the files of a package in the repository, named as in its wheel."""
    folder = FOLDERS[package] / package
    found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(FOLDERS[package])) for path in found}


@pytest.fixture(scope="module", params=sorted(FOLDERS))
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Return a package and its wheel."""
    return request.param, build(FOLDERS[request.param], "wheel", tmp_path_factory.mktemp(request.param))


def test_a_wheel_holds_its_whole_package_and_no_other(built: tuple[str, Path]) -> None:
    """Every file of the package is in its wheel; nothing of the other distribution or of the tests is."""
    package, wheel = built

    assert {name for name in files_of(wheel) if ".dist-info/" not in name} == tracked(package)


def test_only_the_simulators_wheel_holds_the_simulator(built: tuple[str, Path]) -> None:
    """It has the profiles (TOML), the type marker and the entry points of its commands; the provider's has none."""
    package, wheel = built
    files = files_of(wheel)
    (metadata,) = [name for name in files if name.endswith("entry_points.txt")]
    offers_commands = plugins.GROUP in zipfile.ZipFile(wheel).read(metadata).decode()

    if package == "airflow_llm_provisioning":
        assert not [name for name in files if "simulator" in name]
        assert not offers_commands
        return
    profiles = {Path(name).stem for name in files if name.endswith(".toml")}
    assert profiles >= {"eks", "gke", "aks", "luna", "karpenter", "native", "ray", "vllm", "kubelet", "network"}
    assert "llm_provisioning_simulator/py.typed" in files
    assert offers_commands


@pytest.mark.parametrize("package", sorted(FOLDERS))
def test_a_wheel_from_the_sdist_is_the_wheel_from_the_repository(package: str, tmp_path: Path) -> None:
    """An sdist is complete: building from it gives the same files, with the license and the README."""
    sdist = build(FOLDERS[package], "sdist", tmp_path / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked")  # noqa: S202 - our own sdist; `filter` came with Python 3.11.4
    (unpacked,) = (tmp_path / "unpacked").iterdir()

    again = files_of(build(unpacked, "wheel", tmp_path / "again"))

    assert {name for name in again if ".dist-info/" not in name} == tracked(package)
    assert any(name.endswith("licenses/LICENSE") for name in again)
    assert (unpacked / "README.md").read_text() == (FOLDERS[package] / "README.md").read_text()


@pytest.mark.parametrize(
    "arguments",
    [["simulator", "x.yaml", "--speed", "9"], ["simulator", "--speed=9", "x.yaml"], ["sweep", "x.yaml"], ["sweep"]],
)
def test_without_the_simulator_its_commands_say_how_to_install_it(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence names the distribution, and the exit code is 2: no traceback, and no unknown command."""
    monkeypatch.setattr(plugins, "entry_points", lambda **_: EntryPoints())

    code = cli.main(arguments)

    said = capsys.readouterr()
    assert code == 2
    assert said.out == ""
    assert said.err.strip().count("\n") == 0
    assert "pip install llm-provisioning-simulator" in said.err
    assert arguments[0] in said.err


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("llm_provisioning_simulator_that_is_gone.commands", "llm_provisioning_simulator_that_is_gone"),
        ("llm_provisioning_that_ends", "SystemExit: no GPU here"),
    ],
)
def test_a_broken_simulator_leaves_the_other_commands_alone(
    module: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Metadata can outlive the code (a removed editable checkout): the command refuses, the rest works."""
    (tmp_path / "llm_provisioning_that_ends.py").write_text("import sys\n\nsys.exit('no GPU here')\n")
    monkeypatch.syspath_prepend(tmp_path)
    entry = EntryPoint("simulator", f"{module}:add_simulator", plugins.GROUP)
    monkeypatch.setattr(plugins, "entry_points", lambda **_: EntryPoints([entry]))

    assert cli.main(["simulator", "experiment.yaml"]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "pip install" in said
    with pytest.raises(SystemExit) as ended:
        cli.main(["results", "--help"])
    assert ended.value.code == 0


def test_installed_its_commands_are_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    """With the simulator installed the real parser answers, with the real options."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["simulator", "--help"])

    assert ended.value.code == 0
    assert "--base-port" in capsys.readouterr().out


def entry_names(found: Any) -> set[str]:
    """Return the names of entry points."""
    return {entry.name for entry in found}


def test_both_commands_are_registered() -> None:
    """The installed metadata names exactly the commands that the refusal knows by name."""
    assert entry_names(plugins.entry_points(group=plugins.GROUP)) >= {"simulator", "sweep"}
