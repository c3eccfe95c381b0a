"""Recordings of whole simulated trials, for verdicts: as the recorder wrote them, and with parts changed."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

from proof.recorded_trial import Finished, Scenario, run

from airflow_llm_provisioning.core.image_arrival import pulled_figures
from airflow_llm_provisioning.core.result import TrialResult
from airflow_llm_provisioning.core.trace import TraceView, decode_trace
from airflow_llm_provisioning.core.treatments import treatment
from airflow_llm_provisioning.core.verdicts import Verdict

Line = dict[str, Any]


class Recording:
    """The recording of a scenario's last trial, and its row."""

    def __init__(self, scenario: Scenario) -> None:
        self._finished: Finished = run(scenario)[-1]
        self._lines = [dict(line) for line in decode_trace(self._finished.chunks).lines]

    @property
    def row(self) -> TrialResult:
        """The trial's row."""
        return self._finished.row

    def view(self, change: Callable[[Line], Line | None] = lambda line: line) -> TraceView:
        """Return the recording with each line changed; None leaves a line out."""
        changed = (change(copy.deepcopy(line)) for line in self._lines)
        return TraceView([line for line in changed if line is not None])

    def verdict(self, name: str, change: Callable[[Line], Line | None] = lambda line: line) -> Verdict:
        """Return what a treatment says of the recording with each line changed."""
        return treatment(name).verify(self.view(change))

    def pulls_s(self) -> Sequence[float]:
        """Return the kubelets' own figures of the serving pods' pulls."""
        (cold,) = [item for item in self.row.verdicts if item["claim"] == "cold_start"]
        found = (pulled_figures(sentence)[0] for sentence in cold["evidence"])
        return [seconds for seconds in found if seconds is not None]


def without_evidence(line: Line) -> Line | None:
    """Leave out what the clouds were asked."""
    return None if line.get("type") == "EVIDENCE" else line


def without_events(*reasons: str) -> Callable[[Line], Line | None]:
    """Leave out events of these reasons, in both APIs of events."""

    def change(line: Line) -> Line | None:
        return None if is_event(line, *reasons) else line

    return change


def is_event(line: Line, *reasons: str) -> bool:
    """Return whether a line is an event of one of these reasons. Its text is `message`, or `note` in events.k8s.io."""
    return str(line["resource"]).startswith("events") and line["object"].get("reason") in reasons


def told(verdict: Verdict) -> str:
    """Return a verdict's evidence as one text."""
    return " ".join(verdict.evidence)
