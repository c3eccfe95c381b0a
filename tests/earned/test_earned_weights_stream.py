"""The gain of streamed weights is there with every step; without one it is gone, and the verdict does not say yes.

Whole trials in virtual time, recorded and judged by what is shipped (`proof.recorded_trial`), without noise.
"""

from typing import Any

import pytest
from proof.catalogue.edits import with_loader
from proof.catalogue.preparations import world
from proof.catalogue.weights_stream import bucket, with_source
from proof.recorded_trial import Scenario, run
from proof.targets import target
from proof.workloads import SERVED_CURRENT

from airflow_llm_provisioning.core.result import TrialResult, TrialStatus
from llm_provisioning_simulator.hub_models import PHI3

# EKS, from the profile: the weights over the node's link of 0.6 GB/s, and the requests for the small files.
STREAM_S = 7.642e9 / 0.6e9 + 2.5
MEMORY_S = 7.642e9 / 1.2e9 - 7.642e9 / 6.5e9


def trial(**fields: Any) -> TrialResult:
    given = {"target": target("eks", "weights_stream"), "variant": "weights_stream", **fields}
    return run(Scenario(declared=SERVED_CURRENT, noise=False, **given))[-1].row


def weights_s(row: TrialResult) -> float:
    """Return the seconds from the start of the load to the model on the GPU, a download among them."""
    return sum(p.duration_s for p in row.phases if "model_load" in p.name or "weight_download" in p.name)


def value_of(row: TrialResult) -> str:
    (found,) = [item["value"] for item in row.verdicts if item["claim"] == "weights_stream"]
    return str(found)


@pytest.fixture(scope="module")
def plain() -> TrialResult:
    return trial(target=target("eks", "plain"), variant="baseline")


def test_everything_done_the_weights_come_at_the_streams_rate(plain: TrialResult) -> None:
    """Cold, applied, no download phase, and faster than the hub by what bytes and rates say."""
    row = trial()
    assert (row.status, row.start, row.applied) == (TrialStatus.SUCCEEDED, "cold", "applied")
    assert [p.name for p in row.phases if "weight_download" in p.name] == []
    assert weights_s(row) == pytest.approx(STREAM_S, abs=1.1)
    assert row.total_s is not None
    assert plain.total_s is not None
    assert plain.total_s - row.total_s == pytest.approx(weights_s(plain) - weights_s(row), abs=3)


@pytest.mark.parametrize(
    "left_out",
    [
        {"manifest": with_source(PHI3.model_id)},
        {"manifest": with_loader("auto")},
        {"after_preparation": bucket(region="ap-southeast-2")},
    ],
    ids=["bucket", "load format", "region"],
)
def test_without_one_step(plain: TrialResult, left_out: dict[str, Any]) -> None:
    """The hub is downloaded from, or the bucket is copied to the disk, or it is far away. What the streamer still gains
    is its reading from the node's memory after a download: the plain loader's 6.4 s are 1.2 s then.
    """
    row = trial(**left_out)
    assert (row.status, row.applied, value_of(row)) == (TrialStatus.SUCCEEDED, "not applied", "no")
    assert row.total_s is not None
    assert plain.total_s is not None
    assert row.total_s > plain.total_s - MEMORY_S - 1.1


def test_without_the_bucket() -> None:
    """The engine does not start, so nothing is measured."""
    row = trial(after_preparation=world(lambda on: on.world.buckets.clear()))
    assert row.status is TrialStatus.FAILED
    assert "Cannot find any safetensors model weights with `s3://proof-weights/phi-3-mini`" in str(row.reason)
    assert value_of(row) != "yes"
