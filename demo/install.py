"""Make the environment of `make demo`, `make ui`, `make test` and `make docs`: a virtual environment, and in it uv,
this package and the extras asked for.

It runs on the system's Python with the standard library alone. It prints what it will download before it does, and does
nothing if nothing changed.
"""

from __future__ import annotations  # so that an old Python reaches the version check

import argparse
import hashlib
import json
import os
import ssl
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UV = "uv==0.13.9"
CLOUD_EXTRAS = {"eks": "amazon", "gke": "google", "aks": "microsoft-azure"}

# Measured 2026-11 with the versions of constraints.txt, in MB: (download, on disk byte-compiled). The value of a cloud
# is its addition to the rest.
BASE_MB = (180, 970)
EXTRA_MB = {
    "amazon": (10, 70),
    "google": (295, 1510),
    "microsoft-azure": (10, 175),
    "dev": (49, 157),
    "docs": (25, 110),
    "stack": (30, 105),
}


def main() -> int:
    """Install what is missing; 0 when the environment is ready."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv")
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--clouds", help="for a demonstration with these clouds: eks,gke,aks")
    wanted.add_argument("--dev", action="store_true", help="for the checks: every cloud, and the tools")
    wanted.add_argument("--stack", metavar="CLOUDS", help="for the distributed Airflow: eks,gke,aks")
    wanted.add_argument("--docs", action="store_true", help="for the documentation site")
    options = parser.parse_args()
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        found = ".".join(map(str, sys.version_info[:3]))
        say(f"Python 3.11 to 3.13 is needed, but {sys.executable} is {found}: install it, or use: make PYTHON=...")
        return 1
    extras = wanted_extras(options)
    if extras is None:
        say(f"CLOUDS={options.clouds or options.stack}: choose from {', '.join(CLOUD_EXTRAS)}, separated by commas.")
        return 1
    return make(options.venv.absolute(), extras)


def wanted_extras(options: argparse.Namespace) -> set[str] | None:
    """Return the extras for the parsed options, or None if one of the clouds is unknown."""
    if options.docs:
        return {"docs"}
    if options.dev:
        return {"simulator", "stack", "dev", *CLOUD_EXTRAS.values()}
    found = demo_extras(options.stack or options.clouds)
    return found | {"stack"} if found and options.stack else found


def demo_extras(clouds: str) -> set[str] | None:
    """Return the extras for a demonstration of these clouds, or None for an unknown cloud."""
    names = {cloud.strip() for cloud in clouds.split(",") if cloud.strip()}
    if not names or names - set(CLOUD_EXTRAS):
        return None
    return {"simulator", *(CLOUD_EXTRAS[name] for name in names)}


def make(venv: Path, extras: set[str]) -> int:
    """Update the environment to pyproject.toml and constraints.txt, with at least these extras."""
    stamp = venv / "llm-provisioning-installed.json"
    installed = json.loads(stamp.read_text()) if stamp.exists() else {"content": "", "extras": []}
    content = hashlib.sha256(
        b"".join(
            (ROOT / name).read_bytes() for name in ("pyproject.toml", "simulator/pyproject.toml", "constraints.txt")
        )
        + f"{UV} {sys.version_info[:2]} {ROOT}".encode()
    ).hexdigest()
    missing = extras - set(installed["extras"])
    if installed["content"] == content and not missing:
        return 0
    if not can_make_environments():
        return 1
    announce(venv, missing, fresh=not stamp.exists())
    everything = sorted(extras | set(installed["extras"]))
    try:
        if not (venv / "bin" / "uv").exists():
            run(sys.executable, "-m", "venv", str(venv))
            run(str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", UV)
        run(
            *(str(venv / "bin" / "uv"), "pip", "install", "--quiet", "--python", str(venv / "bin" / "python")),
            *("--constraints", str(ROOT / "constraints.txt"), "--editable", f"{ROOT}[{','.join(everything)}]"),
        )
    except subprocess.CalledProcessError as error:
        say(f"The environment {venv} could not be created: `{' '.join(error.cmd)}` ended with {error.returncode}.")
        return 1
    stamp.write_text(json.dumps({"content": content, "extras": everything}))
    say("The environment is ready.")
    return 0


def can_make_environments() -> bool:
    """Return whether this Python can create an environment with pip; print what is missing (Debian has a separate
    package).
    """
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        version = ".".join(map(str, sys.version_info[:2]))
        say(
            f"{sys.executable} cannot create virtual environments: its module ensurepip is missing. On Debian and "
            f"Ubuntu: apt-get install python{version}-venv; then run make again."
        )
        return False
    return True


def announce(venv: Path, extras: set[str], *, fresh: bool) -> None:
    """Print what will be downloaded, and its size."""
    parts = [BASE_MB] if fresh else []
    parts += [EXTRA_MB[extra] for extra in extras if extra in EXTRA_MB]
    download, disk = (sum(part[index] for part in parts) for index in (0, 1))
    base = "Airflow, the simulator and this package" if "simulator" in extras else "Airflow and this package"
    what = [base] if fresh else ["what changed in this package's requirements"]
    what += [f"the extra [{extra}]" for extra in sorted(extras) if extra in EXTRA_MB]
    say(f"Installing into {venv}, from the Python package index: {', '.join(what)}.")
    if parts:
        say(f"About {download} MB to download (less with a cache) and {disk} MB on disk.")
    if "google" in extras:
        say("Most of it is Google's provider and its dependencies; CLOUDS=eks or CLOUDS=aks do not need it.")


def run(*command: str) -> None:
    """Run a program and show its output."""
    # An Airflow that is not byte-compiled needs 15 s and more to start.
    environment = {"UV_COMPILE_BYTECODE": "1"}
    if system_has_authorities():
        # uv has its own list of certificate authorities; a company's authority is in the system's list only.
        environment["UV_SYSTEM_CERTS"] = "1"
    subprocess.run(command, check=True, env=environment | dict(os.environ))


def system_has_authorities() -> bool:
    """Return whether this machine has its own certificate authorities."""
    known = ssl.get_default_verify_paths()
    folder = Path(known.openssl_capath)
    return known.cafile is not None or (folder.is_dir() and any(folder.iterdir()))


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
