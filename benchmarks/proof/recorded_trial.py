"""A whole trial in virtual time: prepared, deployed, recorded by the shipped recorder, and judged like a real one.

The simulator produces the events. The trace contains what the recorder wrote, after redaction. The gateways' code
queries the clouds. The judge receives the trace and the plan only. One trial takes a fraction of a second.
"""

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

from airflow_llm_provisioning.core.cloud_facts import trial_facts
from airflow_llm_provisioning.core.companions import placed
from airflow_llm_provisioning.core.experiment import Experiment, Target
from airflow_llm_provisioning.core.judging import judge_trace, trial_row
from airflow_llm_provisioning.core.manifests import images, with_image
from airflow_llm_provisioning.core.names import trial_labels
from airflow_llm_provisioning.core.result import TrialResult
from airflow_llm_provisioning.core.trace import encode_chunk, evidence_line, header_line, mark_line, pack_lines
from airflow_llm_provisioning.core.treatments import find_treatment
from airflow_llm_provisioning.core.trial import Access, Opened, Trial
from airflow_llm_provisioning.core.trial import Prepared as Noted
from airflow_llm_provisioning.core.workload import ScalingSetup, Workload
from airflow_llm_provisioning.gateways.autoscalers import AUTOSCALERS
from airflow_llm_provisioning.gateways.metering import meter_of
from airflow_llm_provisioning.gateways.prepared_objects import prepared_now
from airflow_llm_provisioning.gateways.recorder import record
from airflow_llm_provisioning.preparation.nodes import with_prepared
from airflow_llm_provisioning.trials.apply import create_companion
from airflow_llm_provisioning.trials.close import parts
from airflow_llm_provisioning.trials.render import Rendered, plan_of, render
from llm_provisioning_simulator.instant_trial import Stage, stage
from llm_provisioning_simulator.prepared import Prepared, prepare
from llm_provisioning_simulator.profiles import NOISE, load_profile
from llm_provisioning_simulator.virtual_time import run_at_once
from llm_provisioning_simulator.world import NodePool
from proof.cloud_answers import answers
from proof.in_process import InProcessCluster
from proof.prepared_objects import MadeObjects, prepare_objects
from proof.variants import VARIANTS

Manifest = dict[str, Any]
LIMIT: Final = timedelta(hours=2)
# Longer than any autoscaler needs to read its configuration again.
SETTLED_S: Final = 120.0
# Longer than any autoscaler keeps an empty node (Luna five minutes, the cluster autoscaler ten).
NODES_GONE_S: Final = 1800.0
PODS_GONE_S: Final = 90.0


