"""GKE's secondary boot disk: refused where pools cannot have it, believed where label, digest and pull agree."""

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from proof.recorded_trial import Scenario
from proof.targets import target
from proof.workloads import SERVED_2025
from treatment_recordings import Line, Recording, is_event, told, without_events

from airflow_llm_provisioning.core.manifests import images
from airflow_llm_provisioning.core.target import NodeProfile, Target
from airflow_llm_provisioning.core.treatments import (
    deployed_manifest,
    impossible,
    plan_deployment,
    resolved,
    treated_nodes,
    treatment,
    undeclared,
)
from airflow_llm_provisioning.core.treatments.preloaded_disk import LABEL, PreloadedDisk
from airflow_llm_provisioning.core.workload import Workload
from airflow_llm_provisioning.exceptions import ConfigurationError
from airflow_llm_provisioning.gateways.autoscalers.native import Native
from airflow_llm_provisioning.preparation.nodes import with_prepared

sys.path.insert(0, str(Path(__file__).parents[1] / "manifests"))

from sample_manifests import sample

NAME = "preloaded_disk"
PLANNED = target("gke", NAME, "native")


@pytest.fixture(scope="module")
def proving() -> Recording:
    return Recording(Scenario(target=PLANNED, declared=SERVED_2025, variant=NAME, noise=False))


def pulled_at(bytes_s: float) -> Any:
    """Let every pull have taken as long as it takes at this rate."""

    def change(line: Line) -> Line:
        for key in ("message", "note") if is_event(line, "Pulled") else ():
            size = re.search(r"Image size: (\d+) bytes", line["object"].get(key) or "")
            if size:
                pull = f"in {int(size[1]) / bytes_s:.3f}s (1s including"
                line["object"][key] = re.sub(r"in \S+ \(\S+ including", pull, line["object"][key])
        return line

    return change


def labelled(change: Any) -> Any:
    """Let every node have other labels."""

    def changed(line: Line) -> Line:
        if str(line.get("resource")) == "nodes":
            line["object"]["metadata"]["labels"] = change(line["object"]["metadata"]["labels"])
        return line

    return changed


def header(**prepared: Any) -> Any:
    """Let the trial have been opened with other prepared things; None: without one."""

    def changed(line: Line) -> Line:
        if line.get("type") == "HEADER":
            trial = line["object"]["trial"]
            known = {**trial["opened"]["prepared"], **prepared}
            trial["opened"]["prepared"] = {key: value for key, value in known.items() if value is not None}
        return line

    return changed


def without_disks(labels: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in labels.items() if not key.startswith(LABEL)}


def test_label_digest_and_a_fast_pull_prove_it(proving: Recording) -> None:
    """Each node has the prepared disk, which holds what ran, and the pull is too fast for a network."""
    found = proving.verdict(NAME)
    assert found.value == "yes"
    assert told(found).count("has a secondary boot disk from llm-disk-prepared") == 2
    assert told(found).count("which the disk image holds") == 2
    assert told(found).count("too fast for a network.") >= 2
    assert (proving.row.start, proving.row.applied, proving.row.exclusion) == ("cold", "applied", None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (labelled(without_disks), "(it has: none)"),
        (labelled(lambda labels: {**without_disks(labels), f"{LABEL}x": "CONTAINER_IMAGE_CACHE.p"}), "(it has: x"),
        (
            labelled(lambda labels: {key: value.replace("simulated", "theirs") for key, value in labels.items()}),
            "CONTAINER_IMAGE_CACHE.theirs",
        ),
        (pulled_at(98e6), "98 MB/s, as fast as a full pull"),
        (header(disk_digest="sha256:older"), "the disk image holds sha256:older"),
        (header(disk_image=None), "No disk image was prepared"),
    ],
    ids=["no label", "another image's", "another project's", "full pull", "older image", "not prepared"],
)
def test_what_contradicts_it_refutes_it(proving: Recording, change: Any, words: str) -> None:
    """A missing or other disk, another image on it, a pull of full length."""
    found = proving.verdict(NAME, change)
    assert found.value == "no"
    assert words in told(found)


@pytest.mark.parametrize(
    "silence",
    [without_events("Pulled"), pulled_at(300e6), labelled(lambda _: {}), header(disk_digest=None)],
    ids=["kubelet", "doubtful rate", "nodes", "digest"],
)
def test_a_recording_that_does_not_tell_is_unknown(proving: Recording, silence: Any) -> None:
    """Without the kubelet's figures, the nodes' labels or the disk's content, and at a rate between the two."""
    assert proving.verdict(NAME, silence).value == "unknown"


