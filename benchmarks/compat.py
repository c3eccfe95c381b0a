"""Tries the built wheel on every Airflow and Python that it claims, each in a fresh environment of uv, and prints the
table.

Each Airflow is installed with what the package index had while it was the newest one: its users have about that, by its
own constraints. The last row has the lowest version of each of our direct dependencies. In each environment the tests
of `CHECKS` run: operators, triggers, the shipped DAGs, the page, and whole simulated trials in a DAG run.
"""

import argparse
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
UV: Final = str(Path(sys.prefix) / "bin" / "uv")
PYTHONS: Final = ("3.11", "3.12", "3.13")
CHECKS: Final = {
    "operators": ("tests/operators/test_ray_service.py", "tests/operators/test_experiment_operators.py"),
    "triggers": ("tests/triggers/test_waits.py", "tests/triggers/test_pod_run.py"),
    "DAGs": ("tests/test_dags.py", "tests/test_provider_info.py"),
    "preload": ("tests/test_preload.py",),
    "page": (
        *("tests/ui/test_plugin.py", "tests/ui/test_access.py", "tests/ui/test_targets_view.py"),
        *("tests/ui/test_now_view.py", "tests/ui/test_results_view.py", "tests/ui/test_history_view.py"),
        *("tests/ui/test_owned_view.py", "tests/ui/test_trial_links.py"),
    ),
    "trial": ("tests/test_dag_run.py",),
}
# What the tests need; the provider's own dependencies are in its wheel.
TOOLS: Final = ("hypothesis", "jsonschema", "psycopg[binary]", "pytest", "pytest-asyncio", "pytest-timeout")


@dataclass(frozen=True)
class Row:
    """One Airflow. `until`: the last day of the index that is looked at; None: today's."""

    name: str
    airflow: str
    until: str | None
    lowest: bool = False


ROWS: Final = (
    Row("3.1.8", "apache-airflow==3.1.8", "2026-04-06"),
    Row("3.2.2", "apache-airflow==3.2.2", "2026-07-05"),
    Row("3.3.2", "apache-airflow==3.3.2", None),
    Row("lowest", "apache-airflow==3.1.8", "2026-04-06", lowest=True),
)


def main() -> int:
    """Print the table; 1 if a cell is not `ok`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--airflow", default=",".join(row.name for row in ROWS))
    parser.add_argument("--python", default=",".join(PYTHONS))
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "compat")
    options = parser.parse_args()
    options.folder = options.folder.resolve()
    options.folder.mkdir(parents=True, exist_ok=True)
    wheels = built(options.folder / "wheels")
    rows = [row for row in ROWS if row.name in options.airflow.split(",")]
    pythons = options.python.split(",")
    found = {}
    for row in rows:
        for python in pythons[:1] if row.lowest else pythons:
            found[row.name, python] = tried(row, python, wheels, options.folder / f"{row.name}-{python}")
            print(f"Airflow {row.name}, Python {python}: {found[row.name, python]}", flush=True)
    print(f"\n| Airflow | {' | '.join(f'Python {python}' for python in pythons)} |")
    print(f"|---|{'---|' * len(pythons)}")
    for row in rows:
        cells = (found.get((row.name, python), "not run: one Python is enough") for python in pythons)
        print(f"| {row.name} | {' | '.join(cells)} |")
    return int(any(cell != "ok" for cell in found.values()))


def built(folder: Path) -> list[str]:
    """Build both distributions and return their wheels."""
    shutil.rmtree(folder, ignore_errors=True)
    for source in (ROOT, ROOT / "simulator"):
        subprocess.run([UV, "build", "--quiet", "--wheel", "--out-dir", str(folder), str(source)], check=True)
    return sorted(str(path) for path in folder.glob("*.whl"))


def tried(row: Row, python: str, wheels: list[str], home: Path) -> str:
    """Return `ok`, or what went wrong first."""
    interpreter = python_of(python)
    if interpreter is None:
        return f"no Python {python} on this machine"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    environment = home / "venv"
    log = home / "install.log"
    with log.open("wb") as output:
        subprocess.run([UV, "venv", "--quiet", "--python", interpreter, str(environment)], check=True, stdout=output)
        installed = subprocess.run(install(row, wheels, environment), stdout=output, stderr=output, check=False)
    if installed.returncode:
        return f"not installable ({shown(log)})"
    for what, files in CHECKS.items():
        if not passed(environment, files, home, what):
            return f"{what} failed ({shown(home / what)}.log)"
    shutil.rmtree(environment)
    return "ok"


def shown(path: Path) -> str:
    """Return a path as it is reached from the checkout, or whole."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def install(row: Row, wheels: list[str], environment: Path) -> list[str]:
    """Return the command that fills an environment."""
    command = [UV, "pip", "install", "--quiet", "--python", str(environment / "bin" / "python")]
    if row.until is not None:
        # The simulator's AWS stand-in is no part of an installation beside Airflow.
        newest = ("moto", "py-partiql-parser")
        command += ["--exclude-newer", row.until]
        command += [f"--exclude-newer-package={name}=2026-11-01" for name in newest]
    if row.lowest:
        command += ["--resolution", "lowest-direct"]
    own, simulator = (next(path for path in wheels if Path(path).name.startswith(name)) for name in ("airflow", "llm"))
    tools = [f"{tool}>=0.1" for tool in TOOLS] if not row.lowest else []
    made = [*command, row.airflow, f"{own}[amazon]", simulator, *tools]
    if not row.lowest:
        return made
    # The tools are not what is tried: they are installed as usual, and change nothing that is there.
    usual = [word for word in command if word not in ("--resolution", "lowest-direct")]
    return ["sh", "-c", f"{joined(made)} && {joined([*usual, *TOOLS])}"]


def joined(words: list[str]) -> str:
    """Return a command as a shell reads it."""
    return " ".join(f"'{word}'" for word in words)


def passed(environment: Path, files: tuple[str, ...], home: Path, what: str) -> bool:
    """Run tests with the installed wheel; their output is in `what`.log."""
    # -P and another folder: the checkout's package must not stand in for the wheel. A new environment is compiled while
    # the first trial runs.
    command = [str(environment / "bin" / "python"), "-P", "-m", "pytest", "--quiet", "-W", "default", "-x"]
    command += ["--timeout", "900"]
    command += ["--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml"), *(str(ROOT / file) for file in files)]
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "PYTHON"))}
    with (home / f"{what}.log").open("wb") as output:
        ran = subprocess.run(
            command,
            cwd=home,
            env=inherited | {"AIRFLOW_HOME": str(home / "airflow"), "PATH": path_of(environment)},
            stdout=output,
            stderr=output,
            check=False,
        )
    return ran.returncode == 0


def path_of(environment: Path) -> str:
    """Return PATH with an environment's programs first."""
    return f"{environment / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"


def python_of(version: str) -> str | None:
    """Return an interpreter of this version: one of pyenv's, or one on PATH that runs; None without."""
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    named = [shutil.which(f"python{version}"), sys.executable]
    for path in [*sorted(map(str, pyenv.glob(f"{version}.*/bin/python"))), *(name for name in named if name)]:
        asked = subprocess.run(
            [path, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True, check=False
        )
        if asked.stdout.decode().strip() == version:
            return path
    return None


if __name__ == "__main__":
    sys.exit(main())
