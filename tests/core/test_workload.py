"""What is served: the tag follows the content, a model is renamed everywhere."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_llm_provisioning.core.builtin_profiles import PHI3_2025, PHI3_CURRENT, BuiltinProfile
from airflow_llm_provisioning.core.workload import ImageRecipe, Model, ScalingSetup, builtin_workload, package_name
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
def test_everything_that_is_installed_is_pinned(served: BuiltinProfile) -> None:
    """A trial of next year installs what this year's did."""
    for requirement in (*served.runtime_pip, *served.fast_download_pip):
        assert "==" in requirement


@pytest.mark.parametrize("served", [PHI3_2025, PHI3_CURRENT], ids=lambda item: item.profile)
def test_another_model_is_named_everywhere(served: BuiltinProfile) -> None:
    """No trace of the profile's own model is left in what is deployed or asked for."""
    other = builtin_workload("w", served.profile).with_model(OTHER)
    told = repr((other.manifest, other.completion))
    assert "Phi-3" not in told
    assert str(served.model.revision) not in told
    assert "org/other" in other.manifest["spec"]["serveConfigV2"]
    assert other.completion is not None
    assert (other.completion["body"]["model"], other.completion["expect_model"]) == ("org/other", "org/other")


def test_a_plans_model_replaces_the_profiles() -> None:
    """With its revision, size and source; without one the profile's own model is served, pinned."""
    own = builtin_workload("w", "phi3-2025")
    assert own.with_model(OTHER).model == OTHER
    assert own.model is not None
    assert own.model.source == "pinned"


def test_a_model_of_the_hub_changes_neither_image_nor_set_ups_nor_a_missing_request() -> None:
    """What the experiment says of a workload survives the model that the plan resolves."""
    own = replace(
        builtin_workload("w", "phi3-2025").with_image("mine:1"), completion=None, setups=(ScalingSetup.STATIC,)
    )
    changed = own.with_model(OTHER)
    assert (changed.name, changed.images, changed.completion) == ("w", ("mine:1",), None)
    assert changed.setups == (ScalingSetup.STATIC,)


def test_a_manifest_of_ones_own_serves_its_own_model_only() -> None:
    """Another revision of the same model may be resolved; another model is refused, because the manifest names it."""
    own = replace(builtin_workload("w", "phi3-2025"), profile=None, model=Model("org/own"))
    assert own.with_model(Model("org/own", "r1")).model == Model("org/own", "r1")
    with pytest.raises(ConfigurationError, match=r"'w' is a manifest of its own and serves org/own.*org/other"):
        own.with_model(OTHER)


def test_the_content_follows_what_is_served_and_not_its_name() -> None:
    """A renamed workload is the same arm; another image, model or revision is another one."""
    own = builtin_workload("w", "phi3-2025")
    assert own.content == replace(own, name="other").content
    others = [own.with_image("mine:1"), own.with_model(OTHER), own.with_model(replace(OTHER, revision="def"))]
    assert len({own.content, *(item.content for item in others)}) == 4


def test_an_unknown_profile_names_the_known() -> None:
    """One sentence, with the nearest name."""
    with pytest.raises(ConfigurationError, match="'phi4' is unknown: known are phi3-2025, phi3-current"):
        builtin_workload("w", "phi4")
    with pytest.raises(ConfigurationError, match=r"did you mean 'phi3-2025'\? Known are phi3-2025, phi3-current"):
        builtin_workload("w", "phi3-2024")


@pytest.mark.parametrize(
    ("requirement", "name"),
    [("hf_transfer==0.1.9", "hf-transfer"), ("Py.Arrow[x]>=1", "py-arrow"), (" vllm", "vllm"), ("==1", "")],
)
def test_package_names_are_normalised(requirement: str, name: str) -> None:
    """As pip compares them."""
    assert package_name(requirement) == name
