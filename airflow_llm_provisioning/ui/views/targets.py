"""*Targets*: what can run where, what is prepared for it, and a form that starts one trial."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from airflow_llm_provisioning.core.fields import mapping, number, objects
from airflow_llm_provisioning.core.offer import OfferedTarget
from airflow_llm_provisioning.core.operation import KEEP_DAYS
from airflow_llm_provisioning.core.result import Preparation
from airflow_llm_provisioning.core.running import RunningTrial
from airflow_llm_provisioning.gateways.store import ResultsStore
from airflow_llm_provisioning.gateways.store.selection import Selection
from airflow_llm_provisioning.report.markup import Markup, element, html, table
from airflow_llm_provisioning.report.results_sections import origin_badge
from airflow_llm_provisioning.report.text_table import cell
from airflow_llm_provisioning.ui.airflow_dags import TAG, StartingDag
from airflow_llm_provisioning.ui.layout import airflow_link, link, notice, section

LEAD: Final = (
    "Where trials run: a cluster and its node profile, prepared beforehand. Start one trial here; only combinations "
    "that are possible are offered."
)
_STEPS: Final = {
    "step": "step",
    "state": "state",
    "at": "at",
    "seconds": "took (s)",
    "price": "price (USD)",
    "what": "made",
}
# Steps of a trial that does not hold its cluster.
_WAITING: Final = ("lock", "prepared")
_MADE: Final = ("image", "digest", "snapshot_id", "disk_image", "pool", "pod")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What the store knows of targets. `running`: all trials, because any of them holds its cluster; `readable`: the
    DAGs whose names may be shown; `costs`: target -> what one of its newest trials cost.
    """

    preparations: Mapping[str, Sequence[Preparation]] = field(default_factory=dict)
    running: Sequence[RunningTrial] = ()
    readable: frozenset[str] = frozenset()
    costs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def stored(store: ResultsStore, dags: Sequence[StartingDag], readable: frozenset[str]) -> Stored:
    """Read it for the targets of these DAGs."""
    names = dict.fromkeys(target.name for dag in dags for target in dag.targets)
    return Stored(
        preparations={name: store.preparations(name) for name in names},
        running=store.progress.running(),
        readable=readable,
        costs=store.queries.newest_costs(Selection(dag_ids=readable)),
    )


def targets_view(known: Stored, dags: Sequence[StartingDag], only: str | None) -> Markup:
    """Return the view, of the target `only` or of all."""
    if not dags:
        return notice(
            f"No DAG with a form for single trials is known to Airflow. The shipped one is single_trial; a DAG of your "
            f"own needs `params=single_trial_params(experiment)` and the tag {TAG}."
        )
    found: list[Markup] = []
    for dag in dags:
        panels = [_panel(known, dag, target) for target in dag.targets if only in (None, target.name)]
        if panels:
            found.append(section(f"Targets of DAG {dag.dag_id}", [_how(dag), element("div", panels, class_="panels")]))
    return html(found) if found else notice(f"There is no target {only} that you may see.")


def _how(dag: StartingDag) -> Markup:
    opened = airflow_link("Open the DAG", "dags", dag.dag_id)
    if not dag.may_start:
        return element("p", ["You may read this DAG, and may not start it. ", opened], class_="quiet")
    paused = " It is paused: a trial waits until it is unpaused." if dag.paused else ""
    return element("p", [f"A trial is one run of this DAG, under your name.{paused} ", opened], class_="quiet")


def _panel(known: Stored, dag: StartingDag, target: OfferedTarget) -> Markup:
    where = ", ".join(filter(None, (target.cloud.upper(), target.region, f"{target.autoscaler} makes the nodes")))
    gpus = f"GPU: {', '.join(target.gpus)}" if target.gpus else "GPU: as the node autoscaler chooses"
    return element(
        "article",
        [
            element("h3", target.name),
            element("p", f"{where}. {gpus}. Cluster {target.cluster}, namespace {target.namespace}."),
            element("p", f"Variants: {', '.join(target.variants)}. Workloads: {', '.join(target.workloads)}."),
            _prepared(target, known.preparations.get(target.name, ())),
            _lease(known, target),
            _machines(known.costs.get(target.name)),
            *([_form(dag, target)] if dag.may_start else []),
            element("p", link("Its trials", "results", target=target.name), class_="quiet"),
        ],
        class_="panel",
        id=f"target-{target.name}",
    )


