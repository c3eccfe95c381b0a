"""Peers: believed only where every layer came from another peer of the cluster, which had it before the submission."""

import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from proof.catalogue.peer_to_peer import ungated
from proof.recorded_trial import Scenario
from proof.targets import target
from proof.workloads import SERVED_2025
from treatment_recordings import Line, Recording, is_event, told, without_events

from airflow_llm_provisioning.core.dragonfly import PROXY_PORT, ROLE
from airflow_llm_provisioning.core.manifests import pod_template, ray_groups
from airflow_llm_provisioning.core.prepared_objects import EVIDENCE, PreparedObjects
from airflow_llm_provisioning.core.target import NodeProfile, Target
from airflow_llm_provisioning.core.treatments import DeploymentPlan, StepContext, plan_deployment, treatment
from airflow_llm_provisioning.core.workload import Workload
from airflow_llm_provisioning.preparation.objects import with_image_of

sys.path.insert(0, str(Path(__file__).parents[1] / "manifests"))

from sample_manifests import sample

NAME = "peer_to_peer"
PEERS = treatment(NAME)
PLANNED = target("gke", NAME)
DAEMON = "dragonfly-system/dragonfly-client"


@pytest.fixture(scope="module")
def proving() -> Recording:
    return Recording(Scenario(target=PLANNED, declared=SERVED_2025, variant=NAME, noise=False))


def in_logs(change: Any, *, of_peers: bool) -> Any:
    """Change what the logs of the peers, or of the seed peer, tell."""

    def changed(line: Line) -> Line | None:
        if line["resource"] == "agent-log" and line["on_every_node"] is of_peers:
            made = change(line["object"])
            return None if made is None else {**line, "object": made}
        return line

    return changed


def forgotten(line: Line) -> Line:
    if line.get("type") == "HEADER":
        line["object"]["trial"]["opened"]["prepared"]["steps"].clear()
    return line


def changed_since(line: Line) -> Line:
    if line.get("type") == "HEADER":
        steps = line["object"]["trial"]["opened"]["prepared"]["steps"]
        steps["prepare_peer_to_peer"]["problems"] = ["Deployment seed-peer is gone."]
    return line


def at_another_time(log: str) -> str:
    return log.replace("2025-02-01T", "2099-02-01T")


def from_the_registry(log: str) -> str:
    head, _, tail = log.partition(' from parent Some("')
    return f"{head} from source{tail.partition(')')[2].partition(' tcp')[2]}" if tail else log


def without_its_last_layer(log: str) -> str:
    digest = log.rpartition("/v2/rayproject/ray-ml/blobs/sha256:")[2][:64]
    return "".join(line for line in log.splitlines(keepends=True) if digest not in line)


def without_parents(log: str) -> str:
    return "".join(line for line in log.splitlines(keepends=True) if " from parent " not in line)


def of_other_repositories(log: str) -> str:
    return log.replace("/v2/rayproject/", "/v2/library/")


def with_present_images(line: Line) -> Line:
    for key in ("message", "note") if is_event(line, "Pulled") else ():
        if "rayproject" in line["object"].get(key, ""):
            line["object"][key] = 'Container image "rayproject/ray-ml:2.33.0.914af0-py311" already present on machine'
    return line


def test_layers_from_a_seed_peer_that_had_them_prove_it(proving: Recording) -> None:
    """Head and worker. The nodes are new and nothing was on them: the start is cold, and no phase contradicts."""
    found = proving.verdict(NAME)
    assert found.value == "yes"
    assert told(found).count("8 layers came to node") == 2
    assert told(found).count("-seed, which had them before the submission") == 2
    assert (proving.row.start, proving.row.applied, proving.row.flags) == ("cold", "applied", ())


