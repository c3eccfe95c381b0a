"""Where a value stands in a text, after the name that announces it: quoted, in brackets, as a block, or bare.

Nothing is parsed. The time is linear in the length of the text.
"""

import re
from typing import Final

from airflow_llm_provisioning.core.secrets.names import word_set

Span = tuple[int, int]
"""Where something begins in a text, and where it ends."""

_QUOTE: Final = re.compile(
    r"(?:[A-Za-z_][\w.]{0,40}\()?[brfu]{0,2}"
    # The three of TOML and Python, and the two that CSV makes of one.
    r"(\\*(?:\"\"\"(?!\s{0,8}[,}\]])|'''|\"\"(?=[^\s\",;:}\])])|[\"']))"
)
# A tag or an anchor of YAML before a value.
_MARK: Final = re.compile(r"(?:(?:!(?![=\s])[\w!/:.,-]{0,100}|&[\w.-]{1,100})[ \t]{1,8}){1,2}(?=\S)")
_SCHEME: Final = re.compile(r"(?:bearer|basic|token|digest|negotiate|aws4-hmac-sha256)[ \t]+", re.IGNORECASE)
_BLOCK: Final = re.compile(r"[|>][+-]?[ \t]*\n[ \t]+(?P<body>[^\n]*(?:\n[ \t]+[^\n]*)*)")
# The lines of a YAML mapping below its key. A list of variables has names of its own.
NESTED: Final = re.compile(
    r"(?:[&!][\w.!/:-]{1,100}[ \t]{0,8})?\n(?P<body>(?P<margin>[ \t]+)[A-Za-z_\"'<][^\n]*(?:\n(?P=margin)[^\n]*)*)"
)
_BARE: Final = re.compile(r"[^\s\"'`<>;|]+")
_SHELL: Final = re.compile(r"[^\s\"'`<>;|&]+")
_REST: Final = re.compile(r"[^\n\"'`<>\\]+")
QUERY: Final = re.compile(r"[^\s&#\"'`<>\\]+")
_NUMBER: Final = re.compile(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?(?:[a-zA-Z%]{1,3}(?:/s)?)?")
_REFERENCE: Final = re.compile(r"\$(?:\w+|\{[^}]*\}|\([^)]*\))|%\w+%|\{\{.*\}\}")
_OPENING: Final = {"[": "]", "(": ")", "{": "}"}
_BRACKETS_AT_MOST: Final = 20_000
_NONE: Final = frozenset({"", "none", "null", "nil", "true", "false", "undefined", "unset", "***", "..."})
# Words that follow a colon in sentences of Kubernetes, Go and HTTP clients: `token: unauthorized`.
_SENTENCE: Final = word_set(
    "a access an any authentication bad by can cannot context could couldn't configmap connection deadline denied "
    "dial does empty eof error errors exec exit expected expired failed failure for forbidden found get googleapi "
    "has head http https in invalid is it missing must net/http no not oauth2 of operation or patch permission "
    "permissions please post put read request required response rpc secret secrets server serviceaccount "
    "serviceaccounts should status stat the this timed timeout to unable unauthorized unexpected unknown "
    "unsupported was while with x509 you your"
)


def is_kept(value: str) -> bool:
    """Return whether a value is none: empty, a reference to a variable, or a replacement already."""
    plain = value.strip()
    return plain.lower() in _NONE or plain.startswith("<redacted") or _REFERENCE.fullmatch(plain) is not None


def is_number(value: str) -> bool:
    """Return whether a value is a number, with a unit or without."""
    return _NUMBER.fullmatch(value.strip()) is not None


def value_span(text: str, at: int, name: str, *, prose: bool) -> Span | None:
    """Return where a value stands: quoted, in brackets, after a scheme, as a block, or bare."""
    mark = _MARK.match(text, at)
    at = mark.end() if mark else at
    block = _BLOCK.match(text, at)
    if block is not None:
        return block.span("body")
    quoted = quoted_span(text, at)
    if quoted is not None:
        return quoted
    if text[at : at + 1] in _OPENING:
        return bracket_span(text, at)
    scheme = _SCHEME.match(text, at)
    if name.lower().endswith(("authorization", "cookie")):
        rest = bare_span(_REST, text, scheme.end() if scheme else at)
        return None if rest and prose and not scheme and is_sentence(text[slice(*rest)]) else rest
    span = bare_span(_BARE, text, scheme.end() if scheme else at)
    if span is None:
        return None
    found = text[slice(*span)]
    if is_kept(found):
        return None
    stripped = found.rstrip(",.)}]:")
    if prose and (is_sentence(stripped) or not stripped):
        return None
    return span[0], span[0] + len(stripped or found)


def is_sentence(words: str) -> bool:
    """Return whether a text begins like a sentence of Kubernetes or an HTTP client instead of a value."""
    return words.split(" ", 1)[0].rstrip(",.:").lower() in _SENTENCE


def word_span(text: str, at: int) -> Span | None:
    """Return where a word of a shell stands, quoted or bare."""
    return quoted_span(text, at) or bare_span(_SHELL, text, at)


def quoted_span(text: str, at: int) -> Span | None:
    """Return where the content of quotes stands; without closing ones, the rest of the line."""
    opening = _QUOTE.match(text, at)
    if opening is None:
        return None
    quote, start = opening[1], opening.end()
    end = text.find(quote, start)
    while end > 0 and (skipped := _inside(text, quote, start, end)):
        end = text.find(quote, end + skipped)
    if end < 0:
        line = text.find("\n", start)
        end = len(text) if line < 0 else line
    return start, end


def _inside(text: str, quote: str, start: int, end: int) -> int:
    """Return how many characters of a quote that belongs to the value are to be skipped; 0: it ends the value."""
    if text[end - 1] == "\\":
        return 1
    # YAML writes a single quote twice.
    return 2 if quote == "'" and end > start and text[end + 1 : end + 2] == "'" else 0


def bracket_span(text: str, at: int) -> Span | None:
    """Return where the content of brackets stands; without a closing one, the rest of the line."""
    depth = 0
    for position in range(at, min(len(text), at + _BRACKETS_AT_MOST)):
        letter = text[position]
        if letter == "\n":
            return at + 1, position
        depth += (letter in _OPENING) - (letter in ")]}")
        if depth == 0:
            return (at + 1, position) if position > at + 1 else None
    return at + 1, min(len(text), at + _BRACKETS_AT_MOST)


def bare_span(pattern: "re.Pattern[str]", text: str, at: int) -> Span | None:
    """Return where a pattern matches, if it does here."""
    match = pattern.match(text, at)
    return match.span() if match else None
