"""What the image deliveries have in common: head and worker must both have got their image that way."""

from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.verdicts import Delivered, Verdict, all_of, image_arrival


def both_arrived(view: TraceView, claim: str, wanted: Delivered) -> Verdict:
    """Say whether the images of head and worker arrived the wanted way; one that was pulled says no, silence is
    unknown.
    """
    parts = []
    for role, pod in (("head", view.head), ("worker", view.worker)):
        how = image_arrival(view, pod)
        if how.delivered == wanted:
            parts.append(Verdict(claim, "yes", how.evidence))
        elif how.delivered in ("unknown", "present"):
            parts.append(Verdict(claim, "unknown", (f"How the {role}'s image arrived is not known.", *how.evidence)))
        else:
            parts.append(Verdict(claim, "no", how.evidence))
    return all_of(claim, parts)
