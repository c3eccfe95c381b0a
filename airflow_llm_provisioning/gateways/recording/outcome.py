"""The end of a recording, and what an earlier process stored of it."""

from dataclasses import dataclass
from datetime import datetime

from airflow_llm_provisioning.core import trace
from airflow_llm_provisioning.core.ready_instant import Instant
from airflow_llm_provisioning.gateways.recording.previous_recording import PreviousRecording


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a recording. `reason`: one sentence, None for `ready`.

    `endpoint`, `completion`: when the endpoint was ready and the first valid completion was there, with bounds (cluster
    time): as they were received, or, if nothing watched at that moment, as the stamps of the cluster bound them.
    """

    outcome: trace.Outcome
    reason: str | None = None
    endpoint: Instant | None = None
    completion: Instant | None = None

    @property
    def endpoint_ready_at(self) -> datetime | None:
        """When the endpoint was ready, at the latest."""
        return self.endpoint.latest_at if self.endpoint else None

    @property
    def first_completion_at(self) -> datetime | None:
        """When the first valid completion was there, at the latest."""
        return self.completion.latest_at if self.completion else None


def outcome_of(previous: PreviousRecording) -> Outcome:
    """Return the outcome of a recording whose process was killed after it had stored the END line."""
    end = previous.ended or {}
    return Outcome(
        end["outcome"],
        end.get("reason"),
        previous.instant("endpoint_ready_seen", "earliest_at"),
        previous.instant("first_completion", "possible_since"),
    )
