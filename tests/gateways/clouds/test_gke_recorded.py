"""What Google really answered, fed into the gateway over HTTP: operations, refusals, clusters, pools.

The facts that the tests need are transcribed, so that they run in any clone; those of the shared folder are replayed
where it is present.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("google.cloud.container_v1", reason="needs the [google] extra")

from gke_world import POOL, GoogleProject, MemoryLedger, finish, google_project
from google.api_core import exceptions as google_exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud.devtools import cloudbuild_v1
from replay_server import Answer, Replay, recorded, replaying

from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.exceptions import CloudError
from airflow_llm_provisioning.gateways.clouds.gke.cloud import GkeCloud
from airflow_llm_provisioning.gateways.clouds.gke.errors import UnreadableAnswerError, google_errors
from airflow_llm_provisioning.gateways.clouds.gke.images import RegistryImage
from airflow_llm_provisioning.gateways.clouds.gke.services import streaming_api
from airflow_llm_provisioning.gateways.clouds.gke.steps import _LOOKS, _running_on, _StillRunningError, step_of
from airflow_llm_provisioning.gateways.clouds.verbs import TransientError

pytestmark = pytest.mark.gke

PROJECT, REGION = "cloud-custodian", "us-central1"
SERVICES = ("container", "artifactregistry", "serviceusage", "cloudresourcemanager", "cloudbuild", "registry")
OPERATION = "operations/acf.429360b5-fca0-4081-a5ee-6976c935e7bf"
# Google's answer to services:disable, 2020-12-02 (cloud-custodian): an Any without a value.
EMPTY_ANY = {"name": OPERATION, "metadata": {"@type": "type.googleapis.com/google.protobuf.Any"}}
UNKNOWN_TYPE = {"name": OPERATION, "metadata": {"@type": "type.googleapis.com/google.made.up.v9.Metadata", "n": 1}}
API = "/v1/projects/cloud-custodian/services/containerfilesystem.googleapis.com"
ENABLED = [
    Answer("POST", f"{API}:enable", EMPTY_ANY),
    Answer("GET", f"{API}(\\?|$)", {"name": API[4:], "state": "DISABLED"}, times=1),
    Answer("GET", f"{API}(\\?|$)", {"name": API[4:], "state": "ENABLED"}),
]
AGAIN = "Please wait and try again once it is done."
BUSY = (
    f"Operation operation-1533161820212-e0451fc6 is currently creating a node pool for cluster prombench. {AGAIN}",
    f"Operation operation-1 is currently deleting a node pool for cluster default-cluster. {AGAIN}",
    f"Operation operation-2 is currently upgrading cluster main. {AGAIN}",
    "Cluster is running incompatible operation operation-1599578867105-b86f0adb.",
)
# k8s-config-connector issue 321: they stay for days after the quota was raised and nodes ran.
QUOTA = [
    {
        "code": "GCE_QUOTA_EXCEEDED",
        "message": "Instance 'gke-x' creation failed: Quota 'C2_CPUS' exceeded.  Limit: 0.0 in region europe-north1.",
    },
    {
        "message": "Insufficient quota to satisfy the request: Not all instances running in IGM after 22.733968139s. "
        "Expected 1, running 0, transitioning 1. Current errors: [GCE_QUOTA_EXCEEDED]: ..."
    },
]
STOCKOUT = [
    {
        "message": "Google Compute Engine: Not all instances running in IGM after 1m6.219216581s. Expected 40, running "
        "1, transitioning 39. Current errors: [GCE_STOCKOUT]: Instance 'instance' creation failed: The zone "
        "'projects/redacted/zones/us-west1-b' does not have enough resources available to fulfill the request."
    }
]
ACCOUNT_GONE = [{"code": "GKE_SERVICE_ACCOUNT_DELETED", "message": "The service account was deleted."}]


@contextmanager
def real_google(*answers: Answer, location: str = REGION) -> Iterator[tuple[GkeCloud, Replay]]:
    with replaying(*answers) as replay:
        cloud = GkeCloud(
            AnonymousCredentials(),
            project=PROJECT,
            location=location,
            endpoints=dict.fromkeys(SERVICES, replay.url),
            ledger=MemoryLedger(),
            clock=lambda: datetime.now(UTC),
        )
        try:
            yield cloud, replay
        finally:
            cloud.close()


@pytest.fixture
def google() -> Iterator[GoogleProject]:
    with google_project() as project:
        project.cluster()
        yield project


def turned_on(cloud: GkeCloud) -> list[str | None]:
    """Take the step that turns the streaming API on until it is done; return the words of its looks."""
    step = step_of(cloud._project, streaming_api(cloud._project))
    operation, words = Operation("enable_streaming", {}), []
    for _ in range(6):
        look = step.look(operation)
        words.append(look.words)
        operation = operation.at(look.words or step.name, **look.progress)
        if look.to == "<next>":
            return words
    raise AssertionError(words)


@pytest.mark.parametrize(
    "operation",
    [
        EMPTY_ANY,
        {**EMPTY_ANY, "done": True},
        {**UNKNOWN_TYPE, "done": True},
        {**EMPTY_ANY, "done": True, "response": {"@type": "type.googleapis.com/google.protobuf.Any"}},
    ],
    ids=["still runs", "empty any", "unknown type", "response of an empty any"],
)
def test_operation_that_googles_client_cannot_decode_is_followed(operation: Mapping[str, Any]) -> None:
    """The streaming API is turned on with every type that the operation's metadata or response can name."""
    answers = [*ENABLED, Answer("GET", f"/v1/{OPERATION}", operation, times=1)]
    done = Answer("GET", f"/v1/{OPERATION}", {**EMPTY_ANY, "done": True})
    with real_google(*answers, done) as (cloud, replay):
        assert turned_on(cloud)
        assert replay.count("POST", f"{API}:enable") == 1


