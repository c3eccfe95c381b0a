"""Reaching an AKS cluster, and what Azure can say about whether an image was streamed."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from aks_stand import HOST, POOL, azure
from azure.core.credentials import AccessToken

from airflow_llm_provisioning.exceptions import CloudError
from airflow_llm_provisioning.gateways.clouds.aks.arm import LocalCredential
from airflow_llm_provisioning.gateways.clouds.base import Evidence
from llm_provisioning_simulator.buckets import Bucket
from llm_provisioning_simulator.world import streaming_artifact

pytestmark = pytest.mark.aks


async def test_a_cluster_with_local_accounts_is_reached_by_the_token_in_its_kubeconfig() -> None:
    """Server and token are the kubeconfig's own."""
    async with azure() as stand:
        access = await asyncio.to_thread(stand.cloud().cluster_access, "c1")
        assert (access.server, access.token, access.expires_at) == ("http://127.0.0.1:9", "stand-in-c1", None)
        assert "stand-in-c1" not in repr(access)


@pytest.mark.parametrize(
    ("region", "source", "account", "holds"),
    [
        ("eastus", "az://weights/phi", "proofweights", True),
        ("westeurope", "az://weights/phi", "ProofWeights", False),
        ("eastus", "az://weights/phi", "another", None),
        ("eastus", "az://weights/phi", None, None),
        ("eastus", "s3://weights/phi", "proofweights", None),
        ("eastus", None, None, None),
    ],
)
async def test_azure_says_where_the_weights_are(
    region: str, source: str | None, account: str | None, holds: bool | None
) -> None:
    """The cluster's region, another one; an account that the subscription does not have, none that is named, a bucket
    of another cloud and no bucket are unknown.
    """
    async with azure() as stand:
        stand.world.buckets["az://weights"] = Bucket("az://weights", region, account="proofweights")
        facts = {"weights_source": source, "weights_account": account, "cluster": "c1"}
        (found,) = await asyncio.to_thread(stand.cloud().verify, ["weights_bucket_region"], facts)
        assert found.holds is holds, found.detail
        if holds is False:
            assert found.detail == "Storage account ProofWeights is in westeurope, the cluster is in eastus."


async def test_an_entra_cluster_is_reached_without_kubelogin() -> None:
    """The exec entry is replaced by a token for AKS's server application, and says when it ends."""
    async with azure() as stand:
        stand.sim.clusters.entra = True
        cloud = stand.cloud()
        asked: list[str] = []

        class Noting(LocalCredential):
            def get_token(self, *scopes: str, **options: object) -> AccessToken:
                asked.extend(scopes)
                return super().get_token(*scopes, **options)

        cloud._account.credential = Noting()
        access = await asyncio.to_thread(cloud.cluster_access, "c1")
        # The audience of AKS's server application (AKS docs, kubelogin-authentication).
        assert asked[-1] == "6dae42f8-4368-4678-94ff-3960e28e3630/.default"
        assert access.token is not None
        assert access.token.startswith("local-")
        assert access.expires_at is not None
        assert access.expires_at.tzinfo is not None
        config = await asyncio.to_thread(cloud.kube_config, "c1")
        assert set(config["users"][0]["user"]) == {"token"}
        assert config["clusters"][0]["cluster"]["server"] == "http://127.0.0.1:9"


async def test_the_kubeconfig_is_one_that_the_official_hook_takes() -> None:
    """KubernetesHook(config_dict=...) makes a client of it that sends the token."""
    from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook

    async with azure() as stand:
        config = await asyncio.to_thread(stand.cloud().kube_config, "c1")
        hook = KubernetesHook(conn_id=None, config_dict=config)
        client = await asyncio.to_thread(hook.get_conn)
        assert client.configuration.host == "http://127.0.0.1:9"
        assert "stand-in-c1" in str(client.configuration.api_key)


async def test_an_unknown_cluster_is_said_with_the_resource_group() -> None:
    """Azure's own sentence is in ours."""
    async with azure() as stand:
        with pytest.raises(CloudError, match=r"kubeconfig of AKS cluster c9 in resource group .*404 ResourceNotFound"):
            await asyncio.to_thread(stand.cloud().cluster_access, "c9")


