"""Prices as dated data: what one unit of a thing costs in a region, since when, and who says so.

What is not in the book is unknown, and never zero. A book has one currency. Knows no file: the shipped list is read by
`gateways.prices`, an experiment's own prices by `core.experiment_file`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, Final

from airflow_llm_provisioning.core.fields import number, text
from airflow_llm_provisioning.core.manifests.tree import kind_of, shown
from airflow_llm_provisioning.core.names import nearest
from airflow_llm_provisioning.exceptions import ConfigurationError

# Currencies of the clouds' price lists (ISO 4217).
CURRENCIES: Final = (
    "AED", "ARS", "AUD", "BRL", "CAD", "CHF", "CLP", "CNY", "COP", "CZK", "DKK", "EUR", "GBP", "HKD", "HUF", "IDR",
    "ILS", "INR", "JPY", "KRW", "MXN", "MYR", "NOK", "NZD", "PEN", "PHP", "PLN", "RON", "SAR", "SEK", "SGD", "THB",
    "TRY", "TWD", "USD", "VND", "ZAR",
)  # fmt: skip
# Kind of thing -> the units that its price may have.
UNITS: Final[Mapping[str, tuple[str, ...]]] = {
    "node": ("hour",),
    "spot_node": ("hour",),
    "disk": ("GiB-month",),
    "snapshot": ("GiB-month",),
    "image": ("GiB-month",),
    "bucket": ("GiB-month",),
    "registry": ("day",),
    "build": ("minute", "second"),
    "initialization": ("GiB",),
    "volume_iops": ("month",),
    "volume_mib_s": ("month",),
    "idle": ("day",),
}
ANYWHERE: Final = "*"
HOURS_A_MONTH: Final = 730.0
DAYS_A_MONTH: Final = HOURS_A_MONTH / 24
_KEYS: Final = ("cloud", "what", "unit", "regions", "dated", "source", "amounts")


@dataclass(frozen=True, slots=True)
class PriceGroup:
    """Prices of one kind of thing on one cloud, the same in all `regions`. `what`, `unit`: of `UNITS`; `amounts`: name
    of the thing (instance type, disk type, build machine, target of `idle`) -> price of a unit.
    """

    cloud: str
    what: str
    unit: str
    regions: tuple[str, ...]
    dated: str
    source: str
    amounts: Mapping[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            **{key: getattr(self, key) for key in ("cloud", "what", "unit", "dated", "source")},
            "regions": list(self.regions),
            "amounts": dict(self.amounts),
        }


@dataclass(frozen=True, slots=True)
class Price:
    """The price of one unit."""

    amount: float
    unit: str
    dated: str
    source: str


@dataclass(frozen=True, slots=True)
class PriceBook:
    """Groups of prices in one currency; of two prices of the same thing the first counts. `per_usd`: what one US dollar
    is in this currency, given by the user; None: unknown, and prices in dollars are unknown too.
    """

    currency: str = "USD"
    groups: tuple[PriceGroup, ...] = ()
    per_usd: float | None = field(default=None)

    def price(self, cloud: str, what: str, name: str | None, region: str | None) -> Price | None:
        """Return the price of a thing; None where it is not known."""
        for group in self.groups:
            near = ANYWHERE in group.regions or (region or "") in group.regions
            if (group.cloud, group.what) == (cloud, what) and near and name is not None and name in group.amounts:
                return Price(group.amounts[name], group.unit, group.dated, group.source)
        return None

    def a_day(self, cloud: str, what: str, name: str | None, region: str | None) -> float | None:
        """Return what one of a thing costs a day while it is kept (a node, a GiB of a disk); None where that is not
        known, or where its price is not for keeping it.
        """
        found = self.price(cloud, what, name, region)
        days = {"hour": 24.0, "day": 1.0, "GiB-month": 1 / DAYS_A_MONTH, "month": 1 / DAYS_A_MONTH}
        return found.amount * days[found.unit] if found is not None and found.unit in days else None

    def node_hour(self, cloud: str, region: str | None, instance_type: str | None, *, spot: bool) -> Price | None:
        """Return the price of a node's hour. A spot node's is known only where it is listed as such."""
        return self.price(cloud, "spot_node" if spot else "node", instance_type, region)

    def amounts(self, cloud: str, what: str) -> dict[str, float]:
        """Return everything of a kind on a cloud: name -> price, over all regions."""
        found: dict[str, float] = {}
        for group in reversed(self.groups):
            if (group.cloud, group.what) == (cloud, what):
                found.update(group.amounts)
        return found

    def regions(self, cloud: str, what: str) -> tuple[str, ...]:
        """Return the regions for which prices of a kind on a cloud are known."""
        found = (group.regions for group in self.groups if (group.cloud, group.what) == (cloud, what))
        return tuple(dict.fromkeys(region for regions in found for region in regions))

    def before(self, listed: "PriceBook") -> "PriceBook":
        """Return this book completed by a list in US dollars; where the rate to the dollar is unknown, without it."""
        if self.currency == listed.currency:
            return replace(self, groups=(*self.groups, *listed.groups))
        if self.per_usd is None or listed.currency != "USD":
            return self
        rate = self.per_usd
        told = f"at {rate:g} {self.currency} a USD, as the experiment says"
        turned = (
            replace(
                group,
                amounts={name: amount * rate for name, amount in group.amounts.items()},
                source=f"{group.source}; {told}",
            )
            for group in listed.groups
        )
        return replace(self, groups=(*self.groups, *turned))

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        own = {"currency": self.currency, "prices": [group.as_dict() for group in self.groups]}
        return own | ({"per_usd": self.per_usd} if self.per_usd is not None else {})

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "PriceBook":
        """Read what `as_dict` wrote. Raises ConfigurationError."""
        return read_prices(data, where="The prices of the trial")


def read_prices(data: object, *, where: str) -> PriceBook:
    """Return the book that parsed TOML, YAML or JSON describes. Raises ConfigurationError with every problem on a line:
    `where`, the key, what was found and what is allowed.
    """
    if not isinstance(data, Mapping):
        raise ConfigurationError(f"{where}: `prices` is a mapping with `currency` and `prices`; found {kind_of(data)}.")
    problems = list(_problems(data))
    if problems:
        raise ConfigurationError("\n".join(f"{where}: {problem}" for problem in problems))
    groups = tuple(
        PriceGroup(
            cloud=entry["cloud"],
            what=entry["what"],
            unit=entry["unit"],
            regions=tuple(entry["regions"]),
            dated=str(entry["dated"]),
            source=entry["source"],
            amounts={str(name): float(amount) for name, amount in entry["amounts"].items()},
        )
        for entry in data.get("prices") or ()
    )
    return PriceBook(data.get("currency", "USD"), groups, data.get("per_usd"))


def _problems(data: Mapping[str, Any]) -> Iterator[str]:
    known = ("currency", "per_usd", "prices")
    yield from (f"`prices.{key}` is no key of prices{nearest(str(key), known)}." for key in data if key not in known)
    currency = data.get("currency", "USD")
    if currency not in CURRENCIES:
        yield f"`prices.currency` is {shown(currency)}, which is unknown{nearest(text(currency), CURRENCIES)}."
    rate = data.get("per_usd")
    if rate is not None and not _is_amount(rate, above_zero=True):
        yield f"`prices.per_usd` must be a number above 0; found {_found(rate)}."
    entries = data.get("prices") or ()
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        yield f"`prices.prices` must be a list; found {kind_of(entries)}."
        return
    for place, entry in enumerate(entries):
        yield from _entry_problems(f"prices.prices.{place}", entry)


def _entry_problems(key: str, entry: object) -> Iterator[str]:
    if not isinstance(entry, Mapping):
        yield f"`{key}` must be a mapping with {', '.join(_KEYS)}; found {kind_of(entry)}."
        return
    yield from (
        f"`{key}.{name}` is no key of a price{nearest(str(name), _KEYS)}." for name in entry if name not in _KEYS
    )
    yield from (f"`{key}.{name}` is missing." for name in _KEYS if name not in entry)
    what, unit = text(entry.get("what")), entry.get("unit")
    if "what" in entry and what not in UNITS:
        yield f"`{key}.what` is {shown(entry['what'])}, which is unknown{nearest(what, UNITS)}."
    elif "unit" in entry and what in UNITS and unit not in UNITS[what]:
        yield f"`{key}.unit` is {shown(unit)}; a price of {what} is per {' or '.join(UNITS[what])}."
    for name in ("cloud", "source"):
        if name in entry and not text(entry[name]):
            yield f"`{key}.{name}` must be text that is not empty; found {_found(entry[name])}."
    if "dated" in entry and not _is_date(entry["dated"]):
        yield f"`{key}.dated` must be a date as 2026-11-01; found {_found(entry['dated'])}."
    regions = entry.get("regions", ["*"])
    if not isinstance(regions, (list, tuple)) or not regions or not all(text(region) for region in regions):
        yield f"`{key}.regions` must be a list of regions, or ['{ANYWHERE}']; found {_found(regions)}."
    yield from _amount_problems(f"{key}.amounts", entry.get("amounts", {"": 0.0}))


def _amount_problems(key: str, amounts: object) -> Iterator[str]:
    if not isinstance(amounts, Mapping) or not amounts:
        yield f"`{key}` must be a mapping of names to prices; found {_found(amounts)}."
        return
    for name, amount in amounts.items():
        if not _is_amount(amount):
            yield f"`{key}.{name}` must be a number of at least 0; found {_found(amount)}."


def _is_amount(value: object, *, above_zero: bool = False) -> bool:
    found = number(value)
    return found is not None and math.isfinite(found) and (found > 0 if above_zero else found >= 0)


def _is_date(value: object) -> bool:
    try:
        return bool(date.fromisoformat(str(value)))
    except ValueError:
        return False


def _found(value: object) -> str:
    return shown(value) if isinstance(value, (str, int, float)) else kind_of(value)
