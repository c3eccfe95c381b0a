"""Ray's start without KubeRay's init container, and from compiled Python packages where an image is built.

KubeRay gives every worker an init container `wait-gcs-ready` that runs `ray health-check` under a cap of 200m CPU and
sleeps 5 s between two tries: up to 55 s where the image has no bytecode (ray-project/kuberay issue 5138,
ray-operator/controllers/ray/common/pod.go). The operator's variable ENABLE_INIT_CONTAINER_INJECTION=false removes it
for every RayCluster of that operator, so it is the cluster's setting, which preflight reads. The worker then waits for
the head's port itself, in its shell, which costs no import of Ray.

It compiles the packages only in an image that the variant's other treatments build: an image of its own would come from
another registry than the baseline's, and the difference between the registries would be measured as its gain.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from airflow_llm_provisioning.core.effects import Between, Effect, EffectFacts, adds, gone
from airflow_llm_provisioning.core.fields import dig, items, mapping, text
from airflow_llm_provisioning.core.instants import parse_instant
from airflow_llm_provisioning.core.manifests import pod_template, ray_container, worker_groups
from airflow_llm_provisioning.core.manifests.tree import copied, path_text
from airflow_llm_provisioning.core.planned import PlannedFacts
from airflow_llm_provisioning.core.remains import operators_among
from airflow_llm_provisioning.core.target import NodeProfile
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.trace.objects import History
from airflow_llm_provisioning.core.treatments.bake_packages import ran_prepared_image
from airflow_llm_provisioning.core.treatments.base import BaseTreatment, DeploymentPlan, Found
from airflow_llm_provisioning.core.verdicts import Verdict, all_of
from airflow_llm_provisioning.core.workload import Workload

SWITCH: Final = "ENABLE_INIT_CONTAINER_INJECTION"
INIT: Final = "wait-gcs-ready"
# KubeRay puts it before `ulimit ...; ray start ...` (common/pod.go: the container's own command comes first). Bash
# opens the port by itself; FQ_RAY_IP, RAY_IP and RAY_PORT are KubeRay's variables of every worker.
WAIT: Final = "until (exec 3<>/dev/tcp/${FQ_RAY_IP:-$RAY_IP}/${RAY_PORT:-6379}) 2>/dev/null; do sleep 1; done"
# KubeRay writes it into every Ray container that it starts (1.1 to 1.7, common/pod.go).
_STARTED_BY_KUBERAY: Final = "KUBERAY_GEN_RAY_START_CMD"
# From the start of the head's container to an open port of its control service: at most what a whole `ray start` takes
# there, 5.3 to 9.7 s in the recordings of KubeRay 1.7.0.
_PORT_S: Final = Between(
    0.0, 10.7, "recordings of KubeRay 1.7.0: the head's `ray start` takes at most 9.7 s; one try a s"
)


class RayStartTrim(BaseTreatment):
    """Let workers wait for the head themselves, and find Python's packages compiled."""

    name = "ray_start_trim"
    # After everything that decides whether an image is built.
    order = 40
    looks_at = ("deployments",)

    def requires(self, profile: NodeProfile, workload: Workload) -> tuple[str, ...]:
        """Return why a worker cannot be given its own wait."""
        groups = worker_groups(workload.manifest)
        if not groups:
            told = f"{self.name} changes how workers wait for the head"
            return (f"{told}, and workload {workload.name!r} has no workers.",)
        return tuple(_own_starts(workload))

    def on_cluster(self, found: Found, *, declared: bool) -> tuple[str, ...]:
        """Return why the operator injects its init container all the same; of variants that do not declare the
        treatment, that it injects none.
        """
        operators = operators_among(found.get("deployments") or ())
        states = [(_name(item), *_injects(item)) for item in operators]
        if declared:
            return tuple(_still(name, why) for name, injects, why in states if injects is not False)
        return tuple(_taken(name) for name, injects, _why in states if injects is False)

    def change(self, plan: DeploymentPlan, workload: Workload) -> DeploymentPlan:
        """Let every worker wait for the head's port, and compile the packages of an image that is built."""
        manifest: dict[str, Any] = copied(plan.manifest)
        for group in worker_groups(manifest):
            ray_container(manifest, group)["args"] = [WAIT]
        return replace(plan, manifest=manifest, recipe=replace(plan.recipe, bytecode=plan.own_image))

    def effect(self, facts: EffectFacts) -> Effect | None:
        """Return that the init container is gone, and that the worker waits for the head's port instead."""
        changes = (gone("worker_init_start", INIT), gone("worker_wait_gcs", INIT), adds("worker_ray_start", _PORT_S))
        return Effect(changes, ("compiled packages make no other phase shorter",))

    def verify(self, view: TraceView) -> Verdict:
        """Say whether no worker of the engine had an init container that waits, and a compiled image ran if planned."""
        workers = [pod for pod in view.engine_pods if pod is not view.head]
        if not workers:
            return Verdict(self.name, "unknown", ("The engine's workers were not seen.",))
        compiled = [ran_prepared_image(view)] if PlannedFacts.of(view.trial).recipe_bytecode else []
        return all_of(self.name, [*(self._without_wait(pod) for pod in workers), *compiled])

    def undeclared(self, view: TraceView) -> str | None:
        """Return what says that KubeRay started a worker without its init container, or None."""
        for pod in view.workers:
            if _STARTED_BY_KUBERAY in view.env_of(pod) and _waiting(pod) is None:
                return f"Worker pod {pod.name} has no init container {INIT}: the KubeRay operator injects none."
        return None

    def _without_wait(self, pod: History) -> Verdict:
        waiting = _waiting(pod)
        if waiting is None:
            return Verdict(self.name, "yes", (f"Worker pod {pod.name} has no init container that waits for the GCS.",))
        told = f"Worker pod {pod.name} has the init container {waiting}, which waits for the GCS by `ray health-check`"
        span = _span_s(pod, waiting)
        return Verdict(self.name, "no", (f"{told}; it ran for {span:.0f} s." if span is not None else f"{told}.",))


