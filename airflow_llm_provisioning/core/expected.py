"""Changes of level that are wanted: a new baseline holds from a date, a run or an image digest on.

They are declared in the experiment file (`expected_changes`), as a parameter of `TellChanges` or on the command line.
Which night begins the new level is found in each cell's own history.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

from airflow_llm_provisioning.core.arm import IMAGE_DIGEST
from airflow_llm_provisioning.core.names import nearest
from airflow_llm_provisioning.core.nights import Cell, Night

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
# A date in another order or that no calendar has. Run ids that only begin with a date are run ids.
_DATE_LIKE: Final = re.compile(r"\d{1,4}[-./]\d{1,2}[-./]\d{1,4}(?:[T ]\d{1,2}:.{0,30})?")
KEYS: Final = ("since", "run", "digest")


@dataclass(frozen=True, slots=True)
class ExpectedChange:
    """Exactly one of `since`, `run` and `digest` says where the new level begins: at the first night from an instant
    on, at a DAG run, or at the first night whose workers ran an image of that digest. `arm`:
    `TARGET/WORKLOAD/SETUP/VARIANT`, None for all. `why`: for readers.
    """

    since: datetime | None = None
    run: str | None = None
    digest: str | None = None
    arm: str | None = None
    why: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return it as `expected_from` reads it."""
        found = {"since": self.since and self.since.isoformat(), "run": self.run, "digest": self.digest}
        return {key: value for key, value in (*found.items(), ("arm", self.arm), ("why", self.why)) if value}

    def begins(self, cell: Cell, nights: Sequence[Night]) -> str | None:
        """Return the run id of the night that begins the new level of a cell; None where there is none yet."""
        if self.arm is not None and self.arm != cell.short_name:
            return None
        return next((night.run_id for night in nights if self._holds(night)), None)

    def _holds(self, night: Night) -> bool:
        if self.since is not None:
            return night.at >= self.since
        if self.run is not None:
            return night.run_id == self.run
        return self.digest in night.facts.get(IMAGE_DIGEST, ())


def expected_from(asked: str | Mapping[str, Any]) -> ExpectedChange:
    """Return a change from {since | run | digest, arm, why}, or from a text that is one of the three: a date
    (`2026-12-01`, midnight UTC) or an instant, an image digest, else the id of a DAG run.

    Raises ValueError with a sentence.
    """
    if isinstance(asked, str):
        return _from_text(asked.strip())
    _check_form(asked)
    given = [key for key in KEYS if asked.get(key)]
    if len(given) != 1:
        found = ", ".join(given) or "none of them"
        raise ValueError(f"An expected change needs exactly one of {', '.join(KEYS)}; found {found}.")
    since = None if not asked.get("since") else _instant(asked["since"])
    if since is None and asked.get("since"):
        told = f"`since` is {str(asked['since'])[:60]!r} and must be a date as 2026-12-01 or an instant"
        raise ValueError(f"{told} as 2026-12-01T06:00Z.")
    digest = asked.get("digest") or None
    if digest is not None and not _DIGEST.fullmatch(digest):
        raise ValueError(f"`digest` is {digest[:80]!r} and must be an image digest: `sha256:` and 64 hex digits.")
    return ExpectedChange(since, asked.get("run") or None, digest, asked.get("arm") or None, asked.get("why") or "")


def _check_form(asked: object) -> None:
    """Refuse what is no mapping of known keys to texts. The experiment file's schema does the same for its entries."""
    if not isinstance(asked, Mapping):
        raise ValueError(f"An expected change is a text or a mapping; found {asked!r}.")
    for key, value in asked.items():
        if key not in (*KEYS, "arm", "why"):
            raise ValueError(
                f"An expected change has the key {str(key)[:80]!r}{nearest(str(key), (*KEYS, 'arm', 'why'))}."
            )
        if key != "since" and value is not None and (not isinstance(value, str) or value != value.strip()):
            raise ValueError(f"`{key}` is {str(value)[:80]!r} and must be text without blanks around it.")


def expected_runs(cell: Cell, nights: Sequence[Night], changes: Iterable[ExpectedChange]) -> frozenset[str]:
    """Return the runs at which a new level of a cell is wanted."""
    return frozenset(run_id for change in changes if (run_id := change.begins(cell, nights)) is not None)


def _from_text(text: str) -> ExpectedChange:
    if _DIGEST.fullmatch(text):
        return ExpectedChange(digest=text)
    if (since := _instant(text)) is not None:
        return ExpectedChange(since=since)
    if not text:
        raise ValueError("An expected change needs a date, the id of a DAG run or an image digest; found nothing.")
    if _DATE_LIKE.fullmatch(text):
        raise ValueError(f"{text!r} is no date; write it as 2026-12-01 or 2026-12-01T06:00Z.")
    if text.lower().startswith("sha256:"):
        raise ValueError(f"{text[:80]!r} is no image digest: that is `sha256:` and 64 hex digits in lower case.")
    return ExpectedChange(run=text)


def _instant(value: object) -> datetime | None:
    """Return an aware instant; a date, or an instant without a zone, is in UTC."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    try:
        found = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).strip())
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
