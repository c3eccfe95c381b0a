"""The factorial plan on the simulator, in virtual time: its effects are the mechanism's, and who needs whom is told."""

import pytest
from decided.effects import Plan

from airflow_llm_provisioning.core.factorial_effects import effects_of


@pytest.mark.parametrize(("workload", "told"), [("phi3-current", True), ("phi3-2025", False)])
def test_fast_download_needs_the_baked_image_where_it_alone_brings_pip(workload: str, told: bool) -> None:
    """The current image needs no pip at start, so the downloader alone adds Ray's environment, twice, and costs time;
    baked it costs none. In the image of 2025 pip runs anyway, and the two do not interact.
    """
    plan = Plan.of("gke", workload)
    totals = plan.totals()
    (found,) = effects_of(plan.trials([totals] * 6))
    change = {(one.kind, *one.term): one.change.middle for one in found.effects}
    alone = totals["fast_download"] - totals["baseline"]
    baked = totals["bake_packages.fast_download"] - totals["bake_packages"]
    assert change["alone", "fast_download"] == pytest.approx(alone)
    assert change["last", "gke_image_streaming"] == pytest.approx(
        totals["bake_packages.fast_download.image_delivery"] - totals["bake_packages.fast_download"]
    )
    said = [sentence for sentence in found.sentences if sentence.startswith("fast_download needs bake_packages")]
    assert (alone > 0 and abs(baked) < 1) is told
    assert bool(said) is told
    assert found.left_out == ()
