"""The stand-in's objects have the shapes of the recordings of Kubernetes 1.34 and KubeRay 1.7."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.kube.events import core_event, events_view
from llm_provisioning_simulator.kube.statuses import StatusError
from llm_provisioning_simulator.kube.store import ObjectStore

SCENARIOS = ("static", "dynamic", "failed", "node-late")


def recorded(folder: Path, scenario: str, *resources: str) -> Iterator[dict[str, Any]]:
    with gzip.open(folder / f"{scenario}.jsonl.gz", "rt") as file:
        for text in file:
            line = json.loads(text)
            if line["resource"] in resources:
                yield line


@pytest.fixture
def store() -> ObjectStore:
    store = ObjectStore(SimClock.start(1.0), seed=1)
    store.create("namespaces", {"metadata": {"name": "serving"}}, manager="test")
    return store


def fields(item: dict[str, Any]) -> set[str]:
    return set(item) - {"metadata"}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_both_views_of_every_recorded_event_agree(recordings_folder: Path, scenario: str) -> None:
    """Each core event becomes exactly the recorded events.k8s.io one of the same version, and back."""
    lines = list(recorded(recordings_folder, scenario, "events", "events.events.k8s.io"))
    core = {_version(line): line["object"] for line in lines if line["resource"] == "events"}
    views = {_version(line): line["object"] for line in lines if line["resource"] == "events.events.k8s.io"}
    both = core.keys() & views.keys()
    assert len(both) > 20
    for key in both:
        assert events_view(core[key]) == views[key]
        assert core_event(views[key]) == core[key]


def _version(line: dict[str, Any]) -> tuple[str, str]:
    metadata = line["object"]["metadata"]
    return metadata["uid"], metadata["resourceVersion"]


@pytest.mark.parametrize("style", ["controller", "kubelet"])
def test_recorded_events_have_our_shape(recordings_folder: Path, store: ObjectStore, style: str) -> None:
    """The same fields, null where null, absent where absent, for the first writing and for repeats."""
    wanted = "Scheduled" if style == "controller" else "Pulled"
    real = next(
        line["object"]
        for line in recorded(recordings_folder, "static", "events")
        if line["object"]["reason"] == wanted and not line["object"].get("series")
    )
    ours = store.record_event(
        {**real["involvedObject"]},
        wanted,
        real["message"],
        component=real["reportingComponent"],
        style="controller" if style == "controller" else "kubelet",
        field_path=real["involvedObject"].get("fieldPath"),
        host=real["source"].get("host"),
        action=real.get("action", ""),
    )
    assert fields(ours) == fields(real)
    nulls = {key for key in fields(real) if real[key] is None}
    assert {key for key in fields(ours) if ours[key] is None} == nulls
    assert ours["involvedObject"] == real["involvedObject"]
    assert ours["source"] == real["source"]
    for key in ("eventTime", "firstTimestamp", "lastTimestamp"):
        assert real[key] is None or len(ours[key]) == len(real[key])
    assert ours["metadata"]["name"].startswith(f"{real['involvedObject']['name']}.")


def test_a_repeat_by_a_controller_is_a_series(store: ObjectStore) -> None:
    """KubeRay's second CreatedService is the first event again, with its first message, not with the second's."""
    service = {"kind": "RayService", "name": "llm", "namespace": "serving", "uid": "u", "apiVersion": "ray.io/v1"}
    involved = service | {"resourceVersion": "424"}

    def record(about: dict[str, Any], message: str) -> dict[str, Any]:
        return store.record_event(
            about, "CreatedService", message, component="rayservice-controller", style="controller", action="Create"
        )

    first = record(involved, "Created the service serving/llm-head-svc")
    second = record(involved, "Created the service serving/llm-serve-svc")
    assert second["metadata"]["name"] == first["metadata"]["name"]
    assert second["message"] == first["message"]
    assert second["series"]["count"] == 2
    assert second["metadata"]["resourceVersion"] != first["metadata"]["resourceVersion"]
    later = record(involved | {"resourceVersion": "425"}, "Created the service serving/llm-serve-svc")
    assert later["metadata"]["name"] != first["metadata"]["name"]


def test_a_repeat_by_a_kubelet_counts(store: ObjectStore) -> None:
    """The same words raise count and lastTimestamp and keep firstTimestamp; other words are another event."""
    pod = {"kind": "Pod", "name": "p", "namespace": "serving", "uid": "u", "apiVersion": "v1", "resourceVersion": "1"}

    def record(message: str, version: str) -> dict[str, Any]:
        about = pod | {"resourceVersion": version}
        return store.record_event(about, "BackOff", message, component="kubelet", style="kubelet", host="n")

    first, second, other = record("x", "1"), record("x", "2"), record("y", "2")
    assert (second["count"], second["firstTimestamp"]) == (2, first["firstTimestamp"])
    assert "series" not in second
    assert other["metadata"]["name"] != first["metadata"]["name"]


def test_events_are_forgotten_after_an_hour() -> None:
    """The API server's --event-ttl: at a virtual hour's age an event is gone."""
    clock = SimClock.start(1.0)
    store = ObjectStore(clock)
    about = {"kind": "Node", "name": "n", "uid": "n"}
    old = store.record_event(about, "Starting", "x", component="kubelet", style="kubelet", host="n")
    store.clock = SimClock(1.0, clock.wall_epoch - 3601, clock.virtual_epoch)
    store.record_event(about, "NodeReady", "x", component="kubelet", style="kubelet", host="n")
    assert [item["reason"] for item in store.list("events")] == ["NodeReady"]
    assert old["metadata"]["namespace"] == "default"


def test_a_recorded_pod_is_defaulted_alike(recordings_folder: Path, store: ObjectStore) -> None:
    """Given what the operator writes, the stored pod has the fields and defaults of the recorded one."""
    for line in recorded(recordings_folder, "static", "pods"):
        real = line["object"]
        if line["type"] != "ADDED":
            continue
        ours = store.create("pods", _as_written(real), manager="kuberay-operator")
        assert fields(ours) == fields(real)
        assert ours["status"] == real["status"]
        assert ours["spec"].keys() == real["spec"].keys()
        assert ours["spec"]["tolerations"] == real["spec"]["tolerations"]
        for mine, theirs in zip(ours["spec"]["containers"], real["spec"]["containers"], strict=True):
            assert mine.keys() == theirs.keys()
        assert set(ours["metadata"]) - {"managedFields"} == set(real["metadata"])


def _as_written(pod: dict[str, Any]) -> dict[str, Any]:
    """Return a recorded pod without what the API server added to it."""
    spec = json.loads(json.dumps(pod["spec"]))
    kept = {key: spec[key] for key in ("volumes", "initContainers", "containers", "nodeSelector") if key in spec}
    kept["volumes"] = [item for item in kept["volumes"] if not item["name"].startswith("kube-api-access")]
    kept["terminationGracePeriodSeconds"] = spec["terminationGracePeriodSeconds"]
    if any(item["key"].startswith("nvidia") for item in spec["tolerations"]):
        kept["tolerations"] = spec["tolerations"][:1]
    for container in [*kept.get("initContainers", ()), *kept["containers"]]:
        for name in ("terminationMessagePath", "terminationMessagePolicy"):
            container.pop(name, None)
        mounts = container["volumeMounts"]
        container["volumeMounts"] = [item for item in mounts if not item["name"].startswith("kube-api-access")]
    metadata = {
        key: pod["metadata"][key]
        for key in ("generateName", "namespace", "labels", "annotations")
        if key in pod["metadata"]
    }
    owners = [owner | {"uid": "made-up"} for owner in pod["metadata"]["ownerReferences"]]
    return {"metadata": metadata | {"ownerReferences": owners}, "spec": kept}


def test_recorded_services_are_defaulted_alike(recordings_folder: Path, store: ObjectStore) -> None:
    """Headless and ClusterIP services get the recorded fields."""
    for line in recorded(recordings_folder, "static", "services"):
        if line["type"] != "ADDED":
            continue
        real = line["object"]
        written = {
            key: real["spec"][key]
            for key in ("ports", "selector", "type", "publishNotReadyAddresses")
            if key in real["spec"]
        }
        if real["spec"]["clusterIP"] == "None":
            written["clusterIP"] = "None"
        item = {"metadata": {"name": real["metadata"]["name"]}, "spec": written}
        ours = store.create("services", item, namespace="serving", manager="kuberay-operator")
        assert ours["spec"].keys() == real["spec"].keys()
        assert ours["status"] == real["status"]
        same = set(real["spec"]) - {"clusterIP", "clusterIPs"}
        assert {key: ours["spec"][key] for key in same} == {key: real["spec"][key] for key in same}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_recorded_ray_objects_are_accepted(recordings_folder: Path, store: ObjectStore, scenario: str) -> None:
    """Every recorded version of a RayService and RayCluster passes our few rules."""
    for line in recorded(recordings_folder, scenario, "rayservices", "rayclusters"):
        if line["type"] not in ("ADDED", "MODIFIED"):
            continue
        item = line["object"]
        metadata = {"name": f"{item['metadata']['name']}-{item['metadata']['resourceVersion']}"}
        ours = store.create(line["resource"], item | {"metadata": metadata}, namespace="serving", manager="test")
        assert ours["spec"] == item["spec"]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_real_definition_refuses_what_ours_refuses(
    shared_folder: Path, recordings_folder: Path, scenario: str
) -> None:
    """With KubeRay's own CRD installed the same objects pass and the same broken ones fail; jsonschema agrees."""
    store = ObjectStore(SimClock.start(1.0))
    document = yaml.load(
        (shared_folder / "crds" / "ray.io_rayservices.yaml").read_text(),
        Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader),  # noqa: S506 - both are safe, the C one is fast
    )
    store.delete("customresourcedefinitions", "rayservices.ray.io")
    store.create("customresourcedefinitions", document, manager="test")
    line = [line for line in recorded(recordings_folder, scenario, "rayservices") if line["type"] == "MODIFIED"][-1]
    item = line["object"] | {"metadata": {"name": "llm"}}
    store.create("rayservices", item, manager="test")
    schema = document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    validator = jsonschema.Draft202012Validator(schema)
    for broken, field in _broken(item):
        with pytest.raises(StatusError, match=field):
            store.create("rayservices", broken | {"metadata": {"name": "broken"}}, manager="test")
        assert not validator.is_valid(broken)


def _broken(item: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    yield item | {"spec": {"serveConfigV2": ""}}, "spec.rayClusterConfig: Required value"
    yield item | {"spec": item["spec"] | {"serveConfigV2": 1}}, "must be of type string"
    condition = {"type": "Ready", "status": "True"}
    yield item | {"status": {"conditions": [condition]}}, r"status.conditions\[0\].reason: Required value"
    whole = condition | {"reason": "x", "message": "", "lastTransitionTime": "2026-11-22T07:28:50Z"}
    yield item | {"status": {"conditions": [whole | {"status": "Yes"}]}}, 'Unsupported value: "Yes"'
