"""Commands that other distributions add by the entry point group `llm_provisioning.commands`.

An entry point names a function that takes argparse's sub-parsers and adds one parser with a `command` default. The
commands of the simulator are known here by name only, so that a user without it is told how to install it.
"""

import argparse
from importlib.metadata import entry_points
from typing import Any, Final

from airflow_llm_provisioning.exceptions import MissingExtraError

GROUP: Final = "llm_provisioning.commands"
_OF_THE_SIMULATOR: Final = {
    "simulator": "serve simulated clusters and cloud APIs on 127.0.0.1",
    "sweep": "show how each simulated reduction moves over every assumed range",
}


def add_plugin_commands(commands: Any) -> None:
    """Add every installed plug-in command; for a command of the simulator that is not installed, add its refusal."""
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    for name in sorted(found):
        found[name].load()(commands)
    for name, text in _OF_THE_SIMULATOR.items():
        if name not in found:
            _add_refusal(commands, name, text)


def _add_refusal(commands: Any, name: str, text: str) -> None:
    parser = commands.add_parser(name, help=f"{text} (needs llm-provisioning-simulator)")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)

    def refuse(parsed: argparse.Namespace) -> int:
        raise MissingExtraError(
            f"The command {name!r} is part of the simulator, which is not installed: "
            "pip install llm-provisioning-simulator."
        )

    parser.set_defaults(command=refuse)
