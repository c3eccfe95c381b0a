"""The table of contents of a page: a link to every section that has a heading and a name."""

import re
from collections.abc import Sequence
from typing import Final

from airflow_llm_provisioning.report.markup import Markup, element

# As `markup.element` writes them. The heading's own elements (a label, a small remark) are left out.
_SECTION: Final = re.compile(r'<section id="([^"]+)"[^>]*><h2>(.*?)</h2>', re.DOTALL)
_ASIDE: Final = re.compile(r"<(small|span)\b[^>]*>.*?</\1>", re.DOTALL)


def contents(parts: Sequence[Markup]) -> Markup:
    """Return links to the sections of a page, in their order; nothing where there are fewer than two."""
    found = [(name, title) for part in parts for name, title in _SECTION.findall(part)]
    if len(found) < 2:
        return Markup("")
    links = [element("li", element("a", _title(title), href=f"#{name}")) for name, title in found]
    return element("nav", element("ul", links), class_="contents", aria_label="Contents")


def anchor(title: str) -> str:
    """Return the name of a section with this heading."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _title(heading: str) -> Markup:
    """Return a heading with its small remark, which tells two families of one cloud apart. It is escaped already."""
    told = _ASIDE.sub("", heading).strip()
    beside = re.search(r"<small>(.*?)</small>", heading, re.DOTALL)
    return Markup(f"{told} ({beside.group(1)})" if beside else told)
