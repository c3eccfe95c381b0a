"""The wait of a trial: it runs the recorder, and stores the trace in the results store as it grows."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_llm_provisioning.triggers.base import Wait
from airflow_llm_provisioning.triggers.process_settings import apply_process_settings
from airflow_llm_provisioning.triggers.trace_sink import open_trace_sink

if TYPE_CHECKING:
    from airflow_llm_provisioning.core.budget import Meter
    from airflow_llm_provisioning.core.ready_instant import Instant
    from airflow_llm_provisioning.gateways.kubernetes import Cluster


class ServeEndpointWait(Wait):
    """Records one RayService until its endpoint is ready (and has answered), it has failed, or the time limit.

    :param rayservice: as `ApplyRayService` returns it: of its `generation` the endpoint must be, if it is there.
    :param timeout_s: counted in the cluster's clock from the moment the manifest was applied, also after a restart of
        this wait or of the task that applied.
    :param completion: {path, body, expect_model} or None.
    :param trial: the trial's description for the trace's header; None outside an experiment.
    :param results_conn_id: the store of the trace; None: it is not stored.
    :param grace_s: kind of blocker -> seconds after which the wait ends early; see `core.blockers.GRACE_S`.
    :param evidence_s: real seconds for reading Ray's state and the logs after the end, while GPU nodes run on.
    :param owner: {label: value} of the trial or DAG run that waits; see `core.ownership.ExpectedOwner`.
    :param expected: what the arm's earlier trials took (`core.progress.Expected` as a dict), for the log's lines.
    """

    def __init__(
        self,
        *,
        rayservice: dict[str, Any],
        timeout_s: float,
        completion: dict[str, Any] | None = None,
        trial: dict[str, Any] | None = None,
        results_conn_id: str | None = None,
        grace_s: dict[str, float | None] | None = None,
        evidence_s: float = 5.0,
        owner: dict[str, str] | None = None,
        expected: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            rayservice=rayservice,
            timeout_s=timeout_s,
            completion=completion,
            trial=trial,
            results_conn_id=results_conn_id,
            grace_s=grace_s,
            evidence_s=evidence_s,
            owner=owner,
            expected=expected,
        )
        self.rayservice = rayservice
        self.timeout_s = timeout_s
        self.completion = completion
        self.trial = trial
        self.results_conn_id = results_conn_id
        self.grace_s = grace_s
        self.evidence_s = evidence_s
        self.owner = owner
        self.expected = expected

    async def outcome(self) -> dict[str, Any]:
        """Return {outcome, reason, endpoint_ready_at, first_completion_at, waited_s, origin}, and the bounds of both
        instants (`endpoint_ready_earliest_at`, `endpoint_ready_latest_at`, ...); instants ISO or None.
        """
        from airflow_llm_provisioning.connections import open_cluster
        from airflow_llm_provisioning.core.progress import Expected, LiveProgress
        from airflow_llm_provisioning.gateways.metering import meter_of
        from airflow_llm_provisioning.gateways.recorder import record
        from airflow_llm_provisioning.triggers.progress_row import open_progress_row

        trial_id = str((self.trial or {}).get("trial_id") or "")
        meter = meter_of(self.trial)
        async with (
            open_trace_sink(self.results_conn_id, trial_id) as kept,
            open_progress_row(self.results_conn_id, trial_id, "wait") as row,
            open_cluster(self.rayservice["cluster"]) as cluster,
        ):
            apply_process_settings()
            applied_at = _instant(self.rayservice.get("applied_at"))
            # A task that found the object of its earlier life did not submit it: the limit counts from then.
            created_at = _instant(self.rayservice.get("created_at"))
            started_at = applied_at or created_at or _instant(self.rayservice["replied_at"]) or cluster.clock()
            found = await record(
                cluster,
                {key: self.rayservice[key] for key in ("namespace", "name", "uid")},
                sink=kept.append,
                deadline_at=started_at + timedelta(seconds=self.timeout_s),
                completion=self.completion,
                header=self._header(cluster),
                generation=self.rayservice.get("generation"),
                graces=self.grace_s,
                since=applied_at,
                owner=self.owner,
                meter=meter,
                keeps_trace=kept.keeps,
                evidence_s=self.evidence_s,
                marks=self._marks(),
                stored=await kept.stored(),
                live=LiveProgress(started_at, Expected.from_dict(self.expected)),
                on_told=lambda told: row.tell(
                    told.phase, told.blocker, told.elapsed_s, **_spent(meter, cluster.clock())
                ),
            )
            waited_s = (cluster.clock() - started_at).total_seconds()
            origin = cluster.origin()
        self.log.info("%s: %s %s", self.rayservice["name"], found.outcome, found.reason or "")
        return {
            "outcome": found.outcome,
            "reason": found.reason,
            **_bounded("endpoint_ready", found.endpoint),
            **_bounded("first_completion", found.completion),
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
        """Return marks for the times of the apply request and its answer; they bound the submission."""
        from airflow_llm_provisioning.core.trace import mark_line

        told = (("apply_started", self.rayservice.get("applied_at")), ("apply_replied", self.rayservice["replied_at"]))
        return [mark_line(at, name) for name, text in told if (at := _instant(text))]


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _spent(meter: "Meter | None", now: datetime) -> dict[str, Any]:
    """Return what the machines that were seen have cost, for the row of the running trial."""
    spent = meter.spent(now, waiting=False) if meter is not None else None
    # Before the first machine is seen, nothing is known of it; that is not 0.
    if meter is None or spent is None or spent.money == 0.0:
        return {}
    return {"spent": spent.money, "currency": meter.currency}


def _bounded(name: str, instant: "Instant | None") -> dict[str, str | None]:
    earliest_at, latest_at = (instant.earliest_at, instant.latest_at) if instant else (None, None)
    found = {f"{name}_at": latest_at, f"{name}_earliest_at": earliest_at, f"{name}_latest_at": latest_at}
    return {key: at.isoformat() if at else None for key, at in found.items()}
