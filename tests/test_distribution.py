"""What is built for the package index: the wheel has the examples and no simulator, the sdist has everything."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Written by the build itself.
ADDED = {"PKG-INFO"}
# Tracked by git and of no use without it.
LEFT_OUT: set[str] = set()

RUN_FROM_THE_WHEEL = """
import sys
sys.path.insert(0, {wheel!r})
import airflow_llm_provisioning
assert airflow_llm_provisioning.__file__.startswith({wheel!r}), airflow_llm_provisioning.__file__
from airflow_llm_provisioning.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build wheel and sdist of this checkout, without the network and without an environment of their own."""
    folder = tmp_path_factory.mktemp("dist")
    uv = Path(sys.prefix) / "bin" / "uv"
    command = [str(uv), "build", "--offline", "--no-build-isolation", "--python", sys.executable, "--quiet"]
    ran = subprocess.run(  # noqa: S603 - our own program
        [*command, "--wheel", "--sdist", "--out-dir", str(folder), str(ROOT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the files of the wheel, as an installation unpacks them."""
    (path,) = built.glob("*.whl")
    folder = tmp_path_factory.mktemp("wheel")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)  # noqa: S202 - our own wheel
    return folder


def test_the_wheel_has_the_package_and_nothing_beside_it(wheel: Path) -> None:
    """One package and its metadata: no simulator, no tests, no benchmarks."""
    names = {path.name for path in wheel.iterdir()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"airflow_llm_provisioning"}


def test_init_copies_the_examples_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    """Installed without a checkout, the command finds every example that the checkout has."""
    folder = tmp_path / "dags"
    ran = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", RUN_FROM_THE_WHEEL.format(wheel=str(wheel)), "init", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert ran.returncode == 0, ran.stderr
    assert str(folder / "single_trial.py") in ran.stdout
    examples = ROOT / "airflow_llm_provisioning" / "example_dags"
    shipped = {path.relative_to(examples) for path in examples.rglob("*") if path.suffix in {".json", ".py", ".yaml"}}
    assert {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()} == shipped


def test_the_wheel_s_metadata_names_the_project_s_pages(wheel: Path) -> None:
    """The package index shows these links, and the README as Markdown."""
    (metadata,) = wheel.glob("*.dist-info/METADATA")
    text = metadata.read_text(encoding="utf-8")
    assert "Description-Content-Type: text/markdown" in text
    assert all(
        f"Project-URL: {name}, https://" in text for name in ("Homepage", "Documentation", "Changelog", "Issues")
    )


def test_the_sdist_has_every_tracked_file(built: Path) -> None:
    """`make test` runs from an unpacked sdist: nothing that git tracks is missing. Nothing else is in it either, except
    files that are about to be added.
    """
    tracked, untracked = listed_by_git(), listed_by_git("--others", "--exclude-standard")
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        packed = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    assert tracked - packed == LEFT_OUT
    assert packed - tracked - untracked == ADDED


def listed_by_git(*options: str) -> set[str]:
    """Return the existing files that `git ls-files` lists; without git, there is nothing to compare with."""
    command = ["git", "ls-files", "-z", *options]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)  # noqa: S603 - our own words
    if listed.returncode:
        pytest.skip("not a git checkout: no list of tracked files")
    return {name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).exists()}
