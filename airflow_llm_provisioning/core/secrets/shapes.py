"""The formats of credentials, as their issuers document them."""

import re
from collections.abc import Callable
from typing import Final, NamedTuple


class Shape(NamedTuple):
    """One kind of credential.

    `what`: its description. `landmarks`: a text without any of these substrings contains no such credential; this check
    is faster than the pattern. `pattern`: ASCII only. It matches the credential, or has it as its group `secret`, and
    never its replacement.
    """

    what: str
    landmarks: tuple[str, ...]
    pattern: str


# What stands between a program and its option, and how the option's value may be quoted.
_FAR: Final = r"\b[^|;&\n]{0,300}?\s"
_VALUE: Final = r"[\"']?(?P<secret>(?!\$|pass:)[^\s\"'<]+)"

SHAPES: Final = (
    # RFC 7468; inside JSON its lines end with a backslash and an n.
    Shape(
        "a private key",
        ("PRIVATE KEY",),
        # A log puts a stamp with dashes before each line. Without an end the rest of a key is hidden.
        r"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----(?:[^-]|-(?!----)){0,20000}"
        r"(?:-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----)?",
    ),
    # RFC 7519 and RFC 7516: service account and cloud identity tokens; an encrypted one has five parts.
    Shape(
        "a JSON web token",
        ("eyJ",),
        r"\beyJ[\w-]{8,}\.(?:[\w-]{8,}\.[\w-]{8,}|[\w-]{0,2000}(?:\.[\w-]{8,}){3})",
    ),
    # IAM user guide, "Unique identifiers": long-term and temporary keys.
    Shape("an AWS access key", ("AKIA", "ASIA"), r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    # huggingface.co/docs/hub/security-tokens
    Shape("a Hugging Face token", ("hf_", "api_org_"), r"\b(?:hf|api_org)_[A-Za-z0-9]{16,}"),
    # docs.github.com, "About authentication to GitHub"
    Shape("a GitHub token", ("gh", "github_pat_"), r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{22,})"),
    Shape("a Google access token", ("ya29.",), r"\bya29\.[\w-]{20,}"),
    Shape("a Google API key", ("AIza", "GOCSPX-"), r"\b(?:AIza[\w-]{35}\b|GOCSPX-[\w-]{20,})"),
    # docs.gitlab.com, "Token overview": prefixes.
    Shape("a GitLab token", ("gl",), r"\bgl(?:pat|dt|rt|cbt|ptt|ft|imt|agent|oas|soat)-[\w.-]{20,}"),
    # docs.slack.dev, "Tokens"
    Shape("a Slack token", ("xox", "xapp-"), r"\b(?:xox[a-z]|xapp)-[\w-]{10,}"),
    # Keys of model services: OpenAI, Anthropic, NVIDIA, Groq, Replicate, Perplexity, xAI, Stripe's older form.
    Shape(
        "a model service's key",
        ("sk-", "nvapi-", "gsk_", "r8_", "pplx-", "xai-", "sk_", "rk_"),
        r"\b(?:sk-(?:proj|ant|svcacct|or|lf)-[\w-]{8,}|sk-[A-Za-z0-9]{20,}|sk-(?=[\w-]{0,64}[A-Z])[\w-]{16,}|"
        r"nvapi-[\w-]{20,}|gsk_\w{20,}|r8_\w{20,}|pplx-\w{20,}|xai-\w{20,}|[rs]k_(?:live|test)_\w{10,})",
    ),
    # Package registries and images: PyPI, npm, Docker Hub.
    Shape("a registry token", ("pypi-", "npm_", "dckr_pat_"), r"\b(?:pypi-[\w-]{20,}|npm_\w{30,}|dckr_pat_[\w-]{20,})"),
    # Databricks, HashiCorp Vault, Grafana, DigitalOcean, SendGrid, Tailscale.
    Shape(
        "a service token",
        ("dapi", "hvs.", "hvb.", "glsa_", "glc_", "dop_v1_", "SG.", "tskey-", "AGE-SECRET-KEY-"),
        r"\b(?:dapi[0-9a-f]{32}|hv[sb]\.[\w-]{20,}|gls?[ac]_[\w+/=-]{20,}|dop_v1_[0-9a-f]{40,}|"
        r"SG\.[\w-]{16,}\.[\w-]{16,}|tskey-[\w-]{16,}|AGE-SECRET-KEY-1[A-Z0-9]{20,})",
    ),
    # Prefixes of issuers whose pages state them, as secret scanners know them (gitleaks and GitHub, "Supported secret
    # scanning patterns"): first of hubs, model services and experiment trackers.
    Shape(
        "an issuer's token",
        (
            *("wandb_v1_", "lsv2_", "pcsk_", "tgp_v1_", "jina_", "csk-", "tvly-", "KGAT_", "rpa_", "aph0_", "ABSK"),
            *("dckr_oat_", "rubygems_", "AKCp", "cmVmdGtu", "pul-", "bkua_", "CCIPAT_", ".atlasv1.", "dp.pt.", "ops_"),
            *("nfp_", "rnd_", "fm2_", "fo1_", "vck_", "HRKU-", "sbp_", "pscale_tkn_", "sntrys_", "sntryu_", "NRAK-"),
            *("dbtc_", "pnu_", "lin_api_", "ntn_", "PMAK-", "shpat_", "ATATT3", "ATBB", "whsec_", "LTAI", "sha256~"),
            *("1//0", "8Q~", "gho_"),
        ),
        r"(?<![\w.-])(?:(?:wandb_v1|lsv2_(?:pt|sk)|pcsk|tgp_v1|jina|KGAT|rpa|aph0|dckr_oat|rubygems|bkua|CCIPAT|nfp|rnd"
        r"|fm2|fo1|vck|sbp|pscale_(?:tkn|oauth|pw)|sntry[su]|dbtc|pnu|lin_api|ntn|shpat|whsec|ops)_[\w+/=-]{20,}"
        r"|(?:csk|tvly|pul|HRKU|NRAK|PMAK)-[\w-]{20,}|(?:ABSK|AKCp|cmVmdGtu|ATATT3|ATBB)[\w+/=-]{28,}"
        r"|LTAI(?=[A-Za-z]*\d)[A-Za-z0-9]{12,20}\b|[A-Za-z0-9]{14}\.atlasv1\.[\w-]{40,}|dp\.(?:pt|st|ct|sa)\.[\w.-]{30,}"
        r"|sha256~[\w-]{43}|1//0[\w-]{30,}|[\w.~-]{3}8Q~[\w.~-]{31,34})",
    ),
    # A webhook's address is all that a sender needs: Slack, Discord, Microsoft Teams, Telegram.
    Shape(
        "a webhook's address",
        ("hooks.slack.com/", "/api/webhooks/", "webhook.office.com/", "api.telegram.org/bot"),
        r"(?:hooks\.slack\.com/\w{1,20}/|/api/webhooks/\d+/|webhook\.office\.com/\w{1,20}/|api\.telegram\.org/bot)"
        r"(?P<secret>[^\s\"'\\<>?]+)",
    ),
    # crypt(5): what a password file holds.
    Shape(
        "a password's hash",
        ("$apr1$", "$1$", "$2", "$5$", "$6$", "$y$", "$argon2"),
        r"\$(?:apr1|1|2[aby]|5|6|y|argon2\w{1,2})\$[\w./$=,+-]{8,}",
    ),
    # Signed URLs of S3, Google Cloud Storage and Azure Blob Storage, used for weights and layers.
    Shape(
        "a signed URL",
        ("X-Amz-", "X-Goog-", "x-amz-", "x-goog-"),
        r"(?i:X-(?:Amz-(?:Signature|Security-Token|Credential)|Goog-(?:Signature|Credential)))=[^&\s\"'\\<]+",
    ),
    Shape("a shared access signature", ("sig=",), r"[?&]sig=[^&\s\"'\\<]+"),
    # RFC 6750 and RFC 7617
    Shape("a bearer token", ("earer ", "EARER "), r"(?i:bearer) [\w.~+/-]{16,}=*"),
    # A shorter one is told from a word by a digit in it.
    Shape(
        "a short bearer token",
        ("earer ", "EARER "),
        r"(?i:bearer) (?!(?i:oauth))(?=[\w.~+/-]*[A-Za-z])(?=[\w.~+/-]*\d)[\w.~+/-]{6,15}=*(?![\w.~+/-])",
    ),
    Shape("basic credentials", ("asic ", "ASIC "), r"(?i:authorization[\"'\\]*\s*[:=]\s*[\"'\\]*basic) [\w+/-]{8,}=*"),
    # RFC 3986: user and password before the host. A user alone may be a token.
    Shape("a password in a URL", ("://",), r"(?<=://)[^\s/?#\"'\\<>]+(?=@)"),
    # A slash in a password should be written as %2F, and often is not.
    Shape(
        "a password in a database's URL",
        ("postgres", "mysql", "redis", "mongodb", "amqp", "mssql", "snowflake", "clickhouse"),
        r"\b(?:postgres|mysql|redis|mongodb|amqp|mssql|snowflake|clickhouse)\w{0,10}(?:\+\w{1,20})?://[^\s/?#:@\"'\\<>]{0,100}:"
        r"(?P<secret>(?!\d{1,5}/)[^\s@/\"'\\<>]{0,200}/[^\s@\"'\\<>]{0,200})(?=@)",
    ),
    Shape(
        "a password in Oracle's URL",
        ("jdbc:oracle",),
        r"\bjdbc:oracle:\w{1,8}:[^\s/@\"'<>]{1,100}/(?P<secret>[^\s@<>]+)(?=@)",
    ),
    # curl's and httpie's options of a user with a password.
    Shape("a user on a command line", (" -u ", "--user "), r"(?:(?<= -u )|(?<=--user ))[^\s:\"'<]+:[^\s\"'<]+"),
    Shape(
        "a user of curl",
        ("curl", "http"),
        rf"\b(?:curl|https?){_FAR}(?:-u(?=[^\s-])|--(?:proxy-)?user=)[\"']?(?P<secret>[^\s:\"'<]+:[^\s\"'<]+)",
    ),
    # Objects of Python's HTTP clients.
    Shape(
        "basic credentials in a call",
        ("BasicAuth(", "DigestAuth("),
        r"(?:Basic|Digest)Auth\((?:\w+=)?b?[\"'][^\"'\n]{0,200}[\"'],\s{0,4}(?:\w+=)?b?[\"'](?P<secret>(?!<redacted)[^\"'\n]+)",
    ),
    # Passwords of logins: docker, podman, helm and crane; sshpass; kubectl create secret; .netrc.
    Shape(
        "a password of a login",
        ("docker login", "podman login", "nerdctl login", "registry login", "auth login", "sshpass"),
        r"(?<= -p )[^\s\"'<]+",
    ),
    Shape(
        "a password that is piped",
        ("--password-stdin",),
        r"(?:(?<=echo )|(?<=echo -n )|(?<=echo [\"'])|(?<=printf )|(?<=printf [\"']))[^\s|\"'<]+"
        r"(?=[\"']?\s{0,4}\|[^|;\n]{0,200}--password-stdin)",
    ),
    # Programs whose option for a password is a letter, which is another option elsewhere (their manual pages).
    Shape(
        "a password of a database client",
        ("mysql", "mariadb", "redis-cli", "mongo", "sqlcmd"),
        rf"(?:\b(?:mysql\w{{0,12}}|mariadb[\w-]{{0,12}}){_FAR}-p|\bredis-cli{_FAR}-a\s+|\bmongo\w{{0,12}}{_FAR}-p\s+"
        rf"|\bsqlcmd{_FAR}-P\s+){_VALUE}",
    ),
    Shape(
        "a passphrase of a key or an archive",
        ("openssl", "ssh-keygen", "zip ", "7z"),
        rf"(?:\bopenssl{_FAR}-(?:[kK]|pass|passin|passout)\s+(?![\"']?(?:env|file|fd|stdin)\b)(?:[\"']?pass:)?"
        rf"|\bssh-keygen{_FAR}-[NP]\s+|\b(?:un)?zip{_FAR}-P\s+|\b7z\w?{_FAR}-p){_VALUE}",
    ),
    Shape(
        "a password of a command",
        ("az login", "ldap", "htpasswd", "wandb login", "vault login", "mc "),
        rf"(?:\baz login{_FAR}-p\s+|\bldap\w{{2,10}}{_FAR}-w\s+|\bhtpasswd{_FAR}-\w{{0,3}}b\w{{0,3}}\s+\S+\s+\S+\s+"
        rf"|\b(?:wandb|vault) login\s+(?!-)|\bmc (?:alias|config host) (?:set|add)\s+\S+\s+\S+\s+\S+\s+){_VALUE}",
    ),
    Shape("a literal of a Secret", ("--from-literal",), r"(?<=--from-literal[= ])[^\s\"'<=]+=[^\s\"'<]+"),
    Shape("a password in .netrc", ("netrc", "machine "), r"(?<=\slogin )(?!<)\S+\s+password\s+(?!<)[^\s\"'\\]+"),
    Shape("a secret on a command line", ("--",), r"--(?i:[\w-]*(?:token|password|secret|api-key))=[^\s\"'\\<]+"),
)
_COMPILED: Final = tuple((shape, re.compile(shape.pattern, re.ASCII)) for shape in SHAPES)
_LANDMARKS: Final = tuple(mark for shape in SHAPES for mark in shape.landmarks)


def shapes_in(text: str) -> list[str]:
    """Return what credentials a text looks like, each kind once."""
    return [
        shape.what
        for shape, pattern in _COMPILED
        if any(mark in text for mark in shape.landmarks) and pattern.search(text)
    ]


def without_shapes(text: str, hide: Callable[[str], str]) -> str:
    """Return a text with every credential of a known format replaced by what `hide` returns for it."""
    for mark in _LANDMARKS:
        if mark in text:
            break
    else:
        return text
    for shape, pattern in _COMPILED:
        if any(mark in text for mark in shape.landmarks):
            text = pattern.sub(lambda match: _hidden(match, hide), text)
    return text


def _hidden(match: "re.Match[str]", hide: Callable[[str], str]) -> str:
    """Return a match with its secret replaced: its group of that name, else all of it."""
    if "secret" not in match.re.groupindex:
        return hide(match.group())
    start, end = (at - match.start() for at in match.span("secret"))
    return f"{match.group()[:start]}{hide(match['secret'])}{match.group()[end:]}"
