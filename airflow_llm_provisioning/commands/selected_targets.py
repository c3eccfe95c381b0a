"""Which targets a command looks at: those of the experiment files that are named, or of the configured one."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_llm_provisioning.core.names import nearest
from airflow_llm_provisioning.exceptions import ConfigurationError

if TYPE_CHECKING:
    from airflow_llm_provisioning.core.target import Target
    from airflow_llm_provisioning.reaping.places import Place


def target_options(parser: argparse.ArgumentParser) -> None:
    """Add the experiment files and what narrows them."""
    parser.add_argument(
        "experiment",
        type=Path,
        nargs="*",
        help="experiment files (default: [llm_provisioning] experiment_file of Airflow's configuration)",
    )
    parser.add_argument("--cloud", action="append", help="only targets on this cloud (may be repeated)")
    parser.add_argument(
        "--gone-cluster",
        action="append",
        default=[],
        metavar="CLUSTER",
        help="a cluster of a target that does not exist any more: nothing is in it, and no trial runs there",
    )


def selected_targets(parsed: argparse.Namespace) -> "list[Target]":
    """Return the targets of a command line, or raise a ConfigurationError that names what is wrong."""
    from airflow_llm_provisioning.dag_factory import configured_experiment, load_experiment

    if parsed.experiment:
        experiments = [load_experiment(path) for path in parsed.experiment]
    else:
        experiments = [configured_experiment()]
    targets = [target for experiment in experiments for target in experiment.targets]
    clusters = {target.cluster for target in targets}
    if unknown := sorted(set(parsed.gone_cluster) - clusters):
        raise ConfigurationError(f"No target has the cluster {unknown[0]!r}{nearest(unknown[0], clusters)}.")
    chosen = [target for target in targets if not parsed.cloud or target.cloud in parsed.cloud]
    if not chosen:
        raise ConfigurationError(f"No target is on {', '.join(parsed.cloud)}.")
    return chosen


def selected_places(parsed: argparse.Namespace, targets: "list[Target]") -> "list[Place] | None":
    """Return the places of the targets where clusters are said not to exist; None for all, with the ledger's."""
    from airflow_llm_provisioning.reaping.places import places_of

    return places_of(targets, gone=parsed.gone_cluster) if parsed.gone_cluster else None
