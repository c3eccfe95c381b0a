"""Floors from bytes, rates and records: numbers with their sources, and none where a fact is missing."""

from typing import Any

import pytest
from trial_builders import a_result

from airflow_llm_provisioning.core.effects import roles_of
from airflow_llm_provisioning.core.floor import (
    ArmFloor,
    StepFloor,
    arm_floors,
    best_of,
    cold_sentence,
    gap_sentence,
    next_sentence,
)
from airflow_llm_provisioning.core.floor_limits import IMAGE, NODE, STEP_OF, STEPS, WEIGHTS, limit_of
from airflow_llm_provisioning.core.machine_limits import machine
from airflow_llm_provisioning.core.phase_means import phase_means
from airflow_llm_provisioning.core.result import PhaseResult
from airflow_llm_provisioning.core.start_facts import StartFacts, start_facts
from airflow_llm_provisioning.core.timing.milestones import PHASES

PULLED = 'Successfully pulled image "a" in 100s (100s including waiting). Image size: 10000000000 bytes. (event Pulled)'
ENVIRONMENT = {"head": {"instance_type": "m5.xlarge"}, "worker": {"instance_type": "g6.4xlarge"}}
PHASE_S = {
    "operator_start": 2.0,
    "worker_node_boot": 58.0,
    "worker_image_pull": 205.0,
    "worker_wait_gcs": 30.0,
    "worker_ray_start": 4.0,
    "worker_runtime_env": 140.0,
    "weight_download+model_load": 100.0,
    "graph_capture": 29.0,
}


def a_floor(phases: dict[str, float] | None = None, **changes: Any) -> ArmFloor:
    stages = tuple(PhaseResult(name, s, s, s) for name, s in (phases or PHASE_S).items())
    values: dict[str, Any] = {
        "environment": ENVIRONMENT,
        "verdicts": [{"claim": "cold_start", "value": "yes", "evidence": ["Node new.", f"Pod p: {PULLED}"]}],
    }
    trial = a_result("one", total_s=sum(stage.duration_s for stage in stages), phases=stages, **values | changes)
    (found,) = arm_floors(phase_means([trial]), {trial.arm.key: start_facts(trial)})
    return found


def step(found: ArmFloor, name: str) -> StepFloor:
    return next(item for item in found.steps if item.step == name)


def test_every_phase_belongs_to_a_step_and_every_step_has_phases() -> None:
    """No phase of the path is left out, and no step names a phase that does not exist."""
    named = {phase for phases in STEPS.values() for item in phases for phase in roles_of(item)}
    assert set(PHASES) - named == set()
    assert set(STEP_OF.values()) == set(STEPS)


def test_the_image_is_limited_by_the_slowest_of_link_cores_and_disk() -> None:
    """10 GB on a g6.4xlarge: 3.2 to 8 s over 25 or 10 Gbit/s, 6.4 to 8.7 s of unpacking on 16 cores, and the unpacked
    21.5 GB take 10.2 s on the fastest gp3 disk and 164 s on the plain one: the disk decides.
    """
    found = step(a_floor(), IMAGE)
    assert found.floor is not None
    assert (round(found.floor.low, 1), round(found.floor.high)) == (10.2, 164)
    assert found.limit is not None
    assert (found.limit.kind, found.limit.by) == ("physical", "disk")
    assert "gp3" in found.limit.source
    assert found.times == pytest.approx((205 / found.floor.high, 205 / found.floor.low))


def test_weights_are_limited_by_link_pcie_or_gpu_memory() -> None:
    """7.64 GB over 25 Gbit/s are 2.4 s; PCIe and GPU memory are faster. The joined phase of download and load is one
    step, so it keeps its floor.
    """
    found = step(a_floor(), WEIGHTS)
    assert found.floor is not None
    assert found.limit is not None
    assert (round(found.floor.low, 1), round(found.floor.high, 1), found.limit.by) == (2.4, 6.1, "network link")


