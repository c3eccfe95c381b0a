"""What is served: the tag follows the content, a model is renamed everywhere."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_llm_provisioning.core.workload import (
    PHI3_2025,
    PHI3_CURRENT,
    ImageRecipe,
    Model,
    package_name,
    workload,
    workload_from,
)
from airflow_llm_provisioning.exceptions import ConfigurationError

RECIPE = ImageRecipe("base:1", pip=("a==1", "b==2"), env={"X": "1", "Y": "2"})
OTHER = Model("org/other", "abc", 10, 5, "hub")


def test_the_tag_follows_the_content() -> None:
    """Equal content, in any order of the environment, is the same tag; each change is another."""
    same = replace(RECIPE, env={"Y": "2", "X": "1"})
    changed = [
        replace(RECIPE, base="base:2"),
        replace(RECIPE, base_digest="sha256:1"),
        replace(RECIPE, pip=("b==2", "a==1")),
        replace(RECIPE, pip=("a==1",)),
        replace(RECIPE, env={"X": "1"}),
    ]
    assert same.tag() == RECIPE.tag()
    assert len({RECIPE.tag(), *(item.tag() for item in changed)}) == 6
    assert RECIPE.tag().startswith("r-")


@given(st.text(min_size=1), st.lists(st.text()), st.dictionaries(st.text(), st.text()))
def test_a_recipe_survives_the_round_trip(base: str, pip: list[str], env: dict[str, str]) -> None:
    """As JSON it is the same recipe, with the same tag."""
    recipe = ImageRecipe(base, pip=tuple(pip), env=env)
    assert ImageRecipe.from_dict(recipe.as_dict()).tag() == recipe.tag()


@pytest.mark.parametrize("data", [{}, {"base": ""}, {"base": "x", "packages": []}])
def test_a_bad_recipe_is_one_sentence(data: dict[str, Any]) -> None:
    """What a recipe has is said."""
    with pytest.raises(ConfigurationError, match="An image recipe needs `base`"):
        ImageRecipe.from_dict(data)


def test_a_dockerfile_is_base_packages_environment() -> None:
    """By digest where one is known, all packages in one layer."""
    text = replace(RECIPE, base_digest="sha256:1").dockerfile()
    assert text.splitlines() == [
        "FROM base:1@sha256:1",
        "RUN pip install --no-cache-dir 'a==1' 'b==2'",
        "ENV X=1",
        "ENV Y=2",
    ]
    assert "RUN" not in replace(RECIPE, pip=()).dockerfile()


@pytest.mark.parametrize("served", [PHI3_2025, PHI3_CURRENT], ids=lambda item: item.profile)
def test_everything_that_is_installed_is_pinned(served: Any) -> None:
    """A trial of next year installs what this year's did."""
    for requirement in (*served.runtime_pip, *served.fast_download_pip):
        assert "==" in requirement


@pytest.mark.parametrize("served", [PHI3_2025, PHI3_CURRENT], ids=lambda item: item.profile)
def test_another_model_is_named_everywhere(served: Any) -> None:
    """No trace of the profile's own model is left in what is deployed."""
    other = served.with_model(OTHER)
    assert other.served_name == "org/other"
    told = repr((other.runtime_env_vars, other.app_args))
    assert "Phi-3" not in told
    assert served.model.revision not in told
    assert "org/other" in repr(other.app_args)


def test_a_plans_model_replaces_the_profiles() -> None:
    """With its revision, size and where these are from; without one the profile's own, pinned."""
    planned = {"profile": "phi3-2025", "model": {"model_id": "org/other", "revision": "r", "weight_bytes": 1,
                                                  "largest_file_bytes": 1, "source": "hub"}}  # fmt: skip
    assert workload_from(planned).model == Model("org/other", "r", 1, 1, "hub")
    assert workload_from({"profile": "phi3-2025", "model": None}).model.source == "pinned"


def test_an_unknown_profile_names_the_known() -> None:
    """One sentence."""
    with pytest.raises(ConfigurationError, match="'phi4' is unknown: choose one of phi3-2025, phi3-current"):
        workload("phi4")


@pytest.mark.parametrize(
    ("requirement", "name"),
    [("hf_transfer==0.1.9", "hf-transfer"), ("Py.Arrow[x]>=1", "py-arrow"), (" vllm", "vllm"), ("==1", "")],
)
def test_package_names_are_normalised(requirement: str, name: str) -> None:
    """As pip compares them."""
    assert package_name(requirement) == name