def test_the_wait_for_the_peer_is_no_pull(proving: Recording) -> None:
    """A small image is pulled before: how the serving image arrived, and how long its pull took, is still told."""
    assert min(proving.pulls_s()) > 100
    phases = {name for phase in proving.row.phases for name in phase.name.split("+")}
    assert {"head_image_pull", "worker_image_pull"} & phases


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (forgotten, "No peers were prepared"),
        (changed_since, "Deployment seed-peer is gone."),
        (in_logs(lambda _: None, of_peers=True), "There was no peer on node"),
        (in_logs(at_another_time, of_peers=True), "after the image's pull had begun"),
        (in_logs(of_other_repositories, of_peers=True), "names no layer of the image"),
        (in_logs(from_the_registry, of_peers=True), "1 of 8 layers came to node"),
        (in_logs(without_its_last_layer, of_peers=True), "1 layers of the seed peer did not come"),
        (in_logs(without_its_last_layer, of_peers=False), "1 of 8 layers were on no seed peer before the submission"),
        (in_logs(at_another_time, of_peers=False), "8 of 8 layers were on no seed peer before the submission"),
        (in_logs(lambda _: None, of_peers=False), "8 of 8 layers were on no seed peer before the submission"),
        (with_present_images, "was not pulled layer by layer"),
    ],
)
def test_any_other_way_of_a_layer_refutes_it(proving: Recording, change: Any, words: str) -> None:
    """The registry, beside the peer, before the peer was there, from a seed peer that fetched it meanwhile."""
    found = proving.verdict(NAME, change)
    assert found.value == "no"
    assert words in told(found)


@pytest.mark.parametrize(
    "silence",
    [
        lambda line: None if line["resource"] == "agent-log" else line,
        in_logs(lambda _: "", of_peers=True),
        in_logs(without_parents, of_peers=True),
        without_events("Pulled", "Pulling"),
    ],
    ids=["no logs", "empty logs", "no parents", "kubelet"],
)
def test_a_recording_that_does_not_tell_is_unknown(proving: Recording, silence: Any) -> None:
    """Logs that were not read or hold nothing, layers without an origin, a kubelet that says nothing of the image."""
    assert proving.verdict(NAME, silence).value == "unknown"


def test_a_trial_without_it_says_that_it_had_it(proving: Recording) -> None:
    """A baseline on nodes with peers gets its layers from them."""
    assert "served 8 layers" in str(PEERS.undeclared(proving.view()))
    assert PEERS.undeclared(proving.view(in_logs(of_other_repositories, of_peers=True))) is None


def test_a_users_own_manifest_waits_in_every_pod_and_fills_the_seed_peer_with_its_image() -> None:
    """KubeRay's LLM sample: one wait before every other init container, peers on the nodes of its groups, a Job that
    pulls the built image where the head may run. The wait is added once.
    """
    mine = Workload("mine", sample("kuberay-llm-serve"))
    planned = plan_deployment(mine, [PEERS], target=PLANNED).manifest
    for group in ray_groups(planned):
        first, *_ = pod_template(planned, group)["spec"]["initContainers"]
        assert (first["name"], str(PROXY_PORT) in first["command"][2]) == ("wait-for-peer", True)
    again = PEERS.change(DeploymentPlan.of(replace(mine, manifest=planned)), mine).manifest
    assert again == planned
    (step,) = PEERS.steps
    context = StepContext(PLANNED, mine.recipe, {"image": "ours:r-1"}, manifest=lambda: planned)
    arguments = dict(step.arguments(context))
    wanted = PreparedObjects.from_dict(
        {**arguments, "objects": with_image_of(arguments["objects"], arguments["image"])}
    )
    placed = wanted.placed("t", "default", datetime(2026, 1, 1, tzinfo=UTC))
    kinds = [item["kind"] for item in placed]
    assert kinds == ["ConfigMap", "Service", "Deployment", "Deployment", "DaemonSet", "Job"]
    config, service, scheduler, seed, peers, job = placed
    assert "{" not in service["spec"]["selector"]["app"]
    assert service["spec"]["selector"].items() <= scheduler["spec"]["template"]["metadata"]["labels"].items()
    assert f"{service['metadata']['name']}:8002" in config["data"]["dynconfig.yaml"]
    for item in (seed, peers):
        assert item["spec"]["template"]["metadata"]["annotations"][EVIDENCE].split("|")
    assert peers["spec"]["template"]["metadata"]["labels"][ROLE] == "peer"
    assert not any(c.get("securityContext") for c in peers["spec"]["template"]["spec"]["initContainers"])
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert (container["image"], container["imagePullPolicy"]) == ("ours:r-1", "Always")
    (wait,) = job["spec"]["template"]["spec"]["initContainers"]
    assert (wait["name"], "exit 1" in wait["command"][2]) == ("wait-for-peer", True)
    assert "exit 0" in pod_template(planned, ray_groups(planned)[0])["spec"]["initContainers"][0]["command"][2]


