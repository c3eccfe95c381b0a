"""What credentials look like: one list for the recorder, which takes them out, and for export, which looks again."""

from typing import Final, NamedTuple


class Shape(NamedTuple):
    """One kind of credential.

    `what`: in words. `landmarks`: a text without any of these holds none, which is quicker told than the pattern tried.
    `pattern`: for text and for bytes alike, ASCII only; it matches what has to go, and never what was put in its place.
    """

    what: str
    landmarks: tuple[str, ...]
    pattern: str


# As their issuers document them.
SHAPES: Final = (
    # RFC 7468; inside JSON its lines end in a backslash and an n.
    Shape(
        "a private key",
        ("PRIVATE KEY-----",),
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*(?:-----END [A-Z ]*PRIVATE KEY-----)?",
    ),
    # RFC 7519: service account and cloud identity tokens.
    Shape("a JSON web token", ("eyJ",), r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}"),
    # IAM user guide, "Unique identifiers": long-lived and temporary.
    Shape("an AWS access key", ("AKIA", "ASIA"), r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    # huggingface.co/docs/hub/security-tokens
    Shape("a Hugging Face token", ("hf_",), r"\bhf_[A-Za-z0-9]{16,}"),
    # docs.github.com, "About authentication to GitHub"
    Shape("a GitHub token", ("gh", "github_pat_"), r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{22,})"),
    Shape("a Google access token", ("ya29.",), r"\bya29\.[\w-]{20,}"),
    Shape("a Google API key", ("AIza",), r"\bAIza[\w-]{35}\b"),
    # Signed URLs of S3, Google Cloud Storage and Azure Blob Storage: where weights and layers come from.
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
