"""Experiment + targets -> tasks: a preparation per target, and numbered trial slots per cluster.

Call inside a `with DAG(...)`. Slots are unrolled when the DAG is parsed (their number follows from the experiment,
their content is
drawn when it runs): a random order fixed at parse time would repeat every night or change the DAG's version every
parse.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from airflow.sdk import BaseOperator, ExceptionRetryPolicy, Param, RetryAction, RetryRule, TaskGroup, chain, conf

from airflow_llm_provisioning.core.experiment import Experiment, Target, experiment_from
from airflow_llm_provisioning.core.names import fingerprint
from airflow_llm_provisioning.core.workload import WORKLOADS
from airflow_llm_provisioning.exceptions import ConfigurationError, ProvisioningError
from airflow_llm_provisioning.operators.experiment import (
    DEFAULT_STORE,
    ONLY_TRIAL,
    CompareVariants,
    JudgeRun,
    PlanTrials,
    Preflight,
    slot_key,
)
from airflow_llm_provisioning.operators.preparation import (
    BuildServingImage,
    EnableStreaming,
    SetUpNodes,
    SnapshotImage,
    WarmImageCache,
)
from airflow_llm_provisioning.operators.ray_service import ApplyRayService
from airflow_llm_provisioning.operators.trial import CloseTrial, OpenTrial
from airflow_llm_provisioning.sensors.serve_endpoint import WaitServeEndpoint

TRIAL_TIME_LIMIT_S: Final = 3600.0
BY_HAND: Final = "by-hand"

# A task whose worker was killed finds again what it began. What failed with a sentence would fail with it again, and a
# trial that was measured as failed must not be measured twice.
_SURVIVES_ITS_WORKER: Final[Mapping[str, Any]] = {
    "retries": 2,
    "retry_delay": timedelta(seconds=10),
    "retry_policy": ExceptionRetryPolicy(rules=[RetryRule(exception=ProvisioningError, action=RetryAction.FAIL)]),
}
# GPU nodes run until a teardown succeeds, so it is tried for about a quarter of an hour, whatever went wrong.
_TEARDOWN: Final[Mapping[str, Any]] = {
    "retries": 6,
    "retry_delay": timedelta(seconds=10),
    "retry_exponential_backoff": 2.0,
}


def configured_experiment(*defaults: Path) -> Experiment:
    """Return the experiment of Airflow's `[llm_provisioning] experiment_file`, or of the given files' targets
    together.
    """
    configured = conf.get("llm_provisioning", "experiment_file", fallback="")
    if configured:
        return load_experiment(Path(configured))
    first, *others = [load_experiment(path) for path in defaults]
    return replace(first, targets=first.targets + tuple(target for other in others for target in other.targets))


def load_experiment(path: Path) -> Experiment:
    """Read an experiment from a YAML file; every variant is checked against its target, before money is spent."""
    import yaml

    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigurationError(f"The experiment file {path} cannot be read: {error}") from error
    return checked(experiment_from(data))


def checked(experiment: Experiment) -> Experiment:
    """Return the experiment, or raise what makes one of its cells impossible."""
    from airflow_llm_provisioning.core.treatments import check_target
    from airflow_llm_provisioning.core.workload import workload
    from airflow_llm_provisioning.gateways.autoscalers import AUTOSCALERS, gke_nodes, luna

    workload(experiment.profile)
    for target in experiment.targets:
        check_target(target)
        autoscaler = AUTOSCALERS[target.nodes.autoscaler]
        problems = autoscaler.check(target.nodes)
        if problems:
            raise ConfigurationError(
                f"Target {target.name!r} cannot get its nodes from {autoscaler.name}: {' '.join(problems)}"
            )
    shared = [
        *luna.shared_cluster_problems(experiment.targets),
        *gke_nodes.shared_cluster_problems(experiment.targets),
    ]
    if shared:
        raise ConfigurationError(" ".join(shared))
    return experiment


def preflight(experiment: Experiment, *, results_conn_id: str = DEFAULT_STORE) -> Preflight:
    """Add the task that lists everything wrong with an experiment's targets, at once and before money is spent."""
    return Preflight(task_id="preflight", experiment=_as_dict(experiment), results_conn_id=results_conn_id)


def preparation(experiment: Experiment, *, results_conn_id: str = DEFAULT_STORE) -> TaskGroup:
    """Add what every target of an experiment needs before its trials, targets side by side."""
    again = dict(_SURVIVES_ITS_WORKER)
    with TaskGroup("prepare", default_args=again) as group:  # type: ignore[arg-type] # attrs hides what it converts
        for target in experiment.targets:
            _prepare_target(experiment, target, results_conn_id)
    return group


def trials(
    experiment: Experiment,
    *,
    time_limit_s: float | str = TRIAL_TIME_LIMIT_S,
    seed: int | str | None = None,
    results_conn_id: str = DEFAULT_STORE,
) -> tuple[PlanTrials, JudgeRun]:
    """Add plan, trials, comparison and judgement; return the first and the last task."""
    plan = PlanTrials(task_id="plan", experiment=_as_dict(experiment), seed=seed, **_SURVIVES_ITS_WORKER)
    compare = CompareVariants(
        task_id="compare",
        experiment=experiment.name,
        results_conn_id=results_conn_id,
        trigger_rule="all_done",
        **_SURVIVES_ITS_WORKER,
    )
    judge = JudgeRun(
        task_id="judge",
        experiment=experiment.name,
        expected=sum(experiment.slots().values()),
        results_conn_id=results_conn_id,
        trigger_rule="all_done",
        **_SURVIVES_ITS_WORKER,
    )
    for cluster, slots in experiment.slots().items():
        # Both are last tasks: a run is as good as its last tasks, and each of the two may fail.
        _slots(plan, [compare, judge], cluster, slots, time_limit_s, results_conn_id)
    return plan, judge


