"""Images that are pulled at an ordinary rate although SOCI's parallel pull was set."""

from collections.abc import Mapping
from typing import Any, Final

from airflow_llm_provisioning.core.target import Target
from airflow_llm_provisioning.core.treatments.soci_parallel_pull import SETTINGS
from airflow_llm_provisioning.core.workload import ScalingSetup
from proof.catalogue.entry import NoOp
from proof.recorded_trial import Scenario
from proof.targets import target, with_other_nodes
from proof.workloads import SERVED_2025

_KARPENTER: Final = target("eks", "parallel_pull", "karpenter")
_LUNA: Final = target("eks", "parallel_pull")


def _without(*path: str) -> Mapping[str, Any]:
    """Return the settings without one of them."""
    return _pruned(SETTINGS, path)


def _pruned(tree: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    first, *rest = path
    kept = dict(tree)
    if rest:
        kept[first] = _pruned(tree[first], tuple(rest))
    else:
        del kept[first]
    return kept


def _parallel(name: str, planned: Target = _KARPENTER, **entry: Any) -> NoOp:
    """Return an entry whose nodes have other options than the planned ones; None removes an option."""
    changed = {key: entry.pop(key) for key in ("throughput", "iops", "ami_alias", "user_data_settings") if key in entry}
    wanted: dict[str, Any] = dict(planned.nodes.options) | changed
    options = {key: value for key, value in wanted.items() if value is not None}
    scenario = Scenario(
        target=planned,
        declared=SERVED_2025,
        variant="parallel_pull",
        nodes=with_other_nodes(planned, options=options),
        **entry,
    )
    return NoOp(name=name, scenario=scenario, claim="soci_parallel_pull")


_PLUGIN: Final = ("container-runtime-plugins", "soci-snapshotter")

PARALLEL_PULLS: Final = (
    _parallel("Bottlerocket is older than the setting", ami_alias="bottlerocket@v1.43.2"),
    _parallel(
        "one layer is unpacked at a time, which is Bottlerocket's default",
        user_data_settings=_without(*_PLUGIN, "parallel-pull-unpack", "max-concurrent-unpacks-per-image"),
    ),
    _parallel("the pull mode is not set", _LUNA, user_data_settings=_without(*_PLUGIN, "pull-mode")),
    _parallel(
        "the soci snapshotter is configured and not chosen",
        user_data_settings=_without("container-runtime"),
        setup=ScalingSetup.DYNAMIC,
    ),
    _parallel("the data volume is a plain gp3 one", throughput=None, iops=None),
    _parallel("Luna's nodes were set up without the settings", _LUNA, user_data_settings=None),
)
