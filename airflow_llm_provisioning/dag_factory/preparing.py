"""What every target needs before its trials, and what is asked before that costs money."""

from collections.abc import Mapping
from typing import Any

from airflow.sdk import TaskGroup, chain

from airflow_llm_provisioning.core.experiment import Experiment, Target
from airflow_llm_provisioning.dag_factory.wiring import SURVIVES_ITS_WORKER, as_dict, group_key, output
from airflow_llm_provisioning.exceptions import ConfigurationError
from airflow_llm_provisioning.operators.experiment import DEFAULT_STORE, Preflight
from airflow_llm_provisioning.operators.preparation import (
    BuildServingImage,
    EnableStreaming,
    SetUpNodes,
    SnapshotImage,
    WarmImageCache,
)


def preflight(experiment: Experiment, *, results_conn_id: str = DEFAULT_STORE) -> Preflight:
    """Add the task that lists everything wrong with an experiment's targets, at once and before money is spent."""
    return Preflight(task_id="preflight", experiment=as_dict(experiment), results_conn_id=results_conn_id)


def preparation(experiment: Experiment, *, results_conn_id: str = DEFAULT_STORE) -> TaskGroup:
    """Add what every target of an experiment needs before its trials, targets side by side."""
    again = dict(SURVIVES_ITS_WORKER)
    with TaskGroup("prepare", default_args=again) as group:  # type: ignore[arg-type] # attrs hides what it converts
        for target in experiment.targets:
            _prepare_target(experiment, target, results_conn_id)
    return group


def _prepare_target(experiment: Experiment, target: Target, results_conn_id: str) -> None:
    from airflow_llm_provisioning.core.treatments import plan_serving, preparation_steps
    from airflow_llm_provisioning.core.workload import workload

    serving = {
        variant: plan_serving(workload(experiment.profile), variant, target.cloud) for variant in target.variants
    }
    recipes = {plan.recipe.content: plan.recipe for plan in serving.values() if plan.own_image}
    steps = {step for variant in target.variants for step in preparation_steps(variant, target.cloud)}
    if len(recipes) > 1:
        raise ConfigurationError(
            f"Target {target.name!r}: its variants {', '.join(target.variants)} need {len(recipes)} different images; "
            "give each a target of its own."
        )
    known: dict[str, Any] = {"target": target.name, "results_conn_id": results_conn_id}
    with TaskGroup(group_key(target.name)):
        before: list[Any] = []
        image: Any = {}
        prepared: Any = {}
        for recipe in recipes.values():
            build = BuildServingImage(task_id="build_image", cloud=_cloud(target), recipe=recipe.as_dict(), **known)
            image = output(build)
            before.append(build)
        if "snapshot_image" in steps:
            snapshot = SnapshotImage(
                task_id="snapshot_image",
                cloud=_cloud(target),
                image=image,
                kubernetes_minor=target.nodes.kubernetes_minor,
                options=_snapshot_options(target),
                **known,
            )
            prepared = output(snapshot)
            before.append(snapshot)
        # AKS: a node that pulls while the image is converted keeps the plain one, so its nodes are told to stream only
        # when that has ended. GKE switches pools on, which must be there.
        converts = target.cloud == "aks"
        if "enable_streaming" in steps and converts:
            before.append(_enable_streaming(target, image, known))
        data = target.as_dict()
        before.append(
            SetUpNodes(
                task_id="set_up_nodes",
                target=data,
                prepared=prepared,
                files_dir=target.options.get("node_files_dir"),
                results_conn_id=results_conn_id,
            )
        )
        if "enable_streaming" in steps and not converts:
            before.append(_enable_streaming(target, image, known))
        if "warm_image" in steps:
            before.append(
                WarmImageCache(task_id="warm_image", target=data, image=image, results_conn_id=results_conn_id)
            )
        chain(*before)


def _enable_streaming(target: Target, image: Any, known: Mapping[str, Any]) -> EnableStreaming:
    return EnableStreaming(
        task_id="enable_streaming",
        cloud=_cloud(target),
        image=image,
        cluster_name=target.cluster_name or target.cluster,
        pools=_pools(target),
        options=_streaming_options(target),
        **known,
    )


def _snapshot_options(target: Target) -> dict[str, Any]:
    """Return the target's own options, and what its nodes and its cluster say of a snapshot."""
    told = {
        "volume_initialization_rate_mib_s": target.nodes.volume_initialization_rate_mib_s,
        "cluster": target.cluster_name,
    }
    return {key: value for key, value in told.items() if value is not None} | dict(target.options.get("snapshot") or {})


def _pools(target: Target) -> list[str] | None:
    """Return the target's own pools, so that only they stream; None where the whole cluster does, and on AKS, where
    pools are made streaming by `SetUpNodes`, later.
    """
    from airflow_llm_provisioning.gateways.autoscalers import AUTOSCALERS

    if target.cloud == "aks":
        return None
    return [pool["name"] for pool in AUTOSCALERS[target.nodes.autoscaler].setup(target.nodes).cloud_pools] or None


def _streaming_options(target: Target) -> dict[str, Any]:
    """Return the target's `streaming` options, and what is known of nodes that are made later, to be checked now."""
    options = target.nodes.options if target.cloud == "gke" else {}
    known = {name: options[name] for name in ("node_service_account", "auto_provisioning") if options.get(name)}
    return known | dict(target.options.get("streaming") or {})


def _cloud(target: Target) -> Mapping[str, Any]:
    cloud = target.cloud_reference()
    if cloud is None:
        raise ConfigurationError(
            f"Target {target.name!r} needs preparations on {target.cloud}: give it `cloud_conn_id`, its "
            "cloud's connection."
        )
    return cloud
