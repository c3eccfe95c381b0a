"""Variants that were never run, from measured phases and mechanisms; nothing where neither tells it."""

import pytest
from start_builders import a_deployment, an_arm

from airflow_llm_provisioning.core.effects import Between, Effect, EffectFacts, adds, becomes, gone
from airflow_llm_provisioning.core.treatments import BaseTreatment, Treatment, resolved
from airflow_llm_provisioning.core.what_if import Prediction, held_against, measured_start, predict
from airflow_llm_provisioning.exceptions import ConfigurationError


class Shorter(BaseTreatment):
    """A made-up treatment: the engine starts in 5 to 10 s."""

    name = "shorter"

    def effect(self, facts: EffectFacts) -> Effect | None:
        return Effect((becomes("engine_start", Between(5, 10, "assumed: a test")),), ("it is a test",))


class Silent(BaseTreatment):
    """One that does not say what it does."""

    name = "silent"


def made(item: BaseTreatment) -> Treatment:
    return item  # type: ignore[return-value]


def phase(found: Prediction, name: str) -> tuple[float, float, str]:
    (one,) = [item for item in found.phases if item.phase == name]
    return one.low_s, one.high_s, one.by


def test_a_mechanism_moves_the_total_by_its_range() -> None:
    """19 s become 5 to 10 s, so the middle of about 7 s takes 12 s from the mean total."""
    base = an_arm()
    found = predict([base], [made(Shorter())])
    assert found.frame_s - found.middle_s == pytest.approx(12, abs=0.7)
    assert phase(found, "engine_start") == (5, 10, "shorter")
    assert found.mechanism_high_s - found.mechanism_low_s == pytest.approx(5, abs=0.2)
    assert found.low_s is not None
    assert found.high_s is not None
    assert found.low_s < found.mechanism_low_s
    assert found.high_s > found.mechanism_high_s
    assert "it is a test" in found.assumptions
    assert predict([base], [made(Shorter())]) == found


def test_two_trials_have_no_interval() -> None:
    """The mechanism's range is told, and why there is no interval."""
    found = predict([an_arm(n=2)], [made(Shorter())])
    assert (found.low_s, found.high_s, found.holds(400)) == (None, None, None)
    assert any("no interval" in text for text in found.assumptions)


def test_totals_that_agree_by_chance_do_not_narrow_the_interval() -> None:
    """A download of 54, 60 and 66 s met an engine of 25, 19 and 13 s: the totals are equal. Either phase differs by
    6 s, so totals differ by 8.5 s; Student's distribution with two degrees of freedom makes 28.6 s each way of it.
    """
    starts = []
    for at in range(3):
        spans = {"weights_downloaded": 54.0 + 6 * at, "load_started": 25.0 - 6 * at}
        start = measured_start(a_deployment(f"one-{at}", spans))
        assert start is not None
        starts.append(start)
    assert len({round(start.total_s, 6) for start in starts}) == 1
    found = predict([starts], [])
    assert found.low_s is not None
    assert found.high_s is not None
    assert found.high_s - found.low_s == pytest.approx(2 * 28.6, rel=0.2)
    steady = [start for at in range(3) if (start := measured_start(a_deployment(f"same-{at}"))) is not None]
    same = predict([steady], [])
    assert same.high_s == same.low_s == pytest.approx(same.middle_s)


def test_measured_phases_come_before_mechanisms() -> None:
    """`shorter` was measured together with another treatment at 3 s: that is what it takes, not 5 to 10."""
    both = an_arm(("fast_download", "shorter"), {"load_started": 3, "weights_downloaded": 20})
    found = predict([an_arm(), both], [made(Shorter())])
    assert phase(found, "engine_start")[:2] == (3, 3)
    assert "as fast_download+shorter measured it" in phase(found, "engine_start")[2]
    assert not [item for item in found.phases if item.phase == "weight_download"]


def test_a_dropped_treatment_needs_a_measured_phase_without_it() -> None:
    """No mechanism runs backwards: the download without it is taken from the baseline, or the answer is refused."""
    fast = an_arm(("fast_download",), {"weights_downloaded": 20})
    found = predict([an_arm(), fast], [])
    assert found.frame.endswith("baseline")
    with pytest.raises(ConfigurationError, match="with none of fast_download only: run it to know"):
        predict([fast], [])


def test_an_unknown_mechanism_is_refused_unless_it_was_measured_alone() -> None:
    """The refusal names treatment and phase; a measured arm gives all its phases."""
    with pytest.raises(ConfigurationError, match="What silent does to operator_start is not known"):
        predict([an_arm()], [made(Silent())])
    with pytest.raises(ConfigurationError, match="silent"):
        predict([an_arm(), an_arm(("fast_download", "silent"))], [made(Silent())])


def test_the_fast_download_hides_nothing_and_costs_a_package() -> None:
    """7.64 GB at 100 to 895 MB/s: 8.5 s to what was measured plainly; one wheel more where packages are installed."""
    found = predict([an_arm()], resolved(["fast_download"], "eks"))
    low, high, _ = phase(found, "weight_download")
    assert (round(low, 1), high) == (8.5, 60)
    assert phase(found, "head_runtime_env")[:2] == (130, 135)


def test_baking_takes_the_installation_and_pulls_from_the_own_registry() -> None:
    """What is left is at most 6 s; the pull has the published rates of the cloud's registry."""
    found = predict([an_arm()], resolved(["bake_packages"], "eks"))
    assert phase(found, "worker_runtime_env")[:2] == (0, 6)
    low, high, _ = phase(found, "worker_image_pull")
    assert (round(low), round(high)) == (102, 438)
    with pytest.raises(ConfigurationError, match="What bake_packages does to"):
        predict([an_arm(verdicts=())], resolved(["bake_packages"], "eks"))


