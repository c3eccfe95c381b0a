"""A recipe is data: no part of it becomes another instruction of the Dockerfile or another command of the build."""

import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_llm_provisioning.core.image_reference import checked_reference
from airflow_llm_provisioning.core.recipe import ImageRecipe
from airflow_llm_provisioning.exceptions import ConfigurationError


@pytest.mark.parametrize(
    "recipe",
    [
        {"pip": ["x'; curl evil #"]},
        {"pip": ["x\nRUN curl evil"]},
        {"pip": ["--trusted-host evil.example"]},
        {"pip": ["-r /etc/passwd"]},
        {"pip": ["x`id`"]},
        {"pip": ["x; $(id)"]},
        {"pip": "vllm"},
        {"pip": [5]},
        {"env": {"A": "1\nRUN curl evil"}},
        {"env": {"A": "1\rRUN curl evil"}},
        {"env": {"A B": "1"}},
        {"env": {"A=1\nRUN x": "1"}},
        {"env": {"A": 1}},
        {"env": ["A=1"]},
        {"base": "r:1\nRUN curl evil"},
        {"base": "r:1 AS x"},
        {"base": "r/../../x"},
        {"base_digest": "sha256:0\nRUN x"},
        {"base": "--platform=x"},
    ],
)
def test_a_part_that_is_more_than_a_value_is_refused(recipe: dict[str, Any]) -> None:
    """With one sentence, before any cloud is asked."""
    with pytest.raises(ConfigurationError) as raised:
        ImageRecipe.from_dict({"base": "r:1", **recipe}).dockerfile()
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    "package",
    [
        "vllm==0.5.4",
        'vllm[audio,video] >=0.5,<1 ; python_version < "3.13"',
        "hf_transfer",
        "mine @ https://x.example/mine-1.0-py3-none-any.whl",
        "git+https://github.com/vllm-project/vllm.git@main",
        "./mine-1.0.whl",
        "torch==2.3.0+cu121",
    ],
)
def test_every_kind_of_requirement_is_one_word_of_the_command(package: str) -> None:
    """PEP 508, addresses and paths."""
    _, run = ImageRecipe("r:1", pip=(package,)).dockerfile().splitlines()
    assert shlex.split(run.removeprefix("RUN "))[3:] == [package]


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1))
def test_a_variable_keeps_its_value(value: str) -> None:
    """Spaces, quotes and dollar signs: read as a Dockerfile is read (docs.docker.com, ENV; quoted values in double
    quotes with backslashes), it is the one value again.
    """
    made = ImageRecipe("r:1", env={"A": value}).dockerfile().splitlines()
    assert len(made) == 2
    word = made[1].removeprefix("ENV A=")
    assert shlex.split(word.replace("\\$", "$")) == [value]


def test_a_value_with_spaces_is_one_variable() -> None:
    """Unquoted, the second word would be a variable of its own."""
    assert ImageRecipe("r:1", env={"A": "two words=3"}).dockerfile() == 'FROM r:1\nENV A="two words=3"\n'


@pytest.mark.parametrize(
    "text",
    ["a", "a/b:c", "localhost:5000/a/b@sha256:" + "0" * 64, "REGISTRY/REPOSITORY:r-1", "127.0.0.1:5000/a__b/c-d:1.0",
     "us-docker.pkg.dev/p/r/i:t@sha256:" + "a" * 64],
)  # fmt: skip
def test_references_are_taken(text: str) -> None:
    """With and without host, tag and digest."""
    assert checked_reference(text) == text


@pytest.mark.parametrize(
    "text",
    ["", " a", "a b", "a/../b", "x.example/../../v2/token", "a//b", "a?x=1", "a#b", "a:b:c/d", "a\n", "/a", "a" * 600],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    """It would lead to another address, or to another instruction."""
    with pytest.raises(ConfigurationError, match="is no image reference"):
        checked_reference(text)