def _own_starts(workload: Workload) -> Iterator[str]:
    """Yield why the wait cannot be put before `ray start`, or would not be the only one."""
    for group in worker_groups(workload.manifest):
        container = ray_container(workload.manifest, group)
        where = path_text(group.container_path)
        for key in ("command", "args"):
            if container.get(key):
                yield f"ray_start_trim sets {where}.args to a wait for the head, and {where}.{key} is set: remove it."
        spec = mapping(pod_template(workload.manifest, group).get("spec"))
        for index, init in enumerate(map(mapping, items(spec.get("initContainers")))):
            if _health_check(init):
                inits = path_text((*group.template_path, "spec", "initContainers", index))
                yield f"ray_start_trim replaces the wait by `ray health-check`, and {inits} runs it: remove it."


def _injects(deployment: Mapping[str, Any]) -> tuple[bool | None, str]:
    """Return whether this operator injects the init container, and why; None where it cannot be told.

    KubeRay compares the lower-cased text with `false`; any other value injects (common/pod.go,
    getEnableInitContainerInjection).
    """
    containers = [mapping(item) for item in items(dig(deployment, "spec", "template", "spec", "containers"))]
    # A sidecar may have the variable too; only the manager's own counts. The chart names it after the release.
    manager = next((item for item in containers if "operator" in text(item.get("image"))), next(iter(containers), {}))
    entries = [mapping(item) for item in items(manager.get("env")) if mapping(item).get("name") == SWITCH]
    if not entries:
        return True, f"its container {text(manager.get('name'))!r} has no {SWITCH}"
    entry = entries[-1]
    if entry.get("valueFrom") is not None:
        return None, f"its {SWITCH} is taken from elsewhere (valueFrom)"
    value = text(entry.get("value"))
    if value.lower() != "false":
        return True, f"its {SWITCH} is {value!r}, and KubeRay knows only 'false'"
    unfinished = _unfinished(deployment)
    return (None, unfinished) if unfinished else (False, "")


def _unfinished(deployment: Mapping[str, Any]) -> str | None:
    """Return why the operator that runs may be an older one than the Deployment describes."""
    if dig(deployment, "spec", "paused") is True:
        return "it is paused, so the running operator may be an older one"
    status = mapping(deployment.get("status"))
    generation, observed = dig(deployment, "metadata", "generation"), status.get("observedGeneration")
    behind = isinstance(generation, int) and isinstance(observed, int) and observed < generation
    if behind or status.get("updatedReplicas", status.get("replicas")) != status.get("replicas"):
        return "its roll-out has not ended, so the running operator may be an older one"
    return None


def _still(name: str, why: str) -> str:
    return (
        f"ray_start_trim needs a KubeRay operator that injects no init container, and of deployment {name}, {why}: set "
        f"{SWITCH}=false on the operator (Helm: --set env[0].name={SWITCH} --set-string env[0].value=false)."
    )


def _taken(name: str) -> str:
    return (
        f"deployment {name} has {SWITCH}=false, so every trial on this cluster has ray_start_trim's start: run the "
        "variants without it on another cluster."
    )


def _waiting(pod: History) -> str | None:
    """Return the name of a pod's init container that waits for the GCS by Ray's command line, or None."""
    for init in map(mapping, items(dig(pod.last, "spec", "initContainers"))):
        if init.get("name") == INIT or _health_check(init):
            return text(init.get("name"))
    return None


def _health_check(init: Mapping[str, Any]) -> bool:
    words = [text(word) for key in ("command", "args") for word in items(init.get(key))]
    return any("ray health-check" in word for word in words) or words[:2] == ["ray", "health-check"]


def _span_s(pod: History, name: str) -> float | None:
    """Return how long an init container ran, by the kubelet's stamps in whole seconds; None if it has not ended."""
    for status in map(mapping, items(dig(pod.last, "status", "initContainerStatuses"))):
        ended = mapping(dig(status, "state", "terminated"))
        began, finished = _at(ended.get("startedAt")), _at(ended.get("finishedAt"))
        if status.get("name") == name and began and finished:
            return (finished - began).total_seconds()
    return None


def _at(value: Any) -> datetime | None:
    return parse_instant(value) if isinstance(value, str) else None


def _name(deployment: Mapping[str, Any]) -> str:
    return f"{text(dig(deployment, 'metadata', 'namespace'))}/{text(dig(deployment, 'metadata', 'name'))}"
