"""The measurement of `what-if`, shortened: predictions know three baseline trials, and the later totals decide."""

from foreseen import HeldTotal, Tally, World, figures, tried, worlds
from proof.workloads import SERVED_2025

from airflow_llm_provisioning.core.workload import ScalingSetup


def test_later_totals_lie_in_the_interval_of_what_was_predicted() -> None:
    """From three recorded trials of the baseline alone: another download, and the whole bundle."""
    world = World("eks", "luna", ScalingSetup.STATIC, SERVED_2025, ("baseline",), seed=1, drawn=False)
    found = tried(world, only=("fast_download", "improved"))
    assert [item.variant for item in found.held] == ["fast_download", "improved"]
    assert found.refused == []
    assert all(item.inside for item in found.held), found.held
    # The bundle takes less than half: an interval that holds everything would not tell it.
    assert found.held[1].high_s < 0.7 * found.held[0].total_s


def test_a_world_is_a_draw_of_the_uncertain_numbers() -> None:
    """Within their ranges, the same for the same seed; every cloud and autoscaler has its turn."""
    drawn = list(worlds(28, seed=3))
    assert {(item.cloud, item.autoscaler, item.setup, item.served.name) for item in drawn} == {
        (item.cloud, item.autoscaler, item.setup, item.served.name) for item in worlds(280, seed=4)
    }
    one = next(item for item in drawn if (item.cloud, item.autoscaler) == ("eks", "luna"))
    assert one.values() == one.values()
    assert 25e6 <= one.values()["hydration_first_touch_bytes_s"] <= 135e6
    assert "baseline" not in list(one.others())


def test_a_total_outside_is_counted_and_named() -> None:
    """One of two inside is a coverage of a half, and the other is told with what was predicted."""
    held = [HeldTotal("a world", "improved", total, 90.0, 100.0, 110.0) for total in (100.0, 120.0)]
    found = figures(1, Tally(held=held))
    assert (found["what_if_totals"], found["what_if_inside"], found["what_if_coverage_90"]) == (2, 1, 0.5)
    assert found["missed"] == ["a world: improved took 120 s, predicted 90 to 110 s"]
    assert figures(1, Tally())["what_if_coverage_90"] is None
