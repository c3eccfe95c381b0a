"""What a target needs before its trials: an image, a snapshot or streaming, warm caches, nodes. Rare and idempotent.

Each step keeps its seconds and its price beside the results, and can be used alone in anybody's DAG.
"""

import asyncio
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar

from airflow.sdk import Context

from airflow_llm_provisioning.core.operation import KEEP_DAYS
from airflow_llm_provisioning.operators.waiting import WaitingOperator
from airflow_llm_provisioning.triggers.base import raise_error
from airflow_llm_provisioning.triggers.cloud_operation import CloudOperationWait
from airflow_llm_provisioning.triggers.pod_run import PodRunWait

DEFAULT_STORE = "llm_provisioning_results"


class CloudStep(WaitingOperator):
    """One long operation of a cloud: start it, wait for it, keep what it cost.

    :param cloud: {cloud, conn_id, ...} as `connections.opened_cloud` takes it; `cloud` is the name by which it is
        registered (`eks`, `gke`, `aks`, or another package's); `cluster` in it names the cluster whose clock counts and
        that says whether all this is simulated.
    :param target: the target this prepares, for the results store; "" for none.
    :param results_conn_id: connection of the results store, which also holds the ledger.
    :param timeout_s: at most this long in real time; the gateway's own limits are shorter.
    """

    verb: ClassVar[str]
    template_fields: Sequence[str] = ("cloud", "target")
    template_fields_renderers = {"cloud": "json"}  # noqa: RUF012 - Airflow's name
    ui_color = "#f6efd9"

    def __init__(
        self,
        *,
        cloud: Mapping[str, Any],
        target: str = "",
        results_conn_id: str = DEFAULT_STORE,
        timeout_s: float = 3 * 3600,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.cloud = cloud
        self.target = target
        self.results_conn_id = results_conn_id
        self.timeout_s = timeout_s

    @abstractmethod
    def request(self) -> dict[str, Any]:
        """Return the operation's request, JSON."""

    def looked_up(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the facts of the cluster that this cloud's verb needs and that the request does not hold yet."""
        from airflow_llm_provisioning.gateways.clouds.registry import cloud_named
        from airflow_llm_provisioning.preparation.operations import cluster_fact

        cluster = self.cloud.get("cluster")
        if not cluster:
            return {}
        needed = cloud_named(str(self.cloud.get("cloud"))).cluster_facts(self.verb)
        return {fact: cluster_fact(fact, cluster) for fact in needed if fact not in request}

    def execute(self, context: Context) -> Any:
        """Start the operation and wait for it."""
        from airflow_llm_provisioning.preparation.operations import start_operation

        request = self.request()
        request |= self.looked_up(request) | {"target": self.target or None}
        operation = start_operation(self.cloud, self.verb, request, self.results_conn_id)
        wait = CloudOperationWait(
            cloud=dict(self.cloud), operations=[operation.as_dict()], results_conn_id=self.results_conn_id
        )
        return self.wait_for(context, wait, at_most=timedelta(seconds=self.timeout_s))

    def resume(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Keep the preparation's row and return the operation's result."""
        from airflow_llm_provisioning.preparation.operations import keep_operation

        raise_error(event)
        return keep_operation(self.cloud, self.target, event, context["ti"].run_id, self.results_conn_id)


class BuildServingImage(CloudStep):
    """Build the serving image in the cloud, or find the one that the same recipe built before.

    Returns {image, digest, size_bytes, reused, seconds, price_usd, price_basis, log_url, phases}; `image` is a
    reference by tag.

    :param recipe: {base, base_digest, pip, env}; the tag follows from its content.
    :param repository: name of the repository in the cloud's registry.
    :param keep_days: how long the image may be kept before clean-up takes it.
    """

    verb = "build_image"
    template_fields: Sequence[str] = (*CloudStep.template_fields, "recipe", "repository")
    template_fields_renderers = CloudStep.template_fields_renderers | {"recipe": "json"}

    def __init__(
        self, *, recipe: Mapping[str, Any], repository: str = "ray-serving", keep_days: int = KEEP_DAYS, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.recipe = recipe
        self.repository = repository
        self.keep_days = keep_days

    def request(self) -> dict[str, Any]:
        """Return {recipe, repository, keep_days}."""
        from airflow_llm_provisioning.core.workload import ImageRecipe

        recipe = ImageRecipe.from_dict(self.recipe).as_dict()
        return {"recipe": recipe, "repository": self.repository, "keep_days": self.keep_days}


class SnapshotImage(CloudStep):
    """EKS: put an image onto a Bottlerocket data volume and snapshot it, or find the snapshot that holds it.

    Returns {snapshot_id, volume_gib, volume_initialization_rate_mib_s, reused, seconds, price_usd, price_basis,
    phases}.

    :param image: {image, digest, size_bytes} as `BuildServingImage` returns it.
    :param kubernetes_minor: of the cluster whose nodes will use it, e.g. "1.34".
    :param options: {volume_gib, volume_initialization_rate_mib_s, subnet_id, instance_type, cluster, parameter, ...}.
    """

    verb = "snapshot_image"
    template_fields: Sequence[str] = (*CloudStep.template_fields, "image", "kubernetes_minor", "options")
    template_fields_renderers = CloudStep.template_fields_renderers | {"image": "json"}

    def __init__(
        self,
        *,
        image: Mapping[str, Any],
        kubernetes_minor: str,
        options: Mapping[str, Any] | None = None,
        keep_days: int = KEEP_DAYS,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.image = image
        self.kubernetes_minor = kubernetes_minor
        self.options = options or {}
        self.keep_days = keep_days

    def request(self) -> dict[str, Any]:
        """Return {image, digest, size_bytes, kubernetes_minor, keep_days, ...options}."""
        image = {key: self.image.get(key) for key in ("image", "digest", "size_bytes")}
        return {**self.options, **image, "kubernetes_minor": self.kubernetes_minor, "keep_days": self.keep_days}


class EnableStreaming(CloudStep):
    """GKE: switch Image Streaming on for a cluster or its pools. AKS: convert the image for Artifact Streaming and
    wait for it.

    Returns {enabled, reused, seconds, price_usd, price_basis, phases}.

    :param image: {image, digest} as `BuildServingImage` returns it.
    :param cluster_name: the cluster in the cloud's words.
    :param pools: GKE: these node pools instead of the whole cluster. AKS: pools without nodes to switch on, one by one.
    :param options: GKE: {node_service_account, auto_provisioning, assume: ["node_roles"], prewarm, prewarm_days}: what
        nodes that are made later will be, checked now; not to check roles; the registry's own prewarming.
        AKS: {register_feature, image_pull_secrets, tolerations, assume: ["registry_attached"], keep_days}: register the
        preview feature (old regions; off by default); secrets the pods would bring (default: those of the namespace's
        service account); what the pods tolerate beyond `nvidia.com/gpu`; not to check who may pull.
    """

    verb = "enable_streaming"
    template_fields: Sequence[str] = (*CloudStep.template_fields, "image", "cluster_name", "pools", "options")
    template_fields_renderers = CloudStep.template_fields_renderers | {"image": "json", "options": "json"}

    def __init__(
        self,
        *,
        image: Mapping[str, Any],
        cluster_name: str,
        pools: Sequence[str] | None = None,
        options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.image = image
        self.cluster_name = cluster_name
        self.pools = pools
        self.options = options or {}

    def request(self) -> dict[str, Any]:
        """Return {image, digest, cluster, pools, ...options}."""
        return {
            **self.options,
            "image": self.image["image"],
            "digest": self.image.get("digest"),
            "cluster": self.cluster_name,
            "pools": list(self.pools) if self.pools else None,
        }


class SetUpNodes(WaitingOperator):
    """Tell a target's node autoscaler how its nodes are made: once, before the trials, never between them.

    Returns {applied: [kind/name, ..], restarted: [namespace/name, ..], written: [path, ..], seconds, ...} or, for pools
    of the cloud, {pools: [..], reused, seconds, price_usd, price_basis}.

    :param target: the target, as a dict.
    :param prepared: results of the earlier steps; the snapshot, its size and its initialization rate go into the node
        profile.
    :param files_dir: write what would be applied into this folder, `<folder>/<target>/`, and apply nothing.
    """

    template_fields: Sequence[str] = ("target", "prepared", "files_dir")
    template_fields_renderers = {"target": "json", "prepared": "json"}  # noqa: RUF012 - Airflow's name
    ui_color = "#f6efd9"

    def __init__(
        self,
        *,
        target: Mapping[str, Any],
        prepared: Mapping[str, Any] | None = None,
        files_dir: str | None = None,
        results_conn_id: str = DEFAULT_STORE,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.target = target
        self.prepared = prepared or {}
        self.files_dir = files_dir
        self.results_conn_id = results_conn_id

    def execute(self, context: Context) -> Any:
        """Apply what the autoscaler reads; where pools are the cloud's objects, start those and wait."""
        from airflow_llm_provisioning.preparation.nodes import set_up_nodes
        from airflow_llm_provisioning.preparation.operations import start_operation

        done = asyncio.run(set_up_nodes(self.target, self.prepared, self.files_dir))
        if not done.pools:
            return self._kept(context, done.result, done.ended_at)
        operations = [
            start_operation(done.cloud, "set_up_node_pool", request, self.results_conn_id) for request in done.pools
        ]
        wait = CloudOperationWait(
            cloud=done.cloud,
            operations=[operation.as_dict() for operation in operations],
            results_conn_id=self.results_conn_id,
        )
        return self.wait_for(context, wait, at_most=timedelta(hours=1))

    def resume(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Keep and return what the cloud set up."""
        from airflow_llm_provisioning.preparation.nodes import pools_result

        raise_error(event)
        return self._kept(context, pools_result(event), event["ended_at"])

    def _kept(self, context: Context, result: dict[str, Any], ended_at: str) -> dict[str, Any]:
        from airflow_llm_provisioning.preparation.nodes import keep_nodes

        run_id = context["ti"].run_id
        return keep_nodes(self.target, self.prepared, result, ended_at, run_id, self.results_conn_id)


class WarmImageCache(WaitingOperator):
    """GKE: pull an image once on a streaming node, by a short pod, so that the region's caches hold it.

    Waits until the pod has run, and then until its node is gone, so that no trial finds it. Returns {pod, node,
    instance_type, pulled_s, seconds, node_s, price_usd, price_basis}; the price is the node's until it was gone.

    :param target: the target, as a dict. :param image: {image, digest} as `BuildServingImage` returns it.
    """

    template_fields: Sequence[str] = ("target", "image")
    template_fields_renderers = {"target": "json", "image": "json"}  # noqa: RUF012 - Airflow's name
    ui_color = "#f6efd9"

    def __init__(
        self,
        *,
        target: Mapping[str, Any],
        image: Mapping[str, Any],
        timeout_s: float = 3600,
        results_conn_id: str = DEFAULT_STORE,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.target = target
        self.image = image
        self.timeout_s = timeout_s
        self.results_conn_id = results_conn_id

    def execute(self, context: Context) -> Any:
        """Create the pod (or find it) and wait."""
        from airflow_llm_provisioning.preparation.warm import begin_warming

        arguments = asyncio.run(begin_warming(self.target, self.image, self.timeout_s, self.results_conn_id))
        return self.wait_for(context, PodRunWait(**arguments), at_most=timedelta(seconds=self.timeout_s + 300))

    def resume(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Close the ledger's entry once the pod is gone, and keep what the warming took."""
        from airflow_llm_provisioning.preparation.operations import close_entry
        from airflow_llm_provisioning.preparation.warm import finish_warming

        if event.get("pod_gone"):
            close_entry(event["ledger_entry"], self.results_conn_id)
        raise_error(event)
        return finish_warming(self.target, self.image, event, context["ti"].run_id, self.results_conn_id)
