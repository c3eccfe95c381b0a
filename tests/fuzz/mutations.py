"""Seeded mutations of texts, bytes and JSON: the same seed gives the same input."""

import copy
import random
from collections.abc import Sequence
from typing import Any

PIECES = (
    "", " ", "\n", "\t", "\0", "\r", "\x1b[2J", "\ud800".encode("utf-8", "surrogatepass").decode("utf-8", "replace"),
    "-", "--", "---\n", "[", "]", "{", "}", "[" * 2000, "{" * 2000, "- " * 1500, '{"a":' * 1200, "&a [", "*a", "<<: ",
    "!!python/object:os.system x", "null", "~", "true", "NaN", "1e999", "9" * 5000, "-1", "0x" + "f" * 300, "{{ x }}",
    "{% for x in y %}", "../../..", "/etc/passwd", "=1+1", "'; id #", '"', "`id`", "$(id)", "%s" * 50, "token='" * 200,
    "password=[" * 200, "https://u:p@h/", "a" * 20_000, "🙂", "\u202e", "api_key: x", "data: ", "env: ",
    "kind: Secret\n",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 2**70, 1e308, "", "x", " ", "a\nb", "\0", "../..", "x" * 5000, [], {}, [[]], [None], [5],
    {"": ""}, {"a": None}, {"api_key": "x"}, ["--api-key", "x"], {"env": {"A": "b"}}, [{"name": "A", "value": 5}],
)  # fmt: skip


def mutated_text(rng: random.Random, text: str) -> str:
    """Return a text with one to four pieces deleted, doubled, replaced, moved or put in."""
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(text) + 1)
        end = min(len(text), start + rng.choice((0, 1, 5, 50, 2000)))
        cut = text[start:end]
        put = rng.choice((rng.choice(PIECES), cut * rng.choice((2, 2, 40)), cut[::-1], _other_digits(rng, cut)))
        text = text[:start] + put + text[end:]
    return text


def mutated_bytes(rng: random.Random, data: bytes) -> bytes:
    """Return bytes with one to four places changed, dropped, doubled or cut off."""
    made = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(made) + 1)
        end = min(len(made), start + rng.choice((1, 1, 8, 400)))
        made[start:end] = rng.choice((b"", rng.randbytes(rng.randint(1, 40)), bytes(made[start:end]) * 3, bytes(9)))
    return bytes(made[: rng.randrange(len(made) + 1)]) if rng.random() < 0.1 else bytes(made)


def mutated_value(rng: random.Random, value: Any) -> Any:
    """Return a copy of JSON with one to three values replaced, deleted, doubled, wrapped or nested deeply."""
    made = {"root": copy.deepcopy(value)}
    for _ in range(rng.randint(1, 3)):
        holder, key = _place(rng, made)
        old = holder[key]
        how = rng.random()
        if how < 0.15 and holder is not made:
            del holder[key]
        elif how < 0.3 and isinstance(old, str):
            holder[key] = mutated_text(rng, old)
        elif how < 0.4:
            holder[key] = [old, old]
        elif how < 0.5:
            holder[key] = {rng.choice(("a", "env", "api_key", "value", "a\nb")): old}
        elif how < 0.55:
            holder[key] = _deep(old, rng.choice((20, 95, 250)))
        else:
            holder[key] = copy.deepcopy(rng.choice(VALUES))
    return made["root"]


def _place(rng: random.Random, made: dict[str, Any]) -> tuple[Any, Any]:
    holder: Any = made
    key: Any = "root"
    while rng.random() < 0.85:
        inner = holder[key]
        keys: Sequence[Any] = (
            list(inner) if isinstance(inner, dict) else range(len(inner)) if isinstance(inner, list) else ()
        )
        if not keys:
            break
        holder, key = inner, rng.choice(keys)
    return holder, key


def _deep(value: Any, levels: int) -> Any:
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


def _other_digits(rng: random.Random, text: str) -> str:
    return "".join(rng.choice("0123456789") if letter.isdigit() else letter for letter in text)