POOL_LABEL, NAP = "kubernetes.azure.com/agentpool", "karpenter.sh/nodepool"
FAST = [{"node": "n", "size_bytes": 13.5e9, "pull_s": 4.5}]
SLOW = [{"node": "n", "size_bytes": 4_080_443_126, "pull_s": 168.8}]  # Azure/acr#873: streaming on, full pull

# A pull that was streamed: 3.44 s for an image of 1.0 to 1.7 GB (a Microsoft support blog, 2023-12-24).
REAL = [{"node": "n", "size_bytes": 1_000_000_000, "pull_s": 3.442267417}]


@pytest.mark.parametrize(
    "change, holds, said",
    [
        ({"pulls": FAST}, True, "no full pull is that fast"),
        ({"pulls": SLOW}, False, "an ordinary pull"),
        ({"pulls": REAL}, None, "no node reported streaming"),
        ({"pulls": [{"node": "n", "size_bytes": 1e6, "pull_s": 0.001}]}, None, "nothing else proves it"),
        ({}, None, "nothing else proves it"),
        ({"pulls": FAST, "image": f"{HOST}/ray-serving@sha256:{'a' * 64}"}, False, "names a digest"),
        ({"pulls": FAST, "image": "docker.io/rayproject/ray:2.46.0"}, False, "in no Azure registry"),
        ({"pulls": FAST, "image": f"{HOST}/ray-serving:absent"}, False, "no streaming artifact"),
        ({"pulls": FAST, "image_pull_secrets": ["acr"]}, False, "imagePullSecrets"),
        ({"pulls": FAST, "pools": ["plain"]}, False, "Streaming is off on pool plain"),
        ({"pulls": FAST, "pools": ["deleted"]}, None, "'deleted' is gone"),
        ({"pulls": FAST, "image": None}, None, "image is not known"),
        ({"pulls": FAST, "nodes": [{"name": "x", "labels": {POOL_LABEL: "auto", NAP: "auto"}}]}, True, "no full pull"),
    ],
)
async def test_streamed_is_believed_only_from_the_pull_and_ruled_out_by_any_state(
    change: dict[str, Any], holds: bool | None, said: str
) -> None:
    """Without the node's event, converted and switched on alone stay unknown."""
    async with azure() as stand:
        built = await stand.built()
        await stand.run("set_up_node_pool", {"cluster": "c1", "pool": POOL})
        await stand.run("set_up_node_pool", {"cluster": "c1", "pool": {**POOL, "name": "plain", "streaming": False}})
        await stand.run("enable_streaming", {"image": built["image"]})
        facts = {"image": built["image"], "cluster": "c1", "nodes": ["aks-aksgpu-12345678-vmss000000"], **change}
        [evidence] = await asyncio.to_thread(stand.cloud().verify, ["image_streamed"], facts)
        assert (evidence.claim, evidence.holds) == ("image_streamed", holds), evidence
        assert said in evidence.detail


ARTIFACT = "sha256:2cba83dae18f99b6c958e9e34421dadaeee0db1cde4adc0241180de80efd4f34"
NODE = "aks-acrtest-29138108-vmss000000"


def upgraded(image: str, artifact: str) -> str:
    """Return acr-nodemon's message (a Microsoft support blog, 2023-12-24, Kubernetes 1.27.3)."""
    return (
        f'Streaming enabled for "{image}", upgraded to streaming artifact with digest "{artifact}", '
        "container started in 5s"
    )


