"""Files that only their owner may read: results, traces and exports hold what a cluster said. Like `airflow.cfg`."""

import os
import re
import stat
from pathlib import Path
from typing import Final

from airflow_llm_provisioning.exceptions import ConfigurationError

_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]{0,254}")


def private_folder(path: Path) -> Path:
    """Make a folder and its missing parents, mode 0700; existing ones stay as they are."""
    missing = []
    for folder in (path, *path.parents):
        if folder.exists():
            break
        missing.append(folder)
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
    return path


def private_file(path: Path) -> Path:
    """Make an empty file, mode 0600, and its folder; an existing file stays as it is."""
    private_folder(path.parent)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    return path


def write_private(path: Path, content: str | bytes) -> None:
    """Write a file of mode 0600, also where one with wider rights existed. A device such as /dev/null keeps its own."""
    private_folder(path.parent)
    data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            os.fchmod(file.fileno(), 0o600)
        file.write(data)


def child_of(folder: Path, name: str, what: str) -> Path:
    """Return the path of `name` directly inside `folder`. Raises ConfigurationError for a name that leads elsewhere."""
    if not _PLAIN_NAME.fullmatch(name) or name.strip(". ") == "":
        raise ConfigurationError(
            f"{what} {name[:80]!r} cannot be the name of a file in {folder}: allowed are letters, digits, dots, "
            "underscores, spaces and hyphens."
        )
    return folder / name
