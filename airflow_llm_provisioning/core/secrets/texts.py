"""Secrets in a text: `api_key=...`, `'token': '...'`, `--password ...`, `export NAME=...`, and known formats.

A log, a message, a command or an argument is such a text. Nothing is parsed: a name that says so hides the value that
follows it, however it is quoted. The time is linear in the length of the text.
"""

import re
from collections.abc import Callable
from typing import Final

from airflow_llm_provisioning.core.secrets.base64_texts import without_encoded
from airflow_llm_provisioning.core.secrets.names import KEPT_ENV, Named, in_query, named
from airflow_llm_provisioning.core.secrets.shapes import without_shapes
from airflow_llm_provisioning.core.secrets.spans import (
    NESTED,
    QUERY,
    Span,
    bare_span,
    bracket_span,
    is_kept,
    is_number,
    value_span,
    word_span,
)
from airflow_llm_provisioning.core.secrets.told import FURTHER_RULES

REDACTED: Final = "<redacted>"
Hide = Callable[[str], str]
"""Returns what stands in place of a secret; it begins with `<redacted`."""

_HINTS: Final = (
    "key", "token", "pass", "pwd", "secret", "cred", "auth", "cookie", "bearer", "jwt", "env", "declare", "headers",
    "export", "pw=", "pw:", "sig=", "signature=", "code=", "sas=", "_pat", "header", "value", "docker", "assertion",
    "saml", "sig%3d", "signature%3d", "u0026sig", "amp;sig", "kennwort", "contrase", "setx ",
)  # fmt: skip
# Possessive, and only at the beginning of a word: a long word is read once.
_ASSIGNED: Final = re.compile(
    r"(?<![\w.\-])(?P<name>[\w.\-]++)(?P<sep>\\*(?:\"\"|[\"'`])?\]?[ \t]{0,8}(?:=>|:=|[=:])(?!=|//)[ \t]{0,8})"
)
_OPTION: Final = re.compile(r"(?<![\w.\-])(?P<name>--?[A-Za-z][\w.\-]*+)(?P<sep>[ \t]++|[\"'][, ][ \t]*+)(?=[^\s\-])")
_LISTED: Final = re.compile(
    r"(?<![\w.\-])name\\*[\"']?\s{0,4}[:=]\s{0,4}\\*[\"']?(?P<name>[\w.\-]+)\\*[\"']?"
    # In YAML the value stands in the next line.
    r"(?:\s{0,4},\s{0,4}|[ \t]{0,8}\n[ \t]{0,80})\\*[\"']?value"
    r"(?P<sep>\\*[\"']?\s{0,4}[:=]\s{0,4})",
    re.IGNORECASE,
)
_EXPORT: Final = re.compile(
    r"(?<![\w.\-])(?:export|setenv|(?:declare|typeset)[ \t]+-x|set[ \t]+-[gUx]{1,3}|ENV|ARG|configure[ \t]+set|setx)"
    r"[ \t]+(?P<name>[A-Za-z_]\w*+)(?P<sep>[= ][ \t]{0,8})"
)
# Python and PHP: os.environ.setdefault("NAME", "value"), putenv("NAME", "value").
_CALLED: Final = re.compile(
    r"(?<![\w\-])(?:environ\.setdefault|(?:os\.)?putenv)\(\s{0,4}[\"'](?P<name>\w+)[\"'](?P<sep>\s{0,4},\s{0,4})"
)
_ELEMENT: Final = re.compile(r"<(?P<name>[A-Za-z][\w.\-]*+)(?P<sep>>(?:<!\[CDATA\[)?)(?=[^\s<])")
# In a sentence a name may have a space. Not `secret key`: that is the key inside a Secret, which explains a failure.
_SPACED: Final = re.compile(
    r"(?<![\w.\-])(?P<name>(?:api|access|account|auth) (?:key|token)|pass ?(?:word|phrase)"
    r"|(?:master|encryption|signing|shared|storage|licen[cs]e|subscription) key)"
    r"(?P<sep>[\"']?(?: provided| is)?[ \t]{0,4}[:=][ \t]{0,4})",
    re.IGNORECASE,
)
_FURTHER_KEYS: Final = re.compile(r"(?:[ \t]+(?![-|&;<>(])[^\s\"'`<>;|&]+)*")
# What changes how a text looks, and not what it says: colours, characters without a width, wide signs.
_UNSEEN: Final = re.compile(r"\x1b\[[\d;]*m|[\u200b-\u200d\u2060\ufeff\u00ad\uff1a\uff1d]")
_WIDE: Final = {"\uff1a": ":", "\uff1d": "="}
_VARIABLE: Final = re.compile(r"[A-Z_][A-Z0-9_]*")
_KEPT_LIST: Final = re.compile(
    rf"(?<![\w.\-])(?:{'|'.join(sorted(KEPT_ENV))})[\"']?[ \t]{{0,8}}[:=][ \t]{{0,8}}[^\n:={{}}]++(?=\n|$|\}})"
)


def hidden(_: str) -> str:
    """Return the replacement of every secret."""
    return REDACTED


def is_variable(name: str) -> bool:
    """Return whether a name is one of an environment variable: upper case."""
    return _VARIABLE.fullmatch(name) is not None


