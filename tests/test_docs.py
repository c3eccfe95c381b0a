"""The documentation: every page is in the navigation, every link and anchor leads somewhere, the README fits PyPI.

No site is built here: `make docs` does that, and it needs the extra [docs].
"""

import re
import subprocess
import sys
import tomllib
import unicodedata
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from airflow_llm_provisioning import operators, sensors

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
REPOSITORY = "https://github.com/airflow-llm-provisioning/airflow-llm-provisioning"
README = ROOT / "README.md"
BESIDE = [README, *(ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"))]
PAGES = sorted(DOCS.rglob("*.md"))
PICTURE_LIMIT_BYTES = 250_000


def names(paths: list[Path]) -> list[str]:
    return [path.relative_to(ROOT).as_posix() for path in paths]


def without_code(text: str) -> str:
    """Return a page without its fenced blocks, code spans and comments: a link in there is none."""
    text = re.sub(r"^( *)(```+).*?^\1\2 *$", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    return re.sub(r"`[^`\n]+`", "", text)


def links(text: str) -> list[str]:
    """Return the addresses of inline links, of pictures, and of link definitions."""
    text = without_code(text)
    inline = re.findall(r"\]\(([^()\s]+)\)", text)
    return inline + re.findall(r"^\[[^\]]+\]: +(\S+)$", text, flags=re.MULTILINE)


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as Python-Markdown's table of contents makes them."""
    without_blocks = re.sub(r"^( *)(```+).*?^\1\2 *$", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ +(.+)$", without_blocks, flags=re.MULTILINE)
    return {slug(heading) for heading in headings}


def slug(heading: str) -> str:
    """Return a heading's anchor (Python-Markdown 3.11, markdown.extensions.toc.slugify)."""
    text = unicodedata.normalize("NFKD", heading.replace("`", "")).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", text).strip().lower())


def broken(path: Path, text: str) -> list[str]:
    """Return the links of a page that lead to no file or to no heading; addresses elsewhere are not fetched."""
    found = []
    for link in links(text):
        address = repository_path(link) if link.startswith(REPOSITORY) else link
        if re.match(r"[a-z]+:", address):
            continue
        name, _, anchor = address.partition("#")
        base = ROOT if link.startswith(REPOSITORY) else path.parent
        target = (base / name).resolve() if name else path
        if not reaches(path, text, target, anchor):
            found.append(link)
    return found


def reaches(path: Path, text: str, target: Path, anchor: str) -> bool:
    """Return whether a page's link to a file, and to a heading of it, works in the repository and on the site."""
    on_the_site = DOCS not in path.parents or DOCS in target.parents
    if target == path:
        return anchor in anchors(text)
    return target.exists() and on_the_site and (not anchor or anchor in anchors(target.read_text(encoding="utf-8")))


def repository_path(link: str) -> str:
    """Return the path of a file in the repository from its address there."""
    return re.sub(r"^/(?:blob|raw|tree)/main/?", "", link.removeprefix(REPOSITORY)).lstrip("/") or "."


def navigation(entries: list[Any]) -> list[str]:
    """Return the pages of the navigation, in order."""
    pages: list[str] = []
    for entry in entries:
        for value in entry.values():
            pages += navigation(value) if isinstance(value, list) else [value]
    return pages


def test_the_navigation_has_every_page_once() -> None:
    """A page that a reader of the site cannot reach, or an entry without a page, is an error."""
    project = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]
    assert sorted(navigation(project["nav"])) == sorted(path.relative_to(DOCS).as_posix() for path in PAGES)


@pytest.mark.parametrize("name", names(BESIDE + PAGES))
def test_every_link_leads_somewhere(name: str) -> None:
    """To a file of the repository, and to a heading of it; a page of the site links to files of the site only."""
    path = ROOT / name
    assert broken(path, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "link",
    [
        "nothere.md",
        "eks.md#no-such-heading",
        "#no-such-heading",
        "../README.md",
        "images/nothere.png",
        f"{REPOSITORY}/blob/main/docs/nothere.md",
        f"{REPOSITORY}/blob/main/docs/index.md#no-such-heading",
    ],
)
def test_a_broken_link_would_be_found(link: str) -> None:
    """The test's own instrument: as an inline link and, where the address is absolute, as a definition."""
    assert broken(DOCS / "page.md", f"# A page\n\nRead [this]({link}).\n") == [link]
    if link.startswith("https"):
        assert broken(DOCS / "page.md", f"# A page\n\n[this]: {link}\n") == [link]


def test_a_link_in_a_code_block_is_no_link() -> None:
    """Shell and Python examples may contain brackets."""
    assert broken(DOCS / "page.md", "```sh\n[x](nothere.md)\n```\n`[x](nothere.md)`\n[y](eks.md#the-cluster)\n") == []


def test_the_readme_has_absolute_addresses_only() -> None:
    """The package index shows the README too, and a relative link leads nowhere there."""
    found = links(README.read_text(encoding="utf-8"))
    assert len(found) > 15
    assert [link for link in found if not link.startswith("https://")] == []


def test_every_definition_of_the_readme_is_used_and_defined() -> None:
    """`[text][name]` and `[name]` need a definition, or the brackets are shown as they are."""
    text = without_code(README.read_text(encoding="utf-8"))
    defined = {name.lower() for name in re.findall(r"^\[([^\]]+)\]: ", text, flags=re.MULTILINE)}
    body = re.sub(r"^\[[^\]]+\]: .*$", "", text, flags=re.MULTILINE)
    full = {name.lower() for name in re.findall(r"\]\[([^\]]+)\]", body)}
    short = {name.lower() for name in re.findall(r"(?<!\])\[([^\]]+)\](?![\[(])", body)}
    assert full | short == defined


def test_the_readme_is_short() -> None:
    """At most 200 lines: everything else is a page."""
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 200


def test_the_repository_s_address_is_written_in_three_places() -> None:
    """One block of the README, [project.urls], and the site's configuration: a move means three edits."""
    files = [*BESIDE, *PAGES, ROOT / "pyproject.toml", ROOT / "zensical.toml", ROOT / "simulator" / "README.md"]
    having = [path for path in files if REPOSITORY in path.read_text(encoding="utf-8")]
    assert names(having) == ["README.md", "pyproject.toml", "zensical.toml"]
    lines = README.read_text(encoding="utf-8").splitlines()
    assert all(line.startswith("[") and "]: " in line for line in lines if REPOSITORY in line)
    numbers = [number for number, line in enumerate(lines) if REPOSITORY in line]
    assert numbers == list(range(numbers[0], numbers[-1] + 1))


def test_the_project_s_urls_lead_to_files_that_exist() -> None:
    """Documentation and changelog, as far as they are files."""
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    assert set(urls) == {"Homepage", "Documentation", "Changelog", "Issues"}
    paths = [repository_path(url) for name, url in urls.items() if name != "Issues"]
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_reference_has_every_operator_and_sensor() -> None:
    """A new class is documented by one line in docs/reference."""
    wanted = {f"airflow_llm_provisioning.operators.{name}" for name in operators.__all__}
    wanted |= {f"airflow_llm_provisioning.sensors.{name}" for name in sensors.__all__}
    assert wanted - set(identifiers()) == set()


def test_everything_the_reference_names_exists() -> None:
    """Else the site cannot be built."""
    missing = []
    for identifier in identifiers():
        try:
            import_module(identifier)
        except ImportError:
            module, _, name = identifier.rpartition(".")
            if not hasattr(import_module(module), name):
                missing.append(identifier)
    assert missing == []


def test_every_picture_is_small_and_used() -> None:
    """Every version of a picture stays in the history of the repository."""
    pictures = sorted((DOCS / "images").iterdir())
    text = "".join(path.read_text(encoding="utf-8") for path in [README, *PAGES])
    assert pictures
    assert [path.name for path in pictures if path.stat().st_size > PICTURE_LIMIT_BYTES] == []
    assert [path.name for path in pictures if f"images/{path.name}" not in text] == []


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (
            '<a href="other/#there">x</a><a href="#own">x</a><h2 id="own">x</h2><a href="https://nowhere.example">x</a>',
            [],
        ),
        ('<a href="nothere/">x</a>', ["index.html: nothere/"]),
        ('<a href="other/#nothere">x</a>', ["index.html: other/#nothere"]),
        ('<a href="#nothere">x</a>', ["index.html: #nothere"]),
        ('<img src="nothere.png">', ["index.html: nothere.png"]),
    ],
)
def test_the_check_of_the_built_site_finds_what_is_broken(tmp_path: Path, body: str, found: list[str]) -> None:
    """`make docs` runs it on the HTML: pictures, and links that come from docstrings."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "index.html").write_text('<h2 id="there">x</h2>', encoding="utf-8")
    (tmp_path / "index.html").write_text(body, encoding="utf-8")
    ran = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, str(ROOT / ".ci" / "check_site.py"), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout.splitlines() == [f"Broken link: {line}" for line in found]
    assert ran.returncode == (1 if found else 0)


def identifiers() -> list[str]:
    """Return what the reference's pages name for mkdocstrings."""
    pages = (path.read_text(encoding="utf-8") for path in sorted((DOCS / "reference").glob("*.md")))
    return [identifier for page in pages for identifier in re.findall(r"^::: (\S+)$", page, flags=re.MULTILINE)]
