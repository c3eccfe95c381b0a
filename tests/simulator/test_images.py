"""Simulated images hold exactly what the Dockerfile that arrived says."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_llm_provisioning.core.builtin_profiles import PHI3_2025, PHI3_CURRENT
from airflow_llm_provisioning.core.recipe import ImageRecipe
from llm_provisioning_simulator.images import (
    PUBLIC_BASES,
    DockerfileError,
    built_image,
    install_plan,
    seed_public_images,
)
from llm_provisioning_simulator.wheels import INDEX
from llm_provisioning_simulator.world import Image, World

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RAY_ML = "rayproject/ray-ml:2.33.0.914af0-py311"


def world() -> World:
    seeded = World()
    seed_public_images(seeded)
    return seeded


def build(dockerfile: str, *, of: World | None = None) -> Image:
    return built_image(
        of or world(), dockerfile, "123.dkr.ecr.us-west-2.amazonaws.com/x:y", region="us-west-2", now=NOW
    )


def test_every_profiles_base_is_in_the_seeded_world() -> None:
    """Both workload profiles start from an image that a simulated node can pull."""
    seeded = world()
    for profile in (PHI3_2025, PHI3_CURRENT):
        found = seeded.find_image(profile.image.base)
        assert found is not None
        assert found.packages["ray"] == profile.ray_version
    assert 10e9 < seeded.images[f"docker.io/{RAY_ML}"].compressed_bytes < 11.5e9


def test_a_base_its_owner_deleted_is_absent() -> None:
    """`without` makes a base unpullable, by any spelling of its name."""
    seeded = World()
    seed_public_images(seeded, without=[RAY_ML])
    assert seeded.find_image(RAY_ML) is None
    with pytest.raises(DockerfileError, match="not found"):
        build(f"FROM {RAY_ML}", of=seeded)


def test_baking_the_pip_list_leaves_nothing_to_install() -> None:
    """What the image was built with, Ray's runtime_env no longer installs; what it was not, it does."""
    pip = (*PHI3_2025.runtime_pip, *PHI3_2025.fast_download_pip)
    image = build(ImageRecipe(RAY_ML, pip=pip, env={"HF_HUB_ENABLE_HF_TRANSFER": "1"}).dockerfile())
    assert image.packages["vllm"] == "0.5.4"
    assert image.packages["huggingface-hub"] == "0.25.2"
    assert image.env == {"HF_HUB_ENABLE_HF_TRANSFER": "1"}
    assert install_plan(image.packages, pip) == []
    base = world().images[f"docker.io/{RAY_ML}"]
    assert len(image.layer_bytes) == len(base.layer_bytes) + 1
    assert install_plan(base.packages, pip)


def test_the_empty_environments_install_weighs_what_was_measured() -> None:
    """Into nothing, vllm 0.5.4 is 3.3 GB of wheels and 120 s of CPU, within a tenth."""
    plan = install_plan({}, ["vllm==0.5.4"])
    assert sum(size for _, _, size, _ in plan) == pytest.approx(3.3e9, rel=0.1)
    assert sum(cpu for _, _, _, cpu in plan) == pytest.approx(120, rel=0.1)


def test_packages_of_the_image_are_not_downloaded_again() -> None:
    """In ray-ml the CUDA wheels of torch are there in the right versions; torch itself and cuDNN are not."""
    base = world().images[f"docker.io/{RAY_ML}"]
    added = {name for name, _, _, _ in install_plan(base.packages, ["vllm==0.5.4"])}
    assert {"torch", "nvidia-cudnn-cu12", "triton", "vllm"} <= added
    assert not {"nvidia-cublas-cu12", "nvidia-nccl-cu12", "ray"} & added


def test_a_pin_beats_the_index_release() -> None:
    """The requirement's version is installed even where a dependency alone would take another."""
    plan = {name: version for name, version, _, _ in install_plan({}, ["vllm==0.5.4", "transformers==4.45.0"])}
    assert plan["transformers"] == "4.45.0"


def test_the_same_build_has_the_same_digest_and_another_build_another() -> None:
    """A digest follows from base and content, never from time or tag."""
    one = build(f"FROM {RAY_ML}\nRUN pip install 'hf_transfer==0.1.9'\n")
    same = build(f"FROM {RAY_ML}\nRUN pip install 'hf_transfer==0.1.9'\n")
    other = build(f"FROM {RAY_ML}\nENV A=1\n")
    assert one.digest == same.digest != other.digest


def test_a_digest_pins_the_base() -> None:
    """FROM name@digest finds the base, and a digest that was not pushed finds none."""
    digest = world().images[f"docker.io/{RAY_ML}"].digest
    assert build(f"FROM {RAY_ML}@{digest}").digest
    with pytest.raises(DockerfileError, match="not found"):
        build(f"FROM {RAY_ML}@sha256:{'0' * 64}")


@pytest.mark.parametrize(
    "dockerfile",
    ["", "RUN pip install x", f"FROM {RAY_ML}\nRUN apt-get update", f"FROM {RAY_ML}\nCOPY a b", "FROM x:y"],
)
def test_what_is_not_understood_fails_the_build(dockerfile: str) -> None:
    """The simulated build never pretends to have done what it cannot."""
    with pytest.raises(DockerfileError):
        build(dockerfile)


def test_every_base_names_its_source() -> None:
    """No number without a source or the word assumed."""
    assert all(base.source for base in PUBLIC_BASES)
    assert all(size > 0 for base in PUBLIC_BASES for size in base.layer_bytes)


@given(st.lists(st.sampled_from(sorted(INDEX)), max_size=6))
def test_installing_twice_adds_nothing(names: list[str]) -> None:
    """After a plan is carried out, the same requirements ask for nothing more."""
    first = install_plan({}, names)
    packages = {name: version for name, version, _, _ in first}
    assert install_plan(packages, names) == []
