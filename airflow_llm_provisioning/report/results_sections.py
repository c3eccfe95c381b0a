"""The report's part about trials: timing tables, phase charts, what was left out, what was prepared, where it ran."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from airflow_llm_provisioning.core.arm import BASELINE
from airflow_llm_provisioning.core.comparison import ArmTrials, compare, excluded, grouped
from airflow_llm_provisioning.core.measured import Measured
from airflow_llm_provisioning.core.origin import SIMULATED, is_simulated, shown_origin
from airflow_llm_provisioning.core.phase_means import paths_of
from airflow_llm_provisioning.core.published import PUBLISHED_VARIANT
from airflow_llm_provisioning.core.result import Preparation, TrialResult
from airflow_llm_provisioning.core.serving_guard import trade_off
from airflow_llm_provisioning.core.statistics import MIN_FOR_INTERVAL
from airflow_llm_provisioning.report.bars import Bar, Segment, bar_chart
from airflow_llm_provisioning.report.evidence_sections import short_name, trial_link
from airflow_llm_provisioning.report.families import OLD_ROWS, by_family, differing_facts, is_old, named_variants
from airflow_llm_provisioning.report.markup import Markup, element, folded, html, table
from airflow_llm_provisioning.report.phase_groups import group_of, position
from airflow_llm_provisioning.report.tables import SHOWN, shown
from airflow_llm_provisioning.report.text_table import cell

Row = dict[str, Any]
_NOT_ENVIRONMENT: Final = frozenset({"node", "provider_id"})


def compared_rows(trials: Sequence[Measured]) -> list[Row]:
    """Return the comparison of these trials as flat rows, which several sections show."""
    return [row.as_dict() for row in compare(trials)]


def overview(compared: Sequence[Row]) -> Markup:
    """Return one card per arm that stands for the whole bundle, beside what was published; in a stratum without such an
    arm, one card per arm that is compared with a baseline.
    """
    cards: list[Markup] = []
    for heading, group in by_family(compared):
        for _, of_stratum in groupby(group, key=lambda row: str(row["stratum"])):
            arms = [row for row in of_stratum if row["variant"] != BASELINE]
            bundle = [row for row in arms if row["variant"] == PUBLISHED_VARIANT]
            cards += [_card(shown(row), heading) for row in bundle or arms]
    return element("div", cards, class_="cards")


def cloud_sections(trials: Sequence[Measured], compared: Sequence[Row]) -> Iterator[Markup]:
    """Yield a section per family of strata: its timing table and the phase charts of its set-ups."""
    arms = {found.arm.key: found for found in grouped(trials)}
    for heading, rows in by_family(compared):
        first = rows[0]
        chosen = [arms[row["arm"]] for row in rows]
        phases = _phases(chosen)
        stratum = chosen[0].arm.stratum
        yield element(
            "section",
            [
                element("h2", [first["cloud"].upper(), " ", origin_badge(first["origin"]), _small(first, heading)]),
                _timing_table(rows),
                *_facts(rows),
                *([element("p", OLD_ROWS, class_="quiet")] if is_old(first) else []),
                *_phase_figures(chosen, phases),
                folded("Every phase in seconds", _phase_table(phases)),
            ],
            id=f"{first['cloud']}-{stratum.family}",
        )


def excluded_section(
    trials: Sequence[TrialResult],
    link: Callable[[TrialResult], Markup] = trial_link,
    *,
    reasons: Mapping[str, str] | None = None,
) -> Markup:
    """Return the trials that no comparison counts, each with its reason. `link`: the way to a trial's evidence;
    `reasons`: trial id -> why, where more trials were compared than are shown.
    """
    reasons = excluded(trials) if reasons is None else reasons
    rows: list[Row] = [
        {
            "trial": link(trial),
            "cell": short_name(trial),
            "why": why,
            "total_s": trial.total_s,
            "reason": trial.reason or _evidence(trial),
        }
        for trial in trials
        if (why := reasons.get(trial.trial_id)) is not None
    ]
    if not rows:
        return element("p", f"None: all {len(trials)} trials were cold, verified and became ready.")
    columns = {"trial": "trial", "cell": "cell", "why": "not counted because", "total_s": "time (s)", "reason": "more"}
    return table(columns, rows)


def preparations_section(preparations: Sequence[Preparation]) -> Markup:
    """Return what was prepared, how long it took and what it cost, or why the cost is not known."""
    if not preparations:
        return element("p", "No preparation is recorded for these trials.")
    rows = [
        {
            "target": item.target,
            "step": item.verb.replace("_", " "),
            "seconds": item.seconds,
            "reused": "reused" if item.reused else "made",
            "price": _price(item),
            "basis": item.price_basis,
            "origin": item.origin,
        }
        for item in preparations
    ]
    columns = {"target": "target", "step": "step", "seconds": "time (s)", "reused": "", "price": "price"}
    return table(columns | {"basis": "how the price was found", "origin": "origin"}, rows)


def environment_section(trials: Sequence[TrialResult]) -> Markup:
    """Return, per target, what its trials ran on: every value that was seen."""
    targets = dict.fromkeys(item.trial.target for item in trials)
    return html(
        [folded(target, _environment_table([t for t in trials if t.trial.target == target])) for target in targets]
    )


def origin_badge(origin: str) -> Markup:
    """Return the label no simulated figure goes without."""
    kind = SIMULATED if is_simulated(origin) else origin
    return element("span", shown_origin(origin), class_=f"badge {kind}")


def _card(row: Row, heading: str) -> Markup:
    saved = "no figure" if row["reduction_pct"] is None else f"{-row['reduction_pct']:+.0f} %"
    known = row["published"]
    variant = [] if row["variant"] == PUBLISHED_VARIANT else [f" {row['variant']}"]
    return element(
        "div",
        [
            element("div", [f"{row['cloud'].upper()} {row['setup']}", *variant], class_="what"),
            *([element("div", heading, class_="beside")] if heading else []),
            element("div", saved, class_="big"),
            element("div", f"published: {known}" if known else "nothing published", class_="beside"),
            *_serving(row),
            origin_badge(row["origin"]),
        ],
        class_="card",
    )


def _serving(row: Row) -> list[Markup]:
    """Return what a start costs in serving speed, where it costs any: a card must not show the gain alone."""
    if not row.get("slower_pct"):
        return []
    return [element("div", f"serves {row['slower_pct']:.0f} % slower", class_="beside warning")]


def _small(row: Row, heading: str) -> Markup:
    told = [f"workload {row['workload']}", *([heading] if heading else [])]
    return element("small", "; ".join(told))


def _facts(rows: Sequence[Row]) -> Iterator[Markup]:
    for row in rows:
        if (sentence := trade_off(row)) is not None:
            yield element("p", [element("strong", "SERVES SLOWER "), sentence], class_="alarm", role="note")
    sentences = [sentence for row in rows for sentence in differing_facts(row)]
    if sentences:
        yield element("ul", [element("li", sentence) for sentence in sentences], class_="quiet")


def _timing_table(rows: Sequence[Row]) -> Markup:
    return table(SHOWN, [_with_interval(shown(row)) for row in rows])


def _with_interval(row: Row) -> Row:
    """Say so where a reduction has no interval: the estimate alone looks surer than it is."""
    if row["reduction_pct"] is None or row["confidence"] is not None:
        return row
    note = element("small", f"no interval: n < {MIN_FOR_INTERVAL}")
    return row | {"reduction": html([row["reduction"], " ", note])}


def _phase_figures(arms: Sequence[ArmTrials], phases: Sequence[Row]) -> Iterator[Markup]:
    setups = dict.fromkeys(found.arm.stratum.setup for found in arms)
    charts = {setup: _bars([phase for phase in phases if phase["setup"] == setup]) for setup in setups}
    longest_s = max((bar.end_s for bars in charts.values() for bar in bars), default=0.0)
    for setup, bars in charts.items():
        if not bars:
            yield element("p", f"{setup}: no comparable trial, so no phases to show.")
            continue
        caption = f"{setup}: phases of the deciding path, mean over the comparable trials that took it"
        yield bar_chart(bars, f"{caption}; a dot is the total of one trial", longest_s=longest_s)


def _bars(phases: Sequence[Row]) -> list[Bar]:
    """Return one bar per deciding path of an arm. It ends at its trials' mean total; each trial's total is a dot."""
    segments: dict[str, list[Segment]] = {}
    totals: dict[str, Sequence[tuple[float, str]]] = {}
    for phase in phases:
        bar = segments.setdefault(phase["bar"], [])
        start_s = bar[-1].end_s if bar else 0.0
        label = f"{phase['bar']}, {phase['phase']}: {phase['mean_s']:.1f} s"
        bar.append(Segment(start_s, start_s + phase["mean_s"], group_of(phase["phase"]).colour, label))
        totals[phase["bar"]] = phase["dots"]
    return [Bar(name, parts, f"{parts[-1].end_s:.0f} s", totals[name]) for name, parts in segments.items()]


def _phases(arms: Sequence[ArmTrials]) -> list[Row]:
    """Return the mean phases of some arms, each with the name of its `bar`: the variant, and the path where the arm's
    trials took several.
    """
    rows = named_variants(
        [row | {"dots": path.totals} for found in arms for path in paths_of(found) for row in path.rows()]
    )
    return [row | {"bar": _bar(row)} for row in rows]


def _bar(row: Row) -> str:
    if row["n"] == row["pooled"]:
        return str(row["variant"])
    return f"{row['variant']}, path {row['path']} (n={row['n']})"


def _phase_table(phases: Sequence[Row]) -> Markup:
    """Return seconds by phase, a column per set-up and bar, and what they sum to."""
    columns = {"phase": "phase", "group": ""}
    rows: dict[str, Row] = {}
    total: Row = {"phase": "sum", "group": "mean total"}
    for phase in phases:
        column = f"{phase['setup']}/{phase['bar']}"
        columns[column] = column
        total[column] = phase["path_total_s"]
    for phase in sorted(phases, key=lambda row: position(row["phase"])):
        row = rows.setdefault(phase["phase"], {"phase": phase["phase"], "group": group_of(phase["phase"]).title})
        column = f"{phase['setup']}/{phase['bar']}"
        row[column] = row.get(column, 0.0) + phase["mean_s"]
    return table(columns, [*rows.values(), total] if rows else [])


def _evidence(trial: TrialResult) -> str:
    """Return what a trial's verdicts give as evidence, where one of them is the reason."""
    doubtful = [verdict for verdict in trial.verdicts if verdict.get("value") != "yes"]
    return " ".join(str(line) for verdict in doubtful for line in verdict.get("evidence") or ())


