"""A target may have other places for trials without capacity: targets of their own, of strata of their own."""

from typing import Any

import pytest
from trial_builders import a_result

from airflow_llm_provisioning.core.arm import Stratum
from airflow_llm_provisioning.core.break_even import cost_rows
from airflow_llm_provisioning.core.comparison import compare
from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.core.experiment_file import read_experiment
from airflow_llm_provisioning.core.fallbacks import told
from airflow_llm_provisioning.core.gate_limit import GateLimit, judged
from airflow_llm_provisioning.core.prices import PriceBook
from airflow_llm_provisioning.core.result import TrialStatus
from airflow_llm_provisioning.core.trial import Slot, Trial
from airflow_llm_provisioning.decisions.cost import cost_text
from airflow_llm_provisioning.exceptions import ConfigurationError
from airflow_llm_provisioning.report.families import by_family

PLACES: list[Any] = ["us-west-2b", {"name": "a10g", "nodes": {"gpu_skus": ["A10G"], "zone": "us-west-2c"}}]


def read(fallbacks: list[Any] = PLACES, **more: Any) -> Experiment:
    """An experiment of two targets on one cluster, the first with fallbacks."""
    nodes = {
        "cloud": "eks",
        "autoscaler": "karpenter",
        "kubernetes_minor": "1.34",
        "zone": "us-west-2a",
        "options": {"role": "nodes", "discovery": "here"},
    }
    common = {"cluster": "here", "conn_id": "c", "variants": ["baseline", "fast_download"], "region": "us-west-2"}
    first = {"name": "plain", **common, "nodes": nodes, "fallbacks": fallbacks}
    # The same nodes as the first fallback, planned for themselves.
    second = {"name": "other", **common, "nodes": {**nodes, "zone": "us-west-2b"}}
    data = {"name": "nightly", "targets": [first, second], "setups": ["static"], "replicates": 2, **more}
    return read_experiment(data, where="file", read_text=str)


EXPERIMENT = read()


def test_a_fallback_is_a_target_of_its_own() -> None:
    """With the nodes that it says, and everything else of the target; so it is prepared like any other."""
    assert [target.name for target in EXPERIMENT.targets] == ["plain", "plain-us-west-2b", "plain-a10g", "other"]
    first, zone, nodes, _ = EXPERIMENT.targets
    assert (zone.nodes.zone, zone.nodes.gpu_skus, zone.variants) == ("us-west-2b", first.nodes.gpu_skus, first.variants)
    assert (nodes.nodes.zone, nodes.nodes.gpu_skus, nodes.nodes.options) == (
        "us-west-2c",
        ("A10G",),
        first.nodes.options,
    )
    assert (zone.fallback_of, first.fallback_of) == ("plain", None)
    (sentence,) = told(EXPERIMENT.targets)
    assert sentence.startswith(
        "A trial of plain that gets no capacity is tried on plain-us-west-2b, then on plain-a10g,"
    )


def test_its_stratum_is_that_of_no_other_place() -> None:
    """Not even of a target with equal nodes: its trials ran while another place had no capacity. The label says it."""
    arms = {cell.target: EXPERIMENT.arm(cell) for cell in EXPERIMENT.all_cells() if cell.variant == "baseline"}
    assert len({arm.stratum.key for arm in arms.values()}) == 4
    assert (
        arms["plain-a10g"].label == "eks / karpenter / us-west-2 / static / phi3-2025 / fallback plain-a10g / baseline"
    )
    stratum = arms["plain-a10g"].stratum
    assert Stratum.from_dict(stratum.as_dict()) == stratum
    assert Stratum.from_dict(stratum.as_dict()).fallback == "plain-a10g"
    assert "fallback" not in arms["plain"].stratum.as_dict()
    with_baseline = [EXPERIMENT.arm(cell) for cell in EXPERIMENT.all_cells() if cell.target == "plain-a10g"]
    assert len({arm.stratum.key for arm in with_baseline}) == 1


def test_a_plan_has_every_place_of_a_slot_behind_it() -> None:
    """A slot of `other` has no fallbacks; that of `plain` two, with its number."""
    planned = EXPERIMENT.plan(1, dag_id="d", run_id="r")
    assert len(planned) == EXPERIMENT.planned_trials() == 2 * (2 * 3 + 2)
    assert (EXPERIMENT.slots(), EXPERIMENT.fallback_slots()) == ({"here": 8}, {"here": 2})
    places: dict[int, list[str]] = {}
    for trial in planned:
        places.setdefault(trial.slot.number, []).append(trial.target)
    assert {tuple(names) for names in places.values()} == {("plain", "plain-us-west-2b", "plain-a10g"), ("other",)}
    assert len({trial.trial_id for trial in planned}) == len(planned)
    last = next(trial for trial in planned if trial.slot.fallback == 2)
    assert last.trial_id.endswith("-f2")
    assert last.slot.place_before.slot_id == last.trial_id.replace("-f2", "-f1")
    assert Trial.from_dict(last.as_dict()) == last
    assert "fallback" not in planned[0].as_dict()["slot"]


