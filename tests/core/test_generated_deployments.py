"""Generated deployments with known true instants: the analysis is correct, also for distorted traces."""

import random
from datetime import timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from proof.generated import Deployment, Distortion, generate

from airflow_llm_provisioning.core.timing.analysis import Analysis, analyse
from airflow_llm_provisioning.core.timing.milestones import MILESTONES, PHASES

SEEDS = st.integers(min_value=0, max_value=2**32)
DISTORTIONS = st.builds(
    Distortion,
    skew_s=st.sampled_from([0.0, 0.5, 5.0]),
    late=st.sampled_from([0.0, 0.1, 0.4]),
    lost=st.sampled_from([0.0, 0.1, 0.5]),
    doubled=st.sampled_from([0.0, 0.3]),
    logs=st.booleans(),
)
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def bounds_hit(deployment: Deployment, analysis: Analysis) -> tuple[int, int]:
    """Return how many milestones contained the true instant, and of how many."""
    held = [
        m.earliest_at <= deployment.truth[m.name] <= m.latest_at
        for m in analysis.milestones
        if m.name in deployment.truth
    ]
    return sum(held), len(held)


@QUICK
@given(SEEDS, DISTORTIONS)
def test_phases_partition_the_total_exactly(seed: int, distortion: Distortion) -> None:
    """Phases sum to the total to the microsecond, none is negative, and each begins where the one before ends."""
    analysis = analyse(generate(seed, distortion).lines)
    assert analysis.total_us is not None
    assert sum(phase.duration_us for phase in analysis.phases) == analysis.total_us
    assert all(phase.duration_us >= 0 for phase in analysis.phases)
    assert all(a.end_at == b.start_at for a, b in zip(analysis.phases, analysis.phases[1:], strict=False))
    assert {part for phase in analysis.phases for part in phase.name.split("+")} <= set(PHASES)
    assert analysis.total_low_s is not None
    assert analysis.total_high_s is not None
    assert analysis.total_low_s <= analysis.total_us / 1e6 <= analysis.total_high_s


@QUICK
@given(SEEDS, DISTORTIONS)
def test_the_likeliest_points_lie_in_their_bounds(seed: int, distortion: Distortion) -> None:
    """Bounds are in order, and a phase's duration is within the bounds printed with it."""
    analysis = analyse(generate(seed, distortion).lines)
    assert all(m.earliest_at <= m.at <= m.latest_at for m in analysis.milestones)
    assert all(0 <= p.shortest_s <= p.duration_s <= p.longest_s for p in analysis.phases)


@QUICK
@given(SEEDS, st.sampled_from([0.0, 1.0, 5.0]))
def test_the_truth_lies_within_the_bounds(seed: int, skew_s: float) -> None:
    """With every clock off by up to five seconds, each true instant is within its bounds."""
    deployment = generate(seed, Distortion(skew_s=skew_s))
    analysis = analyse(deployment.lines)
    inside, of = bounds_hit(deployment, analysis)
    assert inside == of
    unseen = {"worker.node_launched", "worker.node_registered", "worker.node_initialised"}
    assert of == len(set(MILESTONES) & set(deployment.truth) - unseen), "nothing else stayed unseen"
    assert not [flag for flag in analysis.flags if flag.kind == "contradiction"]


def test_bounds_hold_in_distorted_traces_too() -> None:
    """With late, lost and repeated lines and skew, at least 99 % of the instants are within their bounds."""
    held = total = 0
    for seed in range(150):
        deployment = generate(seed, Distortion(skew_s=5, late=0.1, lost=0.1, doubled=0.2))
        inside, of = bounds_hit(deployment, analyse(deployment.lines))
        held, total = held + inside, total + of
    assert held / total >= 0.99


@QUICK
@given(SEEDS)
def test_an_undistorted_trace_joins_nothing(seed: int) -> None:
    """If every source was recorded, no phase is joined."""
    analysis = analyse(generate(seed).lines)
    assert not [phase.name for phase in analysis.phases if "+" in phase.name]


def test_bounds_are_little_wider_than_the_stamps() -> None:
    """With stamps of whole seconds and estimated clocks, the bounds of the median milestone are at most 1.2 s apart."""
    widths = sorted(m.width_s for seed in range(100) for m in analyse(generate(seed).lines).milestones)
    assert widths[len(widths) // 2] <= 1.2


@QUICK
@given(SEEDS, st.randoms(use_true_random=False))
def test_order_and_repeats_of_lines_do_not_matter(seed: int, rng: random.Random) -> None:
    """The same lines in another order, and some twice, give the same result."""
    deployment = generate(seed)
    mixed = [*deployment.lines, *rng.sample(deployment.lines, 5)]
    rng.shuffle(mixed)
    assert analyse(mixed).as_dict() == analyse(deployment.lines).as_dict()


@QUICK
@given(SEEDS)
def test_the_path_goes_over_what_was_waited_for(seed: int) -> None:
    """A dynamic deployment's path contains head, application and worker; a new node is on the worker's part."""
    deployment = generate(seed)
    analysis = analyse(deployment.lines)
    passed = {phase.end for phase in analysis.phases}
    if deployment.dynamic:
        assert {"head.ready", "app_built", "worker_asked", "worker.container_started"} <= passed
    if "worker.ray_started" in passed and "worker.node_created" in deployment.truth:
        waited = {"worker.scheduled", "worker.gpu_allocatable", "worker.node_created"}
        assert waited <= passed or "head.container_started" in passed


@QUICK
@given(SEEDS)
def test_a_missing_event_joins_phases_under_both_names(seed: int) -> None:
    """Without the events of the pull, its phases are joined, and neither zero nor guessed."""
    deployment = generate(seed)
    lines = [line for line in deployment.lines if not ("events" in line["resource"] and "Pull" in str(line["object"]))]
    phases = {phase.name: phase for phase in analyse(lines).phases}
    joined = [name for name in phases if "image_pull" in name]
    assert joined
    assert all("pull_wait+" in name and "+" in name.partition("image_pull")[2] for name in joined)


@QUICK
@given(SEEDS, st.sampled_from(["endpointslices", "pods", "services", "rayclusters"]), st.integers(40, 4000))
def test_impossible_times_are_flagged(seed: int, resource: str, shift_s: int) -> None:
    """An object whose creation stamp is long after its effects contradicts its receipt and is flagged."""
    deployment = generate(seed)
    lines = []
    for line in deployment.lines:
        if line["resource"] == resource:
            metadata = dict(line["object"]["metadata"])
            at = deployment.truth["endpoint_ready"] + timedelta(seconds=shift_s)
            metadata["creationTimestamp"] = at.strftime("%Y-%m-%dT%H:%M:%SZ")
            lines.append({**line, "object": {**line["object"], "metadata": metadata}})
        else:
            lines.append(line)
    analysis = analyse(lines)
    assert {flag.kind for flag in analysis.flags} & {"contradiction", "clock"}
    assert all(phase.duration_us >= 0 for phase in analysis.phases)