def _lease(known: Stored, target: OfferedTarget) -> Markup:
    """Say who holds the Lease of the cluster, as the trials of this store tell it: who runs on it holds it, and who
    waits for it was told who does. The cluster itself is not asked.
    """
    here = [one for one in known.running if one.cluster == target.cluster]
    held = next((one for one in here if one.step not in _WAITING), None)
    waiting = [one for one in here if one.step in _WAITING]
    queue = f" {len(waiting)} more {'waits' if len(waiting) == 1 else 'wait'} for it." if waiting else ""
    if held is not None:
        since = f", since {held.opened_at:%Y-%m-%d %H:%M} in its clock."
        if held.dag_id not in known.readable:
            return element("p", f"Its cluster is held by a trial of a DAG that you may not read{since}{queue}")
        who = f"trial {held.trial_id} of DAG run {held.dag_id}/{held.run_id}"
        return element("p", [f"Its cluster is held by {who}{since}{queue} ", link("Now", "now")])
    told = next(
        (one.blocker for one in waiting if one.step == "lock" and one.blocker and one.dag_id in known.readable), None
    )
    if told is not None:
        return element(
            "p", [f"Its cluster is held, as a trial that waits for it was told: {told} ", link("Now", "now")]
        )
    return element("p", f"No trial of this store is running on it.{queue}", class_="quiet")


def _machines(cost: Mapping[str, Any] | None) -> Markup:
    """Say what the machines of a target cost, by one of its newest trials."""
    nodes = objects(cost, "nodes")
    if not nodes:
        return element("p", "What its machines cost is not known: no trial on it has a cost yet.", class_="quiet")
    hours = [number(node.get("hour")) for node in nodes]
    each = ", ".join(
        f"{node.get('instance_type') or 'a machine'} {'not known' if hour is None else cell(hour, 'price_usd')}"
        for node, hour in zip(nodes, hours, strict=True)
    )
    known = [hour for hour in hours if hour is not None]
    total = (
        f"{'' if len(known) == len(hours) else 'at least '}{cell(sum(known), 'price_usd')}" if known else "not known"
    )
    unit = mapping(cost).get("currency")
    return element("p", f"The machines of one of its newest trials, {unit} an hour: {each}; together {total}.")


def _prepared(target: OfferedTarget, steps: Sequence[Preparation]) -> Markup:
    newest = {step.verb: step for step in steps}
    rows = [_step(name, newest.get(name)) for name in dict.fromkeys((*target.steps, *newest))]
    word, kind, told = _state(target, newest, datetime.now(UTC))
    state = element("span", word, class_=f"badge status {kind}")
    origins = [origin_badge(origin) for origin in dict.fromkeys(step.origin for step in newest.values())]
    return html([element("p", [state, " ", *origins, told]), *([table(_STEPS, rows)] if rows else [])])


def _state(target: OfferedTarget, newest: Mapping[str, Preparation], now: datetime) -> tuple[str, str, str]:
    """Return how far a target is prepared: a word, the kind of its badge, and what follows it."""
    made = [newest[step].prepared_at for step in target.steps if step in newest]
    if not target.steps:
        return "needs no preparation", "good", ""
    if not made:
        return "not prepared", "bad", ""
    if len(made) < len(target.steps):
        return "partly prepared", "bad", f" {len(target.steps) - len(made)} of {len(target.steps)} steps are missing."
    if now - min(made) > timedelta(days=KEEP_DAYS):
        told = f" What is made is kept for {KEEP_DAYS} days where nothing else was said: prepare again."
        return f"prepared more than {KEEP_DAYS} days ago", "wait", told
    return "prepared", "good", f" Since {max(made):%Y-%m-%d %H:%M}."


def _step(name: str, step: Preparation | None) -> Mapping[str, Any]:
    told = {"step": name.replace("_", " ")}
    if step is None:
        return told | {"state": "not recorded"}
    made = "; ".join(f"{key} {step.result[key]}" for key in _MADE if step.result.get(key))
    price = "not known" if step.price_usd is None else cell(step.price_usd, "price_usd")
    return told | {
        "state": "reused" if step.reused else "made",
        "at": f"{step.prepared_at:%Y-%m-%d %H:%M}",
        "seconds": step.seconds,
        "price": price,
        "what": made,
    }


def _form(dag: StartingDag, target: OfferedTarget) -> Markup:
    options = [
        element("option", f"{one['variant']}, {one['setup']}, {one['workload']}", value=json.dumps(one))
        for one in target.cells()
    ]
    unpause = element(
        "label", [Markup('<input type="checkbox" name="unpause" value="yes" checked>'), " unpause the DAG first"]
    )
    return element(
        "form",
        [
            element(
                "label", [element("span", "Variant, set-up and workload"), element("select", options, name="cell")]
            ),
            *([unpause] if dag.paused and dag.may_unpause else []),
            element("div", element("button", f"Start a trial on {target.name}", type="submit")),
            element("p", "", class_="said", data_said="", role="status"),
        ],
        data_start=dag.dag_id,
    )
