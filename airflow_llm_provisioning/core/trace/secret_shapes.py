"""The formats of credentials: one list for the recorder, which removes them, and for the export, which checks again."""

from typing import Final, NamedTuple


class Shape(NamedTuple):
    """One kind of credential.

    `what`: its description. `landmarks`: a text without any of these substrings contains no such credential; this check
    is faster than the pattern. `pattern`: for text and bytes, ASCII only. It matches the credential, and never its
    replacement.
    """

    what: str
    landmarks: tuple[str, ...]
    pattern: str


# Formats as documented by their issuers.
SHAPES: Final = (
    # RFC 7468; inside JSON its lines end with a backslash and an n.
    Shape(
        "a private key",
        ("PRIVATE KEY-----",),
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*(?:-----END [A-Z ]*PRIVATE KEY-----)?",
    ),
    # RFC 7519: service account and cloud identity tokens.
    Shape("a JSON web token", ("eyJ",), r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}"),
    # IAM user guide, "Unique identifiers": long-term and temporary keys.
    Shape("an AWS access key", ("AKIA", "ASIA"), r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    # huggingface.co/docs/hub/security-tokens
    Shape("a Hugging Face token", ("hf_",), r"\bhf_[A-Za-z0-9]{16,}"),
    # docs.github.com, "About authentication to GitHub"
    Shape("a GitHub token", ("gh", "github_pat_"), r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{22,})"),
    Shape("a Google access token", ("ya29.",), r"\bya29\.[\w-]{20,}"),
    Shape("a Google API key", ("AIza",), r"\bAIza[\w-]{35}\b"),
    # Signed URLs of S3, Google Cloud Storage and Azure Blob Storage, used for weights and layers.
    Shape(
        "a signed URL",
        ("X-Amz-", "X-Goog-"),
        r"X-(?:Amz-(?:Signature|Security-Token|Credential)|Goog-(?:Signature|Credential))=[^&\s\"'\\]+",
    ),
    Shape("a shared access signature", ("sig=",), r"[?&]sig=[^&\s\"'\\]+"),
    # RFC 6750 and RFC 7617
    Shape("a bearer token", ("earer ", "EARER "), r"(?i:bearer) [\w.~+/-]{16,}=*"),
    Shape("basic credentials", ("asic ", "ASIC "), r"(?i:authorization[\"'\\]*\s*[:=]\s*[\"'\\]*basic) [\w+/-]{8,}=*"),
    # RFC 3986: user and password before the host.
    Shape("a password in a URL", ("://",), r"(?<=://)[^\s/:@\"'\\]+:[^\s/@\"'<\\]+(?=@)"),
    Shape("a secret on a command line", ("--",), r"--(?i:[\w-]*(?:token|password|secret|api-key))=[^\s\"'\\<]+"),
)
