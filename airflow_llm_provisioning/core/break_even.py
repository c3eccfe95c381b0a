"""What an acceleration costs and saves in money: per deployment, and from how many deployments a day on it pays.

Only comparable trials enter a figure; what all trials of an arm cost together, failed ones included, is `spent`. Idle
cost is what is paid each day without any deployment: snapshots, images, registries, and what the experiment's prices
name as `idle` (nodes kept warm). A preparation counts by the days for which what it made is kept.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from airflow_llm_provisioning.core.blocks import paired
from airflow_llm_provisioning.core.comparison import ArmTrials, grouped, identifying_columns, naming_columns
from airflow_llm_provisioning.core.fields import items, mapping, number, text
from airflow_llm_provisioning.core.measured import Measured
from airflow_llm_provisioning.core.operation import KEEP_DAYS
from airflow_llm_provisioning.core.prices import DAYS_A_MONTH, PriceBook
from airflow_llm_provisioning.core.result import Preparation
from airflow_llm_provisioning.core.statistics import Block, Reduction, median_of, reduction_in_blocks
from airflow_llm_provisioning.core.treatments import kept_warm

_GIB: Final = 1024**3


@dataclass(frozen=True, slots=True)
class Standing:
    """What a target's preparations cost. `once`: to make everything that it has; `seconds`: how long that took;
    `a_day`: idle. None: not known, and `unknown` says of what.
    """

    once: float | None
    seconds: float
    a_day: float | None
    unknown: tuple[str, ...]


Costs = Mapping[str, Mapping[str, Any]]
"""Trial id -> what it cost (`core.cost.priced`); a trial of which nothing is known is not in it."""


def cost_rows(
    trials: Iterable[Measured], costs: Costs, preparations: Sequence[Preparation], book: PriceBook
) -> list[dict[str, Any]]:
    """Return one row for each arm, in the order of the comparison.

    Money in `currency`: `cost` median of a deployment, `cost_low`, `cost_high` medians of its bounds; `saved` a
    deployment against the baseline (negative: it costs more) with its interval; `prepared`, `idle_a_day` of its target,
    `idle_an_hour` the same for an hour; `kept_warm`: what its treatments keep warm on purpose.
    `break_even_a_day`: deployments a day from which idle cost and preparation are saved; None where it never is, or
    where something is not known; `why` says it. `seconds_per_unit`: seconds saved for one unit of money, at one
    deployment a day; None where money is saved too.
    """
    arms = grouped(trials)
    baselines = {found.arm.stratum.key: found for found in arms if found.arm.is_baseline}
    rows = []
    for found in arms:
        baseline = None if found.arm.is_baseline else baselines.get(found.arm.stratum.key)
        stratum = found.arm.stratum
        own = standing(found.trials[0].target, stratum.cloud, stratum.region, preparations, book)
        rows.append(_row(found, baseline, _Money(costs, book.currency), own))
    return rows


def standing(target: str, cloud: str, region: str | None, made: Sequence[Preparation], book: PriceBook) -> Standing:
    """Return what the preparations of one target cost, once and each day."""
    own = [item for item in made if item.target == target]
    unknown: list[str] = []
    once, seconds = 0.0, 0.0
    for verb in dict.fromkeys(item.verb for item in own):
        newest = [item for item in own if item.verb == verb]
        # What was found again cost nothing that time; what it is worth is what making it cost.
        item = next((one for one in reversed(newest) if not one.reused), newest[-1])
        price = _in_currency(item.price_usd, book)
        seconds += item.seconds
        once += price or 0.0
        unknown += [f"the price of {verb}{_why(item)}"] if price is None else []
    a_day, missing = _idle(target, cloud, region, own, book)
    return Standing(None if unknown else once, seconds, None if missing else a_day, (*unknown, *missing))


def _idle(
    target: str, cloud: str, region: str | None, own: Sequence[Preparation], book: PriceBook
) -> tuple[float, list[str]]:
    """Return what a target costs a day without a deployment, and what of it has no known price."""
    newest = {item.verb: item.result for item in own}
    total, missing = 0.0, []
    for what, name, gib in _kept(newest, cloud):
        price = book.price(cloud, what, name, region)
        total += gib * price.amount / DAYS_A_MONTH if gib is not None and price else 0.0
        missing += [] if gib is not None else [f"the size of the {what} on {cloud}"]
        missing += [] if price else [f"a {what}'s price on {cloud} in {region or 'an unknown region'}"]
    if cloud == "aks" and newest.keys() & {"build_image", "enable_streaming"}:
        registry = book.price(cloud, "registry", "Premium", region)
        total += registry.amount if registry else 0.0
        missing += [] if registry else ["a registry's price on aks"]
    for item in (mapping(item) for result in newest.values() for item in items(result.get("idle"))):
        what, name, amount = text(item.get("what")), text(item.get("name")), number(item.get("amount"))
        a_day = book.a_day(cloud, what, name, region)
        total += a_day * amount if a_day is not None and amount is not None else 0.0
        missing += [] if a_day is not None and amount is not None else [f"the price of {what} {name} on {cloud}"]
    kept = book.price(cloud, "idle", target, region)
    return total + (kept.amount if kept else 0.0), missing


def _kept(newest: Mapping[str, Mapping[str, Any]], cloud: str) -> Iterator[tuple[str, str, float | None]]:
    """Yield (what, its name in the price book, GiB or None) of what steps left in the cloud's storage."""
    if "snapshot_image" in newest:
        yield "snapshot", "standard", number(newest["snapshot_image"].get("volume_gib"))
    # Azure's registries have a price a day, with the images in it.
    if "build_image" in newest and cloud != "aks":
        yield "image", "private" if cloud == "eks" else "standard", _image_gib(newest["build_image"])


