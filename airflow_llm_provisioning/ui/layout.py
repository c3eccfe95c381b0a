"""The frame of every view: head, navigation, and the sentences for what cannot be shown. Addresses are relative, so the
page works below any path.
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

from airflow_llm_provisioning import __version__
from airflow_llm_provisioning.report.markup import Markup, element, html

TITLE: Final = "LLM deployments"
VIEWS: Final[Mapping[str, str]] = {
    "now": "Now",
    "results": "Results",
    "history": "History",
    "targets": "Targets",
    "owned": "Owned",
}
# A browser keeps an asset as long as its address is the same.
VERSION: Final = quote(__version__)


def document(title: str, content: Any, *, active: str = "", lead: str = "") -> str:
    """Return a whole page. `active`: the view that the navigation marks; `lead`: what the view is for."""
    head = [
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        element("title", f"{title} - {TITLE}"),
        *(Markup(f'<link rel="stylesheet" href="assets/{name}?v={VERSION}">') for name in ("report.css", "page.css")),
        Markup(f'<link rel="icon" href="assets/icon.svg?v={VERSION}">'),
        # Not deferred: the colours must be known before the first paint.
        Markup(f'<script src="assets/theme.js?v={VERSION}"></script>'),
        Markup(f'<script type="module" src="assets/page.js?v={VERSION}"></script>'),
    ]
    body = [
        Markup('<a class="skip" href="#content">Skip to the content</a>'),
        element("header", _navigation(active), class_="top"),
        element(
            "main",
            [
                element("h1", title),
                *([element("p", lead, class_="lead")] if lead else []),
                html(content),
                element("footer", f"airflow-llm-provisioning {__version__}. All times are UTC."),
            ],
            id="content",
            tabindex="-1",
        ),
    ]
    page = element("html", [element("head", head), element("body", body)], lang="en")
    return f"<!doctype html>\n{page}\n"


def address(view: str, **query: Any) -> str:
    """Return the relative address of a view; a value that is None is left out."""
    known = {key: str(value) for key, value in query.items() if value is not None}
    return f"{view}?{urlencode(known)}" if known else view


def link(text: Any, view: str, **query: Any) -> Markup:
    """Return a link to a view of the page."""
    return element("a", text, href=address(view, **query))


def airflow_link(text: Any, *path: str) -> Markup:
    """Return a link to a page of Airflow itself: it opens in Airflow's frame, not inside this page's."""
    return element("a", text, href="../" + "/".join(quote(part, safe="") for part in path), data_airflow="")


def trial_link(trial_id: str) -> Markup:
    """Return a link to a trial."""
    return link(trial_id, "trial", id=trial_id)


def notice(text: Any, kind: str = "note") -> Markup:
    """Return a sentence that says why something is not shown. `kind`: `note` or `alarm`."""
    return element("p", text, class_=kind, role="note")


def section(title: str, content: Any, **attributes: str) -> Markup:
    """Return a section with its heading."""
    return element("section", [element("h2", title), html(content)], **attributes)


def later(where: str, text: str, **attributes: str) -> Markup:
    """Return a place that the script fills from an address of the page. `text`: what it says meanwhile."""
    waiting = element("p", text, class_="quiet")
    return element("div", waiting, data_load=where, aria_busy="true", **attributes)


def choice(name: str, label: str, values: Mapping[str, str], chosen: str | None) -> Markup:
    """Return a list to choose from, with its label; `values`: value -> text."""
    options = [
        element("option", text, value=value, **({"selected": "selected"} if value == (chosen or "") else {}))
        for value, text in values.items()
    ]
    return element("label", [element("span", label), element("select", options, name=name)])


def _navigation(active: str) -> Markup:
    items = [
        element("li", element("a", text, href=view, **({"aria_current": "page"} if view == active else {})))
        for view, text in VIEWS.items()
    ]
    return element("nav", element("ul", items), aria_label=TITLE)
