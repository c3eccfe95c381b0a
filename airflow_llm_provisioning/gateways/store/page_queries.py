"""Two look-ups of the page inside Airflow that are asked before anything is shown: they decide what may be."""

from typing import Final

from sqlalchemy import Engine, func, select

from airflow_llm_provisioning.gateways.store import tables
from airflow_llm_provisioning.gateways.store.database import read_from

# A list of more names could not be read by anybody, and would make a page large.
MOST_NAMES: Final = 200


class PageQueries:
    """Look-ups by index in one results database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def names(self, column: str) -> list[str]:
        """Return the distinct values of an indexed column of the trials, in their order. One index search per value
        instead of one row per trial.
        """
        key = tables.trials.c[column]
        found: list[str] = []
        last: str | None = ""
        with read_from(self._engine) as connection:
            while len(found) < MOST_NAMES:
                last = connection.scalar(select(func.min(key)).where(key > last))
                if last is None:
                    break
                found.append(last)
        return found

    def dag_of(self, trial_id: str) -> str | None:
        """Return the DAG of a trial, or None for an unknown one."""
        columns = tables.trials.c
        with read_from(self._engine) as connection:
            return connection.scalar(select(columns.dag_id).where(columns.trial_id == trial_id))