def _why(made: Preparation) -> str:
    """Return why a preparation has no price, as it said itself; empty where it did not."""
    return f" ({made.price_basis})" if made.price_basis and made.price_usd is None else ""


def _image_gib(result: Mapping[str, Any] | None) -> float | None:
    size = number((result or {}).get("size_bytes"))
    return size / _GIB if size else None


def _in_currency(usd: float | None, book: PriceBook) -> float | None:
    if usd is None or book.currency == "USD" or not usd:
        return usd
    return usd * book.per_usd if book.per_usd is not None else None


@dataclass(frozen=True, slots=True)
class _Money:
    """What trials cost, in one currency. A trial whose cost is in another one is not known."""

    costs: Costs
    currency: str

    def of(self, trial: Measured, key: str = "amount") -> float | None:
        """Return a number of a trial's cost."""
        cost = self.costs.get(trial.trial_id) or {}
        return number(cost.get(key)) if cost.get("currency") == self.currency else None

    def pooled(self, found: ArmTrials, key: str = "amount") -> list[float]:
        """Return it of the comparable trials of which it is known."""
        known = (self.of(trial, key) for trial in found.pooled)
        return [amount for amount in known if amount is not None]

    def middle(self, found: ArmTrials, key: str) -> float | None:
        """Return the median; None as soon as it is not known of one comparable trial."""
        known = self.pooled(found, key)
        return median_of(known) if len(known) == len(found.pooled) else None

    def spent(self, found: ArmTrials) -> float | None:
        """Return what all trials of an arm cost together; None as soon as one is not known."""
        known = [self.of(trial) for trial in found.trials]
        return None if None in known else sum(amount for amount in known if amount is not None)


def _row(found: ArmTrials, other: ArmTrials | None, money: _Money, own: Standing) -> dict[str, Any]:
    costs = money.pooled(found)
    saved = _saved(other, found, money) if other else None
    base = median_of(money.pooled(other)) if other else None
    row = {
        **naming_columns(found.arm),
        "currency": money.currency,
        "n": len(costs),
        "trials": len(found.trials),
        "cost": median_of(costs),
        "cost_low": money.middle(found, "low"),
        "cost_high": money.middle(found, "high"),
        "gpu_hours": money.middle(found, "gpu_hours"),
        "spent": money.spent(found),
        "saved": _part(base, saved.reduction_pct if saved else None),
        "saved_low": _part(base, saved.low_pct if saved else None),
        "saved_high": _part(base, saved.high_pct if saved else None),
        "confidence": saved.confidence if saved else None,
        "seconds_saved": _seconds_saved(other, found),
        "prepared": own.once,
        "prepared_s": own.seconds,
        "idle_a_day": own.a_day,
        "idle_an_hour": None if own.a_day is None else own.a_day / 24,
        "kept_warm": "+".join(kept_warm(found.arm.treatments)),
    }
    return row | _break_even(row, own, baseline=other is None) | identifying_columns(found.arm)


def _break_even(row: Mapping[str, Any], own: Standing, *, baseline: bool) -> dict[str, Any]:
    """Return {break_even_a_day, break_even_low, break_even_high, seconds_per_unit, why}."""
    nothing: dict[str, Any] = dict.fromkeys(("break_even_a_day", "break_even_low", "break_even_high"))
    nothing |= {"seconds_per_unit": None, "why": ""}
    if baseline:
        return nothing
    if row["saved"] is None:
        return nothing | {"why": "what a deployment costs is not known of both arms"}
    if own.once is None or own.a_day is None:
        return nothing | {"why": f"not known: {', '.join(own.unknown)}"}
    a_day = own.a_day + own.once / KEEP_DAYS
    extra = a_day - row["saved"]
    faster = row["seconds_saved"]
    rate = faster / extra if faster is not None and extra > 0 else None
    found = nothing | {"seconds_per_unit": rate}
    if row["saved"] <= 0:
        return found | {"why": "a deployment does not get cheaper, so it never pays for itself"}
    low, high = row["saved_low"], row["saved_high"]
    return found | {
        "break_even_a_day": a_day / row["saved"],
        "break_even_low": a_day / high if high is not None and high > 0 else None,
        "break_even_high": a_day / low if low is not None and low > 0 else None,
        "why": "" if low is None or low > 0 else "the interval of what is saved holds zero, so it may never pay",
    }


def _saved(baseline: ArmTrials, found: ArmTrials, money: _Money) -> Reduction | None:
    """Return by how many per cent a deployment is cheaper; runs are paired as their times are."""
    runs: dict[tuple[str, str], tuple[list[float], list[float]]] = {}
    for side, arm in enumerate((baseline, found)):
        for trial in arm.pooled:
            amount = money.of(trial)
            if amount is not None and amount > 0:
                runs.setdefault(trial.run, ([], []))[side].append(amount)
    claim = paired(baseline.pooled, found.pooled).claim
    shared: list[Block] = [block for block in runs.values() if block[0] and block[1]]
    olds, news = ([amount for block in runs.values() for amount in block[side]] for side in (0, 1))
    return reduction_in_blocks(shared or [(olds, news)], claim=claim)


def _seconds_saved(baseline: ArmTrials | None, found: ArmTrials) -> float | None:
    if baseline is None or not baseline.totals or not found.totals:
        return None
    return median(baseline.totals) - median(found.totals)


def _part(base: float | None, pct: float | None) -> float | None:
    return None if base is None or pct is None else base * pct / 100
