"""Rows of arms: what is pooled, what is set aside and why, and what is held against which baseline."""

from collections import Counter
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trial_builders import OPENED_AT, a_result, a_stratum

from airflow_llm_provisioning.core.arm import Stratum
from airflow_llm_provisioning.core.comparison import compare, excluded, grouped
from airflow_llm_provisioning.core.phase_means import phase_means
from airflow_llm_provisioning.core.result import PhaseResult, TrialResult, TrialStatus


def trial(variant: str, total_s: float | None, **changes: Any) -> TrialResult:
    return a_result(changes.pop("trial_id", f"{variant}-{total_s}"), variant=variant, total_s=total_s, **changes)


def head(instance_type: str) -> dict[str, Any]:
    return {"environment": {"head": {"instance_type": instance_type}}}


def test_a_reduction_is_relative_to_the_baseline() -> None:
    """750 s instead of 1000 s is 25 % less."""
    rows = compare([trial("improved", 750.0), trial("baseline", 1000.0)])
    assert [row.arm.variant for row in rows] == ["baseline", "improved"]
    assert rows[0].reduction_pct is None
    assert rows[1].reduction_pct == pytest.approx(25.0)
    assert rows[1].confidence is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"start": "warm"}, "start warm"),
        ({"start": "unknown"}, "start unknown"),
        ({"applied": "not applied"}, "treatment not applied"),
        ({"applied": "unknown"}, "treatment unknown"),
        ({"applied": "none"}, "treatment not verified"),
        ({"status": TrialStatus.FAILED}, "failed"),
        ({"total_s": None}, "no total"),
    ],
)
def test_what_is_not_comparable_is_counted_and_kept_out(changes: dict[str, Any], why: str) -> None:
    """A warm, unverified or failed trial changes no number, and its reason is printed. A trial of an arm with
    treatments of which none is verified is none of a baseline's kind.
    """
    odd = trial("improved", **{"total_s": 1.0, **changes})
    rows = compare([trial("baseline", 1000.0), trial("improved", 500.0), odd])
    assert rows[1].median_s == 500.0
    assert (rows[1].n, rows[1].trials) == (1, 2)
    assert rows[1].excluded == f"1 {why}"
    assert excluded([odd]) == {odd.trial_id: why}


def test_an_unknown_treatment_is_not_comparable() -> None:
    """A treatment name that this version does not know is judged `unknown`, which enters no figure."""
    (row,) = compare([trial("mine", 1.0, treatments=["of_another_package"], applied="unknown")])
    assert (row.n, row.median_s, row.excluded) == (0, None, "1 treatment unknown")


def test_another_autoscaler_and_another_model_are_other_arms() -> None:
    """Trials that version 0.1 pooled into one arm of three with a median of 900 s."""
    luna = trial("baseline", 900.0)
    karpenter = trial("baseline", 300.0, autoscaler="karpenter")
    other = trial("baseline", 1500.0, model_id="mistralai/Mistral-7B", trial_id="mistral")
    rows = compare([luna, karpenter, other])
    assert [(row.n, row.median_s) for row in rows] == [(1, 300.0), (1, 900.0), (1, 1500.0)]
    assert len({row.arm.key for row in rows}) == 3


def test_each_arm_is_held_against_the_baseline_of_its_own_stratum() -> None:
    """A baseline under another node autoscaler is no baseline of this arm."""
    rows = compare(
        [trial("baseline", 1000.0, autoscaler="karpenter"), trial("improved", 500.0), trial("baseline", 800.0)]
    )
    saved = {row.arm.label: row.reduction_pct for row in rows if not row.arm.is_baseline}
    assert list(saved.values()) == [pytest.approx(37.5)]
    (alone,) = compare([trial("improved", 500.0)])
    assert (alone.reduction_pct, alone.confounders) == (None, ())


def test_another_head_in_one_arm_is_a_named_confounder() -> None:
    """The origin's own case: a head of 16 GB in one arm and of 15 GB in the other."""
    base = [trial("baseline", 1000.0 + n, **head("15-gb")) for n in range(3)]
    new = [trial("improved", 500.0 + n, **head("16-gb")) for n in range(3)]
    baseline, improved = compare([*base, *new])
    assert baseline.confounders == ()
    assert improved.as_dict()["confounders"] == "head instance type: 16-gb (3), baseline 15-gb (3)"
    assert improved.mixed == ()
    assert improved.n == 3