def test_recorded_operation_is_followed(shared_folder: Path) -> None:
    """The same with the recorded bytes of Service Usage."""
    exchange = next(
        line["response"]
        for line in recorded(shared_folder, "gke/serviceusage-services.jsonl")
        if "google.protobuf.Any" in str(line["response"]["body"])
    )
    name = json.loads(exchange["body"])["name"]
    enable = Answer("POST", f"{API}:enable", exchange["body"])
    running = Answer("GET", f"/v1/{name}", exchange["body"], times=1)
    done = Answer("GET", f"/v1/{name}", {**json.loads(exchange["body"]), "done": True})
    with real_google(enable, *ENABLED[1:], running, done) as (cloud, _):
        assert turned_on(cloud)


@pytest.mark.parametrize("body", ["<html>signed in elsewhere</html>", '{"name": 5', EMPTY_ANY, UNKNOWN_TYPE])
def test_answer_that_cannot_be_decoded_is_a_sentence(body: Any) -> None:
    """With any body of a 2xx the user reads what was asked for, and no SDK exception leaves the gateway."""
    with real_google(Answer("POST", "/v1/.*", body), Answer("GET", "/v1/.*", body)) as (cloud, _):
        if isinstance(body, str):
            with pytest.raises(CloudError, match=r"when asked to read cluster main in .*cannot be decoded"):
                cloud.cluster_access("main")
        else:
            with pytest.raises(UnreadableAnswerError, match="enable"), google_errors("enable it"):
                cloud._project.clients.services.enable_service(request={"name": API[4:]})


def test_begin_whose_answer_cannot_be_decoded_is_not_repeated(google: GoogleProject) -> None:
    """Google accepted it, so the object's state decides; the API is asked for once and the pool is waited for."""
    cloud = google.cloud()
    container = cloud._project.clients.container
    create = container.create_node_pool

    def unreadable(**arguments: Any) -> None:
        create(**arguments)
        json.loads("<html>")

    container.create_node_pool = unreadable
    ended = finish(cloud, "set_up_node_pool", {"cluster": "main", "pool": POOL, "target": "t"})
    assert ended.error is None
    assert google.calls("container", "nodePools.create") == 1


@pytest.mark.parametrize("message", BUSY)
@pytest.mark.parametrize("call", ["create", "delete"])
def test_busy_cluster_is_waited_for_in_each_wording(google: GoogleProject, message: str, call: str) -> None:
    """Two targets prepared side by side: the second one waits, to create as well as to clean up."""
    pools = "container.projects.locations.clusters.nodePools."
    refused = {"kind": "http", "code": "FAILED_PRECONDITION", "message": message, "times": 2}
    google.stand_in.faults[f"{pools}{call}"] = refused
    if call == "create":
        ended = finish(google.cloud(), "set_up_node_pool", {"cluster": "main", "pool": POOL, "target": "t"})
        assert ended.error is None
        return
    broken = {"kind": "operation_error", "code": "INTERNAL", "message": "broken", "times": 1}
    google.stand_in.faults[f"{pools}create"] = broken
    ended = finish(google.cloud(), "set_up_node_pool", {"cluster": "main", "pool": POOL, "target": "t"})
    assert "broken" in str(ended.error)
    assert POOL["name"] not in google.world.clusters["main"].pools


