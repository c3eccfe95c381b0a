"""Commands that other distributions add by the entry point group `llm_provisioning.commands`.

An entry point names a function that takes argparse's sub-parsers and adds one parser with a `command` default. The
commands of the simulator are known here by name only, so that a user without it is told how to install it.
"""

import argparse
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from airflow_llm_provisioning.core.one_line import one_line
from airflow_llm_provisioning.exceptions import MissingExtraError

GROUP: Final = "llm_provisioning.commands"
_OF_THE_SIMULATOR: Final = {
    "simulator": "serve simulated clusters and cloud APIs on 127.0.0.1",
    "sweep": "show how each simulated reduction moves over every assumed range",
}


def add_plugin_commands(commands: Any) -> None:
    """Add every installed plug-in command.

    A command that cannot be loaded refuses when it is called, so that the other commands still work. The simulator's
    commands refuse in the same way when it is not installed.
    """
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    for name in sorted(found.keys() | _OF_THE_SIMULATOR.keys()):
        refusal = _add(commands, found[name]) if name in found else _not_installed(name)
        if refusal is not None:
            _add_refusal(commands, name, refusal)


def _add(commands: Any, entry: EntryPoint) -> str | None:
    """Add one command; return why it cannot be loaded, or None."""
    try:
        add = entry.load()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - code of others must not take the other commands with it
        owner = entry.dist.name if entry.dist else entry.module
        told = one_line(str(error), 300).rstrip(".")
        told = told if isinstance(error, ImportError) else f"{type(error).__name__}: {told}"
        return f"The command {entry.name!r} of {owner} cannot be loaded: {told}. Reinstall it: pip install {owner}."
    add(commands)
    return None


def _not_installed(name: str) -> str:
    return (
        f"The command {name!r} is part of the simulator, which is not installed: "
        "pip install llm-provisioning-simulator."
    )


def _add_refusal(commands: Any, name: str, refusal: str) -> None:
    text = _OF_THE_SIMULATOR.get(name, "not available")
    # No prefix character: every option of the absent command is taken, so that the refusal is what the user reads.
    parser = commands.add_parser(name, help=f"{text} (cannot be run here)", prefix_chars="\0", add_help=False)
    parser.add_argument("rest", nargs="*", help=argparse.SUPPRESS)

    def refuse(_: argparse.Namespace) -> int:
        raise MissingExtraError(refusal)

    parser.set_defaults(command=refuse)
