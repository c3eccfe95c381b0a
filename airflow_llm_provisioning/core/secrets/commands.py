"""Secrets in a command that is a list of arguments, as probes and containers have it.

Which argument is one often stands in another argument: `["redis-cli", "-a", "..."]`. So the list is read as the line
that it is, and what the line hides is hidden in the list.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from airflow_llm_provisioning.core.secrets.texts import REDACTED, without_secrets

# A script is an argument too, and is read as a text of its own.
_ARGUMENT_AT_MOST: Final = 300
_ARGUMENTS_AT_MOST: Final = 200


def secrets_of_command(*lists: Any) -> frozenset[str]:
    """Return the arguments, and the ends of joined ones (`-pX`), that are secrets. `lists`: command and arguments."""
    words = [item for items in lists if isinstance(items, (list, tuple)) for item in items]
    if not 1 < len(words) <= _ARGUMENTS_AT_MOST or not all(isinstance(word, str) for word in words):
        return frozenset()
    line = " ".join(word for word in words if _is_argument(word))
    found: set[str] = set()

    def note(secret: str) -> str:
        found.add(secret)
        return REDACTED

    without_secrets(line, note)
    return frozenset(found)


def without_arguments(items: Iterable[Any], secrets: frozenset[str], hide: Callable[[str], str]) -> list[Any]:
    """Return the items of a list of arguments without the secrets that its line was found to hold."""
    return [_without(item, secrets, hide) if isinstance(item, str) else item for item in items]


def _without(item: str, secrets: frozenset[str], hide: Callable[[str], str]) -> str:
    if item in secrets:
        return hide(item)
    for secret in secrets if item[:1] == "-" else ():
        if item.endswith(secret):
            return item[: -len(secret)] + hide(secret)
    return item


def _is_argument(word: str) -> bool:
    return len(word) <= _ARGUMENT_AT_MOST and len(word.split()) == 1


def header_pairs(items: Sequence[Any]) -> bool:
    """Return whether a list is a header's name and its value."""
    return len(items) == 2 and all(isinstance(item, str) for item in items) and "-" in items[0]


def declares_secret(entry: Mapping[str, Any]) -> bool:
    """Return whether an entry says itself that its value is one (Azure's tasks: `isSecret`; Terraform: `sensitive`)."""
    return entry.get("isSecret") is True or entry.get("sensitive") is True