def test_other_refusals_of_the_same_status_are_not_waited_for() -> None:
    """A wrong fingerprint and a bad argument are 400 too, and waiting helps neither."""
    fingerprint = "Labels could not be set due to fingerprint mismatch; try again with the proper fingerprint"
    for message in (fingerprint, "bad"):
        with pytest.raises(CloudError) as raised, google_errors("try"):
            raise google_exceptions.FailedPrecondition(message)
        assert not isinstance(raised.value, TransientError)
    with pytest.raises(TransientError), google_errors("try"):
        raise google_exceptions.FailedPrecondition(BUSY[0])


@pytest.mark.parametrize(
    ("status", "conditions", "reused"),
    [
        ("ERROR", QUOTA, True),
        ("RUNNING_WITH_ERROR", QUOTA, True),
        ("ERROR", STOCKOUT, True),
        ("RUNNING_WITH_ERROR", ACCOUNT_GONE, True),
        ("ERROR", ACCOUNT_GONE, False),
        ("ERROR", [*QUOTA, *ACCOUNT_GONE], False),
        ("ERROR", [], False),
    ],
)
def test_pool_that_once_lacked_machines_is_reused(
    google: GoogleProject, status: str, conditions: list[dict[str, str]], reused: bool
) -> None:
    """Google's mark of a refused scale-up stays; it is told with the result. Another error is a refusal with advice."""
    request = {"cluster": "main", "pool": POOL, "target": "t"}
    assert finish(google.cloud(), "set_up_node_pool", request).error is None
    google.stand_in.clusters.pool_extras["main", POOL["name"]] = {"status": status, "conditions": conditions}
    ended = finish(google.cloud(), "set_up_node_pool", request)
    assert POOL["name"] in google.world.clusters["main"].pools
    if reused:
        assert ended.result is not None
        assert ended.result["reused"] is True
        assert conditions[0]["message"].rstrip(".") in ended.result["trouble"]
    else:
        assert "delete the pool" in str(ended.error)


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (
            {"failure_info": {"detail": "Build failed."}, "status_detail": "pushing to r:1 was refused."},
            "ended with FAILURE: Build failed; pushing to r:1 was refused. Its log",
        ),
        ({"status_detail": "build step 0 failed"}, "FAILURE: build step 0 failed. Its log"),
        ({"steps": [{"name": "docker", "exit_code": 137}]}, "FAILURE: step docker ended with exit code 137. Its log"),
        ({"failure_info": {"type_": "PUSH_FAILED"}}, "FAILURE: PUSH_FAILED. Its log"),
        ({}, "FAILURE: no detail given. Its log"),
    ],
)
def test_a_failed_build_is_told_with_everything_that_cloud_build_says(build: dict[str, Any], said: str) -> None:
    """Its two details, a step's exit code, or at least the kind of failure."""
    found = cloudbuild_v1.Build({"id": "b", "status": "FAILURE", "log_url": "https://log", **build})
    with real_google() as (cloud, _):
        image = RegistryImage.parse("us-central1-docker.pkg.dev/p/r/i:1")
        with pytest.raises(CloudError) as raised:
            cloud._driver.verbs["build_image"]._follow(Operation("build_image", {}), image, found)
    assert said in str(raised.value)


def autopilot(default: Mapping[str, Any] | None, **pool_config: Any) -> dict[str, Any]:
    """Return what is needed of the recorded Autopilot cluster (cloud-custodian, 2023-06-20)."""
    defaults = {} if default is None else {"gcfsConfig": dict(default)}
    pools = [
        {"name": name, "status": "RUNNING", "config": {"imageType": "COS_CONTAINERD", **pool_config}}
        for name in ("default-pool", "pool-1")
    ]
    return {
        "name": "standard-cluster-1",
        "status": "RUNNING",
        "autopilot": {"enabled": True},
        "nodePoolDefaults": {"nodeConfigDefaults": defaults},
        "nodePools": pools,
    }


