"""Arbitrary values, and arbitrary damage to a valid experiment file, for hypothesis."""

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

from experiment_data import a_manifest, simulated_data
from hypothesis import strategies as st

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=2**63, max_value=2**80),
    st.floats(),
    st.text(max_size=30),
    st.sampled_from(
        ["baseline", "improved", "static", "eks", "generic", "luna", "1.34", "phi3-2025", "image_delivery"]
    ),
)
JSON_VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=12), inner, max_size=4)),
    max_leaves=20,
)
KEYS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["profile", "manifest", "completion", "body", "model", "snapshot", "workloads", "variants"]),
)


def a_richer_experiment() -> dict[str, Any]:
    """The simulated example with every section in it."""
    data = simulated_data()
    data["workloads"]["mine"] = {
        "manifest": a_manifest(),
        "model": {"id": "org/model", "revision": "abc", "weight_bytes": 1},
        "completion": {"path": "/v1/completions", "body": {"model": "x"}, "expect_model": "x", "replicas": 1},
        "setups": ["static"],
        "fast_download": {"pip": ["hf_xet==1.8.0"], "env": {"A": "1"}},
    }
    data["variants"] = {"fast_download": ["fast_download"], "improved": ["bake_packages", "image_delivery"]}
    return data


BASE = a_richer_experiment()


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in nested data but the top."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in pairs:
        yield (*path, key)
        yield from places(item, (*path, key))


PLACES = list(places(BASE))


def _delete(parent: Any, key: Any, value: Any, name: str) -> None:
    del parent[key]


def _put(parent: Any, key: Any, value: Any, name: str) -> None:
    parent[key] = value


def _retype(parent: Any, key: Any, value: Any, name: str) -> None:
    old = parent[key]
    parent[key] = [old] if name < "m" else {name: old} if name < "t" else json.dumps(old)


def _insert(parent: Any, key: Any, value: Any, name: str) -> None:
    if isinstance(parent, list):
        parent.insert(key, copy.deepcopy(parent[key]) if name < "m" else value)
    else:
        parent[name] = value


Change = tuple[Callable[[Any, Any, Any, str], None], tuple[Any, ...], Any, str]
CHANGES = st.lists(
    st.tuples(st.sampled_from([_delete, _put, _retype, _insert]), st.sampled_from(PLACES), JSON_VALUES, KEYS),
    min_size=1,
    max_size=3,
)


def mutated(changes: list[Change]) -> dict[str, Any]:
    """The valid experiment after these changes."""
    data = copy.deepcopy(BASE)
    for change, path, value, name in changes:
        parent: Any = data
        try:
            for key in path[:-1]:
                parent = parent[key]
            change(parent, path[-1], value, name)
        except (KeyError, IndexError, TypeError, AttributeError):
            continue  # An earlier change took the place away.
    return data
