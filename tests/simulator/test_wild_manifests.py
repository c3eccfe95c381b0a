"""Valid RayServices of other shapes get ready on a whole simulated cluster, and what is not simulated is said."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from llm_provisioning_simulator.dead_ends.scene import DeadEnd, Says, Scene
from llm_provisioning_simulator.dead_ends.stage import produce_end
from llm_provisioning_simulator.kube.statuses import StatusError

READY = Says("RayService", "condition", "NonZeroServeEndpoints")


def own_service(scene: Scene) -> None:
    spec = {"type": "ClusterIP", "ports": [{"name": "serve", "port": 8000}]}
    scene.manifest["spec"]["serveService"] = {"metadata": {"name": "custom-serve"}, "spec": spec}


def two_gpu_workers(scene: Scene) -> None:
    scene.group("worker").update(replicas=2, minReplicas=2, maxReplicas=2)


def small(scene: Scene, cpus: float) -> None:
    deployment = {"name": "D", "num_replicas": 1, "ray_actor_options": {"num_cpus": cpus}}
    application = {"name": "a", "route_prefix": "/", "import_path": "m:app", "deployments": [deployment]}
    scene.manifest["spec"]["serveConfigV2"] = yaml.safe_dump({"applications": [application]})


def no_workers(scene: Scene) -> None:
    del scene.manifest["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    del scene.group("head")["rayStartParams"]["num-cpus"]
    small(scene, 0.1)


def head_without_cpus(scene: Scene) -> None:
    scene.manifest["spec"]["excludeHeadPodFromServeSvc"] = True
    small(scene, 1)


def run(change: Callable[[Scene], None], says: Says = READY) -> list[dict[str, Any]]:
    end = DeadEnd("wild", "a valid manifest of another shape", change, says, nodes="luna")
    return produce_end(end, limit_s=5400.0, after_s=120.0)


def named(lines: list[dict[str, Any]], resource: str) -> set[str]:
    return {line["object"]["metadata"]["name"] for line in lines if line["resource"] == resource}


def test_a_serve_service_of_another_name_is_the_one_that_gets_endpoints() -> None:
    """spec.serveService with a name of its own, as in KubeRay's sample custom-serve-service."""
    names = named(run(own_service), "services")
    assert "custom-serve" in names
    assert "llm-serve-svc" not in names


def test_every_gpu_node_has_a_device_plugin_of_its_own() -> None:
    """Two GPU workers: two nodes, two plugin pods, both workers running."""
    pods = named(run(two_gpu_workers), "pods")
    assert len([name for name in pods if name.startswith("nvidia-device-plugin")]) == 2
    assert len([name for name in pods if "-gpu-group-worker-" in name]) == 2


def test_no_worker_groups_at_all_are_served_by_the_head() -> None:
    """No workerGroupSpecs: the head's pod is the only one."""
    pods = named(run(no_workers), "pods")
    assert [name for name in pods if "-worker-" in name] == []


def test_a_head_without_cpus_leaves_the_replica_to_the_worker() -> None:
    """num-cpus "0", and the head left out of the serve Service: Ready by the worker."""
    assert run(head_without_cpus)


def with_probe(scene: Scene) -> None:
    scene.container("head")["readinessProbe"] = {"exec": {"command": ["python", "-c", "import ray"]}}


def with_own_command(scene: Scene) -> None:
    metadata = scene.group("head")["template"]["metadata"]
    metadata["annotations"] = {"ray.io/overwrite-container-cmd": "true"}


def incremental(scene: Scene) -> None:
    scene.manifest["spec"]["rayClusterConfig"]["enableInTreeAutoscaling"] = True
    options = {"stepSizePercent": 10, "intervalSeconds": 5, "gatewayClassName": "istio"}
    scene.manifest["spec"]["upgradeStrategy"] = {
        "type": "NewClusterWithIncrementalUpgrade",
        "clusterUpgradeOptions": options,
    }


def suspended(scene: Scene) -> None:
    scene.manifest["spec"]["suspend"] = True


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (with_probe, "an exec probe that runs 'python -c import ray' as its readiness probe"),
        (with_own_command, "overwrites the command of its Ray container"),
        (incremental, "only NewCluster and None are simulated"),
        (suspended, "suspended RayServices are not simulated"),
    ],
)
def test_what_is_not_simulated_is_refused_when_it_is_applied(change: Callable[[Scene], None], sentence: str) -> None:
    """A 422 that says which part, instead of a deployment that never ends or ends otherwise than a real one."""
    with pytest.raises(StatusError, match="the simulator cannot run this") as caught:
        run(change)
    assert sentence in str(caught.value)
