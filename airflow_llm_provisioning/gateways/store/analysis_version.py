"""The version of the analysis code: the package's version and a fingerprint of the sources of its core.

The fingerprint changes with every change of the sources, so no number has to be raised by hand. A changed comment
changes it too; a replay then reports that another version computed the same result.
"""

import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from airflow_llm_provisioning import __version__


@cache
def analysis_version() -> str:
    """Return the version, as `0.1.0+core.3f9a1c07b2d4`."""
    digest = hashlib.sha256()
    for name, source in sorted(_sources(files("airflow_llm_provisioning").joinpath("core"), "core")):
        digest.update(f"{name}\n{len(source)}\n".encode())
        digest.update(source)
    return f"{__version__}+core.{digest.hexdigest()[:12]}"


def _sources(folder: Traversable, path: str) -> Iterator[tuple[str, bytes]]:
    for item in folder.iterdir():
        name = f"{path}/{item.name}"
        if item.is_dir():
            yield from _sources(item, name)
        elif item.name.endswith(".py"):
            # The same text with other line ends is the same code.
            yield name, item.read_bytes().replace(b"\r\n", b"\n")
