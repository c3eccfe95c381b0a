"""How images came onto nodes that were prepared before a trial."""

import re
from typing import Any

import pytest
from proof.recorded_trial import Scenario
from proof.targets import target
from proof.variants import VARIANTS
from proof.workloads import SERVED_CURRENT
from treatment_recordings import Line, Recording, told

from airflow_llm_provisioning.core.prepared_pulls import pulls_on, with_earlier_pulls
from airflow_llm_provisioning.core.treatments import resolved

BUFFERED = {"eks": "buffered_parallel", "aks": "buffered_streamed"}


@pytest.fixture(scope="module", params=["eks", "aks"])
def kept(request: pytest.FixtureRequest) -> tuple[str, Recording]:
    """A trial on nodes of a buffer, with a delivery of the image that the placeholders got."""
    cloud = str(request.param)
    variant = BUFFERED[cloud]
    (delivery,) = {item.name for item in resolved(VARIANTS[variant], cloud)} & {
        "soci_parallel_pull",
        "aks_artifact_streaming",
    }
    where = target(cloud, variant, {"eks": "karpenter", "aks": "native"}[cloud])
    return delivery, Recording(Scenario(target=where, declared=SERVED_CURRENT, variant=variant, noise=False))


def without_pulls(line: Line) -> Line:
    """As after the hour for which a cluster keeps events."""
    if line.get("type") == "HEADER":
        for step in line["object"]["trial"]["opened"]["prepared"]["steps"].values():
            for node in step["nodes"]:
                node["pulls"] = []
    return line


def with_slow_pulls(line: Line) -> Line:
    if line.get("type") == "HEADER":
        for step in line["object"]["trial"]["opened"]["prepared"]["steps"].values():
            for pull in (pull for node in step["nodes"] for pull in node["pulls"]):
                pull["events"] = [item for item in pull["events"] if "Streaming enabled" not in item["message"]]
                for item in pull["events"]:
                    item["message"] = re.sub(r" in \S+ \(\S+ incl", " in 5m0s (5m0s incl", item["message"])
    return line


def test_a_kept_node_has_its_image_as_the_placeholder_got_it(kept: tuple[str, Recording]) -> None:
    """The trial's own pods find the image; the placeholder's pull proves the delivery."""
    name, found = kept
    assert (found.row.start, found.row.applied, found.row.exclusion) == ("cold", "applied", None)
    assert "already present on machine" in told(found.verdict("capacity_buffer"))
    assert "llm-capacity-buffer-" in told(found.verdict(name))


def test_without_the_placeholders_events_it_is_not_known(kept: tuple[str, Recording]) -> None:
    """Neither applied nor not applied: nothing tells it any more."""
    name, found = kept
    assert found.verdict(name, without_pulls).value == "unknown"


def test_an_ordinary_pull_of_the_placeholder_refutes_the_delivery(kept: tuple[str, Recording]) -> None:
    """39 MB/s, and no word of streaming."""
    name, found = kept
    assert found.verdict(name, with_slow_pulls).value == "no"


def event(reason: str, uid: str = "u", kind: str = "Pod", name: str = "p", **more: Any) -> dict[str, Any]:
    return {"reason": reason, "message": reason, "involvedObject": {"kind": kind, "name": name, "uid": uid}, **more}


def test_of_the_clusters_events_those_of_the_pods_pulls_and_of_the_nodes_streaming_are_kept() -> None:
    """A pod without a pull tells nothing, and is left out."""
    pods = [
        {"metadata": {"name": "p", "uid": "u"}, "spec": {"nodeName": "n", "containers": [{"image": "i"}]}},
        {"metadata": {"name": "q", "uid": "v"}, "spec": {"nodeName": "n"}},
        {"metadata": {"name": "r", "uid": "w"}, "spec": {"nodeName": "other"}},
    ]
    events = [event("Pulled"), event("Started"), event("Pulled", uid="x"), event("ImageStreaming", "n", "Node", "n")]
    (found,) = pulls_on("n", pods, events)
    assert (found["pod"], found["images"]) == ("p", ["i"])
    assert [item["reason"] for item in found["events"]] == ["Pulled", "ImageStreaming"]


def test_what_was_kept_of_a_node_outlives_the_clusters_events() -> None:
    """By the node's uid; what the cluster still has counts before it."""
    now = [{"uid": "a", "pulls": []}, {"uid": "b", "pulls": ["new"]}, {"uid": "c", "pulls": []}]
    earlier = [{"uid": "a", "pulls": ["old"]}, {"uid": "b", "pulls": ["old"]}]
    assert [node["pulls"] for node in with_earlier_pulls(now, earlier)] == [["old"], ["new"], []]
