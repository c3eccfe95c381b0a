"""Images and models of the user's own: what a catalogue puts into the world, and what it refuses."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_in_background import simulated_target

from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.core.model import Model
from airflow_llm_provisioning.core.workload import Workload, builtin_workload
from airflow_llm_provisioning.exceptions import ConfigurationError
from llm_provisioning_simulator import server
from llm_provisioning_simulator.catalogue import models_of_experiment, read_catalogue
from llm_provisioning_simulator.world import World

DIGEST = "sha256:" + "c" * 64
IMAGE = {"size_bytes": 9_000_000_001, "layers": 4, "pip": ["ray==2.46.0", "VLLM==0.9.0"], "env": {"A": 1}}
MODEL = {"revision": "a" * 40, "weight_bytes": 12_000_000_000}


def written(folder: Path, data: Any) -> Path:
    path = folder / "catalogue.yaml"
    path.write_text(data if isinstance(data, str) else yaml.safe_dump(data))
    return path


def seeded(folder: Path, **data: Any) -> World:
    world = World()
    read_catalogue(written(folder, data)).seed(world)
    return world


def test_an_image_is_found_by_its_reference_with_its_size_and_packages(tmp_path: Path) -> None:
    """The layers add up to the size, and package names are pip's."""
    image = seeded(tmp_path, images={"ghcr.io/acme/serve:1": IMAGE}).find_image("ghcr.io/acme/serve:1")
    assert image is not None
    assert image.compressed_bytes == 9_000_000_001
    assert len(image.layer_bytes) == 4
    assert image.packages == {"ray": "2.46.0", "vllm": "0.9.0"}
    assert image.env == {"A": "1"}


def test_an_image_holds_ray_and_a_shell_unless_it_says_otherwise(tmp_path: Path) -> None:
    """An entry need not list everything: what it leaves out of `pip` is not missing from a serving image."""
    plain, bare = {"size_bytes": 1_000}, {"size_bytes": 1_000, "ray": False, "shell": False, "architecture": "arm64"}
    world = seeded(tmp_path, images={"ghcr.io/acme/plain:1": plain, "ghcr.io/acme/bare:1": bare})
    found = {name: world.find_image(f"ghcr.io/acme/{name}:1") for name in ("plain", "bare")}
    assert [(image.shell, "ray" in image.packages, image.architecture) for image in found.values() if image] == [
        (True, True, "amd64"),
        (False, False, "arm64"),
    ]


def test_an_image_by_digest_has_that_digest(tmp_path: Path) -> None:
    """A manifest that pins its image finds it, and the repository is the reference without the digest."""
    reference = f"ghcr.io/acme/serve@{DIGEST}"
    image = seeded(tmp_path, images={reference: {"size_bytes": 10}}).find_image(reference)
    assert image is not None
    assert (image.digest, image.repository) == (DIGEST, "ghcr.io/acme/serve")


def test_a_model_is_what_the_hub_serves(tmp_path: Path) -> None:
    """Without a list of files the weights lie in files of at most 5 GB, as transformers writes them."""
    model = seeded(tmp_path, models={"acme/big": MODEL}).models["acme/big"]
    assert model.revision == "a" * 40
    assert model.weight_files == (5_000_000_000, 5_000_000_000, 2_000_000_000)


def test_what_is_not_in_the_catalogue_stays_unknown(tmp_path: Path) -> None:
    """Nothing is guessed."""
    world = seeded(tmp_path)
    assert world.find_image("ghcr.io/acme/serve:1") is None
    assert "acme/big" not in world.models


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("- 1", ["a mapping is needed"]),
        ("a: [", ["cannot be read"]),
        ({"pictures": {}}, ["pictures", "images, models"]),
        ({"images": {"a/b:1": {"pip": []}}}, ["images.a/b:1.size_bytes", "None"]),
        ({"images": {"a/b:1": {"size_bytes": -1}}}, ["size_bytes", "-1"]),
        ({"images": {"a/b:1": {"size_bytes": True}}}, ["size_bytes", "True"]),
        ({"images": {"a/b:1": {"size_bytes": 9, "layers": [4, 4]}}}, ["layers", "add up to 9"]),
        ({"images": {"a/b:1": {"size_bytes": 9, "layers": 0}}}, ["layers", "1 to 127"]),
        ({"images": {"a/b:1": {"size_bytes": 9, "pip": ["vllm>=1"]}}}, ["pip", "vllm>=1"]),
        ({"images": {"a/b:1": {"size_bytes": 9, "pip": ["!"]}}}, ["pip", "no requirement"]),
        ({"images": {"a/b:1": {"size_bytes": 9, "sise": 1}}}, ["images.a/b:1", "sise", "size_bytes"]),
        ({"models": {"a/b": 7}}, ["models.a/b", "7"]),
        ({"models": {"a/b": {"revision": "main", "weight_bytes": 1}}}, ["revision", "'main'"]),
        ({"models": {"a/b": {"weight_bytes": 2, "files": {"m.safetensors": 1}}}}, ["files", "1 bytes", "2"]),
        ({"models": {"a/b": {"weight_bytes": 2, "files": [1]}}}, ["files", "[1]"]),
    ],
)
def test_a_wrong_catalogue_is_refused_with_file_and_key(tmp_path: Path, data: Any, words: list[str]) -> None:
    """One sentence: the file, the key, what was found, what is allowed."""
    path = written(tmp_path, data)
    with pytest.raises(ConfigurationError) as refused:
        read_catalogue(path)
    assert all(word in str(refused.value) for word in [str(path), *words])


def test_a_file_that_is_not_there_is_refused_in_a_sentence(tmp_path: Path) -> None:
    """No traceback of the operating system's."""
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_catalogue(tmp_path / "none.yaml")


def test_an_experiments_own_models_are_seeded_where_their_size_is_declared() -> None:
    """`workloads.*.model` with `weight_bytes` is known to the hub; without a size it is left to the hub's own list."""
    manifest = builtin_workload().manifest
    sized = Model("acme/mine", "b" * 40, 7, None, "declared")
    workloads = (
        Workload("mine", manifest, sized),
        Workload("unsized", manifest, Model("acme/unsized", source="declared")),
        Workload("plain", manifest),
        builtin_workload(),
    )
    models = models_of_experiment(Experiment("x", (simulated_target(),), workloads)).models
    assert {name: (model.revision, model.weight_bytes) for name, model in models.items()} == {
        "acme/mine": ("b" * 40, 7)
    }


def test_the_command_hands_its_catalogue_to_the_simulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `--catalogue` names is in the world and at the hub before anything is served."""
    made: list[server.Simulator] = []

    async def remember(simulator: server.Simulator, *_: Any) -> int:
        made.append(simulator)
        return 0

    monkeypatch.setattr(server, "_serve", remember)
    experiment = (
        Path(__file__).resolve().parents[2]
        / "airflow_llm_provisioning"
        / "example_dags"
        / "experiments"
        / "simulated.yaml"
    )
    path = written(tmp_path, {"images": {"ghcr.io/acme/serve:1": IMAGE}, "models": {"acme/big": MODEL}})
    assert server.serve(experiment, clouds=["eks"], speed=100.0, seed=1, catalogue_file=path) == 0
    assert made[0].world.find_image("ghcr.io/acme/serve:1") is not None
    assert made[0].hub.models["acme/big"].weight_bytes == 12_000_000_000
