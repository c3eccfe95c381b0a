"""The first steps: what `make` installs, what it says before, and the secrets of the distributed set-up."""

import builtins
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def install() -> ModuleType:
    """Return the script as a module."""
    spec = importlib.util.spec_from_file_location("demo_install", ROOT / "demo" / "install.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def commands(install: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Record the programs that would be run."""
    ran: list[tuple[str, ...]] = []
    monkeypatch.setattr(install, "run", lambda *command: ran.append(command))
    return ran


def test_a_demonstration_needs_the_extras_of_its_clouds_alone(install: ModuleType) -> None:
    """Google's provider is most of the download: it is not installed for EKS."""
    assert install.demo_extras("eks") == {"simulator", "amazon"}
    assert install.demo_extras("eks, gke,aks") == {"simulator", "amazon", "google", "microsoft-azure"}
    assert install.demo_extras("eks,mars") is None
    assert install.demo_extras(" ") is None


def test_sizes_are_said_before_anything_is_downloaded(
    install: ModuleType, commands: list[tuple[str, ...]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What, from where in words, and how large: first; then the environment, uv, and the package by its constraints."""
    said: list[str] = []
    install.run = lambda *command: (said.append(capsys.readouterr().out), commands.append(command))
    tmp_path.joinpath("venv").mkdir()

    assert install.make(tmp_path / "venv", {"simulator", "google"}) == 0

    assert "About 475 MB to download" in said[0]
    assert "[google]" in said[0]
    assert [command[1:3] for command in commands] == [("-m", "venv"), ("-m", "pip"), ("pip", "install")]
    assert commands[-1][-1].endswith("[google,simulator]")
    assert str(ROOT / "constraints.txt") in commands[-1]


def test_nothing_is_done_twice_and_nothing_is_taken_away(
    install: ModuleType, commands: list[tuple[str, ...]], tmp_path: Path
) -> None:
    """A second time is silent; another cloud is added to what is there; changed requirements install all of it anew."""
    assert install.make(tmp_path, {"simulator", "amazon"}) == 0
    first = len(commands)
    assert install.make(tmp_path, {"simulator"}) == 0
    assert len(commands) == first

    assert install.make(tmp_path, {"simulator", "microsoft-azure"}) == 0
    assert commands[-1][-1].endswith("[amazon,microsoft-azure,simulator]")

    stamp = tmp_path / "llm-provisioning-installed.json"
    stamp.write_text(json.dumps(json.loads(stamp.read_text()) | {"content": "older"}))
    assert install.make(tmp_path, {"simulator"}) == 0
    assert commands[-1][-1].endswith("[amazon,microsoft-azure,simulator]")


def test_a_failed_installation_is_tried_again(
    install: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What did not end well leaves no stamp, and one sentence."""

    def failing(*command: str) -> None:
        raise subprocess.CalledProcessError(2, command)

    install.run = failing

    assert install.make(tmp_path, {"simulator"}) == 1
    assert "could not be created" in capsys.readouterr().out
    assert not (tmp_path / "llm-provisioning-installed.json").exists()


def test_a_python_without_ensurepip_is_told_what_to_install(
    install: ModuleType,
    commands: list[tuple[str, ...]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Debian and Ubuntu split it off."""
    real = builtins.__import__

    def without(name: str, *rest: Any) -> ModuleType:
        if name == "ensurepip":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)

    assert install.make(tmp_path, {"simulator"}) == 1
    assert "-venv" in capsys.readouterr().out
    assert commands == []


def test_an_old_python_is_refused_in_a_sentence(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says which is needed and which was found."""
    monkeypatch.setattr(install.sys, "version_info", (3, 9, 2))
    monkeypatch.setattr(install.sys, "argv", ["install.py", "--clouds", "eks"])

    assert install.main() == 1
    assert "3.9.2" in capsys.readouterr().out


def test_an_unknown_cloud_is_refused_in_a_sentence(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names what there is."""
    monkeypatch.setattr(install.sys, "argv", ["install.py", "--clouds", "mars"])

    assert install.main() == 1
    assert "eks, gke, aks" in capsys.readouterr().out


def test_shared_secrets_are_drawn_once_and_for_nobody_else(tmp_path: Path) -> None:
    """A second start keeps them: Airflow's stored passwords are read with the first."""
    from cryptography.fernet import Fernet

    command = [sys.executable, str(ROOT / "docker" / "make_secrets.py"), str(tmp_path)]
    subprocess.run(command, check=True)  # noqa: S603 - our own script
    drawn = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    subprocess.run(command, check=True)  # noqa: S603 - our own script

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == drawn
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    Fernet(drawn["fernet_key"])
    assert len(drawn["jwt_secret"]) >= 32