def test_nodes_whose_runtime_cannot_be_led_to_a_peer_are_refused() -> None:
    """Bottlerocket, Auto Mode, and every treatment that brings the image another way."""
    nodes = NodeProfile("t", "eks", "karpenter", "1.34", options={"role": "r"})
    assert any("al2023@latest" in why for why in PEERS.requires(nodes, SERVED_2025))
    assert PEERS.requires(nodes.with_options(ami_alias="al2023@latest"), SERVED_2025) == ()
    auto = nodes.with_options(ami_alias="al2023@latest", auto_mode=True)
    assert any("Auto Mode" in why for why in PEERS.requires(auto, SERVED_2025))
    for feature in ("image_snapshot", "image_streaming", "soci_parallel_pull", "capacity_buffer", "preloaded_disk"):
        plain = NodeProfile("t", "gke", "luna", "1.34").with_feature(feature)
        assert any("exclude each other" in why for why in PEERS.requires(plain, SERVED_2025))


def test_another_container_of_that_name_is_refused() -> None:
    """The user's init container would be taken for the wait."""
    manifest = SERVED_2025.manifest
    mine = plan_deployment(replace(SERVED_2025, manifest=manifest), [PEERS], target=PLANNED).manifest
    ungated(mine)
    for group in ray_groups(mine):
        pod_template(mine, group)["spec"]["initContainers"] = [{"name": "wait-for-peer", "image": "mine"}]
    (why,) = PEERS.requires(PLANNED.nodes, replace(SERVED_2025, manifest=mine))
    assert "has another of this name" in why


@pytest.mark.parametrize(
    ("said", "words"),
    [({}, "scheduler_tag"), ({"scheduler_tag": "a b"}, "is no image tag"), ({"scheduler_tag": "v2.5.0"}, "")],
)
def test_a_target_names_dragonflys_version(said: dict[str, Any], words: str) -> None:
    """No version without a manager can be taken for granted."""
    nodes = NodeProfile("t", "gke", "luna", "1.34")
    where = Target("t", "c", "k", nodes, (NAME,), options={"treatments": {NAME: said}})
    found = getattr(PEERS, "requires_of")(where, SERVED_2025)  # noqa: B009 - not in the contract
    assert [words in why for why in found] == [True] * bool(words)


def test_peers_that_are_there_already_are_told() -> None:
    """With the treatment their port is taken; without it a pull may go through them. Our own do not count."""
    container = {"image": "dragonflyoss/client:v1.4.0"}
    theirs = {
        "metadata": {"namespace": "dragonfly-system", "name": "dragonfly-client"},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }
    ours = {**theirs, "metadata": {"name": "llm", "labels": {"llm-provisioning/prepares": NAME}}}
    for declared, words in ((True, "have the port 4001"), (False, "Pulls may go through")):
        (why,) = PEERS.on_cluster({"daemonsets": [theirs, ours]}, declared=declared)
        assert words in why
        assert DAEMON in why
        assert PEERS.on_cluster({"daemonsets": [ours]}, declared=declared) == ()
        assert PEERS.on_cluster({"daemonsets": None}, declared=declared) == ()
