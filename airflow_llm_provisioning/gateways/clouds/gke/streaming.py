"""enable_streaming: the Container File System API, then the cluster's default or single node pools, after every check.

Node pools that auto-provisioning (or Luna) makes take the cluster-level setting and only that: container v1 has no gcfs
field in AutoprovisioningNodePoolDefaults. So `pools` None means the cluster, names mean just those pools. Warming, one
pull on a streaming node, happens through the Kubernetes API; here it is only said whether it is still needed.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from google.api_core import exceptions as google

from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.exceptions import CloudError
from airflow_llm_provisioning.gateways.clouds.gke.clients import READ, WRITE
from airflow_llm_provisioning.gateways.clouds.gke.clusters import ClusterView, read_cluster
from airflow_llm_provisioning.gateways.clouds.gke.errors import google_errors
from airflow_llm_provisioning.gateways.clouds.gke.images import RegistryImage, prewarmed, prewarming, streaming_problems
from airflow_llm_provisioning.gateways.clouds.gke.services import api_problems, streaming_api, streaming_api_state
from airflow_llm_provisioning.gateways.clouds.gke.steps import Change, Project, State, step_of
from airflow_llm_provisioning.gateways.clouds.verbs import (
    Look,
    Outcome,
    Step,
    TransientError,
    Verb,
    done,
    raise_problems,
)

# Roles that let a node pull and stream; one of each set is enough. image-streaming page, "requirements": a node service
# account that the user made needs both.
_PULL_ROLES: Final = frozenset(
    f"roles/{role}"
    for role in (
        "artifactregistry.reader",
        "artifactregistry.writer",
        "artifactregistry.repoAdmin",
        "artifactregistry.admin",
        "viewer",
        "editor",
        "owner",
    )
)
_STREAM_ROLES: Final = frozenset(
    f"roles/{role}"
    for role in (
        "serviceusage.serviceUsageConsumer",
        "serviceusage.serviceUsageAdmin",
        "editor",
        "owner",
    )
)


class Streaming(Verb):
    """The verb `enable_streaming`."""

    name = "enable_streaming"
    limit_s = 3600.0

    def __init__(self, project: Project) -> None:
        self._project = project

    def problems(self, request: Mapping[str, Any]) -> Sequence[str]:
        """Return what is missing of the request."""
        return [f"`{key}` is missing" for key in ("image", "cluster") if not request.get(key)]

    def begin(self, operation: Operation) -> Look:
        """Check image, cluster, pools, roles and APIs, all at once. Nothing here costs anything."""
        request = operation.request
        image = RegistryImage.parse(str(request["image"]))
        problems = api_problems(self._project, ("container.googleapis.com",))
        problems += streaming_problems(self._project, image, request.get("digest"))
        cluster = read_cluster(self._project, str(request["cluster"]))
        pools: Sequence[str] = list(request.get("pools") or ())
        problems += _node_problems(cluster, pools, auto_provisioning=bool(request.get("auto_provisioning")))
        if "node_roles" not in (request.get("assume") or ()):
            accounts = set(cluster.service_accounts(pools))
            # Luna's nodes run as an account that no pool of today shows.
            accounts |= {str(request["node_service_account"])} if request.get("node_service_account") else set()
            problems += self._role_problems(sorted(accounts), image)
        raise_problems(f"Image streaming on cluster {cluster.name} for {image.reference}", problems)
        needed = [] if streaming_api_state(self._project) == "done" else ["api"]
        needed += [change.key for change in self._settings(request) if change.state() != "done"]
        return done(needed=needed)

    def steps(self, operation: Operation) -> Sequence[Step]:
        """API first: a node made before it is on would not stream."""
        request = operation.request
        changes = [streaming_api(self._project), *self._settings(request)]
        if request.get("prewarm"):
            changes.append(self._prewarm(request))
        return [*(step_of(self._project, change) for change in changes), Step("checking", self._checked, timed=False)]

    def _checked(self, operation: Operation) -> Look:
        request = operation.request
        return done(warm_needed=self.warm_needed(str(request["image"]), request.get("digest")))

    def outcome(self, operation: Operation, seconds: float) -> Outcome:
        """Return what streams now, and whether the region's cache must still be warmed."""
        request, pools = operation.request, operation.request.get("pools")
        made = {
            "enabled": [f"pool {name}" for name in pools] if pools else [f"cluster {request['cluster']}"],
            "warm_needed": operation.progress["warm_needed"],
            "region": self._project.region,
        }
        basis = "Google charges nothing for the setting; the node of a warming pull is priced where it runs"
        return Outcome(made, not operation.progress["needed"], 0.0, basis)

    def clean_up(self, operation: Operation) -> Sequence[str]:
        """Nothing temporary is made: settings that were reached stay, they cost nothing."""
        return []

    def warm_needed(self, reference: str, digest: str | None) -> bool:
        """Say whether one pull is still needed: not only where Google says that its cache holds the image."""
        image = RegistryImage.parse(reference)
        if digest is None:
            return True
        try:
            return prewarmed(self._project, image, digest) is not True
        except CloudError:
            # Not allowed to ask, or not answered: one pull too many is harmless.
            return True

    def _settings(self, request: Mapping[str, Any]) -> list[Change]:
        name, pools = str(request["cluster"]), request.get("pools")
        return [self._pool(name, pool) for pool in pools] if pools else [self._cluster(name)]

    def _cluster(self, name: str) -> Change:
        target = f"{self._project.path}/clusters/{name}"

        def state() -> State:
            return "done" if read_cluster(self._project, name).streaming else "absent"

        def begin() -> Mapping[str, str]:
            update = {"desired_gcfs_config": {"enabled": True}}
            begun = self._project.clients.container.update_cluster(request={"name": target, "update": update}, **WRITE)
            return {"kind": "container", "name": begun.name}

        return Change("cluster", f"enable image streaming on cluster {name}", state, begin, target)

    def _pool(self, cluster: str, pool: str) -> Change:
        target = f"{self._project.path}/clusters/{cluster}/nodePools/{pool}"

        def state() -> State:
            found = read_cluster(self._project, cluster).pools.get(pool)
            if found is None:
                raise CloudError(f"Node pool {pool} of cluster {cluster} is gone: set it up and start again.")
            return "done" if found.streaming else "absent"

        def begin() -> Mapping[str, str]:
            request = {"name": target, "gcfs_config": {"enabled": True}}
            begun = self._project.clients.container.update_node_pool(request=request, **WRITE)
            return {"kind": "container", "name": begun.name}

        words = f"enable image streaming on node pool {pool} of cluster {cluster}"
        return Change(f"pool {pool}", words, state, begin, target)

    def _prewarm(self, request: Mapping[str, Any]) -> Change:
        """Ask Google to fill its cache instead of pulling once; optional, its own quota and price apply.

        Without `prewarm_days` Google forgets the image after three days (PrewarmArtifactRequest.retentionDays).
        """
        image, digest = RegistryImage.parse(str(request["image"])), str(request["digest"])

        def state() -> State:
            found = prewarming(self._project, image, digest)
            if found is not None and found.get("state") == "FAILED":
                why = str(found.get("errorMessage") or "Google gives no reason").rstrip(".")
                raise CloudError(
                    f"Artifact Registry could not prewarm {image.reference} in {self._project.region}: {why}. "
                    "Leave `prewarm` out, so that a pod's pull warms the cache."
                )
            return "absent" if found is None else "done" if found.get("state") == "ACTIVE" else "pending"

        def begin() -> Mapping[str, str]:
            body = {"version": image.version_path(digest), "streamLocation": self._project.region}
            if request.get("prewarm_days"):
                body["retentionDays"] = str(int(request["prewarm_days"]))
            path = f"{image.repository_path}:prewarmArtifact"
            return {"kind": "prewarm", "name": self._project.clients.registry_call("POST", path, body)["name"]}

        return Change("prewarm", f"prewarm image {image.reference} in {self._project.region}", state, begin)

    def _role_problems(self, accounts: Sequence[str], image: RegistryImage) -> list[str]:
        """Return what the project's policy lacks for node accounts of the user's; nothing where it cannot be read.

        Roles given through a group, a folder or a custom role cannot be seen here: `assume: ["node_roles"]` in the
        request skips this check.
        """
        if not accounts or image.project is None:
            return []
        try:
            with google_errors(f"read the IAM policy of project {image.project}"):
                policy = self._project.clients.projects.get_iam_policy(
                    request={"resource": f"projects/{image.project}"}, **READ
                )
        except TransientError:
            raise
        except (CloudError, google.GoogleAPICallError):
            return []
        return [problem for account in accounts for problem in _missing_roles(policy, account, image.project)]