def test_a_missing_fact_is_no_floor() -> None:
    """An unknown machine, image or model has no floor, and the whole path says what is missing; never zero."""
    unknown = a_floor(environment={"worker": {"instance_type": "made-up.large"}})
    assert step(unknown, IMAGE).floor is None
    assert step(unknown, WEIGHTS).floor is None
    assert unknown.cold is None
    assert "image pull, weights cannot be computed" in cold_sentence(unknown)
    assert step(a_floor(verdicts=()), IMAGE).floor is None
    assert step(a_floor(model_id=None), WEIGHTS).floor is None
    assert all(row["floor_low_s"] != 0 for row in unknown.rows())
    rows = {row["step"]: row for row in unknown.rows()}
    assert rows["operator"]["above_s"] is None
    assert rows["whole cold path"]["above_s"] is None


def test_joined_phases_of_different_steps_have_no_floor() -> None:
    """What was not told apart is not held against the floor of one part."""
    joined = a_floor(PHASE_S | {"container_start": 1.0, "worker_scheduling+worker_image_pull": 99.0})
    assert step(joined, "node + image pull").limit is None


def test_an_image_that_was_not_pulled_in_full_has_no_floor() -> None:
    """4 s for 10 GB are less than any limit allows: the bytes were not moved, so neither this step nor the whole path
    is held against them.
    """
    streamed = a_floor(PHASE_S | {"worker_image_pull": 4.0})
    assert step(streamed, IMAGE).limit is None
    assert streamed.cold is not None
    assert IMAGE not in streamed.parts
    assert IMAGE in a_floor().parts


def test_a_record_counts_once_for_every_node_on_the_path() -> None:
    """A dynamic start that waits for two nodes is held against two boots; the whole cold path needs one."""
    two = a_floor({"head_node_boot": 58.0, **PHASE_S})
    floor, one = step(two, NODE).floor, step(a_floor(), NODE).floor
    assert floor is not None
    assert one is not None
    assert floor.low == 2 * one.low
    assert two.cold is not None
    assert two.cold == a_floor().cold


def test_the_whole_cold_path_is_the_sum_of_what_must_follow() -> None:
    """29 s node + 10.2 s image + 3.3 s Ray + 2.4 s weights + 2.9 s engine at the fastest."""
    found = a_floor()
    assert found.cold is not None
    assert round(found.cold.low, 1) == 47.9
    assert cold_sentence(found) == "Floor of the whole cold path: 48 to 212 s; baseline takes 568 s."


def test_the_sentences() -> None:
    """Each step with its multiple, and the seconds that are to be had, the most first; what can be left out counts
    whole.
    """
    found = a_floor()
    assert gap_sentence(found) == (
        "node 2.0x, image pull 1 to 20x, worker's Ray 0.9 to 1.2x, weights 16 to 41x, engine 4 to 10x above the floor"
    )
    assert next_sentence(found) == (
        "The next 100 s are to be had in: image pull (up to 195 s), runtime environment (up to 140 s, avoidable), "
        "weights (up to 98 s)."
    )


def test_the_best_arm_of_each_stratum() -> None:
    """The shortest mean total, per stratum."""
    slow, fast = a_floor(), a_floor({"operator_start": 1.0}, variant="improved")
    other = a_floor(cloud="gke")
    assert best_of([slow, fast, other]) == [fast, other]


def test_a_cloud_without_a_record_has_no_floor_of_its_nodes() -> None:
    """A kubeconfig of anywhere."""
    trial = a_result("one", cloud="generic")
    assert limit_of(NODE, StartFacts(arm=trial.arm)) is None


def test_limits_of_machines() -> None:
    """Rates are bytes per second with a source; an unknown type has none."""
    found = machine("Standard_NV36ads_A10_v5")
    assert found is not None
    assert found.link.high == 5e9
    assert "azure-compute-docs" in found.link.source
    assert machine("made-up") is None
    assert machine(None) is None
