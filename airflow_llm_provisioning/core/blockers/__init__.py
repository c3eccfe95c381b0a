"""Blockers: what keeps a deployment from proceeding at a moment, in the cluster's own words.

`Blockers` reads the lines of a recording as they come, and answers for any moment. `Blocker` is one answer;
`last_blocked` asks a finished recording. Pure: the time comes with the lines or as an argument.
"""

from airflow_llm_provisioning.core.blockers.blocker import GRACE_S, Blocker, grace_periods, named_together
from airflow_llm_provisioning.core.blockers.operator import INITIALIZING_TIMEOUT
from airflow_llm_provisioning.core.blockers.reader import Blockers
from airflow_llm_provisioning.core.blockers.recorded import LastBlocked, last_blocked
from airflow_llm_provisioning.core.blockers.single import SinglePod

__all__ = [
    "GRACE_S",
    "INITIALIZING_TIMEOUT",
    "Blocker",
    "Blockers",
    "LastBlocked",
    "SinglePod",
    "grace_periods",
    "last_blocked",
    "named_together",
]
