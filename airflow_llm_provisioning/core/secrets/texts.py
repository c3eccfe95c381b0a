"""Secrets in a text: `api_key=...`, `'token': '...'`, `--password ...`, `export NAME=...`, and known formats.

A log, a message, a command or an argument is such a text. Nothing is parsed: a name that says so hides the value that
follows it, however it is quoted. The time is linear in the length of the text.
"""

import re
from collections.abc import Callable
from typing import Final

from airflow_llm_provisioning.core.secrets.names import KEPT_ENV, Named, in_query, named, word_set
from airflow_llm_provisioning.core.secrets.shapes import without_shapes

REDACTED: Final = "<redacted>"
Hide = Callable[[str], str]
"""Returns what stands in place of a secret; it begins with `<redacted`."""

_HINTS: Final = (
    "key", "token", "pass", "pwd", "secret", "cred", "auth", "cookie", "bearer", "jwt", "env", "declare", "headers",
    "export", "pw=", "pw:", "sig=", "signature=", "code=", "sas=", "_pat", "header", "value", "docker",
)  # fmt: skip
# Possessive, and only at the beginning of a word: a long word is read once.
_ASSIGNED: Final = re.compile(
    r"(?<![\w.\-])(?P<name>[\w.\-]++)(?P<sep>\\*[\"'`]?\]?[ \t]{0,8}(?:=>|:=|[=:])(?!=|//)[ \t]{0,8})"
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
    r"(?<![\w.\-])(?:export|setenv|(?:declare|typeset)[ \t]+-x|set[ \t]+-[gUx]{1,3}|ENV|ARG|configure[ \t]+set)[ \t]+"
    r"(?P<name>[A-Za-z_]\w*+)(?P<sep>[= ][ \t]{0,8})"
)
# Python and PHP: os.environ.setdefault("NAME", "value"), putenv("NAME", "value").
_CALLED: Final = re.compile(
    r"(?<![\w\-])(?:environ\.setdefault|(?:os\.)?putenv)\(\s{0,4}[\"'](?P<name>\w+)[\"'](?P<sep>\s{0,4},\s{0,4})"
)
_ELEMENT: Final = re.compile(r"<(?P<name>[A-Za-z][\w.\-]*+)(?P<sep>>)(?=[^\s<])")
# In a sentence a name may have a space. Not `secret key`: that is the key inside a Secret, which explains a failure.
_SPACED: Final = re.compile(
    r"(?<![\w.\-])(?P<name>(?:api|access|account|auth) (?:key|token))"
    r"(?P<sep>[\"']?(?: provided| is)?[ \t]{0,4}[:=][ \t]{0,4})",
    re.IGNORECASE,
)
_VARIABLE: Final = re.compile(r"[A-Z_][A-Z0-9_]*")
_KEPT_LIST: Final = re.compile(
    rf"(?<![\w.\-])(?:{'|'.join(sorted(KEPT_ENV))})[\"']?[ \t]{{0,8}}[:=][ \t]{{0,8}}[^\n:={{}}]++(?=\n|$|\}})"
)
_QUOTE: Final = re.compile(r"(?:[A-Za-z_][\w.]{0,40}\()?[brfu]{0,2}(\\*[\"'])")
_SCHEME: Final = re.compile(r"(?:bearer|basic|token|digest|negotiate|aws4-hmac-sha256)[ \t]+", re.IGNORECASE)
_BLOCK: Final = re.compile(r"[|>][+-]?[ \t]*\n[ \t]+(?P<body>[^\n]*(?:\n[ \t]+[^\n]*)*)")
# The lines of a YAML mapping below its key. A list of variables has names of its own.
_NESTED: Final = re.compile(r"\n(?P<body>(?P<margin>[ \t]+)[A-Za-z_\"'][^\n]*(?:\n(?P=margin)[^\n]*)*)")
_BARE: Final = re.compile(r"[^\s\"'`<>;|]+")
_SHELL: Final = re.compile(r"[^\s\"'`<>;|&]+")
_REST: Final = re.compile(r"[^\n\"'`<>\\]+")
_QUERY: Final = re.compile(r"[^\s&#\"'`<>\\]+")
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


def hidden(_: str) -> str:
    """Return the replacement of every secret."""
    return REDACTED


def is_kept(value: str) -> bool:
    """Return whether a value is none: empty, a reference to a variable, or a replacement already."""
    plain = value.strip()
    return plain.lower() in _NONE or plain.startswith("<redacted") or _REFERENCE.fullmatch(plain) is not None


def is_number(value: str) -> bool:
    """Return whether a value is a number, with a unit or without."""
    return _NUMBER.fullmatch(value.strip()) is not None


def is_variable(name: str) -> bool:
    """Return whether a name is one of an environment variable: upper case."""
    return _VARIABLE.fullmatch(name) is not None


