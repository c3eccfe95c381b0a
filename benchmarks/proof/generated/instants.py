"""The true instants of a deployment: drawn in causal order, in seconds after the submission.

The spans have the order of magnitude of published deployments (pulls of minutes, nodes of one to three minutes, an
operator's pass of two seconds, Ray's autoscaler of five); no proof depends on their exact size.
"""

import random

from proof.generated.scenario import Delivery, Scenario

Instants = dict[str, float]


def draw_instants(rng: random.Random, scenario: Scenario) -> Instants:
    """Draw one deployment's instants. Names are milestones, or further instants that the generator needs."""
    t: Instants = {"submitted": 0.0}
    t["raycluster_created"] = rng.uniform(1.9, 2.3)
    _head(rng, scenario, t)
    _serve_begins(rng, scenario, t)
    _worker(rng, scenario, t)
    _replica(rng, scenario, t)
    _ends(rng, scenario, t)
    return t


def _head(rng: random.Random, scenario: Scenario, t: Instants) -> None:
    u = rng.uniform
    t["head.pod_created"] = t["raycluster_created"] + u(0.01, 0.1)
    placed = t["head.pod_created"]
    if scenario.head_fresh:
        placed = t["head.node_ready"] = _node(rng, scenario, t, "head")
    t["head.scheduled"] = placed + u(0.01, 0.3)
    started = _image(rng, t, "head", scenario.head_image)
    t["head.container_started"] = started + u(0.1, 1)
    t["head.ray_started"] = t["head.container_started"] + u(3, 9)
    t["head.ready"] = t["head.ray_started"] + u(2, 6)


def _serve_begins(rng: random.Random, scenario: Scenario, t: Instants) -> None:
    u = rng.uniform
    t["serve_config_sent"] = t["head.ready"] + u(1, 5)
    t["app_build_started"] = t["serve_config_sent"] + u(0.0005, 0.01)
    built_from = t["app_build_started"]
    if scenario.pip:
        t["head.runtime_env_begun"] = built_from + u(0.05, 1)
        built_from = t["head.runtime_env_ready"] = t["head.runtime_env_begun"] + u(5, 120)
    t["app_built"] = built_from + u(1, 30)
    t["replica_requested"] = t["app_built"] + u(0.1, 0.3)


def _worker(rng: random.Random, scenario: Scenario, t: Instants) -> None:
    u = rng.uniform
    asked = t["raycluster_created"] + 0.02
    if scenario.dynamic:
        t["autoscaler_decided"] = t["replica_requested"] + u(1.5, 5)
        asked = t["worker_asked"] = t["autoscaler_decided"] + u(0.01, 0.05)
    t["worker.pod_created"] = asked + u(0.01, 0.1)
    placed = t["worker.pod_created"]
    if scenario.fresh:
        t["worker.node_ready"] = _node(rng, scenario, t, "worker")
        # A device plugin may register before the node is Ready, but usually does later.
        placed = t["worker.gpu_allocatable"] = max(t["worker.node_created"] + 0.2, t["worker.node_ready"] + u(-0.1, 60))
        placed = max(placed, t["worker.node_ready"])
        t["worker.node_initialised"] = placed + u(0.05, 3)
    t["worker.scheduled"] = placed + u(0.01, 0.5)
    started = _image(rng, t, "worker", scenario.worker_image)
    t["worker.init_started"] = started + u(0.1, 0.5)
    waits_for = max(t["worker.init_started"], t["head.container_started"] + 2)
    t["worker.init_finished"] = waits_for + u(5, 50)
    t["worker.container_started"] = t["worker.init_finished"] + u(0.1, 0.5)
    t["worker.ray_started"] = max(t["worker.container_started"], t["head.ray_started"]) + u(3, 6)


def _node(rng: random.Random, scenario: Scenario, t: Instants, role: str) -> float:
    u = rng.uniform
    t[f"{role}.unschedulable"] = t[f"{role}.pod_created"] + u(0.01, 0.3)
    # The upstream cluster autoscaler waits 30 s for a pending GPU pod; Karpenter batches for a second.
    waits_s = u(10, 45) if scenario.autoscaler == "cluster-autoscaler" else u(1, 15)
    t[f"{role}.node_requested"] = t[f"{role}.unschedulable"] + waits_s
    if scenario.serial_nodes and role == "worker":
        t["worker.node_requested"] = max(t["worker.node_requested"], t.get("head.node_ready", 0.0) + u(1, 5))
    t[f"{role}.node_launched"] = t[f"{role}.node_requested"] + u(1, 4)
    t[f"{role}.node_created"] = t[f"{role}.node_launched"] + u(15, 120)
    t[f"{role}.node_registered"] = t[f"{role}.node_created"] + u(0.05, 1.5)
    return t[f"{role}.node_created"] + u(0.3, 30)


def _image(rng: random.Random, t: Instants, role: str, delivery: Delivery) -> float:
    u = rng.uniform
    begun = t[f"{role}.scheduled"] + u(0.3, 1)
    if delivery == "present":
        t[f"{role}.image_present"] = begun
        return begun
    t[f"{role}.pull_started"] = begun
    # Published full pulls of such an image move 0.1 to 0.15 GB/s, the fastest 0.4.
    took = u(0.3, 4) if delivery == "streamed" else u(30, 200)
    t[f"{role}.pull_finished"] = begun + took
    return begun + took


def _replica(rng: random.Random, scenario: Scenario, t: Instants) -> None:
    u = rng.uniform
    t["replica_placed"] = max(t["worker.ray_started"], t["replica_requested"]) + u(0.1, 1)
    begun = t["replica_placed"]
    if scenario.pip:
        begun = t["worker.runtime_env_ready"] = begun + u(5, 120)
    t["replica_initialising"] = begun + u(1, 20)
    last = t["replica_initialising"]
    if scenario.engine != "plain":
        t["engine_starting"] = last + u(1, 10)
        last = t["load_started"] = t["engine_starting"] + u(1, 6)
    t["weights_downloaded"] = last + u(3, 200)
    last = t["model_loaded"] = t["weights_downloaded"] + u(3, 60)
    if scenario.engine == "vllm-0.33":
        last = t["compiled"] = last + u(5, 60)
    if scenario.engine != "plain":
        last = t["graphs_captured"] = last + u(3, 25)
    if scenario.engine == "vllm-0.33":
        last = t["engine_ready"] = last + u(0.5, 4)
    t["replica_finished"] = last + u(0.02, 2)
    t["replica_started"] = t["replica_finished"] + u(0.05, 0.4)


def _ends(rng: random.Random, scenario: Scenario, t: Instants) -> None:
    u = rng.uniform
    t["app_running"] = t["replica_started"] + u(0.01, 0.3)
    t["app_running_copied"] = t["app_running"] + u(0.05, 2)
    t["serve_service_created"] = t["app_running_copied"] + u(0.005, 0.05)
    t["endpointslice_created"] = t["endpoint_ready"] = t["serve_service_created"] + u(0.01, 0.05)
    # The worker's probe needs Serve's proxy on the worker, which needs the replica (period 5 s).
    t["worker.ready"] = max(t["app_running"], t["worker.container_started"] + 10) + u(0.2, 5.5)
    if scenario.exclude_head and t["worker.ready"] > t["endpointslice_created"] - 0.05:
        t["endpoint_ready"] = max(t["endpointslice_created"], t["worker.ready"]) + u(0.02, 0.3)
    t["rayservice_ready"] = t["endpoint_ready"] + u(0.05, 2)
