"""Names, labels and tags. They are deterministic, so that what was made is found again after a crash.

Labels obey Kubernetes (63 characters, `[A-Za-z0-9._-]`) and, as tags, AWS. Google's label keys allow no dot or slash:
`label_keys_for_google` maps them.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any, Final

# KubeRay refuses longer RayService names (kuberay 1.7, utils.ValidateRayServiceMetadata).
MAX_RAYSERVICE_NAME: Final = 47

# The Airflow connection of the results store; where it is not defined, a SQLite file in AIRFLOW_HOME is the store.
# XCom of the reaper's tasks: what is ours in a place.
OWNED_LIST: Final = "llm_owned"
DEFAULT_STORE: Final = "llm_provisioning_results"

OWNER: Final = "airflow-llm-provisioning"
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
LABEL_TRIAL: Final = "llm-provisioning/trial"
LABEL_TARGET: Final = "llm-provisioning/target"
LABEL_CONTENT: Final = "llm-provisioning/content"
LABEL_EXPIRES: Final = "llm-provisioning/expires"

EXPIRES_FORMAT: Final = "%Y%m%dT%H%M%SZ"
_EXPIRY: Final = re.compile(r"\d{8}T\d{6}Z", re.ASCII)

_LISTED_AT_MOST: Final = 30
# Comparing takes time that grows with the square of the length.
_LONGEST_MATCHED: Final = 100


def fingerprint(content: Mapping[str, Any], length: int = 12) -> str:
    """Return the first `length` hex digits of the SHA-256 of the content's canonical JSON."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of a refusal: the nearest known name, and the known ones (`: did you mean 'eks'? Known are ..`).

    Of many known names the first are listed.
    """
    # Members of an enumeration as their values.
    names = sorted(map(str, known))
    folded = [one for one in names if one.casefold() == name.casefold()]
    close = folded[:1] or get_close_matches(name[:_LONGEST_MATCHED], names, n=1)
    meant = f": did you mean {close[0]!r}?" if close else ":"
    listed = ", ".join(names[:_LISTED_AT_MOST])
    more = f" and {len(names) - _LISTED_AT_MOST} more" if len(names) > _LISTED_AT_MOST else ""
    return f"{meant} {'Known are' if close else 'known are'} {listed}{more}" if names else ": none is known"


def label_value(text: str) -> str:
    """Return `text` as a valid label value: shortened with a hash where it would not fit."""
    clean = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")
    if len(clean) <= 63:
        return clean
    return f"{clean[:54].rstrip('-._')}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def expiry(at: datetime) -> str:
    """Return an expiry as a label value (UTC, whole seconds)."""
    return at.astimezone(UTC).strftime(EXPIRES_FORMAT)


def read_expiry(value: str) -> datetime | None:
    """Return the instant an expiry label names, or None for text that is none: strptime alone would read one that was
    cut (`2026051T120000Z`) as an earlier day.
    """
    if _EXPIRY.fullmatch(value) is None:
        return None
    try:
        return datetime.strptime(value, EXPIRES_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return None


def trial_labels(trial_id: str, target: str, expires_at: datetime) -> dict[str, str]:
    """Return the labels every object of a trial carries."""
    return {
        LABEL_MANAGED_BY: OWNER,
        LABEL_TRIAL: label_value(trial_id),
        LABEL_TARGET: label_value(target),
        LABEL_EXPIRES: expiry(expires_at),
    }


def preparation_tags(content: str, expires_at: datetime, target: str | None = None) -> dict[str, str]:
    """Return the tags of what a preparation makes; `content` is the fingerprint it can be found and reused by."""
    tags = {LABEL_MANAGED_BY: OWNER, LABEL_CONTENT: label_value(content), LABEL_EXPIRES: expiry(expires_at)}
    if target is not None:
        tags[LABEL_TARGET] = label_value(target)
    return tags


def label_keys_for_google(tags: Mapping[str, str]) -> dict[str, str]:
    """Return tags as Google labels: lower case, `[a-z0-9_-]` in key and value, 63 characters."""
    return {
        re.sub(r"[^a-z0-9_-]", "_", key.lower())[:63]: re.sub(r"[^a-z0-9_-]", "-", value.lower())[:63]
        for key, value in tags.items()
    }
