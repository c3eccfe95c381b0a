"""What of a valid RayService is not simulated: said when it is applied, instead of a deployment that never ends.

Only what would otherwise give a wrong time or none at all is listed. A real cluster runs all of these.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from llm_provisioning_simulator.app.application import Deployment, applications
from llm_provisioning_simulator.app.probes import unsimulated_probe
from llm_provisioning_simulator.app.raystart import node_resources

Object = dict[str, Any]


def unsimulated(service: Object) -> list[str]:
    """Return what a RayService needs and the simulator does not have, in sentences; empty for one that it runs."""
    try:
        config = yaml.safe_load(service["spec"].get("serveConfigV2") or "") or {}
        entries = config.get("applications") or ()
        read = applications(config)
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError):
        # KubeRay takes it and says later that Serve does not: so does the simulated one.
        return []
    cluster = service["spec"].get("rayClusterConfig") or {}
    groups = [cluster["headGroupSpec"], *(cluster.get("workerGroupSpecs") or ())]
    if any(not group["template"]["spec"].get("containers") for group in groups):
        # KubeRay refuses it itself.
        return []
    gpus = max(node_resources(group)["GPU"] for group in groups)
    found = [*_service_problems(service), *(sentence for group in groups for sentence in _group_problems(group))]
    found += [sentence for entry in entries for sentence in _entry_problems(entry)]
    found += [sentence for item in read for one in item.deployments for sentence in _deployment_problems(one, gpus)]
    return found


def _service_problems(service: Object) -> Iterator[str]:
    spec = service["spec"]
    strategy = spec.get("upgradeStrategy") or {}
    if strategy.get("type") == "NewClusterWithIncrementalUpgrade" and strategy.get("clusterUpgradeOptions"):
        yield "spec.upgradeStrategy asks for an incremental upgrade: only NewCluster and None are simulated"
    if spec.get("suspend"):
        yield "spec.suspend is set: suspended RayServices are not simulated"


def _group_problems(group: Object) -> Iterator[str]:
    name, template = group.get("groupName", "headGroup"), group["template"]
    annotations = (template.get("metadata") or {}).get("annotations") or {}
    if str(annotations.get("ray.io/overwrite-container-cmd", "")).lower() == "true":
        yield f"group {name!r} overwrites the command of its Ray container: only KubeRay's own command is simulated"
    container = template["spec"]["containers"][0]
    for kind in ("liveness", "readiness", "startup"):
        what = unsimulated_probe(container.get(f"{kind}Probe") or {})
        if what is not None:
            yield f"group {name!r} has {what} as its {kind} probe: what it answers is not simulated"


def _entry_problems(entry: Mapping[str, Any]) -> Iterator[str]:
    name, args = entry.get("name", "default"), entry.get("args") or {}
    for key in ("prefill_config", "decode_config"):
        if key in args:
            yield f"application {name!r} has args.{key}: separate prefill and decode engines are not simulated"
    for item in entry.get("deployments") or ():
        custom = (item.get("ray_actor_options") or {}).get("resources")
        if custom:
            yield (
                f"deployment {item.get('name')!r} needs the custom resources {', '.join(map(str, custom))}: only CPUs "
                "and GPUs are simulated"
            )


def _deployment_problems(deployment: Deployment, gpus: float) -> Iterator[str]:
    needed = deployment.resources.get("GPU", 0.0)
    # Bundles of an engine's placement group may lie on several nodes. An actor cannot: it waits, here as with Ray.
    spread = deployment.engine is not None and not deployment.actor_options.get("GPU")
    if spread and needed > gpus >= 1:
        yield (
            f"a replica of deployment {deployment.name!r} needs {needed:g} GPUs and the largest pod has {gpus:g}: an "
            "engine over several nodes is not simulated"
        )
    if deployment.replicas < 1:
        yield f"deployment {deployment.name!r} begins with no replica: scaling from zero on a request is not simulated"
