"""The wait of a trial: the recorder runs here, and the trace reaches the results store as it grows."""

import gc
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from airflow_llm_provisioning.triggers.base import Wait
from airflow_llm_provisioning.triggers.trace_keeping import keeping

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.kubernetes import Cluster


# CPython's are 10 and 10: with 200 waits at 1,000 events a second a full collection of 0.3 s every 8 s. With these it
# comes every four minutes, and the middle generation's, of 0.03 s, every 4 s.
OLDER_GENERATIONS: Final = (50, 50)


class ServeEndpointWait(Wait):
    """Records one RayService until its endpoint is ready (and has answered), it has failed, or its time is over.

    :param rayservice: as `ApplyRayService` returns it.
    :param timeout_s: counted in the cluster's clock from the moment the manifest was applied, also after a restart.
    :param completion: {path, body, expect_model} or None.
    :param trial: what the trace's header says of the trial; None outside every experiment.
    :param results_conn_id: where the trace is kept; None: it is not kept.
    """

    def __init__(
        self,
        *,
        rayservice: dict[str, Any],
        timeout_s: float,
        completion: dict[str, Any] | None = None,
        trial: dict[str, Any] | None = None,
        results_conn_id: str | None = None,
    ) -> None:
        super().__init__(
            rayservice=rayservice,
            timeout_s=timeout_s,
            completion=completion,
            trial=trial,
            results_conn_id=results_conn_id,
        )
        self.rayservice = rayservice
        self.timeout_s = timeout_s
        self.completion = completion
        self.trial = trial
        self.results_conn_id = results_conn_id

    async def outcome(self) -> dict[str, Any]:
        """Return {outcome, reason, endpoint_ready_at, first_completion_at, waited_s, origin}; instants ISO or None."""
        from airflow_llm_provisioning.connections import open_cluster
        from airflow_llm_provisioning.gateways.recorder import record

        async with (
            keeping(self.results_conn_id, str((self.trial or {}).get("trial_id") or "")) as kept,
            open_cluster(self.rayservice["cluster"]) as cluster,
        ):
            _settle()
            started_at = _instant(self.rayservice.get("applied_at")) or _instant(self.rayservice["replied_at"])
            started_at = started_at or cluster.clock()
            found = await record(
                cluster,
                {key: self.rayservice[key] for key in ("namespace", "name", "uid")},
                sink=kept.append,
                deadline_at=started_at + timedelta(seconds=self.timeout_s),
                completion=self.completion,
                header=self._header(cluster),
                marks=self._marks(),
                stored=await kept.stored(),
            )
            waited_s = (cluster.clock() - started_at).total_seconds()
            origin = cluster.origin()
        self.log.info("%s: %s %s", self.rayservice["name"], found.outcome, found.reason or "")
        return {
            "outcome": found.outcome,
            "reason": found.reason,
            "endpoint_ready_at": _text(found.endpoint_ready_at),
            "first_completion_at": _text(found.first_completion_at),
            "waited_s": round(waited_s, 3),
            "origin": origin,
        }

    def _header(self, cluster: "Cluster") -> Mapping[str, Any]:
        from airflow_llm_provisioning.core.trace import header_line

        version = cluster.version()
        return header_line(
            cluster.clock(),
            origin=cluster.origin(),
            namespace=self.rayservice["namespace"],
            name=self.rayservice["name"],
            uid=self.rayservice["uid"],
            trial=self.trial,
            cluster=version,
            clock=(version.get("simulated") or {}).get("clock"),
        )

    def _marks(self) -> list[Mapping[str, Any]]:
        """Return when the manifest went out and when the answer came: they bound the submission."""
        from airflow_llm_provisioning.core.trace import mark_line

        told = (("apply_started", self.rayservice.get("applied_at")), ("apply_replied", self.rayservice["replied_at"]))
        return [mark_line(at, name) for name, text in told if (at := _instant(text))]


@cache
def _settle() -> None:
    """Let full garbage collections be short and rare, once in a process: in each all its waits stand still.

    Airflow and its providers are some 260,000 objects that never go: out of the collector's sight they cost nothing,
    in it 0.2 s each time. Airflow's own executor and DAG processor do the same before they fork (airflow 3.3,
    local_executor.py). What hundreds of waits have in hand at a moment brings the next full collection nearer each time
    a younger generation is collected: both happen less often.
    """
    gc.collect()
    gc.freeze()
    young, middle, old = gc.get_threshold()
    gc.set_threshold(young, max(middle, OLDER_GENERATIONS[0]), max(old, OLDER_GENERATIONS[1]))


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _text(instant: datetime | None) -> str | None:
    return instant.isoformat() if instant else None
