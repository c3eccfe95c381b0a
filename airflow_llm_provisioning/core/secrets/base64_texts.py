"""Texts that stand encoded inside a text: a registry's configuration that a script decodes, a file in an annotation."""

import binascii
import re
from base64 import b64decode
from collections.abc import Callable
from typing import Final

# Printable ASCII, three letters at a time: the first of each four characters is one of 26. Digests, ids and most
# words are none, so few are decoded.
_ENCODED: Final = re.compile(r"(?<![\w+/=-])(?:[CDI-Za-f][\w+/-]{3}){6,50000}+[\w+/-]{0,3}={0,2}(?![\w+/=-])", re.ASCII)
_ENCODED_AT_LEAST: Final = 24
_DECODED_AT_MOST: Final = 200_000


def without_encoded(text: str, hide: Callable[[str], str], redacted: Callable[[str], str]) -> str:
    """Return a text in which an encoded text that says a secret is hidden as a whole."""
    if len(text) < _ENCODED_AT_LEAST:
        return text
    return _ENCODED.sub(lambda match: hide(match[0]) if _says_a_secret(match[0], redacted) else match[0], text)


def _says_a_secret(encoded: str, redacted: Callable[[str], str]) -> bool:
    if len(encoded) > _DECODED_AT_MOST:
        return False
    plain = encoded.rstrip("=").translate({ord("-"): "+", ord("_"): "/"})
    try:
        told = b64decode(plain + "=" * (-len(plain) % 4)).decode("ascii")
    except (binascii.Error, ValueError):
        return False
    return redacted(told) != told