def test_what_is_kept_is_the_disk_that_was_prepared(proving: Recording) -> None:
    """By the name of the disk image and the digest of what it holds; a node that is old holds what pods pulled."""
    kept = PreloadedDisk().kept
    assert kept(proving.view()).value == "yes"
    assert kept(proving.view(header(disk_image=None))).value == "no"
    assert kept(proving.view(labelled(without_disks))).value == "no"

    def older(line: Line) -> Line:
        if str(line.get("resource")) == "nodes":
            line["object"]["metadata"]["creationTimestamp"] = "2020-01-01T00:00:00Z"
        return line

    found = kept(proving.view(older))
    assert found.value == "no"
    assert "was there before the submission" in told(found)


def test_nodes_with_the_disk_are_told_where_it_was_not_declared(proving: Recording) -> None:
    """By the label alone. Where it is declared, the image that came without a pull is no other acceleration."""
    assert "secondary boot disk of container images from llm-disk-prepared" in " ".join(undeclared(proving.view(), ()))
    assert PreloadedDisk().undeclared(proving.view(labelled(without_disks))) is None
    assert undeclared(proving.view(), ("fast_download", "bake_packages", NAME)) == ()


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        (NodeProfile("t", "gke", "luna", "1.34"), "needs node pools of the target's own"),
        (replace(PLANNED.nodes, options={"auto_provisioning": True}), "without auto_provisioning"),
        (replace(PLANNED.nodes, cpu_instance_type=None), "set cpu_instance_type"),
        (replace(PLANNED.nodes, kubernetes_minor="1.27"), "needs GKE 1.28.3 or newer"),
    ],
)
def test_nodes_that_cannot_have_the_disk_are_refused(profile: NodeProfile, words: str) -> None:
    """Before anything is prepared, with what to do."""
    here = replace(PLANNED, nodes=profile)
    assert any(words in why for why in impossible([treatment(NAME)], here, SERVED_2025))


def test_it_excludes_streaming_and_exists_on_gke_alone() -> None:
    """A variant with both is refused; on AKS the treatment is refused with a sentence."""
    both = resolved(("gke_image_streaming", NAME), "gke")
    treated = PLANNED.treated(treated_nodes(PLANNED.nodes, both))
    assert any("exclude each other" in why for why in impossible(both, treated, SERVED_2025))
    with pytest.raises(ConfigurationError, match="'preloaded_disk' exists on gke, not on 'aks'"):
        resolved((NAME,), "aks")


def test_an_option_of_ebs_is_refused() -> None:
    """The step is the one of EKS's snapshots, and not every option of it exists here."""
    told_of: Target = replace(PLANNED, options={"snapshot": {"volume_initialization_rate_mib_s": 300}})
    assert any("is a setting of EBS" in why for why in PreloadedDisk().requires_of(told_of, SERVED_2025))
    assert PreloadedDisk().requires_of(PLANNED, SERVED_2025) == ()


def test_both_pools_get_the_prepared_disk_and_none_is_made_without_one() -> None:
    """The result of the step goes into the pools, which stream; before, they name an empty one, which is refused."""
    nodes = with_prepared(PLANNED.nodes, {"disk_image": "projects/p/global/images/d", "disk_digest": "sha256:a"})
    asked = Native().setup(nodes).cloud_pools
    assert [(pool["disk_image"], pool["streaming"]) for pool in asked] == [("projects/p/global/images/d", True)] * 2
    planned = Native().setup(PLANNED.nodes).cloud_pools
    assert [pool["disk_image"] for pool in planned] == ["", ""]


def test_a_manifest_of_the_users_own_is_served_from_the_targets_registry() -> None:
    """KubeRay's own LLM sample: only its image changes. Head and workers with different images are refused."""
    mine = Workload("mine", sample("kuberay-llm-serve"))
    made = deployed_manifest(plan_deployment(mine, [treatment(NAME)]), mine, "ours:r-1")
    assert images(made) == ("ours:r-1",)
    assert made["spec"]["serveConfigV2"] == mine.manifest["spec"]["serveConfigV2"]  # type: ignore[index]
    two = Workload("two", sample("kuberay-llm-serve"))
    container = two.manifest["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    container["image"] = "head:1"
    assert any("Give head and workers the same image" in why for why in treatment(NAME).requires(PLANNED.nodes, two))