@pytest.mark.parametrize(("cloud", "most"), [("eks", 2), ("gke", 5), ("aks", 10)])
def test_a_delivered_image_is_read_where_it_is_touched(cloud: str, most: float) -> None:
    """It is there in seconds, and what is read of it comes later. vLLM is read from it only where it holds vLLM: with
    baked packages, or where nothing is installed at start.
    """
    alone = predict([an_arm(cloud=cloud)], resolved(["image_delivery"], cloud))
    assert phase(alone, "worker_image_pull")[1] == most
    assert not [item for item in alone.phases if item.phase == "engine_start"]
    baked = predict([an_arm(cloud=cloud)], resolved(["image_delivery", "bake_packages"], cloud))
    low, high, by = phase(baked, "engine_start")
    assert 19 + 1.5e9 / 315e6 - 1 < low < high
    assert "image" in by or "snapshot" in by or "streaming" in by
    held = predict(
        [an_arm(changes={"head.runtime_env_ready": 1, "worker.runtime_env_ready": 1}, cloud=cloud)],
        resolved(["image_delivery"], cloud),
    )
    assert phase(held, "engine_start")[0] == pytest.approx(low)


def test_vllm_is_read_once_whichever_was_measured_first() -> None:
    """Delivery on a baked image, baking on a delivered one and both at once add the same."""
    both = resolved(["bake_packages", "image_delivery"], "eks")
    delivered = an_arm(("bottlerocket_snapshot",), {"worker.pull_finished": None, "head.pull_finished": None})
    baked = an_arm(("bake_packages",), {"head.runtime_env_ready": 1, "worker.runtime_env_ready": 1})
    high = {phase(predict([arm], both), "engine_start")[1] for arm in (an_arm(), delivered, baked)}
    assert len(high) == 1


def test_what_was_not_told_apart_is_parted_by_the_rate_of_a_load() -> None:
    """188 s of download and load together: of 7.6 GB the load has 3.6 to 15.3 s, and only the download changes."""
    from airflow_llm_provisioning.core.result import PhaseResult

    starts = []
    for at in range(3):
        plain = a_deployment(f"one-{at}", {"weights_downloaded": None, "model_loaded": 188.0 + at})
        phases = tuple(
            PhaseResult("weight_download+model_load" if p.name == "model_load" else p.name, p.duration_s, 0, 0)
            for p in plain.phases
        )
        trial = a_deployment(f"one-{at}", {"weights_downloaded": None, "model_loaded": 188.0 + at}, phases=phases)
        start = measured_start(trial)
        assert start is not None
        starts.append(start)
    found = predict([starts], resolved(["fast_download"], "eks"))
    assert found.frame_s - found.mechanism_low_s < 189 - 8.5 - 3.6 + 0.1
    assert found.frame_s - found.mechanism_high_s > 189 - 76.5 - 15.3 - 5 * 2 - 0.1


def test_the_parts_of_a_phase_that_was_not_told_apart_sum_to_it() -> None:
    """Request and boot of a node were one span of 25 s: where both are gone, all of it is, in every draw."""
    from airflow_llm_provisioning.core.result import PhaseResult

    starts = []
    for at in range(3):
        spans = {"model_loaded": 6.0 + at, "head.runtime_env_ready": 400.0}
        joined = {"head_node_boot": "head_node_request+head_node_boot"}
        plain = a_deployment(f"one-{at}", spans)
        phases = tuple(PhaseResult(joined.get(p.name, p.name), p.duration_s, 0, 0) for p in plain.phases)
        start = measured_start(a_deployment(f"one-{at}", spans, phases=phases))
        assert start is not None
        starts.append(start)

    class There(BaseTreatment):
        name = "there"

        def effect(self, facts: EffectFacts) -> Effect | None:
            return Effect((gone("node_request", "assumed: a test"), gone("node_boot", "assumed: a test")))

    found = predict([starts], [made(There())])
    assert found.mechanism_high_s - found.mechanism_low_s < 1e-6
    assert found.frame_s - found.middle_s == pytest.approx(25)


def test_a_gain_that_hides_behind_another_path_is_not_promised() -> None:
    """The head's environment decides until 147 s; an engine that starts sooner on the worker still counts whole, a
    shorter wait of the worker for its node does not.
    """

    class Sooner(BaseTreatment):
        name = "sooner"

        def effect(self, facts: EffectFacts) -> Effect | None:
            return Effect((adds("worker_image_pull", Between(-50, -50, "assumed: a test")),))

    found = predict([an_arm()], [made(Sooner())])
    assert found.middle_s == pytest.approx(found.frame_s)


def test_predictions_are_held_against_later_trials() -> None:
    """Only trials that had ended count as known; the later ones are inside or not, with the error of the middle."""
    first = an_arm()
    later = an_arm(("fast_download",), {"weights_downloaded": 20}, after_s=100_000)
    told = {item.arm.rsplit(" / ", 1)[1]: item for item in held_against([first, later])}
    assert (told["fast_download"].inside, len(told["fast_download"].later_s)) == (3, 3)
    error = told["fast_download"].error_pct
    assert error is not None
    assert abs(error) < 5
    assert told["baseline"].prediction is None
    assert "ended before" in told["baseline"].why
