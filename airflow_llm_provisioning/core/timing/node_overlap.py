"""Were the nodes of head and worker set up beside each other, or one after the other?

A static deployment asks for both at once; whether its cloud also makes them at once is what the origin could not tell
for GKE. Asked of the milestones alone.
"""

from airflow_llm_provisioning.core.instants import seconds
from airflow_llm_provisioning.core.timing.timeline import Milestone, Timeline
from airflow_llm_provisioning.core.verdicts import Verdict

CLAIM = "nodes_in_parallel"
_NODE = "node_created"


def nodes_in_parallel(timeline: Timeline) -> Verdict | None:
    """Say whether the later node had begun before the earlier one was Ready, whatever their clocks; None where not both
    nodes were made for the trial. A node begins with its request. Where nothing tells of that, a Node that is there in
    time says yes; one that came late may have been booting all the while, and says nothing.
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
            return Verdict(CLAIM, "unknown", (*evidence, "Nothing tells when that node was asked for."))
        return Verdict(CLAIM, "no", evidence)
    return Verdict(CLAIM, "unknown", evidence)


def _began(timeline: Timeline, role: str) -> Milestone | None:
    return timeline.get(f"{role}.node_requested") or timeline.get(f"{role}.{_NODE}")
