"""The facts that a cloud receives about a trial."""

from dataclasses import replace

from proof.generated import generate
from trial_builders import a_planned_trial

from airflow_llm_provisioning.core.cloud_facts import trial_facts
from airflow_llm_provisioning.core.trace import TraceView, encode_chunk
from airflow_llm_provisioning.core.trial import Access, Prepared, Trial

PREPARED = Prepared(digest="sha256:a", snapshot_id="snap-1", volume_initialization_rate_mib_s=300)


def trial(prepared: Prepared, **changes: object) -> Trial:
    """Return a trial on cluster `plain` for which this was prepared."""
    planned = a_planned_trial(cluster="plain", image="registry.example/llm:1", **changes)
    assert planned.opened is not None
    return replace(planned, opened=replace(planned.opened, prepared=prepared))


def test_facts_contain_the_preparation_and_the_trace() -> None:
    """They contain the cloud's names, nodes with labels, pulls with figures, and the pods' pull secrets."""
    lines = generate(1).lines
    for line in lines:
        if line["resource"] == "pods":
            line["object"]["spec"]["imagePullSecrets"] = [{"name": "mine"}]
    node = {"metadata": {"name": "node-gpu", "labels": {"pool": "gpu"}}, "spec": {"providerID": "aws:///a/i-1"}}
    facts = trial_facts(trial(PREPARED), [node], [encode_chunk(lines)]).as_dict()
    assert (facts["snapshot_id"], facts["volume_initialization_rate_mib_s"], facts["digest"]) == (
        "snap-1",
        300,
        "sha256:a",
    )
    assert facts["nodes"] == [{"name": "node-gpu", "labels": {"pool": "gpu"}}]
    assert facts["provider_ids"] == ["aws:///a/i-1"]
    assert facts["image_pull_secrets"] == ["mine"]
    assert facts["cluster"] == "plain"
    assert facts["pulled_at"] is not None
    assert all(pull["pull_s"] > 0 and pull["size_bytes"] > 0 for pull in facts["pulls"])
    assert facts["pulls"]


def test_facts_contain_what_nodes_and_pods_report_of_streaming() -> None:
    """GKE's event is on the Node, acr-nodemon's on the pod: the node is the pod's; other pods' events are not told."""
    lines = generate(1).lines
    message = (
        'Streaming enabled for "i", upgraded to streaming artifact with digest "sha256:ab", container started in 5s'
    )

    def event(uid: str, kind: str, name: str, reason: str, text: str) -> dict[str, object]:
        involved = {"kind": kind, "name": name, "uid": name}
        told = {"metadata": {"uid": uid}, "reason": reason, "message": text, "involvedObject": involved}
        return {**lines[-1], "resource": "events", "type": "ADDED", "object": told}

    view = TraceView(lines)
    assert view.worker is not None
    told = [
        event("a", "Node", "node-gpu", "ImageStreaming", "Image i is backed by image streaming."),
        event("b", "Pod", view.worker.uid, "Pulling", message),
        event("c", "Pod", "another", "Pulling", message),
    ]
    facts = trial_facts(trial(PREPARED), [], [encode_chunk([*lines, *told])]).as_dict()
    assert facts["events"] == [
        {"reason": "ImageStreaming", "node": "node-gpu", "message": "Image i is backed by image streaming."},
        {"reason": "Pulling", "node": view.node_name_of(view.worker), "message": message},
    ]
    plain = trial_facts(trial(PREPARED), [], [encode_chunk(lines)]).as_dict()
    assert facts["pulled_at"] == plain["pulled_at"]


def test_a_trace_without_pods_gives_no_facts() -> None:
    """Unknown is not none: without pods it is unknown whether they had secrets."""
    access = Access(cluster={"conn_id": "k8s"}, cloud={"cluster_name": "named"}, results_conn_id="results")
    facts = trial_facts(trial(Prepared(), access=access), [], [encode_chunk(generate(1).lines[:1])]).as_dict()
    assert (facts["pulls"], facts["pulled_at"], facts["image_pull_secrets"]) == ([], None, None)
    assert (facts["cluster"], facts["digest"]) == ("named", None)