def single_trial(experiment: Experiment, *, results_conn_id: str = DEFAULT_STORE) -> None:
    """Add one trial whose cell comes from the DAG run's params (see `single_trial_params`)."""
    plan = PlanTrials(
        task_id="plan",
        experiment=_as_dict(replace(experiment, name=BY_HAND)),
        model={"model_id": "{{ params.model }}", "image": "{{ params.image }}"},
        only={key: f"{{{{ params.{key} }}}}" for key in ("target", "setup", "variant", "profile")},
        **_SURVIVES_ITS_WORKER,
    )
    _, closed = trial_slot(
        _output(plan)[ONLY_TRIAL], time_limit_s="{{ params.time_limit_s }}", results_conn_id=results_conn_id
    )
    judge = JudgeRun(
        task_id="judge",
        experiment=BY_HAND,
        expected=1,
        results_conn_id=results_conn_id,
        trigger_rule="all_done",
        **_SURVIVES_ITS_WORKER,
    )
    chain(closed, judge)


def trial_slot(
    planned: Any, *, time_limit_s: float | str = TRIAL_TIME_LIMIT_S, results_conn_id: str = DEFAULT_STORE
) -> tuple[OpenTrial, CloseTrial]:
    """Add the four tasks of one trial; return its setup and its teardown."""
    opened = OpenTrial(
        task_id="open",
        planned=planned,
        timeout_s=time_limit_s,
        results_conn_id=results_conn_id,
        # The trial before may have failed; without a plan there is nothing to open.
        trigger_rule="all_done_min_one_success",
        **_SURVIVES_ITS_WORKER,
    )
    applied = ApplyRayService(task_id="apply", trial=_output(opened), **_SURVIVES_ITS_WORKER)
    ready = WaitServeEndpoint(
        task_id="wait", rayservice=_output(applied), trial=_output(opened), **_SURVIVES_ITS_WORKER
    )
    closed = CloseTrial(
        task_id="close",
        trial=_output(opened),
        apply_task_id=applied.task_id,
        wait_task_id=ready.task_id,
        **_TEARDOWN,
    )
    chain(opened, applied, ready, closed)
    closed.as_teardown(setups=opened, on_failure_fail_dagrun=True)
    return opened, closed


def single_trial_params(experiment: Experiment) -> dict[str, Param]:
    """Return the form of a trial by hand: enums from the experiment, defaults that work."""
    variants = list(dict.fromkeys(variant for target in experiment.targets for variant in target.variants))
    return {
        "target": Param(
            experiment.targets[0].name,
            type="string",
            enum=[target.name for target in experiment.targets],
            title="Target",
            description="Where the trial runs: a cluster and its node profile, prepared beforehand.",
        ),
        "setup": Param(
            "static",
            type="string",
            enum=["static", "dynamic"],
            title="Scaling set-up",
            description="static: one GPU worker from the start. dynamic: Ray's autoscaler asks for it once "
            "Serve has the application.",
        ),
        "variant": Param(
            variants[0],
            type="string",
            enum=variants,
            title="Variant",
            description="The set of treatments. A target runs only the variants it was prepared for.",
        ),
        "profile": Param(
            experiment.profile,
            type="string",
            enum=sorted(WORKLOADS),
            title="Workload profile",
            description="phi3-2025: the origin's pinned stack. phi3-current: today's ray-llm image.",
        ),
        "model": Param(
            "",
            type="string",
            title="Model",
            description="Model id on the hub; empty: the workload profile's own.",
        ),
        "image": Param(
            "",
            type="string",
            title="Image",
            description="Serving image reference; empty: what the variant says.",
        ),
        "time_limit_s": Param(
            int(TRIAL_TIME_LIMIT_S),
            type="integer",
            minimum=60,
            maximum=4 * 3600,
            title="Time limit (s)",
            description="How long the deployment may take until its endpoint is ready, in the cluster's clock.",
        ),
    }


def group_key(name: str) -> str:
    """Return a name as the id of a task group: letters, digits, hyphens and underscores; what had to change is told
    apart by a hash.
    """
    clean = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:100]
    return clean if clean == name else f"{clean}_{fingerprint({'name': name}, 6)}"


def _slots(
    plan: PlanTrials,
    last: Sequence[BaseOperator],
    cluster: str,
    slots: int,
    time_limit_s: float | str,
    results_conn_id: str,
) -> None:
    previous: CloseTrial | None = None
    with TaskGroup(group_key(cluster)):
        for slot in range(slots):
            with TaskGroup(f"trial_{slot:02d}"):
                opened, closed = trial_slot(
                    _output(plan)[slot_key(cluster, slot)], time_limit_s=time_limit_s, results_conn_id=results_conn_id
                )
            if previous is not None:
                chain(previous, opened)
            previous = closed
            chain(closed, list(last))


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
            image = _output(build)
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
            prepared = _output(snapshot)
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


def _output(task: BaseOperator) -> Any:
    """Return a task's result as an argument of another: a reference now, a dict when that runs."""
    return task.output


def _as_dict(experiment: Experiment) -> dict[str, Any]:
    targets: Sequence[dict[str, Any]] = [target.as_dict() for target in experiment.targets]
    return {
        "name": experiment.name,
        "profile": experiment.profile,
        "setups": [str(setup) for setup in experiment.setups],
        "replicates": experiment.replicates,
        "targets": targets,
    }
