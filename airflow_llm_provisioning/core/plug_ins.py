"""Entry points by which other distributions add treatments and clouds, read in one pass over what is installed.

A pass opens the metadata of every installed distribution (an Airflow installation has hundreds). All groups share one
pass; a process makes it again only when its import path has changed.
"""

import sys
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any


def plug_ins(group: str) -> Sequence[EntryPoint]:
    """Return the entry points of a group, in the order the distributions are found."""
    return tuple(_installed(tuple(sys.path)).select(group=group))


def forget_plug_ins() -> None:
    """Look anew at the next question (after a distribution was installed into a running process)."""
    _installed.cache_clear()


@lru_cache(maxsize=1)
def _installed(import_path: tuple[str, ...]) -> Any:  # EntryPoints; until Python 3.11 SelectableGroups
    return entry_points()