def test_a_mix_inside_one_arm_is_named_and_stays() -> None:
    """Nights differ in zone: the trials are pooled, and the row says so. A trial that is left out mixes nothing."""
    zones = [trial("baseline", 1000.0 + n, environment={"worker": {"zone": zone}}) for n, zone in enumerate("aab")]
    warm = trial("baseline", 1.0, start="warm", environment={"worker": {"zone": "c"}})
    (row,) = compare([*zones, warm])
    assert (row.n, row.as_dict()["mixed"]) == (3, "worker zone: a (2), b (1)")


def test_another_image_under_the_same_tag_is_not_pooled() -> None:
    """A tag that moved between replicates: the usual digest counts, the other trial is counted as what it is."""
    usual, moved = ({"worker": {"image_digest": f"sha256:{letter}"}} for letter in "ab")
    old = [trial("baseline", 1000.0, environment=usual, trial_id=str(n)) for n in range(2)]
    new = trial("baseline", 600.0, environment=moved, phases=(PhaseResult("image_pull", 9.0, 9.0, 9.0),))
    (row,) = compare([new, *old])
    assert (row.n, row.trials, row.median_s, row.excluded) == (2, 3, 1000.0, "1 another image")
    assert row.mixed == ()
    assert phase_means([new, *old]) == []
    assert excluded([new, *old]) == {new.trial_id: "another image"}


def test_of_two_equally_frequent_images_the_one_that_was_met_first_counts() -> None:
    """First by the time of opening, in any order of the rows."""
    first, then = ({"worker": {"image_digest": f"sha256:{letter}"}} for letter in "ba")
    early = trial("baseline", 1000.0, environment=first)
    late = trial("baseline", 600.0, environment=then, opened_at=OPENED_AT + timedelta(hours=1))
    assert compare([early, late]) == compare([late, early])
    assert excluded([late, early]) == {late.trial_id: "another image"}


def test_simulated_and_measured_are_never_pooled() -> None:
    """A simulated baseline says nothing about a measured arm."""
    rows = compare([trial("baseline", 1000.0), trial("improved", 500.0, origin="measured")])
    assert all(row.reduction_pct is None for row in rows)


def test_a_baseline_with_treatments_is_no_baseline() -> None:
    """Of two arms of that name in one stratum, the one without treatments is what the others are compared with."""
    odd = trial("baseline", 100.0, treatments=["fast_download"])
    rows = compare([odd, trial("baseline", 1000.0), trial("improved", 500.0)])
    assert [(row.arm.treatments, row.reduction_pct) for row in rows[:2]] == [
        ((), None),
        (("fast_download",), pytest.approx(90.0)),
    ]
    assert rows[2].reduction_pct == pytest.approx(50.0)


def test_rows_of_version_0_1_are_pooled_inside_their_experiment_only() -> None:
    """They recorded neither region nor node autoscaler nor nodes, so nothing says that two experiments are alike."""
    unknown = {"region": None, "autoscaler": None}
    rows = compare(
        [
            trial("baseline", 1.0, nodes="0.1:night", **unknown),
            trial("baseline", 2.0, nodes="0.1:night", **unknown),
            trial("baseline", 30.0, nodes="0.1:other", **unknown),
            trial("baseline", 400.0),
        ]
    )
    assert sorted((row.n, row.median_s) for row in rows) == [(1, 30.0), (1, 400.0), (2, 1.5)]


def test_a_workload_with_two_names_is_one_arm_that_names_both() -> None:
    """The names of one content in two experiment files do not split its trials."""
    (row,) = compare([trial("baseline", 1.0, workload="b"), trial("baseline", 3.0, workload="a")])
    assert (row.n, row.median_s, row.arm.stratum.workload) == (2, 2.0, "a or b")


def test_a_row_is_flat_and_a_stratum_can_be_read_from_it() -> None:
    """For XCom, the store, JSON and CSV: numbers, texts and nothing nested."""
    (row,) = compare([trial("baseline", 1.0)])
    flat = row.as_dict()
    assert all(value is None or isinstance(value, (int, float, str)) for value in flat.values())
    assert Stratum.from_dict(flat) == a_stratum()
    assert (flat["arm"], flat["stratum"]) == (row.arm.key, row.arm.stratum.key)


# Few values, so that many trials meet in one arm.
STRATA = st.builds(
    a_stratum,
    origin=st.sampled_from(["simulated", "measured", "unknown"]),
    cloud=st.sampled_from(["eks", "gke"]),
    setup=st.sampled_from(["static", "dynamic"]),
    autoscaler=st.sampled_from(["luna", "karpenter", None]),
    nodes=st.sampled_from(["n1", "0.1:night", None]),
    model_id=st.sampled_from(["a/b", None]),
    workload=st.sampled_from(["phi3", "mine"]),
)
PATHS = st.sampled_from([(), ("pull",), ("pull", "load"), ("load", "pull")])


