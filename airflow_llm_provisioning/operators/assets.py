"""Results as Airflow assets, so that other DAGs can be scheduled on them.

`compared` has an event for each comparison of an experiment. `regressed` has one only if something got slower: Airflow
emits an event of every outlet of a task that succeeds, but of an alias only what the task adds to it. The same holds
for the assets of arms, whose names are known only when they have run.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from airflow.sdk import Asset, AssetAlias, Context

# Of a scheme that begins with `x-` Airflow asks no provider; for another one it imports all of them when a DAG file is
# parsed (airflow.sdk 1.3, definitions/asset, _sanitize_uri).
SCHEME: Final = "x-llm-provisioning"
GROUP: Final = "llm-provisioning"


def compared(experiment: str) -> Asset:
    """Return the asset of an experiment's comparisons. Its events' extra: {dag_id, run_id, rows}."""
    return _asset(experiment, "compared")


def regressed(experiment: str) -> Asset:
    """Return the asset of an experiment's regressions. Its events' extra: {dag_id, run_id, changes}, with what
    `TellChanges` returns.
    """
    return _asset(experiment, "regressed")


def measured(experiment: str, row: Mapping[str, Any]) -> Asset:
    """Return the asset of an arm that a comparison has measured, from its row: `.../arm/CLOUD/WORKLOAD/SETUP/VARIANT`.
    Its events' extra is the row. It is the same from night to night, also if a fact of the stratum changes.
    """
    named = (str(row[key]) for key in ("cloud", "workload", "setup", "variant"))
    return _asset(experiment, "/".join(["arm", *named]))


def arms_of(experiment: str) -> AssetAlias:
    """Return the alias by which a comparison emits the arms that it measured."""
    return AssetAlias(name=f"{GROUP}/{_name(experiment)}/arms")


def changes_of(experiment: str) -> AssetAlias:
    """Return the alias by which `TellChanges` emits a regression."""
    return AssetAlias(name=f"{GROUP}/{_name(experiment)}/changes")


def with_outlets(
    arguments: Mapping[str, Any], experiment: str, *outlets: Callable[[str], Asset | AssetAlias]
) -> dict[str, Any]:
    """Return an operator's arguments with these outlets, beside its own. An outlet is known when the DAG is parsed, so
    a name that is a template has none.
    """
    if "{{" in experiment:
        return dict(arguments)
    return {**arguments, "outlets": [*(arguments.get("outlets") or ()), *(make(experiment) for make in outlets)]}


def add_event(context: Context, alias: AssetAlias, asset: Asset, extra: Mapping[str, Any]) -> None:
    """Emit an event of an asset through an alias of the task's outlets."""
    events: Any = context.get("outlet_events")
    if events is not None:
        events[alias].add(asset, extra=dict(extra))


def set_extra(context: Context, asset: Asset, extra: Mapping[str, Any]) -> None:
    """Give the event of an asset of the task's outlets its extra."""
    events: Any = context.get("outlet_events")
    if events is not None:
        events[asset].extra = dict(extra)


def _asset(experiment: str, path: str) -> Asset:
    name = f"{_name(experiment)}/{'/'.join(_name(part) for part in path.split('/'))}"
    return Asset(name=f"{GROUP}/{name}", uri=f"{SCHEME}://experiment/{name}", group=GROUP)


def _name(text: str) -> str:
    """Return a name as a part of an asset's name: letters, digits, `.`, `_` and `-`; others become `_`."""
    return "".join(char if char.isascii() and (char.isalnum() or char in "._-") else "_" for char in text) or "_"
