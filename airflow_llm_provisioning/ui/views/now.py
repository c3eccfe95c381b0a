"""*Now*: every running trial, what it does, what blocks it, and how long it runs against what its arm usually takes."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from airflow_llm_provisioning.core.running import RunningTrial
from airflow_llm_provisioning.report.bars import Bar, Segment, bar_chart
from airflow_llm_provisioning.report.markup import Markup, element, html
from airflow_llm_provisioning.report.results_sections import origin_badge
from airflow_llm_provisioning.ui.layout import airflow_link, notice

LEAD: Final = "Every running trial: what it does, what blocks it, and how long its arm usually takes."
# A wait writes once a minute.
SILENT_S: Final = 180.0
MOST_SHOWN: Final = 100
_STEPS: Final = {
    "lock": "waits for its cluster",
    "prepared": "waits for what was prepared",
    "open": "is being opened",
    "wait": "waits for the endpoint",
    "delete": "is being deleted",
    "not_deleted": "could not be deleted",
}
# Of steps in which the trial does not hold it.
_NO_HOLDER: Final = {"lock": "another trial", "prepared": "not taken yet"}
_RUNNING: Final = "#3b6fb6"
_USUAL: Final = "#7ccba2"


def now_view(running: Sequence[RunningTrial]) -> Markup:
    """Return the view: the part that updates itself, and what says whether it does."""
    state = element("p", "Updates by itself.", class_="quiet", role="status", data_live_state="")
    return html([state, element("div", running_trials(running), data_live="now/running")])


def running_trials(running: Sequence[RunningTrial], now: datetime | None = None) -> Markup:
    """Return the running trials, the newest first."""
    if not running:
        return notice("No trial of a DAG that you may read is running. Start one from Targets.")
    at = now or datetime.now(UTC)
    more = [element("p", f"And {len(running) - MOST_SHOWN} more.")] if len(running) > MOST_SHOWN else []
    return html([element("div", [_panel(one, at) for one in running[:MOST_SHOWN]], class_="panels"), *more])


def _panel(one: RunningTrial, now: datetime) -> Markup:
    kind = "bad" if one.step == "not_deleted" else "wait"
    silent_s = (now - one.updated_at).total_seconds()
    doing = _STEPS.get(one.step, one.step)
    facts: list[tuple[str, Any]] = [
        ("Phase", one.phase or "not known yet"),
        ("Blocked by", one.blocker or "nothing that was seen"),
        ("Target", f"{one.target}, variant {one.variant}"),
        ("Cost so far", _spent(one)),
        ("Cluster held by", _NO_HOLDER.get(one.step, f"{one.dag_id}/{one.run_id}")),
    ]
    return element(
        "article",
        [
            element("h3", one.trial_id),
            element("p", [element("span", doing, class_=f"badge status {kind}"), " ", origin_badge(one.origin)]),
            _elapsed(one),
            element("dl", [element("div", [element("dt", n), element("dd", v)]) for n, v in facts], class_="facts"),
            *(
                [notice(f"No news for {silent_s / 60:.0f} minutes: is the triggerer running?")]
                if silent_s > SILENT_S
                else []
            ),
            element("p", [_log(one), f". Updated {one.updated_at:%H:%M:%S}."], class_="quiet"),
        ],
        class_="panel",
        id=f"running-{one.trial_id}",
    )


def _spent(one: RunningTrial) -> str:
    """Return what the machines have cost at the last news of the wait; deleting them costs more."""
    if one.spent is None or one.currency is None:
        return "not known yet" if one.step in ("wait", "delete", "not_deleted") else "nothing"
    return f"{'at least ' if one.step != 'wait' else ''}{one.spent:.2f} {one.currency}, an estimate from prices"


def _elapsed(one: RunningTrial) -> Markup:
    bars = [Bar("so far", [Segment(0.0, one.elapsed_s, _RUNNING, "so far")], _seconds(one.elapsed_s))]
    if one.expected_s is not None:
        low_s, high_s = one.expected_low_s, one.expected_high_s
        told = f"middle half {low_s:.0f} to {high_s:.0f} s" if low_s is not None and high_s is not None else ""
        segments = [Segment(0.0, one.expected_s, _USUAL, f"median of {one.expected_n} trials")]
        bars.append(Bar("its arm", segments, _seconds(one.expected_s), note=told))
    usual = "" if one.expected_s is not None else "; its arm has no comparable trial yet"
    return bar_chart(bars, f"Seconds in the cluster's clock{usual}")


def _seconds(value: float) -> str:
    return f"{value:.0f} s"


def _log(one: RunningTrial) -> Markup:
    return airflow_link("Log of its task", "dags", one.dag_id, "runs", one.run_id, "tasks", one.task_id)
