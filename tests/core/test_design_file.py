"""A factorial plan in an experiment file: its combinations become variants of the targets whose nodes they fit."""

from typing import Any

import pytest
from experiment_data import EXAMPLES, experiment, no_file, target_data

from airflow_llm_provisioning.core.experiment_file import read_experiment_text
from airflow_llm_provisioning.exceptions import ConfigurationError

THREE = ["fast_download", "bake_packages", "image_delivery"]


def test_the_example_has_every_combination_once() -> None:
    """Those with image delivery need other nodes and stand on the other target; all are of one stratum."""
    path = EXAMPLES / "factorial.yaml"
    read = read_experiment_text(path.read_text(encoding="utf-8"), where=str(path), read_text=no_file)
    plain, fast = read.targets
    assert plain.variants == ("baseline", "fast_download", "bake_packages", "bake_packages.fast_download")
    assert fast.variants == (
        "image_delivery",
        "fast_download.image_delivery",
        "bake_packages.image_delivery",
        "bake_packages.fast_download.image_delivery",
    )
    assert len({read.arm(cell).stratum.key for cell in read.cells()}) == 1
    assert read.design_notes == ()


def test_what_no_target_can_run_is_named_with_its_consequence() -> None:
    """Without a target for image delivery half of the plan is left out, and with it that effect."""
    notes = experiment(target_data(variants=["design"]), design="full", factors=THREE).design_notes
    assert notes[0] == (
        "eks: combination image_delivery is left out: no target lists it, or it needs nodes that no target has."
    )
    assert "eks: image_delivery cannot be told apart from the mean." in notes


def test_what_is_impossible_is_left_out_with_its_reason() -> None:
    """Artifact Streaming is Azure's; on EKS its combinations are named with the treatment's own sentence."""
    read = experiment(
        target_data(variants=["design"]), design="full", factors=["fast_download", "aks_artifact_streaming"]
    )
    assert read.targets[0].variants == ("baseline", "fast_download")
    assert len(read.design_notes) == 4
    assert "eks: combination aks_artifact_streaming is left out: " in read.design_notes[0]
    assert "aks" in read.design_notes[0].partition("left out: ")[2]
    assert read.design_notes[2] == "eks: aks_artifact_streaming cannot be told apart from the mean."


def test_a_fraction_says_what_it_mixes_up_and_names_stay() -> None:
    """In any order of the factors; a target may name a combination itself."""
    target = target_data(variants=["bake_packages.fast_download", "design"])
    factors = ["fast_download", "bake_packages"]
    read, turned = (experiment(target, design="full", factors=names) for names in (factors, factors[::-1]))
    assert set(read.targets[0].variants) == set(turned.targets[0].variants)
    assert read.targets[0].variants[0] == "bake_packages.fast_download"
    fraction = experiment(target_data(variants=["design"]), design="fraction", factors=THREE)
    assert "fast_download x bake_packages cannot be told apart from image_delivery." in fraction.design_notes


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"design": "full"}, "`factors` is missing"),
        ({"factors": THREE}, "`design` is missing"),
        ({"design": "half", "factors": THREE}, "`design` is 'half', which is unknown"),
        ({"design": "full", "factors": ["fast_download"]}, "`factors`"),
        ({"design": "full", "factors": ["fast_download", "fast_download"]}, "stands there twice"),
        ({"design": "fraction", "factors": THREE[:2]}, "3 to 7 are needed"),
        ({"design": "full", "factors": ["fast_download", "fast_downlaod"]}, "did you mean 'fast_download'"),
        (
            {"design": "full", "factors": THREE[:2], "variants": {"fast_download": ["bake_packages"]}},
            "`variants.fast_download` is a name of the design",
        ),
    ],
)
def test_a_plan_that_is_none_is_refused(fields: dict[str, Any], told: str) -> None:
    """With the key, and before money is spent."""
    with pytest.raises(ConfigurationError, match=told):
        experiment(target_data(variants=["design"]), **fields)


def test_a_target_with_a_design_needs_one_in_the_file() -> None:
    """Else its entry is an unknown variant."""
    with pytest.raises(ConfigurationError, match="'design' is unknown"):
        experiment(target_data(variants=["design"]))
