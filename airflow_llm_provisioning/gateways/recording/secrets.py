"""What looks like a secret in whatever text a line holds: logs, messages, arguments, URLs.

The last of two fences: `core.trace.redact` drops what stands where secrets belong (values of variables, data of
Secrets); this takes what strayed elsewhere. It knows shapes, not fields.
"""

import re
from typing import Final

REDACTED: Final = b"<redacted>"

# A line is searched only for the shapes whose beginning or landmark is in it: most hold none.
_SHAPES: Final = tuple(
    (landmark, re.compile(pattern))
    for landmark, pattern in (
        # Hugging Face hub user access tokens (huggingface.co/docs/hub/security-tokens).
        (b"hf_", rb"\bhf_[A-Za-z0-9]{16,}"),
        # AWS access key ids, long-lived and temporary (IAM user guide, "Unique identifiers").
        (b"AKIA", rb"\bAKIA[A-Z0-9]{16}\b"),
        (b"ASIA", rb"\bASIA[A-Z0-9]{16}\b"),
        # JSON Web Tokens: service account and cloud identity tokens.
        (b"eyJ", rb"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}"),
        # GitHub tokens (docs.github.com, "About authentication to GitHub").
        (b"gh", rb"\bgh[pousr]_[A-Za-z0-9]{30,}"),
        (b"github_pat_", rb"\bgithub_pat_\w{22,}"),
        # Signed URLs of S3, Google Cloud Storage and Azure Blob Storage: where weights and layers come from.
        (b"X-Amz-", rb"X-Amz-(?:Signature|Security-Token|Credential)=[^&\s\"'\\]+"),
        (b"X-Goog-", rb"X-Goog-(?:Signature|Credential)=[^&\s\"'\\]+"),
        (b"sig=", rb"[?&]sig=[^&\s\"'\\]+"),
        # A user and a password in a URL.
        (b"://", rb"://[^/\s:@\"'\\]+:[^/\s@\"'\\]+@"),
        (b"earer ", rb"(?i)bearer [\w.~+/-]{16,}=*"),
        # A flag's value: `--api-key=...`.
        (b"--", rb"(?i)--[\w-]*(?:token|password|secret|api-key)=[^\s\"'\\]+"),
    )
)


def without_secrets(line: bytes) -> bytes:
    """Return an encoded line without what looks like a secret."""
    for landmark, shape in _SHAPES:
        if landmark in line:
            line = shape.sub(REDACTED, line)
    return line
