"""HTML from plain values. Every value that is not `Markup` is escaped, because names come from clusters and users."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from airflow_llm_provisioning.report.text_table import cell

SHORT: Final = 14
# Elements without content have no end tag.
_VOID: Final = frozenset({"input"})


class Markup(str):
    """HTML that can be inserted into a page."""

    __slots__ = ()


def html(content: Any) -> Markup:
    """Return content as HTML: Markup unchanged, sequences concatenated, other values as escaped text."""
    if isinstance(content, Markup):
        return content
    if isinstance(content, (list, tuple)):
        return Markup("".join(html(item) for item in content))
    return Markup(escape(cell(content)))


def element(name: str, content: Any = "", /, **attributes: str) -> Markup:
    """Return `<name class="..">content</name>`; an attribute whose name is a Python keyword ends in `_`, and an
    underscore inside stands for a hyphen.
    """
    written = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"' for key, value in attributes.items())
    return Markup(f"<{name}{written}>" if name in _VOID else f"<{name}{written}>{html(content)}</{name}>")


def table(columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]], caption: str = "") -> Markup:
    """Return rows as a table; `columns`: key -> heading. Numbers are right-aligned; missing values are empty cells."""
    classes = {key: _class_of([row.get(key) for row in rows]) for key in columns}

    def one(name: str, key: str, content: Any, **attributes: str) -> Markup:
        return element(name, content, **attributes, **({"class_": classes[key]} if classes[key] else {}))

    head = element("tr", [one("th", key, heading, scope="col") for key, heading in columns.items()])
    body = [element("tr", [one("td", key, row.get(key)) for key in columns]) for row in rows]
    parts = [element("caption", caption)] if caption else []
    grid = element("table", [*parts, element("thead", head), element("tbody", body)])
    # A region that scrolls must be reachable by the keyboard, and then it needs a name.
    return element("div", grid, class_="scroll", tabindex="0", role="region", aria_label=caption or "Table")


def folded(title: str, content: Any) -> Markup:
    """Return content in a closed fold; it is printed open."""
    return element("details", [element("summary", title), html(content)])


def _class_of(values: Sequence[Any]) -> str:
    """Return the class of a column: `n` for numbers (possibly followed by a remark), `s` for short texts."""
    known = [value for value in values if value is not None]
    numbers = [value for value in known if isinstance(value, (int, float))]
    if numbers and all(value in numbers or str(value)[:1].isdigit() for value in known):
        return "n"
    return "s" if all(len(str(value)) <= SHORT for value in known) else ""
