"""The Google stand-in refuses what Google would refuse: it is the discovery documents that decide, not its author."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

pytest.importorskip("googleapiclient", reason="needs the [google] extra: the discovery documents ship in it")

from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.clouds.gke import GkeStandIn
from llm_provisioning_simulator.clouds.gke.discovery import ENUM_NUMBERS, service
from llm_provisioning_simulator.images import seed_public_images
from llm_provisioning_simulator.world import CloudCluster, NodePool, World

pytestmark = pytest.mark.gke

PARENT = "/v1/projects/p/locations/us-central1"
POOLS = f"{PARENT}/clusters/main/nodePools"
POOL = {"name": "gpu", "config": {"machineType": "g2-standard-12"}, "initialNodeCount": 0}


class Google:
    """The stand-in and a bare HTTP client."""

    def __init__(self, world: World, stand_in: GkeStandIn, session: aiohttp.ClientSession) -> None:
        self.world = world
        self.stand_in = stand_in
        self.session = session
        self.urls: dict[str, str] = {}

    async def call(self, service_name: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Return status and answer."""
        async with self.session.request(method, self.urls[service_name] + path, json=body) as response:
            text = await response.text()
            return response.status, json.loads(text) if text.startswith("{") else text

    async def said(self, service_name: str, method: str, path: str, body: Any = None) -> str:
        """Return the sentence of a refusal."""
        status, answer = await self.call(service_name, method, path, body)
        assert status >= 400, answer
        return f"{status} {answer['error']['status']} {answer['error']['message']}"


@pytest.fixture
async def google() -> AsyncIterator[Google]:
    world = World()
    seed_public_images(world)
    world.clusters["main"] = CloudCluster("main", "gke", "us-central1", "1.33.5", "native")
    stand_in = GkeStandIn(world, SimClock.start(2000.0))
    async with aiohttp.ClientSession() as session:
        google = Google(world, stand_in, session)
        google.urls = await stand_in.start()
        yield google
        await stand_in.stop()


async def test_every_service_has_a_port_of_its_own_on_loopback(google: Google) -> None:
    """Operations have the same path in most services, so each listens for itself."""
    assert len(set(google.urls.values())) == len(google.urls) == 8
    assert all(url.startswith("http://127.0.0.1:") for url in google.urls.values())


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"nodePool": {**POOL, "streaming": True}}, "Unknown name \"streaming\" at 'nodePool'"),
        ({"nodePool": {**POOL, "config": {"gcfs_config": {}}}}, "Unknown name \"gcfs_config\" at 'nodePool.config'"),
        ({"nodePool": {**POOL, "config": {"gcfsConfig": {"enabled": "yes"}}}}, "nodePool.config.gcfsConfig.enabled"),
        ({"nodePool": {**POOL, "config": {"taints": [{"effect": "Sometimes"}]}}}, "taints[0].effect' (enum)"),
        ({"nodePool": {**POOL, "config": {"taints": [{"effect": 77}]}}}, "taints[0].effect' (enum)"),
        ({"nodePool": {**POOL, "config": {"taints": [{"effect": True}]}}}, "taints[0].effect' (enum)"),
        ({"nodePool": {**POOL, "config": {"secondaryBootDisks": [{"mode": 2}]}}}, "secondaryBootDisks[0].mode' (enum)"),
        ({"nodePool": {**POOL, "config": {"labels": {"a": 1}}}}, "nodePool.config.labels.a"),
        ({"nodePool": [POOL]}, "an object is needed"),
        ({"nodePool": {**POOL, "initialNodeCount": "3"}}, "initialNodeCount"),
    ],
)
async def test_body_that_the_document_does_not_know_is_refused(google: Google, body: dict[str, Any], said: str) -> None:
    """Unknown fields, wrong types, enum names and numbers that Google does not have: 400 with the place."""
    refusal = await google.said("container", "POST", POOLS, body)
    assert refusal.startswith("400 INVALID_ARGUMENT")
    assert said in refusal
    assert google.world.clusters["main"].pools == {}


@pytest.mark.parametrize("effect", ["NO_SCHEDULE", 1])
async def test_enums_come_as_names_or_as_the_clients_numbers(google: Google, effect: object) -> None:
    """What the generated REST clients send as 1 is what others call NO_SCHEDULE."""
    pool = {**POOL, "config": {"machineType": "g2-standard-12", "taints": [{"key": "k", "effect": effect}]}}
    status, _ = await google.call("container", "POST", POOLS, {"nodePool": pool})
    assert status == 200
    assert google.world.clusters["main"].pools["gpu"].taints[0]["effect"] == "NoSchedule"


