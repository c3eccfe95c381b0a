"""Reaching a GKE cluster, and what can be said of a trial's image afterwards."""

import base64
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

pytest.importorskip("google.cloud.container_v1", reason="needs the [google] extra")

from gke_world import PROJECT, REGION, GoogleProject, google_project
from google.oauth2.credentials import Credentials

from airflow_llm_provisioning.connections import open_cloud
from airflow_llm_provisioning.exceptions import CloudError, ConnectionConfigError, MissingExtraError
from airflow_llm_provisioning.gateways.clouds.base import Evidence
from airflow_llm_provisioning.gateways.clouds.gke.cloud import GkeCloud
from llm_provisioning_simulator.buckets import Bucket
from llm_provisioning_simulator.clouds.gke import discovery

pytestmark = pytest.mark.gke

IMAGE = f"{REGION}-docker.pkg.dev/{PROJECT}/ray-serving/ray-serving:r-1"
DIGEST = "sha256:" + "a" * 64
MESSAGE = f"Image {IMAGE} is backed by image streaming."


@pytest.fixture
def google() -> Iterator[GoogleProject]:
    with google_project() as project:
        project.cluster(server="http://127.0.0.1:1234")
        yield project


class Minted(Credentials):  # type: ignore[misc]
    """Credentials whose token is minted without asking anybody."""

    def __init__(self) -> None:
        super().__init__(token=None)

    def refresh(self, _: object) -> None:
        self.token = "fresh"
        # google-auth's expiry is naive UTC.
        self.expiry = (datetime.now(UTC) + timedelta(hours=1)).replace(tzinfo=None)


def test_simulated_cluster_is_reached_over_plain_http_without_a_token(google: GoogleProject) -> None:
    """A whole http:// endpoint is taken as it is; anonymous credentials give no token."""
    access = google.cloud().cluster_access("main")
    assert (access.server, access.ca_pem, access.token) == ("http://127.0.0.1:1234", None, None)


def test_real_cluster_is_reached_by_its_address_certificate_and_a_fresh_token(google: GoogleProject) -> None:
    """An address gets https, the certificate is decoded, the token carries its expiry in aware UTC."""
    google.stand_in.clusters.extras["main"] = {
        "endpoint": "34.1.2.3",
        "masterAuth": {"clusterCaCertificate": base64.b64encode(b"PEM").decode()},
    }
    cloud = GkeCloud(
        Minted(),
        project=PROJECT,
        location=REGION,
        endpoints=google.endpoints,
        ledger=google.ledger,
        clock=google.clock.now,
    )
    access = cloud.cluster_access("main")
    cloud.close()
    assert (access.server, access.ca_pem, access.token) == ("https://34.1.2.3", "PEM", "fresh")
    assert access.expires_at is not None
    assert access.expires_at.tzinfo is UTC
    assert "fresh" not in repr(access)


def test_cluster_without_endpoint_says_its_state(google: GoogleProject) -> None:
    """A cluster that is still being made has no endpoint: the sentence says so."""
    google.stand_in.clusters.extras["main"] = {"endpoint": "", "status": "PROVISIONING"}
    with pytest.raises(CloudError, match="no endpoint yet: it is PROVISIONING"):
        google.cloud().cluster_access("main")


def judged(google: GoogleProject, claim: str = "image_streamed", **facts: Any) -> Evidence:
    (evidence,) = google.cloud().verify([claim], {"image": IMAGE, "digest": DIGEST, "cluster": "main", **facts})
    return evidence


def test_event_on_the_trials_node_proves_streaming(google: GoogleProject) -> None:
    """GKE's own event, on one of the trial's nodes and about its image, is the evidence."""
    event = {"reason": "ImageStreaming", "node": "n1", "message": MESSAGE}
    evidence = judged(google, nodes=["n1"], events=[event])
    assert evidence.holds is True
    assert MESSAGE in evidence.detail


@pytest.mark.parametrize(
    "event",
    [
        {"reason": "ImageStreaming", "node": "elsewhere", "message": MESSAGE},
        {"reason": "ImageStreaming", "node": "n1", "message": "Image nginx is backed by image streaming."},
        {"reason": "Pulled", "node": "n1", "message": MESSAGE},
    ],
)
def test_other_events_prove_nothing(google: GoogleProject, event: dict[str, str]) -> None:
    """Another node, another image or another reason leaves it unknown, label or not."""
    google.world.gke_streaming_api_enabled = True
    google.world.clusters["main"].streaming = True
    node = {"name": "n1", "labels": {"cloud.google.com/gke-image-streaming": "true"}}
    evidence = judged(google, nodes=[node], events=[event])
    assert evidence.holds is None
    assert "n1" in evidence.detail


def test_streaming_that_is_off_cannot_have_happened(google: GoogleProject) -> None:
    """API off, cluster off or pool off: not applied, and which of them."""
    assert judged(google, nodes=["n1"]).holds is False
    google.world.gke_streaming_api_enabled = True
    off = judged(google, nodes=["n1"])
    assert off.holds is False
    assert "Cluster main has image streaming off" in off.detail
    assert "gpu" in judged(google, nodes=["n1"], pools=["gpu"]).detail
    google.world.clusters["main"].streaming = True
    assert judged(google, "streaming_enabled").holds is True
    assert judged(google, nodes=["n1"]).holds is None


