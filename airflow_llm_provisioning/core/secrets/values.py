"""Secrets in nested JSON: by the name of a key, by the place (variables, headers, data of a Secret), and in texts.

One walk for everything that is written: recordings, exports, manifests and differences, rows, events, XCom.
"""

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from airflow_llm_provisioning.core.secrets.commands import (
    declares_secret,
    header_pairs,
    secrets_of_command,
    without_arguments,
)
from airflow_llm_provisioning.core.secrets.names import KEPT_ENV, Named, named, word_set
from airflow_llm_provisioning.core.secrets.spans import is_kept, is_number
from airflow_llm_provisioning.core.secrets.texts import (
    REDACTED,
    Hide,
    hidden,
    is_variable,
    without_secrets,
)

MAX_DEPTH: Final = 100
_CACHED_CHARACTERS: Final = 256
# A shorter name holds no credential of a known format.
_LONG_NAME: Final = 16
_STAMP: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z", re.ASCII)
_JSON_CHARACTERS: Final = 1_000_000
_SECRET_KINDS: Final = frozenset({"Secret", "ConfigMap"})
_SECRET_FIELDS: Final = frozenset({"data", "stringData", "binaryData"})
_USER_OPTIONS: Final = ("-u", "--user", "--proxy-user")
_VALUE: Final = frozenset({"value"})
_NO_FIELDS: Final[frozenset[str]] = frozenset()
# Fields of references to a Secret, and of the volumes that show one (Kubernetes, SecretKeySelector,
# SecretVolumeSource, ServiceAccountTokenProjection).
_REFERENCE: Final = word_set(
    "name key namespace optional items secretName secretKey secretKeyRef secretRef configMapKeyRef valueFrom "
    "fieldRef defaultMode mode audience expirationSeconds path kind apiGroup apiVersion"
)
_OPEN_HEADERS: Final = word_set(
    "host accept accept-encoding accept-language connection content-length content-type date server user-agent"
)


# Names of fields in which nothing is hidden: every object repeats the same few hundred.
_HARMLESS: Final[set[str]] = set()
_REMEMBERED_NAMES: Final = 4096