def _price(item: Preparation) -> str:
    return "not known" if item.price_usd is None else f"{cell(item.price_usd, 'price_usd')} USD"


def _environment_table(trials: Sequence[TrialResult]) -> Markup:
    seen: dict[str, dict[str, None]] = {}
    for trial in trials:
        planned, stratum = trial.trial, trial.arm.stratum
        fixed = {
            "cluster": planned.slot.cluster,
            "node autoscaler": stratum.autoscaler or "not recorded",
            "model": _model(trial),
            "image served": planned.served.image or "not recorded",
            "seed of the order": str(planned.slot.seed),
        }
        for name, value in [*fixed.items(), *flat(trial.environment)]:
            seen.setdefault(name, {})[value] = None
    rows = [{"name": name, "values": "; ".join(values)} for name, values in seen.items()]
    return table({"name": "", "values": "seen in its trials"}, rows)


def _model(trial: TrialResult) -> str:
    stratum, served = trial.arm.stratum, trial.trial.served
    if stratum.model_id is None:
        return "not recorded"
    source = served.model.source if served.model else served.model_source
    revision = f" at {stratum.model_revision}" if stratum.model_revision else ""
    return f"{stratum.model_id}{revision}" + (f" ({source})" if source else "")


def flat(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Yield the observed facts of an environment: (name, value)."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{above}{key} ")
        elif key not in _NOT_ENVIRONMENT:
            yield f"{above}{key}".replace("_", " "), str(value)