def test_enum_numbers_are_the_clients_own() -> None:
    """Each number stands for the name that Google's generated classes give it."""
    from google.cloud import artifactregistry_v1, container_v1
    from google.cloud.devtools import cloudbuild_v1

    classes = {
        "NodeTaint.effect": container_v1.NodeTaint.Effect,
        "GPUDriverInstallationConfig.gpuDriverVersion": container_v1.GPUDriverInstallationConfig.GPUDriverVersion,
        "NodePoolAutoscaling.locationPolicy": container_v1.NodePoolAutoscaling.LocationPolicy,
        "SecondaryBootDisk.mode": container_v1.SecondaryBootDisk.Mode,
        "BuildOptions.machineType": cloudbuild_v1.BuildOptions.MachineType,
        "BuildOptions.logging": cloudbuild_v1.BuildOptions.LoggingMode,
        "Repository.format": artifactregistry_v1.Repository.Format,
        "Repository.mode": artifactregistry_v1.Repository.Mode,
    }
    assert set(classes) == set(ENUM_NUMBERS)
    for name, numbers in ENUM_NUMBERS.items():
        known = {member.value: member.name for member in classes[name]}
        assert dict(numbers).items() <= known.items()


async def test_query_parameter_that_the_document_does_not_know_is_refused(google: Google) -> None:
    """A misspelt parameter is not overlooked."""
    path = f"{PARENT}/repositories?repository_id=x"
    assert "Cannot bind query parameter" in await google.said("artifactregistry", "POST", path, {"format": "DOCKER"})


async def test_path_that_no_document_has_is_404_and_an_unanswered_method_501(google: Google) -> None:
    """Nothing is answered by chance: not a path of another API, nor a method the simulator does not model."""
    status, _ = await google.call("container", "GET", f"{PARENT}/repositories")
    assert status == 404
    assert (await google.said("container", "GET", f"{PARENT}/serverConfig")).startswith("501 UNIMPLEMENTED")


async def test_body_where_none_belongs_is_refused(google: Google) -> None:
    """A GET takes no body."""
    assert "not allowed" in await google.said("container", "GET", f"{PARENT}/clusters", {"x": 1})


async def test_faults_are_set_over_http_and_used_up(google: Google) -> None:
    """A fault with times 2 strikes twice, with the code and reason it names."""
    fault = {"kind": "http", "code": "UNAVAILABLE", "message": "later", "times": 2}
    method = "container.projects.locations.clusters.get"
    await google.call("cloudbuild", "POST", "/_simulator/faults", {method: fault})
    path = f"{PARENT}/clusters/main"
    seen = [(await google.call("container", "GET", path))[0] for _ in range(3)]
    assert seen == [503, 503, 200]
    assert (await google.call("container", "GET", "/_simulator/faults"))[1] == {}


async def test_closed_api_says_so_in_googles_words(google: Google) -> None:
    """403 with SERVICE_DISABLED and the service in the details."""
    google.stand_in.services.enabled.discard("cloudbuild.googleapis.com")
    status, answer = await google.call("cloudbuild", "GET", "/v1/projects/p/builds")
    assert status == 403
    assert answer["error"]["details"][0]["reason"] == "SERVICE_DISABLED"
    assert answer["error"]["details"][0]["metadata"]["service"] == "cloudbuild.googleapis.com"


async def test_second_operation_on_a_busy_cluster_is_refused(google: Google) -> None:
    """One operation at a time, as GKE has it."""
    update = {"update": {"desiredGcfsConfig": {"enabled": True}}}
    await google.call("container", "PUT", f"{PARENT}/clusters/main", update)
    assert "incompatible operation" in await google.said("container", "PUT", f"{PARENT}/clusters/main", update)


async def test_cluster_that_makes_a_pool_is_busy_in_googles_second_wording(google: Google) -> None:
    """Google says what it is doing while it makes or deletes a pool (terraform-provider-google issue 10366)."""
    await google.call("container", "POST", POOLS, {"nodePool": POOL})
    said = await google.said("container", "POST", POOLS, {"nodePool": {**POOL, "name": "second"}})
    assert said.startswith("400 FAILED_PRECONDITION Operation operation-")
    assert said.endswith(
        " is currently creating a node pool for cluster main. Please wait and try again once it is done."
    )


async def test_links_and_absent_pools_are_worded_as_google_words_them(google: Google) -> None:
    """Regional links name the project, zonal ones its number; an absent pool is quoted (cloud-custodian recordings)."""
    google.world.clusters["zonal"] = CloudCluster("zonal", "gke", "us-east1-b", "1.33.5", "native")
    update = {"update": {"desiredGcfsConfig": {"enabled": True}}}
    _, regional = await google.call("container", "PUT", f"{PARENT}/clusters/main", update)
    _, zonal = await google.call("container", "PUT", "/v1/projects/p/locations/us-east1-b/clusters/zonal", update)
    base = "https://container.googleapis.com/v1/projects"
    assert regional["targetLink"] == f"{base}/p/locations/us-central1/clusters/main"
    assert regional["selfLink"] == f"{base}/p/locations/us-central1/operations/{regional['name']}"
    assert zonal["targetLink"] == f"{base}/123456789012/zones/us-east1-b/clusters/zonal"
    assert zonal["selfLink"] == f"{base}/123456789012/zones/us-east1-b/operations/{zonal['name']}"
    said = await google.said("container", "GET", f"{POOLS}/gone")
    assert said == f'404 NOT_FOUND nodePool "{POOLS[4:]}/gone" not found'
    said = await google.said("container", "GET", "/v1/projects/p/locations/us-east1-b/clusters/gone")
    assert said == "404 NOT_FOUND Not found: projects/p/zones/us-east1-b/clusters/gone."