class Redactor:
    """Replaces secrets in values and texts. `hide`: what stands in place of a secret. `own_fields`: the names of the
    fields with texts that `field` treats in another way than by name and value.
    """

    own_fields: frozenset[str] = _NO_FIELDS

    def __init__(self, hide: Hide = hidden) -> None:
        self._hide = hide
        self._remembers = hide is hidden

    def text(self, text: str, *, command: bool = False) -> str:
        """Return a text without secrets. JSON in a text is read as JSON."""
        if self._remembers and len(text) <= _CACHED_CHARACTERS:
            return _short_text(text, command)
        if text[:1] in ("{", "[") and len(text) <= _JSON_CHARACTERS:
            told = self.json_text(text)
            if told is not None:
                return told
        return without_secrets(text, self._hide, command=command)

    def value(self, value: Any, key: str = "", depth: int = 0) -> Any:
        """Return a copy of JSON without secrets. `key`: where it stands in its parent.

        What is nested deeper than `MAX_DEPTH` is replaced.
        """
        # Data from the wire are str, dict and list, and hundreds of objects a second pass here. A check with an
        # abstract class costs ten times as much.
        if isinstance(value, str):
            return self._string(value, key)
        if isinstance(value, (dict, Mapping, list, tuple)):
            if depth >= MAX_DEPTH:
                return REDACTED
            if isinstance(value, (list, tuple)):
                return self._list(value, key, depth + 1)
            return self._mapping(value, key, depth + 1)
        return self._number(value, key)

    def field(self, name: str, value: Any, depth: int) -> Any:
        """Return the value of a mapping's key without secrets."""
        return self.value(value, name, depth)

    def _string(self, value: str, key: str) -> str:
        kind = named(key) if key else Named.PLAIN
        # Almost every version has stamps that no other one has; they would push the rest out of what is remembered.
        if kind is Named.PLAIN and (len(value) <= 3 or (value[4:5] == "-" and _STAMP.fullmatch(value))):
            return value
        if kind is Named.SECRET or (kind is Named.COUNTED and not is_number(value)):
            return value if is_kept(value) else self._hide(value)
        return self.text(value, command=kind is Named.COMMAND) if len(value) > 3 else value

    def _number(self, value: Any, key: str) -> Any:
        if value is None or isinstance(value, bool) or not key or named(key) is not Named.SECRET:
            return value
        return self._hide(str(value))

    def _mapping(self, value: Mapping[str, Any], key: str, depth: int) -> Any:
        kind = named(key) if key else Named.PLAIN
        if kind is Named.ENVIRONMENT:
            # Other things have an environment too; only names of variables say that it is one of a process.
            loose = key.lower().endswith("environment")
            return {
                name: self.field(name, item, depth)
                if loose and not is_variable(str(name))
                else self._variable(name, item, depth)
                for name, item in value.items()
            }
        if kind is Named.HEADERS:
            return {name: self._header(name, item, depth) for name, item in value.items()}
        if kind is Named.OPAQUE or (kind in (Named.SECRET, Named.COUNTED) and not _REFERENCE.issuperset(value)):
            return self._all(value, depth, numbers=kind is Named.SECRET)
        made = self._fields(value, depth)
        # One by one: what is left of a name can be the name of a neighbour.
        if not _HARMLESS.issuperset(made) and self._changes_a_name(made):
            made = {self._name(name): item for name, item in made.items()}
            # What is left of a name that was a secret itself can say that the value is one.
            made |= {name: self.field(name, made[name], depth) for name in made.keys() - value.keys()}
        return made

    def _hidden_fields(self, value: Mapping[str, Any]) -> frozenset[str]:
        """Return the keys whose values a sibling declares secret: data of a Secret, {name: api_key, value: ...}."""
        kind = value.get("kind")
        if isinstance(kind, str) and kind in _SECRET_KINDS:
            return _SECRET_FIELDS
        if "value" not in value:
            return _NO_FIELDS
        name = value.get("name", value.get("key"))
        named_so = isinstance(name, str) and named(name) in (Named.SECRET, Named.COUNTED)
        return _VALUE if named_so or declares_secret(value) else _NO_FIELDS

    def _list(self, value: Sequence[Any], key: str, depth: int) -> list[Any]:
        kind = named(key) if key else Named.PLAIN
        if kind is Named.ENVIRONMENT:
            return [self._entry(item, depth) for item in value]
        if kind is Named.HEADERS:
            return self._headers(value, depth)
        if kind is Named.OPAQUE:
            return [self._all(item, depth, numbers=False) for item in value]
        if kind in (Named.SECRET, Named.COUNTED):
            return [self.value(item, key, depth) for item in value]
        if kind is Named.COMMAND:
            secrets = secrets_of_command(value)
            made = self._items(value, key, depth)
            return without_arguments(made, secrets, self._hide) if secrets else made
        if header_pairs(value) and named(value[0]) in (Named.SECRET, Named.COUNTED):
            return [value[0], self._header(value[0], value[1], depth)]
        return self._items(value, "", depth)

    def _items(self, value: Sequence[Any], key: str, depth: int) -> list[Any]:
        """Return the items of a list; what follows an option that is named like a secret is one."""
        made: list[Any] = []
        option, of_user = Named.PLAIN, False
        for item in value:
            if not isinstance(item, str):
                option = Named.PLAIN
                made.append(self.value(item, key, depth))
            elif item[:1] == "-" and len(item) > 1:
                option = Named.PLAIN if "=" in item or " " in item else named(item.strip("-"))
                made.append(self.value(item, key, depth))
            elif (
                option is Named.SECRET or (option is Named.COUNTED and not is_number(item)) or (of_user and ":" in item)
            ):
                made.append(item if is_kept(item) else self._hide(item))
            else:
                made.append(self.value(item, key, depth))
            # curl's and httpie's user with a password.
            of_user = item in _USER_OPTIONS
        return made

    def _entry(self, entry: Any, depth: int) -> Any:
        """Return a variable of a container without its value: {name, value}, or `NAME=value`."""
        if isinstance(entry, str) and "=" in entry:
            name, _, value = entry.partition("=")
            return f"{name}={self._variable(name, value, depth)}"
        if not isinstance(entry, Mapping) or "value" not in entry:
            return self.value(entry, "", depth)
        name = str(entry.get("name"))
        return {
            key: self._variable(name, item, depth) if key == "value" else self.field(key, item, depth)
            for key, item in entry.items()
        }

    def _variable(self, name: str, value: Any, depth: int) -> Any:
        if name in KEPT_ENV or value in ("", None):
            return value
        return self._all(value, depth, numbers=True)

    def _headers(self, value: Sequence[Any], depth: int) -> list[Any]:
        if not all(isinstance(item, str) for item in value) or any(":" in item for item in value[::2]):
            return [self._header_entry(item, depth) for item in value]
        # Names and values by turns, as Node.js and ASGI servers have them.
        return [
            self._header(value[at - 1], item, depth) if at % 2 else self._name(item) for at, item in enumerate(value)
        ]

    def _header_entry(self, entry: Any, depth: int) -> Any:
        if isinstance(entry, str) and ":" in entry:
            name, _, value = entry.partition(":")
            return f"{name}: {self._header(name, value.strip(), depth)}"
        if isinstance(entry, (list, tuple)) and len(entry) == 2 and isinstance(entry[0], str):
            return [entry[0], self._header(entry[0], entry[1], depth)]
        if not isinstance(entry, Mapping) or "value" not in entry:
            return self.value(entry, "", depth)
        return {**entry, "value": self._header(str(entry.get("name")), entry["value"], depth)}

    def _header(self, name: str, value: Any, depth: int) -> Any:
        return self.value(value, "", depth) if name.lower() in _OPEN_HEADERS else self._all(value, depth, numbers=True)

    def _all(self, value: Any, depth: int, *, numbers: bool) -> Any:
        """Return a value with every text in it hidden, and with `numbers` every number; references stay."""
        if depth >= MAX_DEPTH:
            return REDACTED
        if isinstance(value, str):
            return value if is_kept(value) else self._hide(value)
        if isinstance(value, Mapping):
            if value and _REFERENCE.issuperset(value):
                return self.value(value, "", depth)
            return {name: self._all(item, depth + 1, numbers=numbers) for name, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._all(item, depth + 1, numbers=numbers) for item in value]
        return self._hide(str(value)) if numbers and value is not None and not isinstance(value, bool) else value

    def _fields(self, value: Mapping[str, Any], depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        hidden_fields, own_fields = self._hidden_fields(value), self.own_fields
        for name, item in value.items():
            if name in hidden_fields:
                made[name] = self._all(item, depth, numbers=True)
            elif item is None or item is True or item is False:
                made[name] = item
            elif type(item) is str and name not in own_fields:
                # What `field` would do, without its two further calls: most fields are texts.
                made[name] = self._string(item, name)
            else:
                made[name] = self.field(name, item, depth)
        if "args" in value and "command" in value:
            made["args"] = self._arguments(value, made["args"])
        return made

    def _arguments(self, container: Mapping[str, Any], made: Any) -> Any:
        """Return a container's arguments, read together with the program that its command names."""
        secrets = secrets_of_command(container["command"], container["args"]) if isinstance(made, list) else None
        return without_arguments(made, secrets, self._hide) if secrets else made

    def _changes_a_name(self, made: Mapping[Any, Any]) -> bool:
        for name in made:
            if self._name(name) != name:
                return True
        if self._remembers and len(_HARMLESS) < _REMEMBERED_NAMES:
            _HARMLESS.update(name for name in made if type(name) is str and len(name) <= _CACHED_CHARACTERS)
        return False

    def _name(self, name: Any) -> Any:
        return name if not isinstance(name, str) or len(name) < _LONG_NAME else self.text(name)

    def json_text(self, text: str) -> str | None:
        """Return a text that is JSON without secrets; None for a text that is none."""
        try:
            told = json.loads(text, object_pairs_hook=_object)
        except (ValueError, RecursionError):
            return None
        kept = self.value(told)
        return text if kept == told else json.dumps(kept, ensure_ascii=False)


_PLAIN: Final = Redactor()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; a key that stands twice is a ValueError, because a parser shows one of its values only."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key stands twice")
    return made


@lru_cache(maxsize=8192)
def _short_text(text: str, command: bool) -> str:
    if text[:1] in ("{", "["):
        told = _PLAIN.json_text(text)
        if told is not None:
            return told
    return without_secrets(text, command=command)


def redacted_text(text: str) -> str:
    """Return a text that may be written: a log line, a message, a reason."""
    return _PLAIN.text(text)


def redacted_value(value: Any) -> Any:
    """Return a copy of JSON that may be written."""
    return _PLAIN.value(value)
