"""What the installed treatments say they do to phases: names that exist, ranges with a source, nothing from nothing."""

import pytest
from start_builders import BYTES, an_arm

from airflow_llm_provisioning.core.effects import EffectFacts
from airflow_llm_provisioning.core.timing.milestones import PHASES
from airflow_llm_provisioning.core.treatments import known_treatments, resolved
from airflow_llm_provisioning.core.treatments.base import effect_of
from airflow_llm_provisioning.core.what_if import predict

FACTS = {
    "image_bytes": BYTES,
    "weight_bytes": 7_642_181_880,
    "seconds": {"head_runtime_env": 130.0, "worker_image_pull": 250.0, "model_load": 190.0},
    "worker_instance_type": "g6.4xlarge",
    "head_instance_type": "m5.xlarge",
}


@pytest.mark.parametrize("name", sorted(known_treatments()))
def test_every_effect_names_phases_and_sources(name: str) -> None:
    """On every cloud it exists on, alone and with baked packages."""
    item = known_treatments()[name]
    for cloud in item.clouds or ("eks", "gke", "aks"):
        for others in ((), ("bake_packages",)):
            chosen = frozenset((name, *others))
            facts = EffectFacts(cloud=cloud, setup="dynamic", treatments=chosen, **FACTS)  # type: ignore[arg-type]
            found = effect_of(item, facts)
            for change in found.changes if found else ():
                assert set(change.named()) <= set(PHASES), change.phase
                assert len(change.amount.source) > 5


@pytest.mark.parametrize("name", ["bake_packages", "fast_download", "soci_parallel_pull"])
def test_bytes_that_are_not_known_give_no_effect(name: str) -> None:
    """An effect that follows from bytes is not known without them; it is never computed from zero."""
    assert effect_of(known_treatments()[name], EffectFacts(cloud="eks", setup="static")) is None


@pytest.mark.parametrize(
    ("name", "phase", "low", "high"),
    [
        ("soci_parallel_pull", "worker_image_pull", BYTES / 403e6, BYTES / 240e6),
        ("ray_start_trim", "worker_wait_gcs", 0, 0),
        ("capacity_buffer", "worker_node_boot", 0, 0),
        ("capacity_buffer", "head_image_pull", 0, 2),
    ],
)
def test_ranges_of_single_treatments(name: str, phase: str, low: float, high: float) -> None:
    """What the published figures say of the phase that each is for."""
    found = predict([an_arm()], resolved([name], "eks"))
    (one,) = [item for item in found.phases if item.phase == phase]
    assert (one.low_s, one.high_s) == (pytest.approx(low), pytest.approx(high))


def test_a_download_that_fills_its_disk_may_take_what_it_took() -> None:
    """A range that is cut at what was measured has the weight beyond the cut at the cut, and not elsewhere."""
    found = effect_of(known_treatments()["fast_download"], EffectFacts(cloud="eks", setup="static", weight_bytes=10**9))
    assert found is not None
    (download,) = found.on("weight_download")
    assert download.of(5.0, 1.0) == 5.0 < download.amount.high
    assert download.of(50.0, 0.0) == pytest.approx(1e9 / 895e6)


@pytest.mark.parametrize(("download_s", "changes"), [(54.0, True), (180.0, False)])
def test_a_faster_volume_shortens_only_a_download_that_filled_the_plain_one(download_s: float, changes: bool) -> None:
    """7.6 GB in 54 s are what a gp3 volume writes; in 180 s the volume waited."""
    facts = EffectFacts(
        cloud="eks",
        setup="static",
        image_bytes=BYTES,
        weight_bytes=7_642_181_880,
        seconds={"weight_download": download_s},
    )
    found = effect_of(known_treatments()["soci_parallel_pull"], facts)
    assert found is not None
    assert bool(list(found.on("weight_download"))) is changes
