"""Every number of a profile is accounted for, and none belongs to a variant or a set-up."""

import random
import re
import statistics
from pathlib import Path

import pytest

from llm_provisioning_simulator.profiles import FOLDER, Quantity, load_profile

COMBINATIONS = [
    ("eks", "luna"),
    ("eks", "karpenter"),
    ("gke", "luna"),
    ("gke", "native"),
    ("aks", "luna"),
    ("aks", "native"),
    ("aks", "karpenter"),
]


@pytest.mark.parametrize(("cloud", "autoscaler"), COMBINATIONS)
def test_every_number_names_its_source_or_its_range(cloud: str, autoscaler: str) -> None:
    """A number is either read somewhere or assumed within bounds that hold it, with a reason."""
    for quantity in load_profile(cloud, autoscaler).quantities.values():
        assert len(quantity.source or quantity.assumed or "") > 15, quantity.name
        if quantity.low is not None and quantity.high is not None:
            assert quantity.low <= quantity.value <= quantity.high


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_no_number_belongs_to_a_variant_or_a_setup(path: Path) -> None:
    """The words of the comparison do not occur in a quantity's name."""
    names = re.findall(r"^\[(\w+)\]", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert names or path.stem in {"ray", "vllm"}
    for name in names:
        assert not re.search(r"baseline|improved|static|dynamic|variant|treatment|reduction", name)


def test_a_seed_draws_the_same_noise_again_and_the_value_on_average() -> None:
    """Noise is seeded and has no bias; constants of programs have none."""
    profile = load_profile("eks", "luna")
    draws = [profile.sample("node_launch_s", random.Random(seed)) for seed in range(400)]
    assert draws == [profile.sample("node_launch_s", random.Random(seed)) for seed in range(400)]
    assert statistics.mean(draws) == pytest.approx(profile.value("node_launch_s"), rel=0.02)
    assert len(set(draws)) > 300
    assert profile.sample("scale_down_after_s", random.Random(1)) == 300


def test_a_number_with_neither_source_nor_range_is_refused() -> None:
    """A number without a source never enters a profile."""
    with pytest.raises(ValueError, match="either `source` or `assumed`"):
        Quantity("boot_s", 1.0, "s", "eks")
    with pytest.raises(ValueError, match="needs `low` and `high`"):
        Quantity("boot_s", 1.0, "s", "eks", assumed="a feeling")
    with pytest.raises(ValueError, match="not within"):
        Quantity("boot_s", 9.0, "s", "eks", assumed="a feeling", low=1, high=2)


def test_a_name_written_twice_is_refused(tmp_path: Path) -> None:
    """Two files cannot both decide a number: it would be unknown which one the simulator ran on."""
    table = '[boot_s]\nvalue = 1\nunit = "s"\nsource = "somewhere"\n'
    (tmp_path / "eks.toml").write_text(table)
    (tmp_path / "luna.toml").write_text(table)
    with pytest.raises(ValueError, match=r"luna.toml and in eks.toml"):
        load_profile("eks", "luna", tmp_path)


def test_a_sweep_changes_one_number_and_says_so() -> None:
    """The changed profile holds the new value, the old one is untouched, unknown names are errors."""
    profile = load_profile("gke", "native")
    swept = profile.with_values(registry_bytes_s=28e6)
    assert swept.value("registry_bytes_s") == 28e6
    assert profile.value("registry_bytes_s") != 28e6
    assert "registry_bytes_s" in {quantity.name for quantity in profile.uncertain()}
    with pytest.raises(KeyError, match="no number called 'regstry'"):
        profile.with_values(regstry=1.0)


def test_an_unknown_instance_type_names_those_that_are_known() -> None:
    """A machine size without description is an error, not a guess."""
    assert load_profile("eks", "luna").instance_type("g6.4xlarge").gpu == "L4"
    with pytest.raises(KeyError, match=r"m5\.xlarge"):
        load_profile("eks", "luna").instance_type("p9.enormous")
