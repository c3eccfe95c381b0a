"""The reaper's tasks: which places there are, and one place each."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import Context

from airflow_llm_provisioning.compat import BaseOperator
from airflow_llm_provisioning.core.names import DEFAULT_STORE, OWNED_LIST
from airflow_llm_provisioning.exceptions import NotDeletedError

if TYPE_CHECKING:
    from airflow_llm_provisioning.core.experiment import Experiment


# Things of a place that an XCom lists; there are some ten.
MOST_LISTED: Final = 500


class ListPlaces(BaseOperator):
    """Return every place where something of an experiment's targets can be, one dict for each mapped `ReapPlace`.

    :param experiment: the experiment, as `load_experiment` reads it. It is neither rendered nor stored with the DAG.
    """

    ui_color = "#e8e6f4"

    def __init__(self, *, experiment: "Experiment", results_conn_id: str = DEFAULT_STORE, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.experiment = experiment
        self.results_conn_id = results_conn_id

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Ask the ledger for places that no target has any more, and list all."""
        from airflow_llm_provisioning.connections import store_url
        from airflow_llm_provisioning.reaping.owned import places_with_ledger

        places = places_with_ledger(self.experiment.targets, store_url(self.results_conn_id))
        for place in places:
            self.log.info("Place: %s", place["name"])
        return places


class ReapPlace(BaseOperator):
    """Delete what expired or was orphaned in one place, see that it is gone, and close the ledger's entries.

    Returns {clean, sentence, deleted, left, unrecorded, unknown, closed, problems}. Fails, after that was logged,
    unless the place is clean: something is left with its reason, or a part of it could not be listed. The next run
    goes on. In any case the XCom `llm_owned` keeps {place, at, items}: all that is ours there, for the page.

    :param place: one of those that `ListPlaces` returns.
    :param wait_s: real seconds for which deletions are waited for, with pauses that grow.
    """

    template_fields: Sequence[str] = ("place",)
    template_fields_renderers = {"place": "json"}  # noqa: RUF012 - Airflow's name
    ui_color = "#f9e4e0"

    def __init__(
        self,
        *,
        place: Mapping[str, Any],
        wait_s: float = 300.0,
        results_conn_id: str = DEFAULT_STORE,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.place = place
        self.wait_s = wait_s
        self.results_conn_id = results_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Reap, say what came of it, and fail where something is left."""
        from airflow_llm_provisioning.connections import store_url
        from airflow_llm_provisioning.core.secrets import redacted_value
        from airflow_llm_provisioning.reaping.reap import reap

        url = store_url(self.results_conn_id)
        done = asyncio.run(reap((), url, places=[dict(self.place)], wait_s=self.wait_s, log=self.log.info))
        # Also of a place that is not clean, whose task fails: the page shows the newest list of each place.
        items = [item.as_dict() for item in done.survey.items[:MOST_LISTED]]
        seen = {"place": self.place["name"], "at": datetime.now(UTC).isoformat(), "items": items}
        context["ti"].xcom_push(key=OWNED_LIST, value=redacted_value(seen))
        told: dict[str, Any] = redacted_value(done.as_dict())
        for name in ("left", "unrecorded", "unknown"):
            for item in told[name]:
                self.log.warning("%s: %s %s in %s: %s", name, item["kind"], item["name"], item["place"], item["why"])
        self.log.info("%s", told["sentence"])
        if not done.clean:
            raise NotDeletedError(f"{self.place['name']}: {told['sentence']} The lines above name each of them.")
        return told