def _missing_roles(policy: Any, account: str, project: str) -> list[str]:
    held = {binding.role for binding in policy.bindings if f"serviceAccount:{account}" in binding.members}
    return [
        f"node service account {account} lacks {wanted} in project {project}"
        for wanted, enough in (
            ("roles/artifactregistry.reader", _PULL_ROLES),
            ("roles/serviceusage.serviceUsageConsumer", _STREAM_ROLES),
        )
        if not held & enough
    ]


def _node_problems(cluster: ClusterView, pools: Sequence[str], *, auto_provisioning: bool) -> list[str]:
    if cluster.autopilot:
        # Autopilot streams by itself since 1.25.5 and has no pools to name (image-streaming page).
        return ["it is an Autopilot cluster, where streaming is always on: nothing to enable"] if pools else []
    problems = []
    if auto_provisioning and cluster.auto_image_type is None:
        problems.append(
            "its node auto-provisioning is off: switch it on (`gcloud container clusters update "
            "--enable-autoprovisioning`, with limits for CPU, memory and the GPU)"
        )
    for name in pools:
        pool = cluster.pools.get(name)
        if pool is None:
            problems.append(f"it has no node pool {name}, only {', '.join(sorted(cluster.pools)) or 'none at all'}")
        elif not pool.image_type.upper().startswith("COS_CONTAINERD"):
            problems.append(f"node pool {name} runs {pool.image_type}, and only COS_CONTAINERD streams")
    if not pools and cluster.auto_image_type and not cluster.auto_image_type.upper().startswith("COS_CONTAINERD"):
        problems.append(f"auto-provisioned pools run {cluster.auto_image_type}, and only COS_CONTAINERD streams")
    return problems
