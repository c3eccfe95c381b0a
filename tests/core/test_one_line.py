"""A text from outside stands in a sentence: one line, printable, of a length, without secrets."""

import pytest

from airflow_llm_provisioning.core.one_line import one_line, plain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\n  b\tc", "a b c"),
        ("\x1b[31mred\x1b[0m and \x1b[2Jgone", "red and gone"),
        ("a\0b\u2028c\x7f", "a b c"),
        ("", ""),
        ("a" * 400 + "b" * 400, f"{'a' * 297} ... {'b' * 297}"),
    ],
)
def test_plain(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_a_secret_does_not_stand_in_a_sentence() -> None:
    assert "made-up" not in one_line("refused: https://user:made-up@host/ said no")


def test_the_limit_is_the_callers() -> None:
    assert len(plain("word " * 100, 50)) <= 50