@pytest.mark.parametrize(
    "change, holds, said",
    [
        ({}, True, f"Node {NODE} streamed"),
        ({"pools": ["plain"]}, True, "which the registry lists"),
        ({"image_pull_secrets": ["acr"]}, True, "which the registry lists"),
        ({"nodes": [], "pulls": []}, True, "which the registry lists"),
        ({"artifact": ARTIFACT}, None, f"reported streaming artifact {ARTIFACT}, and the registry lists sha256:"),
        ({"nodes": ["aks-acrtest-29138108-vmss000001"]}, None, "nothing else proves it"),
        ({"of": f"{HOST}/another:1"}, None, "nothing else proves it"),
    ],
)
async def test_nodemons_event_proves_streaming_by_the_artifact_that_the_registry_lists(
    change: dict[str, Any], holds: bool | None, said: str
) -> None:
    """The node's own word, about this image and on one of the trial's nodes; another digest leaves it unknown."""
    async with azure() as stand:
        built = await stand.built()
        await stand.run("set_up_node_pool", {"cluster": "c1", "pool": {**POOL, "name": "acrtest"}})
        await stand.run("set_up_node_pool", {"cluster": "c1", "pool": {**POOL, "name": "plain", "streaming": False}})
        await stand.run("enable_streaming", {"image": built["image"]})
        message = upgraded(
            str(change.pop("of", built["image"])), str(change.pop("artifact", streaming_artifact(built["digest"])))
        )
        facts = {
            "image": built["image"],
            "cluster": "c1",
            "nodes": [NODE],
            "events": [{"reason": "Pulling", "node": NODE, "message": message}],
            **change,
        }
        [evidence] = await asyncio.to_thread(stand.cloud().verify, ["image_streamed"], facts)
        assert evidence.holds is holds, evidence
        assert said in evidence.detail


async def test_a_registry_that_lists_no_artifact_leaves_nodemons_event_unknown() -> None:
    """The artifact may have been deleted since: that is no proof that the image was not streamed."""
    async with azure() as stand:
        built = await stand.built()
        events = [{"node": NODE, "message": upgraded(built["image"], ARTIFACT)}]
        facts = {"image": built["image"], "nodes": [NODE], "events": events}
        [evidence] = await asyncio.to_thread(stand.cloud().verify, ["image_streamed"], facts)
        assert evidence.holds is None
        assert "lists none" in evidence.detail


async def test_a_pull_before_the_artifact_was_complete_is_detected() -> None:
    """The race, found afterwards: such a node keeps the plain image."""
    async with azure() as stand:
        built = await stand.built()
        await stand.run("enable_streaming", {"image": built["image"]})
        complete_at = stand.world.aks_converted[f"{HOST}/ray-serving", built["digest"]]

        async def streamed(seconds: float) -> Evidence:
            pulled_at = (complete_at + timedelta(seconds=seconds)).isoformat()
            facts = {"image": built["image"], "pulls": FAST, "pulled_at": pulled_at}
            return (await asyncio.to_thread(stand.cloud().verify, ["image_streamed"], facts))[0]

        early, late = await streamed(-1), await streamed(1)
        assert (early.holds, late.holds) == (False, True)
        assert "keeps it" in early.detail


async def test_each_claim_says_where_its_answer_is_from_and_unknown_claims_are_unknown() -> None:
    """Evidence without a source is gossip."""
    async with azure() as stand:
        built = await stand.built()
        await stand.run("enable_streaming", {"image": built["image"]})
        await stand.run("set_up_node_pool", {"cluster": "c1", "pool": POOL})
        facts = {"image": built["image"], "cluster": "c1", "nodes": [{"name": "n", "labels": {POOL_LABEL: "aksgpu"}}]}
        claims = ["image_by_tag", "image_converted", "pool_streams", "snapshot_mounted"]
        found = await asyncio.to_thread(stand.cloud().verify, claims, facts)
        assert [(item.claim, item.holds) for item in found] == [
            ("image_by_tag", True),
            ("image_converted", True),
            ("pool_streams", True),
            ("snapshot_mounted", None),
        ]
        assert all(item.source for item in found)


async def test_a_cloud_that_does_not_answer_leaves_the_claim_unknown() -> None:
    """A failed question is no `no`."""
    async with azure() as stand:
        stand.sim.faults["tags.get"] = {"kind": "http", "status": 500, "times": 0}
        [evidence] = await asyncio.to_thread(stand.cloud().verify, ["image_converted"], {"image": f"{HOST}/a:1"})
        assert evidence.holds is None
        assert "could not be asked" in evidence.detail