def _no_change(_: Any) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One trial, and the changes to it.

    `declared`: the workload of the plan. `nodes`: the target with its real nodes, if they differ from the plan.
    `after_preparation`: changes the clouds' state, or the noted preparation, after the preparation. `manifest`: changes
    the rendered RayService before the API server stores it, like an admission webhook or an edit by hand; the plan does
    not contain the change. `image`: gives the Ray containers another image in the same way, computed from the
    preparation. `earlier`: number of trials of the same cell before this one; `pause_s` after each. `noise`: False for
    the profile's values without noise. `values`: numbers of the profile set otherwise. `limit_s`: the trial's time
    limit. `budget`: what it may cost. `afterwards`: done with the last trial while its deployment still exists.
    `objects`: changes what a treatment prepares in the cluster; `companion`: changes what is created beside the
    RayService, None leaves it out. `variants`: besides those of the proofs. `gates`:
    feature gates of the cluster and its node autoscaler that are on beside the defaults.
    """

    target: Target
    declared: Workload
    setup: ScalingSetup = ScalingSetup.STATIC
    variant: str = "improved"
    seed: int = 1
    nodes: Target | None = None
    after_preparation: "Callable[[Stage, Prepared], Prepared | None]" = field(default=lambda _on, _prepared: None)
    manifest: Callable[[Manifest], object] = _no_change
    image: Callable[[Prepared], str | None] = _no_change
    before_submission: Callable[[Stage], object] = _no_change
    earlier: int = 0
    pause_s: float = PODS_GONE_S
    noise: bool = True
    values: Mapping[str, float] = field(default_factory=dict)
    limit_s: float = LIMIT.total_seconds()
    budget: Mapping[str, float] = field(default_factory=dict)
    afterwards: "Callable[[InProcessCluster, Stage, Finished], Awaitable[object]] | None" = None
    objects: Callable[[list[Manifest]], Sequence[Manifest]] = list
    companion: Callable[[Manifest], Manifest | None] = dict
    variants: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    gates: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Finished:
    """The row of a trial and its stored trace."""

    row: TrialResult
    chunks: tuple[bytes, ...]


def run(scenario: Scenario) -> list[Finished]:
    """Run a scenario; return the result of every trial in order.

    The same scenario gives the same trial, except for the order of equal instants (less than a millisecond).
    """
    # The API server and the watches draw random choices (an endpoint, a pause) from the module's generator.
    random.seed(scenario.seed)
    return run_at_once(_run(scenario))


async def _run(scenario: Scenario) -> list[Finished]:
    target, experiment = scenario.target, _experiment(scenario)
    profile = load_profile(target.cloud, target.nodes.autoscaler).with_values(**scenario.values)
    if not scenario.noise:
        profile = profile.with_values(**{NOISE: 0.0})
    finished: list[Finished] = []
    staged = stage(target, profile, seed=scenario.seed, gates=scenario.gates)
    async with staged as on, InProcessCluster(on.cluster) as cluster:
        trials = experiment.plan(scenario.seed, dag_id="proof", run_id="proof")
        _, plan = plan_of(experiment, trials[0])
        prepared = prepare(on.world, on.description, target, plan, on.clock.now())
        on.world.keep_copies(target, (scenario.declared,), on.clock.now())
        await _set_up_nodes(cluster, on, scenario.nodes or target, prepared)
        await on.clock.sleep(SETTLED_S)
        made = await _prepare_objects(cluster, on, scenario, experiment, trials[0], prepared)
        prepared = scenario.after_preparation(on, prepared) or prepared
        await on.clock.sleep(SETTLED_S)
        for trial in trials:
            if finished:
                before, _ = parts(finished[-1].row.trial)
                await cluster.delete("rayservices", before.rayservice, before.namespace)
                await on.clock.sleep(scenario.pause_s)
            steps = await prepared_now(cluster, made)  # type: ignore[arg-type] # it reads verb and result of rows
            opened, rendered = _opened(scenario, experiment, trial, cluster, prepared, steps)
            opened = replace(opened, budget=scenario.budget)
            scenario.before_submission(on)
            finished.append(await _deployed(cluster, on, opened, rendered, scenario))
        if scenario.afterwards is not None:
            await scenario.afterwards(cluster, on, finished[-1])
    return finished


def _experiment(scenario: Scenario) -> Experiment:
    """Return an experiment with one cell. The earlier trials are its first replicates."""
    return Experiment(
        name="proof",
        targets=(replace(scenario.target, variants=(scenario.variant,)),),
        workloads=(scenario.declared,),
        variants={**VARIANTS, **scenario.variants},
        setups=(scenario.setup,),
        replicates=scenario.earlier + 1,
    )


async def _prepare_objects(
    cluster: InProcessCluster, on: Stage, scenario: Scenario, experiment: Experiment, trial: Trial, prepared: Prepared
) -> list[MadeObjects]:
    """Prepare what the variant's treatments want in the cluster."""
    rendered = render(experiment, trial, built_image=prepared.image, labels={})
    target = experiment.targets[0]
    return await prepare_objects(
        cluster, on.clock, experiment, target, rendered.plan, rendered.manifest, rendered.image, scenario.objects
    )


def _opened(
    scenario: Scenario,
    experiment: Experiment,
    trial: Trial,
    cluster: InProcessCluster,
    prepared: Prepared,
    steps: Mapping[str, Mapping[str, Any]],
) -> tuple[Trial, Rendered]:
    """Return the trial as `OpenTrial` returns it, and what is applied."""
    target, at = scenario.target, cluster.clock()
    noted = Noted(
        image=prepared.image,
        digest=prepared.digest,
        snapshot_id=prepared.snapshot_id,
        disk_image=prepared.disk_image,
        disk_digest=prepared.digest if prepared.disk_image else None,
        volume_initialization_rate_mib_s=target.nodes.volume_initialization_rate_mib_s,
        steps=steps or None,
    )
    labels = trial_labels(trial.trial_id, target.name, trial.expires_at(at))
    rendered = render(experiment, trial, built_image=noted.image, labels=labels)
    opened = Opened(
        at=at,
        rayservice=rendered.manifest["metadata"]["name"],
        namespace=target.namespace,
        labels=labels,
        place=f"cluster:{target.cluster}/{target.namespace}",
        manifest_content=rendered.content,
        node_selector=AUTOSCALERS[target.nodes.autoscaler].node_selector(target.nodes),
        prepared=noted,
        completion=rendered.workload.completion,
    )
    known = replace(
        trial,
        arm=trial.arm.seen_at(cluster.origin()),
        access=Access(cluster=target.cluster_reference(), cloud=target.cloud_reference(), results_conn_id="proof"),
        served=replace(
            trial.served, image=rendered.image, images=images(rendered.manifest), recipe=rendered.plan.recipe
        ),
        opened=opened,
    )
    return known, _changed(scenario, rendered, prepared)