def test_the_pools_of_the_trials_nodes_are_asked_before_the_cluster(google: GoogleProject) -> None:
    """A streaming pool of a cluster whose own setting is off streams; nodes of no known pool follow the cluster."""
    google.world.gke_streaming_api_enabled = True
    pools = google.world.clusters["main"].pools
    pools["gpu"] = replace(pools["gpu"], streaming=True)

    def node(pool: str) -> dict[str, Any]:
        return {"name": "n1", "labels": {"cloud.google.com/gke-nodepool": pool}}

    assert judged(google, "streaming_enabled", nodes=[node("gpu")]).holds is True
    assert judged(google, nodes=[node("gpu")]).holds is None
    assert "Cluster main" in judged(google, nodes=[node("luna-made")]).detail


def test_refused_question_is_unknown(google: GoogleProject) -> None:
    """Not being allowed to look is neither yes nor no."""
    google.stand_in.faults["serviceusage.services.get"] = {
        "kind": "http",
        "code": "PERMISSION_DENIED",
        "message": "no",
        "times": 0,
    }
    assert judged(google, "streaming_enabled").holds is None
    assert judged(google, "snapshot_mounted").holds is None


def test_cache_is_warm_only_where_google_says_so(google: GoogleProject) -> None:
    """A prewarmed image in this region needs no pull; one prewarmed elsewhere, or unknown, does."""
    cloud = google.cloud()
    assert cloud.warm_needed(IMAGE, DIGEST) is True
    assert judged(google, "image_warm").holds is None


# The connection


def connection(
    monkeypatch: pytest.MonkeyPatch, extra: dict[str, Any], conn_type: str = "google_cloud_platform"
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_G", json.dumps({"conn_type": conn_type, "extra": extra}))


def test_connection_leads_to_the_project(google: GoogleProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Project, location and endpoints of the connection's extras open a gateway that answers."""
    connection(monkeypatch, {"project": PROJECT, "location": REGION, "endpoints": google.endpoints})
    cloud = open_cloud({"cloud": "gke", "conn_id": "g"})
    assert cloud.cluster_access("main").server == "http://127.0.0.1:1234"
    cloud.close()


def test_targets_own_words_come_before_the_connections(google: GoogleProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the reference says about project and location overrides the extras; a region serves where nothing else."""
    connection(monkeypatch, {"project": "other", "endpoints": google.endpoints})
    cloud = open_cloud({"cloud": "gke", "conn_id": "g", "project": PROJECT, "region": REGION})
    assert cloud.cluster_access("main").server == "http://127.0.0.1:1234"
    cloud.close()


def test_anonymous_credentials_of_the_official_hook_are_used(
    google: GoogleProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a plain HTTP endpoint the official hook is asked for the credentials."""
    connection(monkeypatch, {"project": PROJECT, "location": REGION, "is_anonymous": True})
    cloud = open_cloud({"cloud": "gke", "conn_id": "g"})
    assert type(cloud._clients.credentials).__name__ == "AnonymousCredentials"


@pytest.mark.parametrize(
    ("extra", "conn_type", "said"),
    [
        ({}, "google_cloud_platform", "lacks the extra project and location"),
        ({"project": PROJECT}, "google_cloud_platform", "lacks the extra location"),
        ({}, "aws", "has the type 'aws'"),
    ],
)
def test_lacking_connection_is_named(
    monkeypatch: pytest.MonkeyPatch, extra: dict[str, Any], conn_type: str, said: str
) -> None:
    """Every missing field and a wrong type are told with the connection's name."""
    connection(monkeypatch, {"endpoints": {"container": "http://127.0.0.1:1"}, **extra}, conn_type)
    with pytest.raises(ConnectionConfigError, match=said):
        open_cloud({"cloud": "gke", "conn_id": "g"})


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without Google's packages learns what to install, for the cloud and for its stand-in."""
    connection(monkeypatch, {"project": PROJECT, "location": REGION})
    monkeypatch.setitem(sys.modules, "airflow_llm_provisioning.gateways.clouds.gke.connection", None)
    with pytest.raises(MissingExtraError, match=r"airflow-llm-provisioning\[google\]"):
        open_cloud({"cloud": "gke", "conn_id": "g"})
    monkeypatch.setattr(discovery, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"airflow-llm-provisioning\[google\]"):
        discovery.service.__wrapped__("container.v1")


def test_missing_connection_and_unreadable_key_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """An undefined connection, and one whose key file is not there."""
    with pytest.raises(ConnectionConfigError, match="'nowhere' is not defined"):
        open_cloud({"cloud": "gke", "conn_id": "nowhere"})
    connection(monkeypatch, {"project": PROJECT, "location": REGION, "key_path": "/nonexistent/key.json"})
    with pytest.raises(ConnectionConfigError, match="gives no Google credentials"):
        open_cloud({"cloud": "gke", "conn_id": "g"})


@pytest.mark.parametrize(
    ("region", "source", "holds"),
    [
        (REGION, "gs://weights/phi", True),
        ("europe-west4", "gs://weights/phi", False),
        (REGION, "gs://another/phi", None),
        (REGION, "s3://weights/phi", None),
        (REGION, None, None),
    ],
)
def test_cloud_storage_says_where_the_weights_are(
    google: GoogleProject, region: str, source: str | None, holds: bool | None
) -> None:
    """The nodes' region, another one; a bucket that is not there or of another cloud, and no bucket, are unknown."""
    google.world.buckets["gs://weights"] = Bucket("gs://weights", region)
    found = judged(google, "weights_bucket_region", weights_source=source)
    assert found.holds is holds
    assert found.detail
