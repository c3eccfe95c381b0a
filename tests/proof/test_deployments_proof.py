"""The proof on generated deployments, shortened: its claims are true, and it fails with a worse analysis."""

import ast
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from proof import FIGURES, SHORT, deployments, generated
from proof.generated import Distortion, draw_scenario, generate
from proof.generated.impossible import SPOILERS

from airflow_llm_provisioning.core.timing.analysis import Analysis, analyse

ALONE = replace(SHORT, processes=1)


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    return deployments.prove(ALONE)


def test_the_claims_hold(figures: dict[str, Any]) -> None:
    """Sums are exact, bounds contain the truth and are narrow, few phases are joined, and impossible traces are
    flagged.
    """
    assert figures["deployments"] == SHORT.deployments
    assert figures["sum_mismatches"] == 0
    assert figures["inside_bounds_ratio"] >= 0.99
    assert figures["median_width_s"] <= 1.2 + figures["median_skew_s"]
    assert figures["joined_ratio_undistorted"] <= 0.02
    assert figures["negative_phases"] == 0
    assert figures["impossible_flagged_ratio"] == 1
    assert set(FIGURES["deployments"]) <= set(figures)


def test_valid_traces_are_not_called_impossible(figures: dict[str, Any]) -> None:
    """Distorted but possible traces raise no alarm."""
    assert sum(figures["alarms_on_valid_traces"].values()) <= 0.01 * SHORT.deployments


def _narrowed(analysis: Analysis) -> Analysis:
    """An analysis that claims to know every instant exactly."""
    return replace(
        analysis, milestones=tuple(replace(m, earliest_at=m.at, latest_at=m.at) for m in analysis.milestones)
    )


def _shifted(analysis: Analysis) -> Analysis:
    """An analysis whose total is not the sum of its phases."""
    return replace(analysis, total_us=(analysis.total_us or 0) + 1)


def _without_flags(analysis: Analysis) -> Analysis:
    """An analysis that flags nothing."""
    return replace(analysis, flags=())


def _joining(analysis: Analysis) -> Analysis:
    """An analysis that cannot separate its phases."""
    return replace(analysis, phases=tuple(replace(phase, name=f"{phase.name}+x") for phase in analysis.phases))


@pytest.mark.parametrize(
    ("broken", "figure", "holds"),
    [
        (_narrowed, "inside_bounds_ratio", lambda value: value >= 0.99),
        (_shifted, "sum_mismatches", lambda value: value == 0),
        (_without_flags, "impossible_flagged_ratio", lambda value: value == 1),
        (_joining, "joined_ratio_undistorted", lambda value: value <= 0.02),
    ],
)
def test_a_worse_analysis_fails_the_proof(
    broken: Callable[[Analysis], Analysis],
    figure: str,
    holds: Callable[[float], bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """For each claim there is an analysis that breaks it, and the figure shows it."""
    monkeypatch.setattr(deployments, "analyse", lambda lines: broken(analyse(lines)))
    assert not holds(deployments.prove(replace(ALONE, deployments=12))[figure])


def test_the_same_seed_gives_the_same_figures() -> None:
    """The same seed gives the same figures; another seed is another sample."""
    few = replace(ALONE, deployments=8)
    assert deployments.prove(few) == deployments.prove(few)
    assert deployments.prove(few) != deployments.prove(replace(few, seed=2))


@pytest.mark.parametrize("name", sorted(SPOILERS))
def test_every_impossibility_is_flagged(name: str) -> None:
    """Each kind can be made from some deployment, and is flagged."""
    made = 0
    for seed in range(12):
        rng = random.Random(seed)
        deployment = generate(seed, Distortion(skew_s=5), draw_scenario(rng))
        lines = SPOILERS[name](deployment, rng)
        if lines is not None:
            made += 1
            assert {flag.kind for flag in analyse(lines).flags} & deployments.ALARMS, seed
    assert made


def test_the_generator_shares_no_code_with_what_it_tests() -> None:
    """The generator imports nothing of the package; otherwise the package would be tested with itself."""
    sources = sorted(Path(generated.__file__).parent.glob("*.py"))
    assert len(sources) > 5
    for source in sources:
        for node in ast.walk(ast.parse(source.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not [name for name in names if name.startswith("airflow")], source.name


def test_every_source_has_its_own_clock() -> None:
    """The drawn skews differ, and stamps contain them: no two sources agree by construction."""
    deployment = generate(1, Distortion(skew_s=5))
    assert len(set(deployment.skews.values())) == len(deployment.skews)
    assert max(map(abs, deployment.skews.values())) <= 5
    created = next(line for line in deployment.lines if line["resource"] == "rayservices")["object"]["metadata"]
    truth = deployment.truth["submitted"] + timedelta(seconds=deployment.skews["api"])
    assert created["creationTimestamp"] == truth.strftime("%Y-%m-%dT%H:%M:%SZ")