def enabled(cluster: Any, pool: str = "pool-1") -> bool | None:
    answers = [Answer("GET", ".*/clusters/", cluster), Answer("GET", API, {"name": API[4:], "state": "ENABLED"})]
    with real_google(*answers) as (cloud, _):
        nodes = [{"name": "n1", "labels": {"cloud.google.com/gke-nodepool": pool}}]
        facts = {"image": "i", "cluster": "standard-cluster-1", "nodes": nodes}
        (evidence,) = cloud.verify(["streaming_enabled"], facts)
    return evidence.holds


@pytest.mark.parametrize(
    ("cluster", "holds"),
    [
        (autopilot({"enabled": True}), True),
        (autopilot(None), True),
        (autopilot({}), False),
        (autopilot({"enabled": True}, gcfsConfig={"enabled": False}), False),
        (autopilot({"enabled": True}, gcfsConfig={}), False),
        ({**autopilot({"enabled": True}), "autopilot": {}}, True),
        ({**autopilot(None), "autopilot": {}}, False),
        ({**autopilot(None, gcfsConfig={"enabled": True}), "autopilot": {}}, True),
    ],
)
def test_pool_without_a_setting_follows_the_clusters_default(cluster: Mapping[str, Any], holds: bool) -> None:
    """Pools that Google makes carry no gcfsConfig; an own setting, off too, decides where there is one."""
    assert enabled(cluster) is holds


def test_recorded_autopilot_cluster_streams(shared_folder: Path) -> None:
    """The same with Google's recorded bytes."""
    bodies = [line["response"]["body"] for line in recorded(shared_folder, "gke/container-v1-real.jsonl")]
    cluster = next(body for body in bodies if '"autopilot"' in body)
    assert enabled(cluster) is True
    assert enabled(cluster, "a-pool-made-since") is True


ZONAL = {
    "name": "operation-1599578867105-b86f0adb",
    "zone": "us-east1-b",
    "operationType": "DELETE_CLUSTER",
    "status": "RUNNING",
    "targetLink": "https://container.googleapis.com/v1/projects/000000000000/zones/us-east1-b/clusters/zonal",
    "startTime": "2020-09-08T15:27:47.105730926Z",
}


@pytest.mark.parametrize("cluster", ["zonal", "another"])
def test_an_operation_is_found_by_a_link_with_the_projects_number(cluster: str) -> None:
    """Zonal links say `zones` and the number (cloud-custodian, recorded 2020-09-08): what follows names the cluster."""
    answer = Answer("GET", ".*/operations", {"operations": [ZONAL]})
    with real_google(answer, location="us-east1-b") as (cloud, _):
        busy = _running_on(cloud._project, f"{cloud._project.path}/clusters/{cluster}/nodePools/gpu")
    assert (busy is not None) is (cluster == "zonal")


def test_recorded_operations_of_every_service_are_read(shared_folder: Path) -> None:
    """Container, Artifact Registry and Service Usage, also where the response is an Empty without a value."""
    files = {
        "container": ("gke/container-v1-real.jsonl", "gke/container-nodepools.jsonl"),
        "registry": ("gke/artifactregistry-repositories.jsonl",),
        "services": ("gke/serviceusage-services.jsonl",),
    }
    for service, names in files.items():
        bodies = [line["response"]["body"] for name in names for line in recorded(shared_folder, name)]
        operations = [body for body in bodies if '"targetLink"' in body or '"metadata": {' in body]
        operations = [
            body for body in operations if "perationMetadata" in body or '"targetLink"' in body or "Any" in body
        ]
        assert operations
        for body in operations:
            name = "x" if service == "container" else "operations/x"
            with real_google(Answer("GET", ".*", body)) as (cloud, _), contextlib.suppress(_StillRunningError):
                assert _LOOKS[service](cloud._project, name) is None


def test_recorded_absent_pool_is_absent(shared_folder: Path) -> None:
    """404 in the words of the recording."""
    lines = recorded(shared_folder, "gke/container-nodepools.jsonl")
    absent = next(line["response"] for line in lines if line["response"]["status"] == 404)
    with real_google(Answer("GET", ".*", absent["body"], 404)) as (cloud, _):
        request = {"cluster": "main", "pool": {"name": "gpu"}}
        assert cloud._driver.verbs["set_up_node_pool"]._get(Operation("set_up_node_pool", request)) is None
