"""The progress of a deployment while it runs, line by line of its recording: for the log of a waiting task.

`LiveProgress` gives the lines; `Expected` is what an arm's earlier trials took. Pure: the time comes with the lines or
as an argument. No result is computed from it: that is the work of `core.timing` on the whole recording.
"""

from airflow_llm_provisioning.core.progress.spans import Expected, expected_of
from airflow_llm_provisioning.core.progress.standing import Standing
from airflow_llm_provisioning.core.progress.told import AT_LEAST_EVERY, LiveProgress, Snapshot, clock

__all__ = ["AT_LEAST_EVERY", "Expected", "LiveProgress", "Snapshot", "Standing", "clock", "expected_of"]
