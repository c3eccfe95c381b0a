"""The causal order of the milestones is sound: it has no cycle, every milestone is connected, and names are unique."""

from airflow_llm_provisioning.core.timing.milestones import (
    ENDPOINT_READY,
    MILESTONES,
    PHASE_OF,
    PHASES,
    REPORTED_ONLY,
    SUBMITTED,
    CausalOrder,
)


def test_every_phase_has_a_unique_name() -> None:
    """Replicates are averaged over these names, so none may mean two spans."""
    assert len(set(PHASES)) == len(PHASES)
    assert not any("+" in name for name in PHASES)
    assert not set(REPORTED_ONLY) & set(PHASE_OF)


def test_every_milestone_leads_back_to_the_submission() -> None:
    """With every milestone present, each path back ends at the submission."""
    order = CausalOrder(PHASE_OF)
    for name in MILESTONES:
        here, steps = name, 0
        while here != SUBMITTED:
            here = next(
                predecessor.milestone for predecessor in order.predecessors(here, MILESTONES) if not predecessor.soft
            )
            steps += 1
            assert steps < len(MILESTONES)


def test_causes_come_first_in_the_order() -> None:
    """The order in which bounds are narrowed puts every cause before its effects."""
    order = CausalOrder(PHASE_OF, ready_pod="worker")
    for name in MILESTONES:
        for predecessor in order.predecessors(name, MILESTONES):
            assert order.rank[predecessor.milestone] < order.rank[name]


def test_what_is_missing_is_named_and_what_did_not_occur_is_not() -> None:
    """An expected missing milestone adds its phase's name; one that cannot occur adds nothing."""
    seen = [name for name in MILESTONES if name not in ("app_running", "serve_service_created")]
    expected = CausalOrder(PHASE_OF).predecessors(ENDPOINT_READY, seen)
    assert ("app_start", "service_creation") in [predecessor.names for predecessor in expected]
    without = CausalOrder(set(PHASE_OF) - {"app_running"}).predecessors(ENDPOINT_READY, seen)
    assert ("service_creation",) in [predecessor.names for predecessor in without]


def test_a_static_worker_does_not_wait_for_the_autoscaler() -> None:
    """Without the autoscaler on the path, a worker's pod follows from the RayCluster alone."""
    static = CausalOrder(set(PHASE_OF) - {"worker_asked"})
    hard = [a.milestone for a in static.predecessors("worker.pod_created", MILESTONES) if not a.soft]
    assert hard == ["raycluster_created"]


def test_what_karpenter_calls_initialised_bounds_the_gpu() -> None:
    """The condition waits for the GPU to be allocatable (karpenter nodeclaim_status.go), so it is an upper bound for
    the GPU.
    """
    waited_for = CausalOrder(PHASE_OF).predecessors("worker.node_initialised", MILESTONES)
    assert [a.milestone for a in waited_for if not a.soft and a.milestone == "worker.gpu_allocatable"]
