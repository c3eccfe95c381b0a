"""The report's part about trials: timing tables, phase charts, what was left out, what was prepared, where it ran."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from airflow_llm_provisioning.core.result import Preparation, TrialResult
from airflow_llm_provisioning.core.statistics import MIN_FOR_INTERVAL, PhaseMean, compare, excluded, phase_means
from airflow_llm_provisioning.report.charts import phase_chart
from airflow_llm_provisioning.report.evidence_sections import trial_link
from airflow_llm_provisioning.report.markup import Markup, element, folded, html, table
from airflow_llm_provisioning.report.phase_groups import GROUPS, UNSEPARATED, group_of, position
from airflow_llm_provisioning.report.tables import SHOWN, cell, shown

Row = dict[str, Any]
SIMULATED: Final = "simulated"

# In the order a reader compares them; others follow by name.
_VARIANTS: Final = ("baseline", "fast_download", "baked_image", "image_delivery", "improved")
_NOT_ENVIRONMENT: Final = frozenset({"node", "provider_id"})


def overview(trials: Sequence[TrialResult]) -> Markup:
    """Return one card per cloud, set-up and origin: improved against baseline, beside what was published."""
    rows = [shown(row.as_dict()) for row in compare(trials) if row.variant == "improved"]
    return element("div", [_card(row) for row in rows], class_="cards")


def cloud_sections(trials: Sequence[TrialResult]) -> Iterator[Markup]:
    """Yield a section per origin, workload profile and cloud: its timing table and the phase charts of its set-ups."""
    rows = [row.as_dict() for row in compare(trials)]
    for key, group in groupby(rows, key=lambda row: (row["origin"], row["profile"], row["cloud"])):
        origin, profile, cloud = key
        chosen = [t for t in trials if (t.origin, t.profile, t.cloud) == key]
        yield element(
            "section",
            [
                element("h2", [cloud.upper(), " ", origin_badge(origin), element("small", f"workload {profile}")]),
                _timing_table(list(group)),
                *_phase_figures(chosen),
                folded("Every phase in seconds", _phase_table(chosen)),
            ],
            id=f"{cloud}-{origin}-{profile}",
        )


def legend() -> Markup:
    """Return the colours of the phase groups and the phases in each."""
    items = [
        element("li", [_swatch(group.colour), f" {group.title}"], title=", ".join(sorted(group.names)))
        for group in (*GROUPS, UNSEPARATED)
    ]
    return element("ul", items, class_="legend")


def excluded_section(trials: Sequence[TrialResult]) -> Markup:
    """Return the trials that no comparison counts, each with its reason."""
    reasons = excluded(trials)
    rows: list[Row] = [
        {
            "trial": trial_link(trial),
            "cell": f"{trial.cloud} {trial.setup} {trial.variant}",
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
    targets = dict.fromkeys(trial.target for trial in trials)
    return html([folded(target, _environment_table([t for t in trials if t.target == target])) for target in targets])


def origin_badge(origin: str) -> Markup:
    """Return the label no simulated figure goes without."""
    return element("span", origin.upper() if origin == SIMULATED else origin, class_=f"badge {origin}")


def _card(row: Row) -> Markup:
    saved = "no figure" if row["reduction_pct"] is None else f"{-row['reduction_pct']:+.0f} %"
    known = row["published"]
    return element(
        "div",
        [
            element("div", f"{row['cloud'].upper()} {row['setup']}", class_="what"),
            element("div", saved, class_="big"),
            element("div", f"published: {known}" if known else "nothing published", class_="beside"),
            origin_badge(row["origin"]),
        ],
        class_="card",
    )


def _timing_table(rows: Sequence[Row]) -> Markup:
    return table(SHOWN, [_with_interval(shown(row)) for row in rows])


def _with_interval(row: Row) -> Row:
    """Say so where a reduction has no interval: the estimate alone looks surer than it is."""
    if row["reduction_pct"] is None or row["confidence"] is not None:
        return row
    note = element("small", f"no interval: n < {MIN_FOR_INTERVAL}")
    return row | {"reduction": html([row["reduction"], " ", note])}


def _phase_figures(trials: Sequence[TrialResult]) -> Iterator[Markup]:
    stacks = {setup: _stacks([t for t in trials if str(t.setup) == setup]) for setup in _setups(trials)}
    longest_s = max((row["end_s"] for rows in stacks.values() for row in rows), default=0.0)
    for setup, rows in stacks.items():
        if not rows:
            yield element("p", f"{setup}: no comparable trial, so no phases to show.")
            continue
        drawn = Markup(phase_chart(rows, list(dict.fromkeys(row["variant"] for row in rows)), longest_s))
        caption = f"{setup}: phases of the deciding path, mean over the comparable trials"
        yield element("figure", [element("figcaption", caption), element("div", drawn, class_="scroll")])


def _stacks(trials: Sequence[TrialResult]) -> list[Row]:
    """Return one row per variant and phase. A phase counts with its share of the trials, so that a bar ends at the mean
    total.
    """
    counted: dict[str, int] = {}
    out = excluded(trials)
    for trial in trials:
        if trial.trial_id not in out:
            counted[trial.variant] = counted.get(trial.variant, 0) + 1
    means = sorted(phase_means(trials), key=lambda mean: (_order(mean.variant), position(mean.phase)))
    rows: list[Row] = []
    for variant, group in groupby(means, key=lambda mean: mean.variant):
        start_s = 0.0
        for mean in group:
            end_s = start_s + mean.mean_s * mean.n / counted[variant]
            rows.append(_segment(mean, start_s, end_s))
            start_s = end_s
    return rows


def _segment(mean: PhaseMean, start_s: float, end_s: float) -> Row:
    return {
        "variant": mean.variant,
        "phase": mean.phase,
        "group": group_of(mean.phase).title,
        "start_s": start_s,
        "end_s": end_s,
        "label": f"{mean.variant}, {mean.phase}: {end_s - start_s:.1f} s",
    }


def _phase_table(trials: Sequence[TrialResult]) -> Markup:
    """Return phases by set-up and variant; how many trials passed one is said where it is not all of them."""
    means = sorted(phase_means(trials), key=lambda mean: position(mean.phase))
    arms = sorted({(mean.setup, mean.variant) for mean in means}, key=lambda arm: (arm[0] != "static", _order(arm[1])))
    out = excluded(trials)
    counted = {arm: sum(t.trial_id not in out for t in trials if (str(t.setup), t.variant) == arm) for arm in arms}
    rows: dict[str, Row] = {}
    for mean in means:
        row = rows.setdefault(mean.phase, {"phase": mean.phase, "group": group_of(mean.phase).title})
        arm = (mean.setup, mean.variant)
        row["/".join(arm)] = mean.mean_s if mean.n == counted[arm] else f"{mean.mean_s:.1f} (n={mean.n})"
    headings = {"/".join(arm): f"{arm[0]} {arm[1]} (n={counted[arm]})" for arm in arms}
    return table({"phase": "phase", "group": "group"} | headings, list(rows.values()))


def _setups(trials: Iterable[TrialResult]) -> list[str]:
    return sorted({str(trial.setup) for trial in trials}, key=lambda setup: setup != "static")


def _order(variant: str) -> tuple[int, str]:
    return (_VARIANTS.index(variant) if variant in _VARIANTS else len(_VARIANTS), variant)


def _evidence(trial: TrialResult) -> str:
    """Return what a trial's verdicts give as evidence, where one of them is the reason."""
    doubtful = [verdict for verdict in trial.verdicts if verdict.get("value") != "yes"]
    return " ".join(str(line) for verdict in doubtful for line in verdict.get("evidence") or ())


def _price(item: Preparation) -> str:
    return "not known" if item.price_usd is None else f"{cell(item.price_usd, 'price_usd')} USD"


def _environment_table(trials: Sequence[TrialResult]) -> Markup:
    seen: dict[str, dict[str, None]] = {}
    for trial in trials:
        fixed = {
            "cluster": trial.cluster,
            "model": f"{trial.model_id} at {trial.model_revision} ({trial.model_source})",
            "image served": trial.image,
            "seed of the order": str(trial.seed),
        }
        for name, value in [*fixed.items(), *_flat(trial.environment)]:
            seen.setdefault(name, {})[value] = None
    rows = [{"name": name, "values": "; ".join(values)} for name, values in seen.items()]
    return table({"name": "", "values": "seen in its trials"}, rows)


def _flat(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key} ")
        elif key not in _NOT_ENVIRONMENT:
            yield f"{above}{key}".replace("_", " "), str(value)


def _swatch(colour: str) -> Markup:
    return element("span", "", class_="swatch", style=f"background:{colour}")
