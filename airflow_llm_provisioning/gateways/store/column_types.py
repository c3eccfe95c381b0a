"""Column types that keep the same values in every database.

SQLite takes a text of any length with any character, and a JSON value with NaN. PostgreSQL refuses a longer text, the
character U+0000 and NaN (postgresql.org/docs/16: datatype-character, datatype-json). Such texts come from a cluster's
own sentences. They must not keep a trial's row from being written, so they are made fit in one place.
"""

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import JSON, DateTime, Dialect, String, Text
from sqlalchemy.types import TypeDecorator

# U+0000, and halves of a surrogate pair, which UTF-8 has no bytes for.
_UNFIT: Final = re.compile("[\x00\ud800-\udfff]")
_REPLACEMENT: Final = "\ufffd"


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC instant; databases without zones (SQLite, MySQL) keep it naive and get it back aware."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive instants: their time zone is unknown."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone; the store keeps aware instants only")
        value = value.astimezone(UTC)
        return value if dialect.name == "postgresql" else value.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return it aware."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Name(TypeDecorator[str]):
    """A text of limited length that queries compare with. What a database cannot keep is replaced by U+FFFD."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Return it as it is kept."""
        return None if value is None else fit_text(value)


class LongText(TypeDecorator[str]):
    """A text of any length. What a database cannot keep is replaced by U+FFFD."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Return it as it is kept."""
        return None if value is None else fit_text(value)


class PlainJson(TypeDecorator[Any]):
    """A JSON value. A number that JSON does not have (NaN, infinity) is missing: null."""

    impl = JSON
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Return it as it is kept."""
        return fit_json(value)


def fit_text(text: str) -> str:
    """Return a text without what a database cannot keep."""
    told = str(text)
    # Almost every text is ASCII without the one character of it that no database keeps.
    return told if told.isascii() and "\0" not in told else _UNFIT.sub(_REPLACEMENT, told)


def fit_json(value: Any) -> Any:
    """Return a JSON value whose texts and numbers every database keeps."""
    if isinstance(value, str):
        return fit_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {fit_text(key): fit_json(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [fit_json(item) for item in value]
    return value
