"""Preflight asks the cloud where a target's bucket is, before a trial costs money: over the wire, here Azure's."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from aks_stand import azure

from airflow_llm_provisioning.core.target import NodeProfile, Target
from airflow_llm_provisioning.core.treatments import treatment
from airflow_llm_provisioning.exceptions import CloudError
from airflow_llm_provisioning.preparation import preflight
from llm_provisioning_simulator.buckets import Bucket

pytestmark = pytest.mark.aks
STREAMED = {"streamed": (treatment("weights_stream"),)}


def a_target(account: str, **fields: Any) -> Target:
    told = {"source": "az://weights/phi", "region": "eastus", "account": account}
    made: Any = {"cloud_conn_id": "azure", "cluster_name": "c1", "region": "eastus", **fields}
    nodes = NodeProfile("t", "aks", "luna", "1.34", gpu_skus=("A10",))
    return Target("t", "c1", "k", nodes, ("streamed",), options={"treatments": {"weights_stream": told}}, **made)


def opened(monkeypatch: pytest.MonkeyPatch, cloud: Any) -> None:
    """Let preflight reach this cloud; an error is raised instead."""

    @contextmanager
    def opening(_reference: Any) -> Iterator[Any]:
        if isinstance(cloud, Exception):
            raise cloud
        yield cloud

    monkeypatch.setattr("airflow_llm_provisioning.connections.opened_cloud", opening)


async def test_a_bucket_that_is_elsewhere_than_the_target_says_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The target says eastus and Azure says otherwise: an error. An account that is not to be seen is a note, and one
    beside the cluster no finding.
    """
    async with azure() as stand:
        for region, name in (("westeurope", "far"), ("eastus", "near")):
            stand.world.buckets[f"az://{name}"] = Bucket(f"az://{name}", region, account=name)
        opened(monkeypatch, stand.cloud())
        far, near, unseen = [await preflight._asked(a_target(name), STREAMED) for name in ("far", "near", "unseen")]
    assert far == [("error", "weights_stream: Storage account far is in westeurope, the cluster is in eastus.")]
    assert near == []
    ((level, told),) = unseen
    assert (level, told.startswith("not checked: weights_bucket_region of weights_stream. Sub")) == ("note", True)


async def test_a_cloud_that_cannot_be_asked_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal says why; without the treatment, or without a cloud's connection, the cloud is not asked."""
    opened(monkeypatch, CloudError("Azure answered 403."))
    found = await preflight._asked(a_target("mine"), STREAMED)
    assert found == [("note", "not checked: what weights_stream asks of the cloud. (Azure answered 403.)")]
    assert await preflight._asked(a_target("mine"), {"baseline": ()}) == []
    assert await preflight._asked(a_target("mine", cloud_conn_id=None), STREAMED) == []
