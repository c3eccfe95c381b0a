"""A whole trial in virtual time: prepared, deployed, recorded by the shipped recorder, and judged like a real one.

The simulator produces the events. The trace contains what the recorder wrote, after redaction. The gateways' code
queries the clouds. The judge receives the trace and the plan only. One trial takes a fraction of a second.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

from airflow_llm_provisioning.core.cloud_facts import trial_facts
from airflow_llm_provisioning.core.experiment import Target
from airflow_llm_provisioning.core.judging import judge_trace, trial_row
from airflow_llm_provisioning.core.manifest import ray_service
from airflow_llm_provisioning.core.names import trial_labels
from airflow_llm_provisioning.core.result import TrialResult
from airflow_llm_provisioning.core.trace import encode_chunk, evidence_line, header_line, mark_line, pack_lines
from airflow_llm_provisioning.core.treatments import TREATMENTS, plan_serving, serving, treatments_of
from airflow_llm_provisioning.core.workload import ScalingSetup, Workload
from airflow_llm_provisioning.gateways.autoscalers import AUTOSCALERS
from airflow_llm_provisioning.gateways.recorder import record
from llm_provisioning_simulator.instant_trial import RAYSERVICE, Stage, stage
from llm_provisioning_simulator.prepared import Prepared, prepare
from llm_provisioning_simulator.profiles import NOISE, load_profile
from llm_provisioning_simulator.virtual_time import run_at_once
from llm_provisioning_simulator.world import NodePool
from proof.cloud_answers import answers
from proof.in_process import InProcessCluster

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
    the manifest. `image`: serves another image, computed from the preparation. `earlier`: number of trials of the same
    manifest before this one; `pause_s` after each. `noise`: False for the profile's values without noise.
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
    target = scenario.target
    profile = load_profile(target.cloud, target.nodes.autoscaler)
    if not scenario.noise:
        profile = profile.with_values(**{NOISE: 0.0})
    finished = []
    async with stage(target, profile, seed=scenario.seed) as on, InProcessCluster(on.cluster) as cluster:
        plan = plan_serving(scenario.declared, scenario.variant, target.cloud)
        prepared = prepare(on.world, on.description, target, plan, on.clock.now())
        await _set_up_nodes(cluster, on, scenario.nodes or target, prepared)
        prepared = scenario.after_preparation(on, prepared) or prepared
        await on.clock.sleep(SETTLED_S)
        trial = _trial(scenario, cluster, prepared)
        for number in range(scenario.earlier + 1):
            if number:
                await cluster.delete("rayservices", RAYSERVICE, target.namespace)
                await on.clock.sleep(scenario.pause_s)
            scenario.before_submission(on)
            finished.append(await _deployed(cluster, on, {**trial, "trial_id": f"proof-{number}"}))
    return finished


def _trial(scenario: Scenario, cluster: InProcessCluster, prepared: Prepared) -> dict[str, Any]:
    """Return the trial like `OpenTrial`, with the fields that recorder, judge and row read."""
    target = scenario.target
    plan = plan_serving(scenario.declared, scenario.variant, target.cloud)
    override = scenario.image(prepared)
    pods = serving(plan, override or prepared.image, override=override)
    autoscaler = AUTOSCALERS[target.nodes.autoscaler]
    opened_at = cluster.clock()
    labels = trial_labels("proof", target.name, opened_at + LIMIT)
    manifest = ray_service(
        RAYSERVICE,
        scenario.declared,
        scenario.setup,
        pods,
        head=autoscaler.placement(target.nodes, "head"),
        worker=autoscaler.placement(target.nodes, "worker"),
        labels=labels,
        namespace=target.namespace,
    )
    scenario.manifest(manifest)
    model = scenario.declared.model
    noted = {
        "image": prepared.image,
        "digest": prepared.digest,
        "snapshot_id": prepared.snapshot_id,
        "volume_initialization_rate_mib_s": target.nodes.volume_initialization_rate_mib_s,
    }
    return {
        "experiment": "proof",
        "dag_id": "proof",
        "run_id": "proof",
        "target": target.name,
        "cluster": target.cluster,
        "cloud": target.cloud,
        "setup": str(scenario.setup),
        "variant": scenario.variant,
        "profile": scenario.declared.profile,
        "replicate": 0,
        "slot": 0,
        "seed": scenario.seed,
        "treatments": [item.name for item in treatments_of(scenario.variant, target.cloud)],
        "rayservice": RAYSERVICE,
        "namespace": target.namespace,
        "model": {
            "model_id": model.model_id,
            "revision": model.revision,
            "source": model.source,
            "weight_bytes": model.weight_bytes,
        },
        "image": pods.image,
        "recipe": plan.recipe.as_dict(),
        "prepared": {key: value for key, value in noted.items() if value is not None},
        "origin": cluster.origin(),
        "opened_at": opened_at.isoformat(),
        "manifest": manifest,
        "served": scenario.declared.served_name,
    }


async def _deployed(cluster: InProcessCluster, on: Stage, trial: dict[str, Any]) -> Finished:
    """Apply, record, query the cloud, judge."""
    chunks: list[bytes] = []
    applied_at = cluster.clock()
    created = await cluster.create(trial["manifest"])
    replied_at = cluster.clock()
    subject = {"namespace": trial["namespace"], "name": trial["rayservice"], "uid": created["metadata"]["uid"]}
    told = {key: value for key, value in trial.items() if key not in ("manifest", "served")}

    async def keep(lines: Sequence[bytes]) -> None:
        chunks.append(pack_lines(lines))

    header = header_line(
        cluster.clock(), origin=cluster.origin(), **subject, trial=told, cluster=cluster.version(), clock={"speed": 1.0}
    )
    await record(
        cluster,
        subject,
        sink=keep,
        deadline_at=applied_at + LIMIT,
        completion={
            "path": "/v1/chat/completions",
            "body": {"model": trial["served"], "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8},
            "expect_model": trial["served"],
        },
        header=header,
    )
    marks = [mark_line(applied_at, "apply_started"), mark_line(replied_at, "apply_replied")]
    chunks.append(encode_chunk(marks))
    claims = [claim for item in TREATMENTS if item.name in trial["treatments"] for claim in item.claims]
    nodes = await cluster.nodes(trial["rayservice"], trial["namespace"])
    facts = trial_facts(told, nodes, chunks)
    cloud_evidence = answers(on.world, on.description, claims, facts, now=cluster.clock())
    chunks.append(encode_chunk([evidence_line(cluster.clock(), **item.as_dict()) for item in cloud_evidence]))
    row = trial_row(
        told,
        judge_trace(chunks, trial["treatments"]),
        outcomes=(),
        wait_state=None,
        closed_at=cluster.clock(),
    )
    return Finished(row, tuple(chunks))


async def _set_up_nodes(cluster: InProcessCluster, on: Stage, target: Target, prepared: Prepared) -> None:
    """Give the node autoscaler the same configuration as `SetUpNodes`."""
    nodes = target.nodes
    if nodes.snapshot and prepared.snapshot_id:
        nodes = replace(nodes, snapshot_id=prepared.snapshot_id)
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
        image_type="COS_CONTAINERD" if cloud == "gke" else "Ubuntu",
    )
