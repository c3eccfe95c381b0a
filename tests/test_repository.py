"""What must never be in the repository, and what every dependency owes its reader."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Written so that no pattern matches its own text.
FORBIDDEN = {
    # The home of the user that Ray's images run as is no machine's.
    "a folder of one machine": re.compile(r"/(?:home|Users)/(?!ray/)[a-z]\w*/|/roo[t]/|/wor[k]/"),
    "the address of a package registry": re.compile(r"https?://\S*(?:pypi[.]org|pythonhosted[.]org|/simpl[e](?!\w))"),
    "an option that names a package registry": re.compile(r"--(?:extra-)?index-ur[l][ =]|--find-link[s][ =]"),
}


def test_no_tracked_file_names_one_machine_or_a_package_registry() -> None:
    """The project knows nothing of the machines it was made on; where packages come from is each user's business."""
    found = [
        f"{path.relative_to(ROOT)}:{number}: {what}: {match.group()}"
        for path in tracked_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        for what, pattern in FORBIDDEN.items()
        if (match := pattern.search(line))
    ]

    assert found == []


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("a folder of one machine", "see /{}/someone/notes".format("home")),
        ("the address of a package registry", "https://{}.org/x".format("pypi")),
        ("an option that names a package registry", "--{} somewhere".format("index-url")),
    ],
)
def test_what_is_forbidden_would_be_found(what: str, line: str) -> None:
    """The test's own instrument."""
    assert FORBIDDEN[what].search(line)


def test_constraints_are_names_and_versions_alone() -> None:
    """No address, no path, no option, and this package itself not among them."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()

    assert [line for line in lines if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*==[\w.+!-]+", line)] == []
    assert "airflow-llm-provisioning" not in {line.split("==")[0] for line in lines}


def test_constraints_hold_every_dependency() -> None:
    """A new dependency comes with `make constraints`: else two people install two different things. The simulator is a
    distribution of this repository, installed from its folder.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {
        re.split(r"[\[<>=!~ ;]", requirement)[0].lower().replace("_", "-")
        for requirements in (project["dependencies"], *project["optional-dependencies"].values())
        for requirement in requirements
    } - {project["name"], "llm-provisioning-simulator"}
    held = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()}

    assert wanted - held == set()


def test_every_core_dependency_says_why() -> None:
    """Each dependency, or the group it stands in, has a comment right above it."""
    unexplained, explained = [], False
    for line in core_dependency_lines():
        if line.startswith("#"):
            explained = True
        elif not explained:
            unexplained.append(line)
    assert unexplained == []
    assert sum(line.startswith("#") for line in core_dependency_lines()) >= 8


def test_every_extra_says_why() -> None:
    """An extra's purpose stands above it; `dev` explains its less known tools inside."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = text.split("[project.optional-dependencies]\n", 1)[1].split("\n[", 1)[0]
    names = re.findall(r"^([\w-]+) = \[", section, re.MULTILINE)
    explained = re.findall(r"^#.*\n([\w-]+) = \[", section, re.MULTILINE)

    assert set(names) - set(explained) <= {"dev"}
    assert {"amazon", "google", "microsoft-azure", "simulator", "celery"} <= set(explained)


def test_every_test_file_has_a_name_of_its_own() -> None:
    """The tests are no packages: two files of one name cannot be collected together."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]

    assert sorted(name for name in set(names) if names.count(name) > 1) == []


def core_dependency_lines() -> list[str]:
    """Return the lines between the brackets of pyproject's `dependencies`."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = text.split("\ndependencies = [\n", 1)[1].split("\n]", 1)[0]
    return [line.strip() for line in block.splitlines()]


def tracked_files() -> list[Path]:
    """Return the text files that git tracks; without git, this is not a checkout and there is nothing to ask."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)  # noqa: S607
    if listed.returncode:
        pytest.skip("not a git checkout: no list of tracked files")
    names = [name for name in listed.stdout.decode().split("\0") if name]
    return [ROOT / name for name in names if (ROOT / name).is_file() and is_text(ROOT / name)]


def is_text(path: Path) -> bool:
    """Return whether a file holds text."""
    return b"\0" not in path.read_bytes()


def test_the_migrations_are_one_chain_whose_end_the_store_expects() -> None:
    """Two branches that each add the next number would leave a store that cannot be opened."""
    folder = ROOT / "airflow_llm_provisioning" / "gateways" / "store"
    found = {}
    for path in sorted((folder / "migrations" / "versions").glob("v*.py")):
        text = path.read_text(encoding="utf-8")
        own, before = (re.search(rf"^{name} = (.+)$", text, re.MULTILINE) for name in ("revision", "down_revision"))
        assert own is not None
        assert before is not None
        found[path.name] = (own[1].strip('"'), before[1].strip('"'))
    numbers = [f"{number:04d}" for number in range(1, len(found) + 1)]
    assert list(found.values()) == list(zip(numbers, ["None", *numbers], strict=False))
    assert [name[1:5] for name in found] == numbers
    assert f'HEAD: Final = "{numbers[-1]}"' in (folder / "database.py").read_text(encoding="utf-8")
