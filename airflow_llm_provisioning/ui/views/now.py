"""*Now*: every running trial."""

from typing import Final

from airflow_llm_provisioning.report.markup import Markup
from airflow_llm_provisioning.ui.layout import notice

LEAD: Final = "Every running trial: what it does, what blocks it, and how long its arm usually takes."


def now_view() -> Markup:
    """Return the view."""
    return notice(
        "The results store does not record the progress of running trials yet: look at the log of their task."
    )
