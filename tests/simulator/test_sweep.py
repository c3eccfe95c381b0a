"""The sweep: that it runs the real controllers on prepared worlds, moves one number at a time, and invents nothing."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_llm_provisioning.core.experiment import Experiment, Target
from airflow_llm_provisioning.core.workload import ScalingSetup
from airflow_llm_provisioning.exceptions import ConfigurationError
from llm_provisioning_simulator.experiment import simulated_experiment
from llm_provisioning_simulator.instant_trial import InstantTrial, Outcome, profile_of, run_trial
from llm_provisioning_simulator.sweep import Pair, fingerprint, sweep, sweep_pairs
from llm_provisioning_simulator.sweep_lines import by_influence, sweep_lines

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENT = ROOT / "airflow_llm_provisioning" / "example_dags" / "experiments" / "simulated.yaml"
COMMITTED = ROOT / "docs" / "sweep.json"

# What only a node reads that got its image the accelerated way.
DELIVERED_BY = {
    "eks": "hydration_first_touch_bytes_s",
    "gke": "stream_first_touch_bytes_s",
    "aks": "stream_first_touch_bytes_s",
}


@cache
def experiment() -> Experiment:
    return simulated_experiment(EXPERIMENT)


def a_trial(target: str | Target, variant: str, *values: tuple[str, float], setup: str = "static") -> InstantTrial:
    found = experiment().target(target) if isinstance(target, str) else target
    treatments = experiment().treatments(variant, found.cloud)
    return InstantTrial(found, ScalingSetup(setup), variant, experiment().workloads[0], treatments, values)


@cache
def outcome(target: str, variant: str, *values: tuple[str, float]) -> Outcome:
    return run_trial(a_trial(target, variant, *values))


def a_row(name: str, low: float | None, high: float | None, *, reduction: float = 50.0) -> dict[str, Any]:
    return {
        "cloud": "eks",
        "setup": "static",
        "quantity": name,
        "unit": "s",
        "low": 1.0,
        "high": 2.0,
        "assumed": True,
        "reduction_pct": reduction,
        "reduction_at_low_pct": low,
        "reduction_at_high_pct": high,
    }


def test_the_same_trial_takes_the_same_time() -> None:
    """Without noise nothing is left to chance: a difference between two runs is the number that was moved."""
    assert run_trial(a_trial("eks-plain", "baseline")) == outcome("eks-plain", "baseline")


@pytest.mark.parametrize("cloud", ["eks", "gke", "aks"])
def test_a_prepared_world_delivers_the_image_and_an_unprepared_one_pulls_it(cloud: str) -> None:
    """The improved arm reads the accelerated delivery's rate and no pull's; the baseline the other way round."""
    plain, fast = outcome(f"{cloud}-plain", "baseline"), outcome(f"{cloud}-fast", "improved")
    assert DELIVERED_BY[cloud] in fast.read - plain.read
    assert "unpack_bytes_s" in plain.read - fast.read
    assert fast.total_s is not None
    assert plain.total_s is not None
    assert fast.total_s < plain.total_s


@pytest.mark.parametrize("cloud", ["eks", "gke", "aks"])
def test_a_gain_needs_its_preparation(cloud: str) -> None:
    """The improved variant on nodes that were not set up for it pulls its image in full."""
    target = experiment().target(f"{cloud}-fast")
    bare = replace(target, nodes=replace(target.nodes, features={}))
    found = run_trial(a_trial(bare, "improved"))
    assert DELIVERED_BY[cloud] not in found.read
    assert "unpack_bytes_s" in found.read


def test_a_number_that_a_trial_does_not_read_cannot_move_it() -> None:
    """This is why such numbers are not run again."""
    number = "hydration_first_touch_bytes_s"
    assert number not in outcome("eks-plain", "baseline").read
    moved = outcome("eks-plain", "baseline", (number, 1e6))
    assert moved.total_s == outcome("eks-plain", "baseline").total_s


def test_a_moved_number_moves_what_depends_on_it() -> None:
    """Half the rate of a single connection to the hub costs the baseline's download twice the time."""
    before = outcome("eks-plain", "baseline").total_s
    rate = profile_of(experiment().target("eks-plain")).value("hub_connection_bytes_s")
    after = outcome("eks-plain", "baseline", ("hub_connection_bytes_s", rate / 2)).total_s
    assert before is not None
    assert after is not None
    # The larger of the two files decides, 4.97 GB over one connection; writing it may hide some of the difference.
    assert after - before == pytest.approx(4_972_489_328 / rate, rel=0.05)


