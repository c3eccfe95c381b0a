"""Check every internal link, anchor and picture of the built documentation site.

python .ci/check_site.py build/site

Zensical's strict mode validates the links of pages. It does not validate pictures, nor links in docstrings, which
mkdocstrings renders (Zensical 0.0.73). Addresses of other sites are not fetched.
"""

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

# Its links are absolute, for the address the site is served from.
NOT_A_PAGE: Final = "404.html"


class Page(HTMLParser):
    """One HTML page: `links` holds its addresses, `ids` its anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect addresses and anchors of one element."""
        for name, value in attrs:
            if value and (name == "id" or (name == "name" and tag == "a")):
                self.ids.add(value)
            elif value and (name, tag) in {("href", "a"), ("src", "img"), ("src", "script"), ("href", "link")}:
                self.links.append(value)


def broken(site: Path) -> Iterator[str]:
    """Yield `page: address` for every internal address that leads to no file or to no anchor."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        for link in page.links if path.name != NOT_A_PAGE else ():
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            anchor = unquote(parts.fragment)
            if not target.is_file() or (anchor and target in pages and anchor not in pages[target].ids):
                yield f"{path.relative_to(site)}: {link}"


def main() -> int:
    """Print what is broken; return 1 if anything is, or if there is no site."""
    site = Path(sys.argv[1]).resolve()
    found = sorted(set(broken(site)))
    sys.stdout.writelines(f"Broken link: {line}\n" for line in found)
    if not (site / "index.html").is_file():
        sys.stdout.write(f"No site was built in {site}.\n")
        return 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
