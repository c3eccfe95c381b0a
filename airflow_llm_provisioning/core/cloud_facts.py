"""What a cloud is told of a trial, so that it can answer for its treatments (`gateways.clouds.base.Cloud.verify`)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from airflow_llm_provisioning.core.fields import dig, items, mapping, text
from airflow_llm_provisioning.core.image_arrival import image_arrival, kubelet_pulls, streamed_image
from airflow_llm_provisioning.core.prepared_pulls import prepared_events, pulled_before
from airflow_llm_provisioning.core.trace import TraceView, decode_trace
from airflow_llm_provisioning.core.trace.objects import History
from airflow_llm_provisioning.core.trial import Prepared, Trial
from airflow_llm_provisioning.core.weight_sources import account_of, bucket_of


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialFacts:
    """The facts of one trial: what was prepared for it, the nodes it ran on, what its trace says of the pulls.

    `image`: the reference that its pods name. `cluster`: in the cloud's words. `nodes`: [{name, labels}].
    `image_pull_secrets`: names that its pods brought, None where no pod was seen. `pulls`: [{node, size_bytes,
    pull_s}]. `pulled_at`: when the first pull began. `events`: [{reason, node, message}] about streaming: those of the
    nodes (GKE) and of the pods on them (AKS). On prepared nodes, what the prepared pods pulled counts too.
    `weights_source`: the bucket that the engine reads, None for none; `weights_account`: its storage account on Azure.
    """

    image: str
    digest: str | None
    snapshot_id: str | None
    volume_initialization_rate_mib_s: int | None
    cluster: str
    nodes: tuple[Mapping[str, Any], ...]
    provider_ids: tuple[str, ...]
    image_pull_secrets: tuple[str, ...] | None
    pulls: tuple[Mapping[str, Any], ...]
    pulled_at: datetime | None
    events: tuple[Mapping[str, Any], ...]
    weights_source: str | None = None
    weights_account: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        data = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return data | {"pulled_at": self.pulled_at.isoformat() if self.pulled_at else None}


def trial_facts(trial: Trial, nodes: Sequence[Mapping[str, Any]], chunks: Sequence[bytes]) -> TrialFacts:
    """Return the facts of an opened trial. `nodes`: the Node objects its pods are on; `chunks`: its trace so far."""
    view = TraceView(decode_trace(chunks).lines)
    pods = list(view.serving_pods)
    arrivals = [(view.node_name_of(pod), image_arrival(view, pod)) for pod in pods]
    arrivals += [(node, how) for (node, _), how in pulled_before(view).items()]
    before = prepared_events(view)
    pulled = [event.received_at for pod in pods for event in kubelet_pulls(view, pod)]
    pulled += [event.received_at for _, _, event in before if event.involved_kind == "Pod"]
    secrets = {text(mapping(entry).get("name")) for pod in pods for entry in items(dig(pod.last, "spec", _SECRETS))}
    prepared = trial.opened.prepared if trial.opened else Prepared()
    cloud = (trial.access.cloud if trial.access else None) or {}
    return TrialFacts(
        image=_image_that_ran(trial, pods),
        digest=prepared.digest,
        snapshot_id=prepared.snapshot_id,
        volume_initialization_rate_mib_s=prepared.volume_initialization_rate_mib_s,
        cluster=cloud.get("cluster_name") or trial.slot.cluster,
        nodes=tuple(
            {"name": node["metadata"]["name"], "labels": node["metadata"].get("labels") or {}} for node in nodes
        ),
        provider_ids=tuple(node["spec"]["providerID"] for node in nodes if node["spec"].get("providerID")),
        image_pull_secrets=tuple(sorted(secrets)) if pods else None,
        pulls=tuple(
            {"node": node, "size_bytes": how.size_bytes, "pull_s": how.pull_s}
            for node, how in arrivals
            if how.pull_s is not None
        ),
        pulled_at=min(pulled) if pulled else None,
        weights_source=bucket_of(view),
        weights_account=account_of(view),
        events=(
            *(
                {"reason": event.reason, "node": event.involved_name, "message": event.message}
                for event in view.events
                if event.involved_kind == "Node" and event.reason == "ImageStreaming"
            ),
            *(
                {"reason": event.reason, "node": view.node_name_of(pod), "message": event.message}
                for pod in pods
                for event in view.events_of(pod)
                if streamed_image(event.message)
            ),
            *(
                {"reason": event.reason, "node": node, "message": event.message}
                for node, _, event in before
                if event.reason == "ImageStreaming" or streamed_image(event.message)
            ),
        ),
    )


def _image_that_ran(trial: Trial, pods: Sequence[History]) -> str:
    """Return the image that the pods name; if one names another than was planned, that one."""
    planned = trial.served.image
    named = [
        text(mapping(spec).get("image")) for pod in pods for spec in items(dig(pod.last, "spec", "containers"))[:1]
    ]
    return next((image for image in named if image and image not in trial.served.images), planned)


_SECRETS = "imagePullSecrets"
