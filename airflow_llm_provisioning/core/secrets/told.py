"""Secrets in a text that no sign announces: in a pair, in a URL inside another text, in pydantic's errors, in prose."""

import re
from collections.abc import Callable
from typing import Final

from airflow_llm_provisioning.core.secrets.names import Named, in_query, named, word_set
from airflow_llm_provisioning.core.secrets.spans import QUERY, Span, bare_span, quoted_span, value_span

# A header or variable beside its value, as HTTP clients and `os.getenv` have them: ("x-api-key", "value").
_PAIR: Final = re.compile(
    r"(?:\(|\[\s{0,4}\[|\],\s{0,4}\[)\s{0,4}b?(?P<quote>\\*[\"'])(?P<name>[\w.\-]{1,100})(?P=quote)"
    r"\s{0,4},\s{0,4}(?=b?\\*[\"'])"
)
# A parameter of a URL inside another URL, inside HTML, or inside JSON as Go writes it (encoding/json, HTMLEscape).
_INNER: Final = re.compile(r"(?:%(?:26|3F)|\\u0026|&amp;)(?P<name>[\w.\-]{1,100})(?P<sep>%3D|\\u003d|=)", re.IGNORECASE)
_INNER_VALUE: Final = re.compile(r"(?:[^\s&#\"'`<>\\%]|%(?!26))+")
# pydantic's errors name the field in a line of its own (pydantic-core, src/errors/validation_exception.rs).
_LOCATED: Final = re.compile(
    # A sentence of one line has spaces in place of the line's end.
    r"(?<![\w.\-])(?P<name>[\w.\-]{1,200})(?:\n|\\n)?[ \t]{2,8}(?=[A-Z])[^\n]{1,300}?input_value="
)
# In prose a word is a value if it holds a digit beside letters. `secret X` names an object of Kubernetes.
_PROSE: Final = re.compile(
    r"(?P<name>[Pp](?i:ass(?:word|wd|phrase|code))|[Aa](?i:pi|ccess)[ ][Kk](?i:ey)|[Tt](?i:oken))(?: is| was)?"
    r"[ \t]{1,8}(?P<quote>\\*[\"'`]?)(?P<value>[\w.~+/!@#$%^&*-]{6,200}={0,2})(?P=quote)(?=[\s.,;:)]|$)"
)
_BEFORE: Final = re.compile(r"(?:(?:\A|(?<=[\s\"'`(\[.,;:=>]))(?P<before>[A-Za-z]{1,20})[ _-]|(?<![\w-]))\Z")
_SPOKEN: Final = re.compile(
    r"(?=\S*[A-Za-z])(?=\S*\d)(?!/|(?:sha|scram|md5|bcrypt|argon|pbkdf|base|x509|utf))", re.IGNORECASE
)
_LEXED: Final = word_set("unexpected unknown syntax added missing")
_SECRET: Final = (Named.SECRET, Named.COUNTED)


def _paired(text: str, match: "re.Match[str]") -> Span | None:
    span = quoted_span(text, match.end()) if named(match["name"]) in _SECRET else None
    # Two and no more: a list of names is none.
    return span if span and text[span[1] : span[1] + 20].lstrip("\\\"' ")[:1] in (")", "]") else None


def _inner(text: str, match: "re.Match[str]") -> Span | None:
    if not in_query(match["name"]):
        return None
    return bare_span(QUERY if match["sep"] == "=" else _INNER_VALUE, text, match.end())


def _located(text: str, match: "re.Match[str]") -> Span | None:
    path = match["name"].split(".")
    is_secret = named(path[-1]) in _SECRET or any(named(part) is Named.ENVIRONMENT for part in path)
    return value_span(text, match.end(), "", prose=False) if is_secret else None


def _said(text: str, match: "re.Match[str]") -> Span | None:
    begun = _BEFORE.search(text[max(0, match.start() - 30) : match.start()])
    start, value = match.start("value"), match["value"].rstrip(".,:;!")
    if begun is None or not _SPOKEN.match(value) or value.isupper() or "$" in value[:1]:
        return None
    # A language model's tokens, a parser's, and the name of an object that holds a token.
    before = (begun["before"] or "").lower()
    if match["name"].lower() == "token" and (
        before in _LEXED or named(f"{before}_token") is Named.PLAIN or named(value) is not Named.PLAIN
    ):
        return None
    return start, start + len(value)


FURTHER_RULES: Final[tuple[tuple[str, re.Pattern[str], Callable[[str, re.Match[str]], Span | None]], ...]] = (
    (",", _PAIR, _paired),
    ("%3", _INNER, _inner),
    ("u0026", _INNER, _inner),
    ("&amp;", _INNER, _inner),
    ("input_value=", _LOCATED, _located),
    (" ", _PROSE, _said),
)
"""What a text must contain for a rule, the rule's pattern, and where the secret stands in a match of it."""
