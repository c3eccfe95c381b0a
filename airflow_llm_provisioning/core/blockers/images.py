"""Reads a container whose image is not there: which failures a retry does not change, and which may pass."""

import re
from typing import Final

from airflow_llm_provisioning.core.blockers.sentences import without_names

# The kubelet's reasons (pkg/kubelet/images/types.go); it alternates between them for the same failure.
IMAGE_REASONS: Final = frozenset(
    {
        "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError",
        "RegistryUnavailable", "SignatureValidationFailed",
    }
)  # fmt: skip
# Answers that every further try gets too: of registries, containerd and CRI-O, of a disk that is full, of a name that
# does not exist, of a certificate that does not fit.
_FINAL: Final = re.compile(
    r"not found|manifest unknown|name unknown|unauthorized|authentication required|forbidden|denied"
    r"|no basic auth credentials|not authorized"
    r"|no match for platform|invalid reference|InvalidImageName|ErrImageNeverPull|SignatureValidationFailed"
    r"|did not resolve to an alias|is no longer supported since|unsupported media ?type"
    r"|no space left on device|disk quota exceeded|no such host|unsupported protocol"
    r"|x509|http response to https",
    re.IGNORECASE,
)
# These contain words of the final answers and may pass all the same.
_MAY_PASS: Final = re.compile(
    r"\b429\b|too ?many ?requests|rate ?limit|connection refused|connection reset|timeout|timed out|deadline exceeded"
    r"|try again|unexpected EOF|\b50[0234]\b|server misbehaving|temporary failure",
    re.IGNORECASE,
)
_CAUSELESS: Final = re.compile(r'^\s*(?:Back-off pulling image "[^"]*"\.?)?\s*$')


def image_kind(reason: str, message: str) -> str:
    """Return the kind of blocker that a waiting reason and its message are. Names of images, hosts and digests in the
    message are no part of the answer.
    """
    said = without_names(message)
    if _FINAL.search(f"{reason} {said}") and not _MAY_PASS.search(said):
        return "image_refused"
    return "image_delayed"


def has_cause(message: str) -> bool:
    """Return whether a message says more than that the kubelet waits (kubelets before 1.31 say no cause then)."""
    return not _CAUSELESS.match(message)
