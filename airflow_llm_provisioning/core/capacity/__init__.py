"""Capacity as a result: which sentences refuse it, and what a recording says about it.

`refusal_kind` and `zones_in` read one sentence. `Refusals` follows a recording; `Capacity` is what it says of a trial.
"""

from airflow_llm_provisioning.core.capacity.counts import capacity_rows
from airflow_llm_provisioning.core.capacity.recorded import WAITED_S, Capacity, capacity_of
from airflow_llm_provisioning.core.capacity.refusals import Refusal, Refusals
from airflow_llm_provisioning.core.capacity.words import KINDS, as_no_capacity, refusal_kind, zones_in

__all__ = [
    "KINDS",
    "WAITED_S",
    "Capacity",
    "Refusal",
    "Refusals",
    "as_no_capacity",
    "capacity_of",
    "capacity_rows",
    "refusal_kind",
    "zones_in",
]
