"""The shipped list prices (`list_prices.toml`): read once per process. An experiment's own prices come before them."""

import tomllib
from functools import cache
from importlib.resources import files
from typing import Final

from airflow_llm_provisioning.core.prices import PriceBook, read_prices

FILE: Final = "list_prices.toml"


@cache
def list_prices() -> PriceBook:
    """Return the shipped price list, in US dollars."""
    with files(__package__).joinpath(FILE).open("rb") as opened:
        return read_prices(tomllib.load(opened), where=FILE)


def prices_of(own: PriceBook | None) -> PriceBook:
    """Return an experiment's own prices, completed by the shipped list; None: the list alone."""
    return list_prices() if own is None else own.before(list_prices())
