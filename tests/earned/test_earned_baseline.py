"""A baseline that is none, a node that is warm, a tag that moved: each is said, and none enters a comparison."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("moto", reason="needs the [simulator] extra")
pytest.importorskip("boto3", reason="needs the [amazon] extra")

from earned_lab import Laboratory, laboratory, open_trial, pulled_in_full, seconds_of, verdict, with_images

from airflow_llm_provisioning.core.comparison import grouped
from airflow_llm_provisioning.core.result import TrialStatus

pytestmark = pytest.mark.eks


@pytest.fixture(scope="module")
def lab() -> Iterator[Laboratory]:
    with laboratory("eks") as found:
        yield found


def test_a_baseline_is_cold_pulls_in_full_and_installs_twice(lab: Laboratory) -> None:
    """What every gain is measured against; a second one on its nodes is warm; its tag moved, it is not pooled."""
    target = lab.target("plain")
    lab.prepare(target)
    row = lab.trial(target, "baseline", nodes_gone_s=1.0, before_close=lambda: hold_nodes(lab))
    assert (row.status, row.start, row.applied) == (TrialStatus.SUCCEEDED, "cold", "none")
    assert pulled_in_full(lab, row)
    assert seconds_of(row, "runtime_env") > 120
    assert "the next trial may start warm" in " ".join(row.flags)
    second = lab.trial(target, "baseline", before_close=lambda: release_nodes(lab))
    assert (second.status, second.start) == (TrialStatus.SUCCEEDED, "warm")
    assert second.exclusion == "start warm"
    move_tag(lab, row.trial.served.image)
    third = lab.trial(target, "baseline")
    assert (third.start, third.applied) == ("cold", "none")
    (arm,) = grouped([row, third])
    assert arm.pooled == (row,)
    assert arm.set_aside == {third.trial_id: "another image"}


def test_a_baseline_with_the_packages_in_its_image_is_none(lab: Laboratory) -> None:
    """A user's image under the baseline's name: what it saves is not the baseline's."""
    built = lab.prepare(lab.target("fast"), without={"snapshot_image", "set_up_nodes"})["build_image"]
    target = lab.target("plain")
    lab.prepare(target)
    row = lab.trial(target, "baseline", admission=with_images(built["image"]))
    assert (row.status, row.start, row.applied) == (TrialStatus.SUCCEEDED, "cold", "not applied")
    assert seconds_of(row, "runtime_env") < 60
    value, why = verdict(row, "variant_image")
    assert value == "no"
    assert built["image"] in why
    assert row.exclusion == "treatment not applied"


def test_a_tag_that_moved_after_the_snapshot_is_seen(lab: Laboratory) -> None:
    """The tag leads to another image by now: the nodes pull that one or run the old one, and the digest tells which."""
    target = lab.target("fast")
    lab.prepare(target)
    trial = open_trial(target)
    moved = move_tag(lab, trial["served"]["image"])
    row = lab.finish(trial, admission=always_pulled)
    assert (row.status, row.start, row.applied) == (TrialStatus.SUCCEEDED, "cold", "not applied")
    value, why = verdict(row, "bake_packages")
    assert value == "no"
    assert f"ran {moved}" in why
    assert pulled_in_full(lab, row)


def move_tag(lab: Laboratory, reference: str) -> str:
    """Push an image of the same bytes and another digest under a tag; return the digest."""
    world, digest = lab.simulator.world, "sha256:" + "0" * 64
    lab.call(lambda: world.push(replace(world.find_image(reference), digest=digest)))
    return digest


def always_pulled(manifest: dict[str, Any]) -> dict[str, Any]:
    """Let every Ray container ask the registry, as `imagePullPolicy: Always` does."""
    spec = manifest["spec"]["rayClusterConfig"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        for container in group["template"]["spec"]["containers"]:
            container["imagePullPolicy"] = "Always"
    return manifest


def hold_nodes(lab: Laboratory) -> None:
    """Put another owner's pod onto each of the trial's nodes, so that they stay."""
    store = lab.simulator.clusters["eks-plain"].store
    for pod in store.list("pods", "default"):
        name = pod["spec"]["nodeName"]
        holder = {
            "metadata": {"name": f"holds-{name}"},
            "spec": {"nodeName": name, "containers": [{"name": "c", "image": "busybox"}]},
        }
        store.create("pods", holder, namespace="default", manager="somebody")


def release_nodes(lab: Laboratory) -> None:
    """Take those pods away again."""
    store = lab.simulator.clusters["eks-plain"].store
    for pod in store.list("pods", "default"):
        if pod["metadata"]["name"].startswith("holds-"):
            store.delete("pods", pod["metadata"]["name"], "default")