def test_a_sweep_has_a_row_per_number_that_was_read_and_names_the_others() -> None:
    """Rows carry range, source and the reductions at both ends; what is not read is named, not run."""
    pair = Pair(a_trial("eks-plain", "baseline"), a_trial("eks-fast", "improved"))
    found = sweep_pairs([pair], only=["hub_connection_bytes_s", "first_token_s"])
    (row,) = found["rows"]
    (cell,) = found["cells"]
    assert (cell["cloud"], cell["setup"], cell["published_pct"]) == ("eks", "static", 26.0)
    assert row["quantity"] == "hub_connection_bytes_s"
    assert (row["low"], row["high"], row["assumed"]) == (15.0e6, 100.0e6, False)
    assert row["source_or_assumption"].startswith("one 4.96 GB shard")
    assert row["reduction_at_low_pct"] > row["reduction_pct"] > row["reduction_at_high_pct"]
    assert row["reduction_pct"] == cell["reduction_pct"]
    assert row["improved_at_low_s"] == pytest.approx(cell["improved_s"], abs=5)
    assert found["unread"] == {"eks": ["first_token_s"]}


def test_lines_put_the_widest_first_and_name_the_rest() -> None:
    """A number that hardly matters is named in one line; one without a figure is never hidden there."""
    cell = {"cloud": "eks", "setup": "static", "baseline_s": 900.0, "improved_s": 450.0, "reduction_pct": 50.0}
    rows = [a_row("small_s", 50.1, 50.0), a_row("large_s", 40.0, 60.0), a_row("broken_s", None, 50.0)]
    lines = sweep_lines({"cells": [cell | {"published_pct": 26.0}], "rows": rows, "unread": {"eks": ["idle_s"]}})
    text = "\n".join(lines)
    assert text.startswith("SIMULATED.")
    assert "EKS static: 900 s -> 450 s, -50.0 % (published: -26 %)" in text
    assert text.index("broken_s") < text.index("large_s") < text.index("under 0.5 points: small_s")
    assert "no figure" in text
    assert "idle_s" in lines[-1]
    assert [row["quantity"] for row in by_influence(rows)] == ["broken_s", "large_s", "small_s"]


def test_an_experiment_without_a_pair_cannot_be_swept(tmp_path: Path) -> None:
    """The message says what is missing."""
    data = yaml.safe_load(EXPERIMENT.read_text(encoding="utf-8"))
    data["targets"] = [target for target in data["targets"] if target["name"].endswith("plain")]
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    with pytest.raises(ConfigurationError, match="improved"):
        sweep(path)


def test_only_what_can_be_prepared_in_process_is_swept() -> None:
    """Karpenter's nodes are described by objects of their own: such a target is refused with the reason."""
    target = experiment().target("eks-plain")
    other = replace(target, nodes=replace(target.nodes, autoscaler="karpenter"))
    with pytest.raises(ConfigurationError, match="karpenter on eks"):
        run_trial(a_trial(other, "baseline"))


def test_the_committed_sweep_is_of_these_profiles() -> None:
    """`make demo` shows docs/sweep.json: after a change of a profile or the experiment, sweep again."""
    committed = json.loads(COMMITTED.read_text(encoding="utf-8"))
    again = f"run `llm-provisioning sweep {EXPERIMENT.relative_to(ROOT)} --out docs/sweep.json`"
    assert committed["fingerprint"] == fingerprint(EXPERIMENT), again


@pytest.mark.parametrize("cloud", ["eks", "gke", "aks"])
def test_the_committed_sweep_is_of_this_simulator(cloud: str) -> None:
    """Its figures at the profiles' values are what the controllers give today."""
    committed = json.loads(COMMITTED.read_text(encoding="utf-8"))
    (cell,) = [c for c in committed["cells"] if (c["cloud"], c["setup"]) == (cloud, "static")]
    assert cell["baseline_s"] == pytest.approx(outcome(f"{cloud}-plain", "baseline").total_s, abs=0.01)
    assert cell["improved_s"] == pytest.approx(outcome(f"{cloud}-fast", "improved").total_s, abs=0.01)
