"""The part about money: what each arm costs and saves, when its preparation is paid back, and what one trial cost."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from airflow_llm_provisioning.core.fields import mapping, number, objects
from airflow_llm_provisioning.report import wording
from airflow_llm_provisioning.report.families import by_family
from airflow_llm_provisioning.report.markup import Markup, element, html, table
from airflow_llm_provisioning.report.text_table import cell

Row = Mapping[str, Any]

NOT_KNOWN: Final = "not known"
_ARMS: Final = {
    "setup": "set-up",
    "variant": "variant",
    "n": "n",
    "cost": "a deployment",
    "saved": "saved",
    "prepared": "preparation",
    "idle": "idle, a day",
    "pays": "pays from",
    "payback": "its time is paid back after",
    "origin": "origin",
}
_MACHINES: Final = {
    "node": "machine",
    "instance_type": "type",
    "zone": "zone",
    "gpus": "GPUs",
    "seconds": "paid for (s)",
    "hour": "an hour",
    "amount": "cost",
}


def cost_section(rows: Sequence[Row]) -> Markup:
    """Return the tables of arms by cloud and family. `rows`: of `core.break_even.cost_rows`."""
    if not any(row["cost"] is not None or row["prepared_s"] for row in rows):
        return element("p", "What these deployments cost is not known: no price of their machines was found.")
    parts: list[Markup] = [element("p", wording.COST)]
    for heading, group in by_family([dict(row) for row in rows]):
        first = group[0]
        where = f"{first['cloud'].upper()}{f', {heading}' if heading else ''}"
        parts.append(table(_ARMS, [_arm(row) for row in group], f"{where}: money in {first['currency']}"))
    return html(parts)


def trial_cost(cost: Mapping[str, Any] | None) -> Markup:
    """Return what one trial cost, machine by machine. `cost`: of `core.cost.priced`."""
    if not cost:
        return element("p", "What it cost is not known: its recording names no machine.")
    nodes = objects(cost, "nodes")
    rows = [{**node, "seconds": _seconds(node), "hour": _money(node.get("hour")), **_amount(node)} for node in nodes]
    unknown = cost.get("unknown") or ()
    missing = [element("p", f"No price is known for {', '.join(map(str, unknown))}.")] if unknown else []
    listed = [table(_MACHINES, rows, f"Money in {cost.get('currency')}")] if rows else []
    return html([element("p", [element("strong", cost_text(cost)), f". {wording.ESTIMATE}"]), *missing, *listed])


def cost_text(cost: Mapping[str, Any] | None) -> str:
    """Return what one trial cost in a sentence part: `0.42 USD (0.40 to 0.45), 0.31 GPU hours, prices of ..`."""
    found = mapping(cost)
    if not found:
        return NOT_KNOWN
    amount, low, high = (number(found.get(key)) for key in ("amount", "low", "high"))
    told = NOT_KNOWN if amount is None else f"{_money(amount)} {found.get('currency')}"
    if amount is not None and low is not None:
        told += f" ({_money(low)} to {_money(high)})" if high is not None else f" (at least {_money(low)})"
    hours = number(found.get("gpu_hours"))
    told += f", {cell(hours)} GPU hours" if hours else ""
    return f"{told}, prices of {found['dated']}" if amount is not None and found.get("dated") else told


def _arm(row: Row) -> dict[str, Any]:
    return {
        **{key: row[key] for key in ("setup", "variant", "origin")},
        "n": f"{row['n']} of {row['trials']}",
        "cost": _between(row["cost"], row["cost_low"], row["cost_high"]),
        "saved": _saved(row),
        "prepared": _prepared(row),
        "idle": _money(row["idle_a_day"], NOT_KNOWN),
        "pays": _pays(row),
        "payback": _payback(row),
    }


def _prepared(row: Row) -> str:
    if not row["prepared_s"]:
        return "none"
    return f"{_span(row['prepared_s'])}, {_money(row['prepared'], 'price not known')}"


def _between(middle: float | None, low: float | None, high: float | None) -> str:
    if middle is None:
        return NOT_KNOWN
    known = low is not None and high is not None and (low, high) != (middle, middle)
    return f"{_money(middle)} ({_money(low)} to {_money(high)})" if known else _money(middle)


def _saved(row: Row) -> str | None:
    if row["saved"] is None:
        return None
    text = f"{row['saved']:+.2f}"
    if row["confidence"] is None:
        return text
    return f"{text} ({row['confidence']:.0%}: {row['saved_low']:+.2f} to {row['saved_high']:+.2f})"


def _pays(row: Row) -> str:
    """Return from how many deployments a day on an arm costs less than its baseline, or why that is not said."""
    if row["break_even_a_day"] is None:
        return str(row["why"])
    told = f"{_times(row['break_even_a_day'])} a day"
    low, high = row["break_even_low"], row["break_even_high"]
    if low is not None and high is not None:
        told += f" ({cell(low)} to {cell(high)})"
    return f"{told}; {row['why']}" if row["why"] else told


def _payback(row: Row) -> str | None:
    """Return after how many deployments the seconds of the preparation are saved."""
    saved_s, prepared_s = row["seconds_saved"], row["prepared_s"]
    if saved_s is None or not prepared_s:
        return None
    return _times(prepared_s / saved_s) if saved_s > 0 else "never: it is not faster"


def _times(count: float) -> str:
    return f"{cell(float(count))} deployments"


def _money(value: Any, missing: str = "") -> str:
    found = number(value)
    return missing if found is None else cell(found, "amount_usd")


def _amount(node: Mapping[str, Any]) -> dict[str, str]:
    return {"amount": _between(*(number(node.get(key)) for key in ("amount", "low", "high")))}


def _seconds(node: Mapping[str, Any]) -> str:
    told = cell(number(node.get("seconds")))
    return told if node.get("gone") else f"{told}, not seen to go"


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
