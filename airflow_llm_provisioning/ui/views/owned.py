"""*Owned*: what the ledger says is ours and not gone, with its age and expiry.

Clusters and clouds are not asked while a page is drawn: that takes minutes, needs their credentials in the API server,
and a place that does not answer would hold the page. The ledger is written before every create, so it misses nothing
that this package made; what it cannot know is told beside it, with the command that asks every place.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from airflow_llm_provisioning.core.names import LABEL_TARGET, LABEL_TRIAL
from airflow_llm_provisioning.gateways.store import ResultsStore
from airflow_llm_provisioning.gateways.store.ledger import Entry
from airflow_llm_provisioning.report.markup import Markup, element, html, table
from airflow_llm_provisioning.ui.layout import notice

LEAD: Final = "What was created in clusters and clouds for trials and preparations, and is not recorded as gone."
MOST_SHOWN: Final = 500
_LEDGER: Final = (
    "This is the ledger: an intent is written before anything is created, and closed when it was seen to be gone. "
    "Clusters and clouds are not asked while this page is drawn. To ask every place, with prices too: "
)
_COLUMNS: Final = {
    "state": "state",
    "kind": "kind",
    "name": "name",
    "place": "place",
    "age": "age",
    "expires": "expires",
    "trial": "of trial or target",
    "identity": "identity",
}


def owned_view(store: ResultsStore | None, now: datetime | None = None) -> Markup:
    """Return the view. `store`: None where there is no results store yet, so nothing was created."""
    entries = store.ledger.open_entries() if store is not None else []
    at = now or datetime.now(UTC)
    asked = element(
        "p",
        [
            _LEDGER,
            element("code", "llm-provisioning owned"),
            ".",
        ],
        class_="quiet",
    )
    if not entries:
        return html([notice("Nothing: every entry of the ledger is closed."), asked])
    expired = sum(entry.expires_at < at for entry in entries)
    alarm = [_expired(expired)] if expired else []
    rows = [_row(entry, at) for entry in _ordered(entries)[:MOST_SHOWN]]
    more = [element("p", f"And {len(entries) - MOST_SHOWN} more.")] if len(entries) > MOST_SHOWN else []
    return html(
        [*alarm, element("p", f"{len(entries)} open entries."), table(_COLUMNS, rows, "Expired first"), *more, asked]
    )


def _expired(count: int) -> Markup:
    told = "1 entry is" if count == 1 else f"{count} entries are"
    text = f" {told} past the expiry and may still cost money: look at them with `llm-provisioning owned`."
    return notice([element("strong", "EXPIRED"), text], "alarm")


def _ordered(entries: Sequence[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: (entry.expires_at, entry.entry_id))


def _row(entry: Entry, now: datetime) -> dict[str, Any]:
    late = entry.expires_at < now
    return {
        "state": element(
            "span", "expired" if late else str(entry.state), class_=f"badge status {'bad' if late else 'wait'}"
        ),
        "kind": entry.kind,
        "name": entry.name,
        "place": entry.place,
        "age": _span((now - entry.intended_at).total_seconds()),
        "expires": f"{entry.expires_at:%Y-%m-%d %H:%M}",
        "trial": entry.tags.get(LABEL_TRIAL) or entry.tags.get(LABEL_TARGET),
        "identity": entry.identity,
    }


def _span(seconds: float) -> str:
    """Return a duration in the largest units that say enough: `3 d 4 h`, `2 h 10 min`, `45 s`."""
    whole = max(int(seconds), 0)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{whole} s"