async def test_service_usage_answers_with_metadata_that_protobuf_cannot_decode(google: Google) -> None:
    """An Any without a value, and no `done` while it runs, as Google really answered (cloud-custodian, 2020)."""
    path = "/v1/projects/p/services/containerfilesystem.googleapis.com:enable"
    _, begun = await google.call("serviceusage", "POST", path, {})
    assert begun == {"name": begun["name"], "metadata": {"@type": "type.googleapis.com/google.protobuf.Any"}}


async def test_pools_that_google_makes_have_no_streaming_setting(google: Google) -> None:
    """Those of Autopilot and of auto-provisioning follow the cluster's default; a pool of the user's says its own."""
    pools = google.world.clusters["main"].pools
    pools["own"] = NodePool("own", "m", 0, 1, {}, (), {})
    pools["nap-1"] = replace(pools["own"], name="nap-1", auto_provisioned=True)
    _, cluster = await google.call("container", "GET", f"{PARENT}/clusters/main")
    assert {pool["name"]: pool["config"].get("gcfsConfig") for pool in cluster["nodePools"]} == {
        "own": {"enabled": False},
        "nap-1": None,
    }
    google.stand_in.clusters.extras["main"] = {"autopilot": {"enabled": True}}
    _, cluster = await google.call("container", "GET", f"{PARENT}/clusters/main")
    assert cluster["nodePoolDefaults"]["nodeConfigDefaults"]["gcfsConfig"] == {"enabled": True}
    assert not any("gcfsConfig" in pool["config"] for pool in cluster["nodePools"])


async def test_operation_has_no_effect_before_its_time(google: Google) -> None:
    """The setting is in the world when the operation is done, not when it was asked for."""
    update = {"update": {"desiredGcfsConfig": {"enabled": True}}}
    _, operation = await google.call("container", "PUT", f"{PARENT}/clusters/main", update)
    assert operation["status"] == "RUNNING"
    assert not google.world.clusters["main"].streaming
    await google.stand_in.clusters.operations.clock.sleep(200)
    _, operation = await google.call("container", "GET", f"{PARENT}/operations/{operation['name']}")
    assert operation["status"] == "DONE"
    assert google.world.clusters["main"].streaming


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"name": "gcr.io/cloud-builders/docker", "args": ["build", "."]}, "no step pipes a Dockerfile"),
        (
            {
                "name": "gcr.io/cloud-builders/docker",
                "script": 'echo "$D" | base64 -d | docker build -',
                "env": ["D=!"],
            },
            "invalid input",
        ),
    ],
)
async def test_build_that_is_not_understood_fails_as_a_build(google: Google, step: dict[str, Any], said: str) -> None:
    """No image comes of a step the stand-in cannot read."""
    body = {"steps": [step], "images": ["us-central1-docker.pkg.dev/p/r/i:1"]}
    _, operation = await google.call("cloudbuild", "POST", "/v1/projects/p/builds", body)
    build_id = operation["metadata"]["build"]["id"]
    build: dict[str, Any] = {"status": "QUEUED"}
    while build["status"] in {"QUEUED", "WORKING"}:
        _, build = await google.call("cloudbuild", "GET", f"/v1/projects/p/builds/{build_id}")
    assert build["status"] == "FAILURE"
    assert said in build["failureInfo"]["detail"]
    assert not [reference for reference in google.world.images if "pkg.dev" in reference]


def test_custom_verbs_and_digests_find_their_methods() -> None:
    """A path that ends in `:verb` is that method; a colon inside a digest is none."""
    registry, container = service("artifactregistry.v1"), service("container.v1")
    found = container.find("POST", f"{PARENT}/clusters/main:updateMaster")
    assert found is not None
    assert found[0].method_id.endswith("clusters.updateMaster")
    path = f"{PARENT}/repositories/r/packages/a%2Fb/versions/sha256:0"
    found = registry.find("GET", path)
    assert found is not None
    assert found[0].method_id.endswith("versions.get")
    assert (found[1]["packagesId"], found[1]["versionsId"]) == ("a/b", "sha256:0")


async def test_googles_discovery_client_is_understood_too(google: Google) -> None:
    """Google's other official client, which sends enum names, creates the same pool."""
    import httplib2
    from googleapiclient import discovery

    def create() -> Any:
        http = httplib2.Http()
        options = {"api_endpoint": google.urls["container"]}
        with discovery.build("container", "v1", http=http, client_options=options, static_discovery=True) as client:
            pools = client.projects().locations().clusters().nodePools()
            body = {
                "nodePool": {**POOL, "config": {"machineType": "m", "taints": [{"key": "k", "effect": "NO_EXECUTE"}]}}
            }
            return pools.create(parent="projects/p/locations/us-central1/clusters/main", body=body).execute()

    operation = await asyncio.to_thread(create)
    assert operation["operationType"] == "CREATE_NODE_POOL"
    assert google.world.clusters["main"].pools["gpu"].taints[0]["effect"] == "NoExecute"
