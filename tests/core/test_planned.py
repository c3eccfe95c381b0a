"""What a trace's header says of the plan: today's and version 0.1's, and never an error."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trial_builders import a_planned_trial

from airflow_llm_provisioning.core.planned import PlannedFacts
from airflow_llm_provisioning.core.recipe import ImageRecipe
from airflow_llm_provisioning.core.trial import Prepared

RECIPE = ImageRecipe("base:1", "sha256:b", ("vllm==0.5.4",), {"A": "1"})

# As version 0.1 wrote it: one flat mapping.
FLAT: dict[str, Any] = {
    "trial_id": "t-1",
    "treatments": ["fast_download"],
    "image": "ours:r-1",
    "recipe": RECIPE.as_dict(),
    "prepared": {"image": "ours:r-1", "digest": "sha256:a"},
    "model": {"model_id": "m", "revision": "f39ac1d", "weight_bytes": 7_642_181_880},
}


def nested() -> dict[str, Any]:
    """As `Trial.header` writes the same."""
    trial = a_planned_trial("t-1", variant="fast", treatments=("fast_download",), image="ours:r-1")
    assert trial.opened is not None
    opened = replace(trial.opened, prepared=Prepared(image="ours:r-1", digest="sha256:a"))
    return replace(trial, served=replace(trial.served, recipe=RECIPE), opened=opened).header()


@pytest.mark.parametrize("header", [FLAT, nested()], ids=["0.1", "now"])
def test_both_headers_say_the_same(header: dict[str, Any]) -> None:
    """So a trace of version 0.1 replays as it did."""
    planned = PlannedFacts.of(header)
    assert planned.known
    assert planned.treatments == ("fast_download",)
    assert planned.image == planned.prepared_image == "ours:r-1"
    assert (planned.base, planned.prepared_digest) == ("base:1@sha256:b", "sha256:a")
    assert planned.recipe_pip == ("vllm==0.5.4",)
    assert (planned.model_revision, planned.weight_bytes) == ("f39ac1d", 7_642_181_880)


@pytest.mark.parametrize("header", [{}, {"arm": {}}, {"trial_id": "t"}])
def test_what_is_missing_is_not_known(header: dict[str, Any]) -> None:
    """Not none, and not zero: a header without treatments does not say that there were none."""
    planned = PlannedFacts.of(header)
    assert (planned.treatments, planned.recipe_pip, planned.weight_bytes) == (None, None, None)
    assert (planned.image, planned.base, planned.prepared_image) == ("", "", "")
    assert planned.known is bool(header)


def test_no_treatments_and_no_packages_are_known() -> None:
    """An empty list is an answer."""
    planned = PlannedFacts.of({"arm": {"treatments": []}, "served": {"recipe": {"base": "b", "pip": []}}})
    assert (planned.treatments, planned.recipe_pip) == ((), ())


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*FLAT, "arm", "served", "opened", "base", "pip", "digest"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from([*FLAT, "arm", "served", "opened"]), JUNK))
def test_a_junk_header_never_raises(header: dict[str, Any]) -> None:
    """A damaged trace still gets its verdicts; what is of another type is not known."""
    planned = PlannedFacts.of(header)
    assert all(isinstance(item, str) for item in planned.treatments or ())
    assert isinstance(planned.image, str)
    assert planned.weight_bytes is None or isinstance(planned.weight_bytes, float)
