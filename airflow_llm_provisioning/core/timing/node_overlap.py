"""Decides whether the nodes of head and worker were set up in parallel or one after the other.

A static deployment requests both nodes at once. The origin could not tell whether GKE also creates them at once. The
verdict uses the milestones alone.
"""

from airflow_llm_provisioning.core.instants import seconds
from airflow_llm_provisioning.core.timing.timeline import Milestone, Timeline
from airflow_llm_provisioning.core.verdicts import Verdict

CLAIM = "nodes_in_parallel"
_NODE = "node_created"


def nodes_in_parallel(timeline: Timeline) -> Verdict | None:
    """Return whether the later node began before the earlier one was Ready; None unless both nodes were created for the
    trial.

    The clocks of the nodes do not matter. A node begins with its request. Without a recorded request, a Node object
    that exists in time means yes. A Node object that appeared late proves nothing, because its machine may have been
    booting before.
    """
    nodes = [(_began(timeline, role), timeline.get(f"{role}.node_ready")) for role in ("head", "worker")]
    known = [(began, ready) for began, ready in nodes if began is not None and ready is not None]
    if len(known) < 2:
        return None
    (first, first_ready), (second, _) = sorted(known, key=lambda node: node[0].at)
    between_s = seconds(second.at - first_ready.at)
    told = f"{second.name} ({second.source}) came {abs(between_s):.1f} s "
    told += f"{'after' if between_s > 0 else 'before'} {first_ready.name} ({first_ready.source})"
    evidence = (f"{told}; {first.name} was the first.",)
    if second.latest_at < first_ready.earliest_at:
        return Verdict(CLAIM, "yes", evidence)
    if second.earliest_at > first_ready.latest_at:
        if second.name.endswith(_NODE):
            return Verdict(CLAIM, "unknown", (*evidence, "The trace does not show when that node was requested."))
        return Verdict(CLAIM, "no", evidence)
    return Verdict(CLAIM, "unknown", evidence)


def _began(timeline: Timeline, role: str) -> Milestone | None:
    return timeline.get(f"{role}.node_requested") or timeline.get(f"{role}.{_NODE}")