def test_an_experiment_without_fallbacks_is_as_it_was() -> None:
    """Its fingerprints and names are those of rows that were written before."""
    plain = read([])
    cell = next(plain.cells())
    assert plain.arm(cell).stratum.key == EXPERIMENT.arm(cell).stratum.key
    assert plain.fallback_slots() == {"here": 0}
    assert (
        Slot(experiment="e", dag_id="d", run_id="r", cluster="c", number=3, replicate=0, seed=1).slot_id[-4:] == "c-03"
    )


@pytest.mark.parametrize(
    ("fallbacks", "words"),
    [
        ([{"name": "x", "nodes": {"cloud": "gke"}}], "cloud"),
        (["us-west-2b", "us-west-2b"], "plain-us-west-2b stands there twice"),
        (["Zone B"], "fallbacks"),
        ([f"us-west-2{at}" for at in "abcdef"], "fallbacks"),
    ],
)
def test_what_is_no_fallback_is_refused(fallbacks: list[Any], words: str) -> None:
    """Another cloud, one place twice, no zone, too many."""
    with pytest.raises(ConfigurationError, match=words):
        read(fallbacks)


def test_a_gate_is_on_the_first_place() -> None:
    """Most runs have no trial in a fallback. An expected change may name one, because it has a history."""
    arm = "plain-a10g/phi3-2025/static/baseline"
    with pytest.raises(ConfigurationError, match="is a fallback, of which most runs have no trial"):
        read(gates=[{"arm": arm, "max_seconds": 600}])
    change = read(expected_changes=[{"arm": arm, "since": "2026-12-01", "why": "driver"}]).expected_changes[0]
    assert change.arm == arm


def test_one_chosen_by_hand_stands_alone() -> None:
    """A trial by hand runs there, without waiting for another place, and keeps its stratum."""
    alone = EXPERIMENT.narrowed(target="plain-a10g", setup="static", variant="baseline", workload="phi3-2025")
    (trial,) = alone.plan(1, dag_id="d", run_id="r")
    assert (trial.target, trial.slot.fallback) == ("plain-a10g", 0)
    cell = next(cell for cell in EXPERIMENT.all_cells() if cell.target == "plain-a10g" and cell.variant == "baseline")
    assert trial.arm.stratum.key == EXPERIMENT.arm(cell).stratum.key
    first = EXPERIMENT.narrowed(target="plain", setup="static", variant="baseline", workload="phi3-2025")
    assert [one.target for one in first.plan(1, dag_id="d", run_id="r")] == ["plain"]


def results() -> list[Any]:
    """Six trials of an arm without capacity, each measured in the first fallback."""
    planned = read(replicates=6).plan(1, dag_id="d", run_id="r")
    baseline = [trial for trial in planned if trial.arm.variant == "baseline"]
    ended: dict[str, Any] = {
        "plain": {"status": TrialStatus.NO_CAPACITY, "total_s": None},
        "plain-us-west-2b": {"total_s": 700.0},
        "other": {"total_s": 500.0},
    }
    return [a_result(trial=trial, **ended[trial.target]) for trial in baseline if trial.target in ended]


def test_tables_never_pool_a_fallback() -> None:
    """Three arms of six trials, and a heading that names the fallback."""
    rows = {row.arm.stratum.fallback or row.excluded: row for row in compare(results())}
    assert {name: (row.n, row.trials, row.median_s) for name, row in rows.items()} == {
        "6 no_capacity": (0, 6, None),
        "plain-us-west-2b": (6, 6, 700.0),
        "": (6, 6, 500.0),
    }
    headings = [heading for heading, _ in by_family([row.as_dict() for row in compare(results())])]
    assert any(heading.startswith("fallback plain-us-west-2b (node profile ") for heading in headings)


def test_a_gate_judges_the_first_place_and_tells_of_the_others() -> None:
    """No capacity there, however fast the fallback was."""
    found = judged(results(), GateLimit("plain/phi3-2025/static/baseline", 900.0))
    assert found.outcome == "no capacity"
    assert found.sentence.endswith("6 tried again on plain-us-west-2b are another arm.")


def test_what_a_fallback_costs_is_told_under_its_name() -> None:
    """The line of a log has no heading."""
    rows = cost_rows(results(), {}, [], PriceBook())
    told_costs = [cost_text(row) for row in rows]
    assert sum("baseline on the fallback plain-us-west-2b: " in line for line in told_costs) == 1
    assert len(told_costs) == 3
