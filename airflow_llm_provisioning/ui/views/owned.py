"""*Owned*: what the ledger says is ours and not gone, with its age and expiry; below it what the reaper saw last.

Clusters and clouds are not asked while a page is drawn: that takes minutes, needs their credentials in the API server,
and a place that does not answer would hold the page. The ledger is written before every create, so it misses nothing
that this package made. What it cannot know, prices too, is in the list that the reaper's tasks leave in Airflow.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from airflow_llm_provisioning.core.fields import number, objects
from airflow_llm_provisioning.core.instants import parse_instant
from airflow_llm_provisioning.core.names import LABEL_TARGET, LABEL_TRIAL
from airflow_llm_provisioning.core.owned import State
from airflow_llm_provisioning.gateways.store import ResultsStore
from airflow_llm_provisioning.gateways.store.ledger import Entry
from airflow_llm_provisioning.report.markup import Markup, element, html, table
from airflow_llm_provisioning.report.text_table import cell
from airflow_llm_provisioning.ui.layout import notice, section

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

_SEEN: Final = {
    "state": "state",
    "kind": "kind",
    "name": "name",
    "of": "of trial or target",
    "age": "age",
    "expires": "expires",
    "price": "an hour (USD)",
    "why": "why",
}


def owned_view(
    store: ResultsStore | None, lists: Sequence[Mapping[str, Any]] = (), now: datetime | None = None
) -> Markup:
    """Return the view. `store`: None where there is no results store yet, so nothing was created. `lists`: what the
    reaper saw last, {place, at, items} for each place.
    """
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
        return html([notice("Nothing: every entry of the ledger is closed."), *_lists(lists), asked])
    expired = sum(entry.expires_at < at for entry in entries)
    alarm = [_expired(expired)] if expired else []
    rows = [_row(entry, at) for entry in _ordered(entries)[:MOST_SHOWN]]
    more = [element("p", f"And {len(entries) - MOST_SHOWN} more.")] if len(entries) > MOST_SHOWN else []
    counted = element("p", f"{len(entries)} open entries.")
    return html([*alarm, counted, table(_COLUMNS, rows, "Expired first"), *more, *_lists(lists), asked])


def _lists(lists: Sequence[Mapping[str, Any]]) -> list[Markup]:
    """Return what the reaper saw in clusters and clouds when it looked last, or that it has not."""
    if not lists:
        told = "No run of the DAG reap has listed clusters and clouds yet, or Airflow has forgotten it."
        return [section("In clusters and clouds", element("p", told, class_="quiet"), id="seen")]
    tables = [
        table(
            _SEEN, [_seen(item) for item in objects(found, "items")], f"{found.get('place')}, seen {_at(found, 'at')}"
        )
        for found in lists
    ]
    return [section("In clusters and clouds, as the reaper saw it last", tables, id="seen")]


def _seen(item: Mapping[str, Any]) -> dict[str, Any]:
    age_s, price = number(item.get("age_s")), number(item.get("price_hour_usd"))
    state = str(item.get("state"))
    kind = "wait" if state == State.IN_USE else "bad"
    return {
        **{key: item.get(key) for key in ("kind", "name", "of", "why")},
        "state": element("span", state, class_=f"badge status {kind}"),
        "age": None if age_s is None else _span(age_s),
        "expires": _at(item, "expires_at"),
        "price": "not known" if price is None else cell(price, "price_usd"),
    }


def _at(item: Mapping[str, Any], key: str) -> str:
    at = parse_instant(item.get(key))
    return "" if at is None else f"{at:%Y-%m-%d %H:%M}"


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