@st.composite
def rows_of_trials(draw: st.DrawFn) -> list[TrialResult]:
    """Draw up to fourteen trials of a few strata, comparable and not, with and without phases."""
    made = []
    for number in range(draw(st.integers(0, 14))):
        path = draw(PATHS)
        seconds = [draw(st.floats(1, 4000)) for _ in path]
        changes: dict[str, Any] = {
            **draw(STRATA).as_dict(),
            "variant": draw(st.sampled_from(["baseline", "improved"])),
            "total_s": sum(seconds) if path else draw(st.none() | st.floats(1, 9000)),
            "start": draw(st.sampled_from(["cold", "cold", "warm"])),
            "environment": {"worker": {"image_digest": draw(st.sampled_from(["sha256:a", "sha256:b"]))}},
            "phases": tuple(PhaseResult(name, s, s, s) for name, s in zip(path, seconds, strict=True)),
            "opened_at": OPENED_AT + timedelta(minutes=draw(st.integers(0, 3))),
        }
        made.append(a_result(f"t{number}", **changes))
    return made


@settings(max_examples=80, deadline=None)
@given(rows_of_trials())
def test_no_two_strata_are_ever_pooled(trials: list[TrialResult]) -> None:
    """Every arm's trials share one stratum and one variant; each trial is in one arm, pooled or set aside with a
    reason; phases mix no two strata either.
    """
    arms = grouped(trials)
    for found in arms:
        assert {trial.arm.key for trial in found.trials} == {found.arm.key}
        assert {trial.arm.stratum for trial in found.trials} == {found.arm.stratum}
        assert {trial.arm.variant for trial in found.trials} == {found.arm.variant}
        assert {t.trial_id for t in found.pooled} | set(found.set_aside) == {t.trial_id for t in found.trials}
    assert Counter(t.trial_id for found in arms for t in found.trials) == Counter(t.trial_id for t in trials)
    rows = compare(trials)
    assert [row.trials for row in rows] == [len(found.trials) for found in arms]
    assert sum(row.trials for row in rows) == len(trials)
    assert sum(row.n for row in rows) + len(excluded(trials)) == len(trials)
    for path in phase_means(trials):
        (found,) = [each for each in arms if each.arm.key == path.arm.key]
        assert min(found.totals) - 1e-6 <= path.total_s <= max(found.totals) + 1e-6
        assert sum(seconds for _, seconds in path.phases) == pytest.approx(path.total_s)


@settings(max_examples=30, deadline=None)
@given(rows_of_trials(), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(trials: list[TrialResult], random: Any) -> None:
    """Any permutation gives the same rows, the same phases and the same exclusions."""
    shuffled = list(trials)
    random.shuffle(shuffled)
    assert compare(shuffled) == compare(trials)
    assert phase_means(shuffled) == phase_means(trials)
    assert excluded(shuffled) == excluded(trials)


@settings(max_examples=30, deadline=None)
@given(rows_of_trials())
def test_labels_do_not_group(trials: list[TrialResult]) -> None:
    """With every workload under one name the figures are the same: a name is no part of a stratum."""
    named = [
        a_result(t.trial_id, **{**t.arm.stratum.as_dict(), "workload": "one", "variant": t.arm.variant, **_row(t)})
        for t in trials
    ]
    figures = [{(row.arm.key, row.n, row.trials, row.median_s) for row in compare(rows)} for rows in (trials, named)]
    assert figures[0] == figures[1]


def _row(t: TrialResult) -> dict[str, Any]:
    names = ("total_s", "start", "environment", "phases", "opened_at")
    return {name: getattr(t, name) for name in names}


@settings(max_examples=30, deadline=None)
@given(rows_of_trials())
def test_the_arms_of_a_family_stand_together_baseline_first(trials: list[TrialResult]) -> None:
    """Tables and report show what follows one another: no family comes twice, and no variant before its baseline."""
    arms = [found.arm for found in grouped(trials)]
    changes = [new.stratum.family for old, new in pairwise(arms) if old.stratum.family != new.stratum.family]
    assert len(changes) == len(set(changes))
    for old, new in pairwise(arms):
        assert not (old.stratum == new.stratum and new.is_baseline)
