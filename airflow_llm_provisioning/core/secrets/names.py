"""Decides by a name whether its value is a secret, and which places hold values that a user never meant to publish.

A name is read as words, so that `redis-password`, `redisPassword` and `REDIS_PASSWORD` are one name. Counts of a
language model's tokens (`max_tokens`, `eos_token`) and references to a Secret (`secretName`) are no secrets.
"""

import re
from collections.abc import Sequence
from enum import Enum
from functools import lru_cache
from itertools import pairwise
from typing import Final
from unicodedata import normalize

# huggingface_hub constants.py (0.2x to 2.x) reads these variables; the verdicts on the download treatment need their
# values. The name of a storage account is a part of every address of its files; which region it is in is asked.
KEPT_ENV: Final = frozenset(
    {
        "HF_HUB_ENABLE_HF_TRANSFER",
        "HF_XET_HIGH_PERFORMANCE",
        "HF_HUB_DISABLE_XET",
        "HF_HUB_DISABLE_PROGRESS_BARS",
        "INSTANTTENSOR_BACKEND",
        "AZURE_STORAGE_ACCOUNT_NAME",
    }
)


def word_set(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


class Named(Enum):
    """What a name says of its value.

    `COUNTED` is a secret unless its value is a number: `token` is both a credential and a piece of text. `ENVIRONMENT`,
    `HEADERS`, `OPAQUE` and `COMMAND` are places: variables, HTTP headers, values of another program, a command line.
    """

    PLAIN = "plain"
    SECRET = "secret"  # noqa: S105 - a word, no password
    COUNTED = "counted"
    ENVIRONMENT = "environment"
    HEADERS = "headers"
    OPAQUE = "opaque"
    COMMAND = "command"


_WORD: Final = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
_STRONG: Final = word_set(
    "password passwords passwd passphrase passcode secret secrets apikey apikeys secretkey accesskey privatekey "
    "credential credentials authorization cookie cookies bearer jwt requirepass masterauth auths dockerconfigjson "
    "dockercfg passwort kennwort contrasena"
)
_STRONG_ENDS: Final = (
    "password",
    "passwd",
    "apikey",
    "secret",
    "secretkey",
    "accesskey",
    "privatekey",
    "credentials",
    "passkey",
)
# The word before `key` that makes it a secret. `key` alone is a field of selectors and references.
_KEYS: Final = word_set(
    "api access private secret signing encryption encrypt account master license licence ssh deploy subscription "
    "shared storage auth client admin root session tls server ca hmac service openai wandb hf huggingface fernet cipher"
)
_TOKENS: Final = word_set("auth access api refresh bearer hf hub secret bot session personal identity id")
# Words before `token` in the vocabulary of a language model.
_TEXT_TOKENS: Final = word_set(
    "eos bos pad unk sep cls mask stop image video audio special start end begin next first last output input "
    "prompt completion per each new max min num total generated batched draft speculative think thinking "
    "reasoning tool call inter cached logprob"
)
_PASSES: Final = word_set("forward backward first second single one multi by prefill warmup decode fast")
# A last word that says: this is about a secret, and is none. `api_key_file`, `secretName`, `token_type_ids`.
_ABOUT: Final = word_set(
    "name names ref refs id ids path paths file files dir directory folder mount mounts type types kind url uri "
    "endpoint host count counts len length size limit limits rate s ms seconds enabled required expiry expires "
    "expiration at ttl version namespace namespaces class provider manager store source sources volume format "
    "header headers env policy selector lifetime budget service controller request requests audience index "
    "rotation cache status state error errors message reason operator driver annotations labels field fields "
    "object objects parallelism classification throughput latency stdin mode modes method methods realm"
)
# A last word that says nothing of its own: `redisPassword.value`, `client-key-data`, `api_key_v2`.
_EMPTY: Final = word_set(
    "value values string text str plain raw data base64 b64 encoded hash prod production dev staging test old new "
    "current primary secondary backup default v json"
)
_QUERY: Final = word_set("key sig signature auth code pass pwd pw sas token assertion samlresponse")
_PLACES: Final = {
    "user_config": Named.OPAQUE,
    "userConfig": Named.OPAQUE,
    "volumeAttributes": Named.OPAQUE,
    "command": Named.COMMAND,
    "args": Named.COMMAND,
    "cmd": Named.COMMAND,
    "entrypoint": Named.COMMAND,
    "script": Named.COMMAND,
    "run_options": Named.COMMAND,
    "stringData": Named.ENVIRONMENT,
}
_ENVIRONMENTS: Final = ("env", "envs", "envvars", "environment", "environmentvariables", "environmentvars")


@lru_cache(maxsize=8192)
def named(name: str) -> Named:
    """Return what a name says of its value."""
    if name in _PLACES:
        return _PLACES[name]
    plain = name[-200:]
    if not plain.isascii():
        plain = "".join(letter for letter in normalize("NFKD", plain) if letter.isascii())
    words = [word.lower() for word in _WORD.findall(plain)]
    if not words:
        return Named.PLAIN
    if _is_environment(words):
        return Named.ENVIRONMENT
    return Named.HEADERS if words[-1] == "headers" else _secret(name, words)


def in_query(name: str) -> bool:
    """Return whether a parameter of a URL's query is a secret; `key` and `sig` are, beside the names everywhere."""
    return name.lower() in _QUERY or named(name) in (Named.SECRET, Named.COUNTED)


def _is_environment(words: Sequence[str]) -> bool:
    joined = "".join(words)
    ends = words[-1] in _ENVIRONMENTS or joined.endswith(("envvars", "environmentvariables", "environmentvars"))
    # A runtime environment of Ray holds variables beside packages, and is walked.
    return ends and "runtime" not in words[-2:]


def _secret(name: str, words: Sequence[str]) -> Named:
    # The pull secrets of a pod are listed by their names.
    if words[-1] in _ABOUT or list(words[-2:]) in (["pull", "secrets"], ["pull", "secret"]):
        return Named.PLAIN
    if list(words[-2:]) == ["connection", "string"]:
        return Named.SECRET
    kept = list(words)
    while len(kept) > 1 and (kept[-1] in _EMPTY or kept[-1].isdigit()):
        kept.pop()
    if any(_is_strong(word) for word in kept) or any(
        last in ("key", "keys") and before in _KEYS for before, last in pairwise(kept)
    ):
        return Named.SECRET
    if kept[-1] in ("pass", "pw", "pwd", "auth"):
        return _short(name, kept)
    return _token(name, kept)


def _is_strong(word: str) -> bool:
    return word in _STRONG or word.endswith(_STRONG_ENDS)


def _short(name: str, words: Sequence[str]) -> Named:
    before, last = words[-2] if len(words) > 1 else "", words[-1]
    # PWD and OLDPWD are a shell's folders.
    if (last == "pwd" and not before and name.isupper()) or (last == "pass" and before in _PASSES):
        return Named.PLAIN
    return Named.SECRET


def _token(name: str, words: Sequence[str]) -> Named:
    before, last = words[-2] if len(words) > 1 else "", words[-1]
    if last == "token" or last.endswith(("authtoken", "accesstoken", "bearertoken", "hftoken", "apitoken")):
        return Named.PLAIN if before in _TEXT_TOKENS else Named.COUNTED
    if last == "tokens":
        return Named.COUNTED if before in _TOKENS else Named.PLAIN
    if (before, last) in (("client", "assertion"), ("saml", "assertion"), ("saml", "response")):
        return Named.SECRET
    if last in ("pat", "signature") and before in ("git", "github", "gitlab", "azure", "devops", "amz", "goog"):
        return Named.SECRET
    inside = "token" in words and name.isupper() and words[words.index("token") - 1] not in _TEXT_TOKENS
    return Named.COUNTED if inside else Named.PLAIN