def _changed(scenario: Scenario, rendered: Rendered, prepared: Prepared) -> Rendered:
    manifest = rendered.manifest
    if other := scenario.image(prepared):
        manifest = with_image(manifest, dict.fromkeys(images(manifest), other))
    scenario.manifest(manifest)
    beside = (scenario.companion(deepcopy(dict(item))) for item in rendered.companions)
    return replace(rendered, manifest=manifest, companions=tuple(item for item in beside if item is not None))


async def _deployed(
    cluster: InProcessCluster, on: Stage, trial: Trial, rendered: Rendered, scenario: Scenario
) -> Finished:
    """Apply, record, query the cloud, judge."""
    opened, _ = parts(trial)
    chunks: list[bytes] = []
    applied_at = cluster.clock()
    created = await cluster.create(rendered.manifest)
    replied_at = cluster.clock()
    for companion in placed(rendered.companions, created):
        await create_companion(cluster, companion)
    subject = {"namespace": opened.namespace, "name": opened.rayservice, "uid": created["metadata"]["uid"]}

    async def keep(lines: Sequence[bytes]) -> None:
        chunks.append(pack_lines(lines))

    header = header_line(
        cluster.clock(),
        origin=cluster.origin(),
        **subject,
        trial=trial.header(),
        cluster=cluster.version(),
        clock={"speed": 1.0},
    )
    await record(
        cluster,
        subject,
        sink=keep,
        deadline_at=applied_at + timedelta(seconds=scenario.limit_s),
        completion=opened.completion,
        header=header,
        meter=meter_of(trial.header()),
    )
    marks = [mark_line(applied_at, "apply_started"), mark_line(replied_at, "apply_replied")]
    chunks.append(encode_chunk(marks))
    treatments = [item for name in trial.arm.treatments if (item := find_treatment(name)) is not None]
    claims = [claim for item in treatments for claim in item.claims]
    nodes = await cluster.nodes(opened.rayservice, opened.namespace)
    facts = trial_facts(trial, nodes, chunks).as_dict()
    cloud_evidence = answers(on.world, on.description, claims, facts, now=cluster.clock())
    chunks.append(encode_chunk([evidence_line(cluster.clock(), **item.as_dict()) for item in cloud_evidence]))
    row = trial_row(
        trial,
        judge_trace(chunks, trial.arm.treatments),
        outcomes=(),
        wait_state=None,
        closed_at=cluster.clock(),
    )
    return Finished(row, tuple(chunks))


async def _set_up_nodes(cluster: InProcessCluster, on: Stage, target: Target, prepared: Prepared) -> None:
    """Give the node autoscaler the same configuration as `SetUpNodes`."""
    nodes = target.nodes
    if nodes.has("image_snapshot"):
        nodes = with_prepared(nodes, {"snapshot_id": prepared.snapshot_id})
    if nodes.has("preloaded_disk"):
        nodes = with_prepared(nodes, {"disk_image": prepared.disk_image})
    setup = AUTOSCALERS[nodes.autoscaler].setup(nodes)
    for manifest in setup.manifests:
        await cluster.apply(manifest, force=True)
    for namespace, deployment in setup.restarts:
        await cluster.restart_deployment(namespace, deployment)
    for pool in setup.cloud_pools:
        on.description.pools[pool["name"]] = _pool(target.cloud, pool)


def _pool(cloud: str, asked: Mapping[str, Any]) -> NodePool:
    """Return a pool as the cloud's API creates it."""
    own = {"gke": "cloud.google.com/gke-nodepool", "aks": "kubernetes.azure.com/agentpool"}[cloud]
    sku = asked.get("gpu_sku")
    return NodePool(
        name=asked["name"],
        instance_type=asked["machine_type"],
        min_nodes=asked["min_nodes"],
        max_nodes=asked["max_nodes"],
        labels={**asked["labels"], own: asked["name"]},
        taints=tuple(asked["taints"]),
        gpu={sku: asked["gpu_count"]} if sku else {},
        streaming=asked["streaming"],
        disk_image=asked.get("disk_image", ""),
        image_type="COS_CONTAINERD" if cloud == "gke" else "Ubuntu",
    )
