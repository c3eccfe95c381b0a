"""The drawn way from submission to the ready endpoint is sound: no cycle, no orphan, names of their own."""

from airflow_llm_provisioning.core.timing.milestones import (
    BESIDE_THE_ROUTE,
    ENDPOINT_READY,
    MILESTONES,
    PHASE_OF,
    PHASES,
    SUBMITTED,
    Route,
)


def test_every_phase_has_a_name_of_its_own() -> None:
    """Replicates are averaged over these names, so none may stand for two spans."""
    assert len(set(PHASES)) == len(PHASES)
    assert not any("+" in name for name in PHASES)
    assert not set(BESIDE_THE_ROUTE) & set(PHASE_OF)


def test_every_instant_leads_back_to_the_submission() -> None:
    """With everything seen, walking back from any instant ends at the submission."""
    route = Route(PHASE_OF)
    for name in MILESTONES:
        here, steps = name, 0
        while here != SUBMITTED:
            here = next(arrival.milestone for arrival in route.arrivals(here, MILESTONES) if not arrival.soft)
            steps += 1
            assert steps < len(MILESTONES)


def test_causes_come_first_in_the_order() -> None:
    """The order the bounds are narrowed in puts every cause before its effects."""
    route = Route(PHASE_OF, ready_pod="worker")
    for name in MILESTONES:
        for arrival in route.arrivals(name, MILESTONES):
            assert route.order[arrival.milestone] < route.order[name]


def test_what_is_missing_is_named_and_what_did_not_occur_is_not() -> None:
    """An expected instant that is missing lends its phase's name; one that cannot occur lends nothing."""
    seen = [name for name in MILESTONES if name not in ("app_running", "serve_service_created")]
    expected = Route(PHASE_OF).arrivals(ENDPOINT_READY, seen)
    assert ("app_start", "service_creation") in [arrival.names for arrival in expected]
    without = Route(set(PHASE_OF) - {"app_running"}).arrivals(ENDPOINT_READY, seen)
    assert ("service_creation",) in [arrival.names for arrival in without]


def test_a_static_worker_does_not_wait_for_the_autoscaler() -> None:
    """Without the autoscaler on the route, a worker's pod follows from the RayCluster alone."""
    static = Route(set(PHASE_OF) - {"worker_asked"})
    assert [a.milestone for a in static.arrivals("worker.pod_created", MILESTONES)] == ["raycluster_created"]


def test_what_karpenter_calls_initialised_bounds_the_gpu() -> None:
    """It waits for the GPU to be allocatable (karpenter nodeclaim_status.go), so the GPU was there by then."""
    waited_for = Route(PHASE_OF).arrivals("worker.node_initialised", MILESTONES)
    assert [a.milestone for a in waited_for if not a.soft and a.milestone == "worker.gpu_allocatable"]