def without_secrets(text: str, hide: Hide = hidden, *, command: bool = False) -> str:
    """Return a text without secrets. `command`: it is a command line, so every `NAME=value` is a variable of it."""
    text = without_shapes(text, hide)
    hinted = _is_hinted(text.lower())
    if hinted:
        text = _replaced(_LISTED, text, hide, _listed)
        text = _replaced(_EXPORT, text, hide, _exported)
        text = _replaced(_CALLED, text, hide, _exported)
        text = _replaced(_ELEMENT, text, hide, _option) if "</" in text else text
        text = _replaced(_OPTION, text, hide, _option)
        text = _replaced(_SPACED, text, hide, _spaced)
    if hinted or (command and "=" in text):
        text = _replaced(_ASSIGNED, text, hide, _variable if command else _assigned)
    return text


def _is_hinted(lowered: str) -> bool:
    # A loop takes half the time of any() with a generator.
    for hint in _HINTS:  # noqa: SIM110
        if hint in lowered:
            return True
    return False


Find = Callable[[str, "re.Match[str]"], tuple[int, int] | None]
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


def _assigned(text: str, match: "re.Match[str]") -> tuple[int, int] | None:
    name, start = match["name"].strip("-."), match.start()
    if text[start - 1 : start] in ("?", "&") and start > 0:
        return _bare(_QUERY, text, match.end()) if in_query(name) and "=" in match["sep"] else None
    kind = named(name)
    if kind is Named.ENVIRONMENT:
        if text[match.end() : match.end() + 1] == "{":
            span = _bracket(text, match.end())
        else:
            nested = _NESTED.match(text, match.end()) if match["sep"].strip() == ":" else None
            span = nested.span("body") if nested else None
        return None if span is None or _has_no_secret_left(text[slice(*span)]) else span
    if kind not in (Named.SECRET, Named.COUNTED):
        return None
    span = _value(text, match.end(), name, prose=":" in match["sep"] and "=" not in match["sep"])
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


def _variable(text: str, match: "re.Match[str]") -> tuple[int, int] | None:
    name = match["name"]
    if "=" in match["sep"] and _VARIABLE.fullmatch(name) and text[match.start() - 1 : match.start()] not in ("?", "&"):
        span = None if name in KEPT_ENV else _word(text, match.end())
        # A number in a script is a counter or a limit (KubeRay's init container sets SECONDS=0).
        return None if span is None or (is_number(text[slice(*span)]) and named(name) is Named.PLAIN) else span
    return _assigned(text, match)


def _exported(text: str, match: "re.Match[str]") -> tuple[int, int] | None:
    return None if match["name"] in KEPT_ENV else _word(text, match.end())


def _listed(text: str, match: "re.Match[str]") -> tuple[int, int] | None:
    return None if match["name"] in KEPT_ENV else _value(text, match.end(), "", prose=False)


def _option(text: str, match: "re.Match[str]") -> tuple[int, int] | None:
    kind = named(match["name"].strip("-"))
    if kind not in (Named.SECRET, Named.COUNTED):
        return None
    span = _value(text, match.end(), "", prose=True)
    return None if span is None or (kind is Named.COUNTED and is_number(text[slice(*span)])) else span


def _spaced(text: str, match: "re.Match[str]") -> tuple[int, int] | None:
    return _value(text, match.end(), "", prose=True)


def _value(text: str, at: int, name: str, *, prose: bool) -> tuple[int, int] | None:
    """Return where a value stands: quoted, in brackets, after a scheme, as a block, or bare."""
    block = _BLOCK.match(text, at)
    if block is not None:
        return block.span("body")
    quoted = _quoted(text, at)
    if quoted is not None:
        return quoted
    if text[at : at + 1] in _OPENING:
        return _bracket(text, at)
    scheme = _SCHEME.match(text, at)
    if name.lower().endswith(("authorization", "cookie")):
        rest = _bare(_REST, text, scheme.end() if scheme else at)
        return None if rest and prose and not scheme and _is_sentence(text[slice(*rest)]) else rest
    span = _bare(_BARE, text, scheme.end() if scheme else at)
    if span is None:
        return None
    found = text[slice(*span)]
    if is_kept(found):
        return None
    stripped = found.rstrip(",.)}]:")
    if prose and (_is_sentence(stripped) or not stripped):
        return None
    return span[0], span[0] + len(stripped or found)


def _is_sentence(words: str) -> bool:
    """Return whether a text begins like a sentence of Kubernetes or an HTTP client instead of a value."""
    return words.split(" ", 1)[0].rstrip(",.:").lower() in _SENTENCE


def _word(text: str, at: int) -> tuple[int, int] | None:
    """Return where a word of a shell stands, quoted or bare."""
    return _quoted(text, at) or _bare(_SHELL, text, at)


def _quoted(text: str, at: int) -> tuple[int, int] | None:
    opening = _QUOTE.match(text, at)
    if opening is None:
        return None
    quote, start = opening[1], opening.end()
    end = text.find(quote, start)
    while end > 0 and text[end - 1] == "\\":
        end = text.find(quote, end + 1)
    if end < 0:
        line = text.find("\n", start)
        end = len(text) if line < 0 else line
    return start, end


def _bracket(text: str, at: int) -> tuple[int, int] | None:
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


def _bare(pattern: "re.Pattern[str]", text: str, at: int) -> tuple[int, int] | None:
    match = pattern.match(text, at)
    return match.span() if match else None