def without_secrets(text: str, hide: Hide = hidden, *, command: bool = False) -> str:
    """Return a text without secrets. `command`: it is a command line, so every `NAME=value` is a variable of it."""
    if ("\x1b" in text or not text.isascii()) and _UNSEEN.search(text):
        return _without_unseen(text, hide, command)
    text = without_encoded(without_shapes(text, hide), hide, without_secrets)
    hinted = _is_hinted(text.lower())
    if hinted:
        text = _replaced(_LISTED, text, hide, _listed)
        text = _replaced(_EXPORT, text, hide, _exported)
        text = _replaced(_CALLED, text, hide, _exported)
        text = _replaced(_ELEMENT, text, hide, _option) if "</" in text else text
        text = _replaced(_OPTION, text, hide, _option)
        text = _replaced(_SPACED, text, hide, _spaced)
        for mark, pattern, find in FURTHER_RULES:
            text = _replaced(pattern, text, hide, find) if mark in text else text
    if hinted or (command and "=" in text):
        text = _replaced(_ASSIGNED, text, hide, _variable if command else _assigned)
    return text


def _without_unseen(text: str, hide: Hide, command: bool) -> str:
    """Return a text as it was if it says no secret, else without its colours too: they stand inside names."""
    plain = _UNSEEN.sub(lambda match: _WIDE.get(match[0], ""), text)
    told = without_secrets(plain, hide, command=command)
    return text if told == plain else told


def _is_hinted(lowered: str) -> bool:
    # A loop takes half the time of any() with a generator.
    for hint in _HINTS:  # noqa: SIM110
        if hint in lowered:
            return True
    return False


Find = Callable[[str, "re.Match[str]"], Span | None]
"""Returns where the secret stands that a name announces, or None."""


def _replaced(pattern: "re.Pattern[str]", text: str, hide: Hide, find: Find) -> str:
    parts: list[str] = []
    done = 0
    for match in pattern.finditer(text):
        if match.start() < done:
            continue
        span = find(text, match)
        if span is not None and not is_kept(text[slice(*span)]):
            parts += [text[done : span[0]], hide(text[slice(*span)])]
            done = span[1]
    return "".join([*parts, text[done:]]) if parts else text


def _assigned(text: str, match: "re.Match[str]") -> Span | None:
    name, start = match["name"].strip("-."), match.start()
    if text[start - 1 : start] in ("?", "&") and start > 0:
        return bare_span(QUERY, text, match.end()) if in_query(name) and "=" in match["sep"] else None
    kind = named(name)
    if kind is Named.ENVIRONMENT:
        if text[match.end() : match.end() + 1] == "{":
            span = bracket_span(text, match.end())
        else:
            nested = NESTED.match(text, match.end()) if match["sep"].strip() == ":" else None
            span = nested.span("body") if nested else None
        return None if span is None or _has_no_secret_left(text[slice(*span)]) else span
    if kind not in (Named.SECRET, Named.COUNTED):
        return None
    span = value_span(text, match.end(), name, prose=":" in match["sep"] and "=" not in match["sep"])
    return None if span is None or (kind is Named.COUNTED and is_number(text[slice(*span)])) else span


def _has_no_secret_left(variables: str) -> bool:
    """Return whether each of some variables is one that is kept, or was hidden before. Variables do not nest: a further
    mapping of them among them is no such text, so that a chain of them is read once.
    """
    # A comma is also a part of a value that is kept: what follows it is no entry of its own.
    variables = _KEPT_LIST.sub(lambda match: match[0].replace(",", " "), variables)
    for entry in re.split(r"[\n,]", variables):
        name, sign, value = (part.strip(" \t\r\\\"'") for part in re.split(r"([:=])", f"{entry}:", maxsplit=1)[:3])
        last = entry.rstrip().rpartition(":")
        if not last[2] and last[1] and named(last[0].split(" ")[-1].strip("\\\"'#")) is Named.ENVIRONMENT:
            return False
        if not entry.strip() or entry.lstrip().startswith("#"):
            continue
        if not re.search(r"[:=]", entry):
            return False
        value = value.removesuffix(":").rstrip("\\\"' ") if sign else value
        if name not in KEPT_ENV and value and not is_kept(value):
            return False
    return True


def _variable(text: str, match: "re.Match[str]") -> Span | None:
    name = match["name"]
    if "=" in match["sep"] and _VARIABLE.fullmatch(name) and text[match.start() - 1 : match.start()] not in ("?", "&"):
        span = None if name in KEPT_ENV else word_span(text, match.end())
        # A number in a script is a counter or a limit (KubeRay's init container sets SECONDS=0).
        return None if span is None or (is_number(text[slice(*span)]) and named(name) is Named.PLAIN) else span
    return _assigned(text, match)


def _exported(text: str, match: "re.Match[str]") -> Span | None:
    return None if match["name"] in KEPT_ENV else word_span(text, match.end())


def _listed(text: str, match: "re.Match[str]") -> Span | None:
    return None if match["name"] in KEPT_ENV else value_span(text, match.end(), "", prose=False)


def _option(text: str, match: "re.Match[str]") -> Span | None:
    kind = named(match["name"].strip("-"))
    if kind not in (Named.SECRET, Named.COUNTED):
        return None
    span = value_span(text, match.end(), "", prose=True)
    if span is None or (kind is Named.COUNTED and is_number(text[slice(*span)])):
        return None
    # vLLM's option takes several keys.
    further = _FURTHER_KEYS.match(text, span[1]) if _takes_several(text, match) else None
    return (span[0], further.end()) if further else span


def _takes_several(text: str, match: "re.Match[str]") -> bool:
    return (
        match["name"].endswith(("api-key", "api_key")) and "vllm" in text[max(0, match.start() - 500) : match.start()]
    )


def _spaced(text: str, match: "re.Match[str]") -> Span | None:
    return value_span(text, match.end(), "", prose=True)
