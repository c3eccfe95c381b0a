"""Docstrings, comments and Markdown are wrapped paragraphs of plain field English, without riddle names.

The instrument is tested too. It reads the text only: whether a sentence is clear, a reader must decide.
"""

import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[1]
# Written so that no pattern matches its own text.
WORDS: Final = re.compile(
    r"\b(?:w[h]oever|w[h]atever|n[o]body|s[o]mebody|for[ ]ever|f[o]rever|a[n]yhow|h[i]s|s[p]eaks)\b", re.IGNORECASE
)
NAMES: Final = frozenset({"Books", "Places", "Belongings", "Patience", "Asking", "Earlier", "CALM", "_suffer", "Pens"})
WIDTH: Final = 120
STUMP_WORDS: Final = 3
# A line that begins something of its own: a list item, a parameter, a table row, a heading, a quotation or HTML.
_BEGINS: Final = re.compile(r"\s*(?:[-*+|#>]|\d+[.)]\s|:\w|```|~~~|<|\[[^\]]+\]:)")


@dataclass(frozen=True)
class Text:
    """Lines of prose. `line`: the number of the first one; `margin`: columns in front of the text, markers included."""

    line: int
    lines: Sequence[str]
    margin: int


def test_no_paragraph_has_a_stump() -> None:
    """No line of one to three words is in the middle of a paragraph."""
    found = [
        f"{path}:{number}: {line}"
        for path in checked_files()
        for text in texts_of(path, read(path))
        for number, line in stumps(text)
    ]

    assert found == []


def test_no_text_has_a_word_of_the_list() -> None:
    """Docstrings, comments and Markdown use none of the words that style forbids."""
    found = [
        f"{path}:{text.line + offset}: {match.group()}"
        for path in checked_files()
        for text in texts_of(path, read(path))
        for offset, line in enumerate(text.lines)
        for match in WORDS.finditer(line)
    ]

    assert found == []


def test_no_name_is_a_riddle() -> None:
    """The names that were replaced are not used again."""
    found = [
        f"{path}:{token.start[0]}: {token.string}"
        for path in checked_files()
        if path.endswith(".py")
        for token in tokenize.generate_tokens(io.StringIO(read(path)).readline)
        if token.type == tokenize.NAME and token.string in NAMES
    ]

    assert found == []


@pytest.mark.parametrize(
    ("name", "source", "line"),
    [
        ("a.py", '"""A summary.\n\nA paragraph that\nis short here\nand continues on a third line.\n"""\n', 3),
        ("a.py", "# A comment\n# that continues.\n", 1),
        ("a.py", 'def f():\n    """Do it\n    at once.\n    """\n', 2),
        ("a.md", "A paragraph\nof two lines.\n", 1),
        ("a.md", "- An item\n  of two lines.\n", 1),
    ],
)
def test_a_stump_is_found(name: str, source: str, line: int) -> None:
    """The instrument finds stumps in docstrings, comments and Markdown."""
    found = [number for text in texts_of(name, source) for number, _ in stumps(text)]

    assert found[:1] == [line]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("a.py", '"""A summary.\n\nA last line.\n\n- one\n- two\n\n    code\n    more code\n"""\n'),
        ("a.py", '"""Operate.\n\n:param a: first\n:param b: second\n"""\n'),
        ("a.py", "x = 1  # one\ny = 2  # two\n"),
        ("a.py", f"# Source:\n# {'https://example.invalid/' + 'x' * 90}\n"),
        ("a.md", "# Title\nText.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```\nshort\nlines\n```\n"),
    ],
)
def test_lists_tables_code_and_last_lines_are_no_stumps(name: str, source: str) -> None:
    """Short lines that are not in the middle of a paragraph are allowed."""
    assert [line for text in texts_of(name, source) for _, line in stumps(text)] == []


@pytest.mark.parametrize("word", ["who" + "ever", "for " + "ever", "No" + "body", "h" + "is"])
def test_a_word_of_the_list_is_found(word: str) -> None:
    """The pattern matches the word alone, and not a part of another word."""
    assert WORDS.search(f"It is {word} here.")
    assert not WORDS.search(f"It is x{word.replace(' ', '')}x here.")


def texts_of(path: str, source: str) -> Iterator[Text]:
    """Yield the texts of a file: docstrings and comment blocks of Python, or the whole of a Markdown file."""
    if path.endswith(".md"):
        yield Text(1, source.splitlines(), 0)
        return
    yield from _docstrings(source)
    yield from _comments(source)


def stumps(text: Text) -> Iterator[tuple[int, str]]:
    """Yield number and text of each stump: the next line continues it, and its first word would fit behind it."""
    fenced = False
    for offset, (line, following) in enumerate(zip(text.lines, text.lines[1:], strict=False)):
        fenced ^= line.lstrip().startswith(("```", "~~~"))
        if fenced or not _continues(line, following):
            continue
        content = re.sub(r"^\s*(?:[-*+]|\d+[.)])\s+", "", line)
        room = WIDTH - text.margin - len(line.rstrip()) - 1
        if len(content.split()) <= STUMP_WORDS and len(following.split()[0]) <= room:
            yield text.line + offset, line.strip()


def checked_files() -> list[str]:
    """Return the tracked Python and Markdown files that are checked; without git there is nothing to list."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)  # noqa: S607
    if listed.returncode:
        pytest.skip("not a git checkout: no list of tracked files")
    prefixes = globals().get("REWRITTEN", ("",))
    names = [name for name in listed.stdout.decode().split("\0") if name.endswith((".py", ".md"))]
    return [name for name in names if name.startswith(prefixes) and (ROOT / name).is_file()]


def read(path: str) -> str:
    """Return the text of a file of the repository."""
    return (ROOT / path).read_text(encoding="utf-8")


def _continues(line: str, following: str) -> bool:
    """Return whether the second line belongs to the paragraph of the first one."""
    if not line.strip() or not following.strip() or _BEGINS.match(following):
        return False
    item = re.match(r"(\s*)(?:[-*+]|\d+[.)])\s+", line)
    if item is None and _BEGINS.match(line):
        return False
    indent = len(item.group()) if item else len(line) - len(line.lstrip())
    return len(following) - len(following.lstrip()) == indent and not (indent >= 4 and item is None)


def _docstrings(source: str) -> Iterator[Text]:
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        for statement in node.body:
            value = statement.value if isinstance(statement, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                first, *others = value.value.rstrip().split("\n")
                lines = [first, *(line[value.col_offset :] for line in others)]
                yield Text(value.lineno, lines, value.col_offset + 3)


def _comments(source: str) -> Iterator[Text]:
    block: list[tuple[int, int, str]] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT or token.line.strip() != token.string:
            continue
        row, column = token.start
        if block and (row, column) != (block[-1][0] + 1, block[-1][1]):
            yield _block(block)
            block = []
        block.append((row, column, token.string.removeprefix("#").removeprefix(" ")))
    if block:
        yield _block(block)


def _block(block: Sequence[tuple[int, int, str]]) -> Text:
    return Text(block[0][0], [line for _, _, line in block], block[0][1] + 2)
