"""Where trials run: which nodes are of one kind, and how a target's region and nodes enter an arm."""

from dataclasses import replace
from typing import Any

import pytest
from experiment_data import experiment, target_data

from airflow_llm_provisioning.core.arm import Arm
from airflow_llm_provisioning.core.target import IDENTITY_OPTIONS, NodeProfile

NODES = NodeProfile("n", "eks", "karpenter", "1.34", options={"driver_version": "550"})


@pytest.mark.parametrize(
    "same",
    [
        replace(NODES, name="other"),
        replace(NODES, snapshot_id="snap-1"),
        replace(NODES, volume_initialization_rate_mib_s=300),
        NODES.with_feature("image_snapshot"),
        NODES.with_feature("image_streaming").with_feature("parallel_pull", {"layers": 3}),
        *(NODES.with_options(**{name: "x"}) for name in sorted(IDENTITY_OPTIONS)),
    ],
)
def test_names_and_treatments_make_no_other_kind_of_nodes(same: NodeProfile) -> None:
    """Two targets that differ only in these are comparable."""
    assert same != NODES
    assert same.content == NODES.content


@pytest.mark.parametrize(
    "other",
    [
        replace(NODES, cloud="aks"),
        replace(NODES, autoscaler="luna"),
        replace(NODES, kubernetes_minor="1.33"),
        replace(NODES, gpu_skus=("L4",)),
        replace(NODES, gpu_instance_type="g6.4xlarge"),
        replace(NODES, cpu_instance_type="m7i.2xlarge"),
        replace(NODES, data_volume_gib=100),
        NODES.with_options(driver_version="560"),
        NODES.with_options(something="else"),
    ],
)
def test_whatever_else_differs_makes_another_kind(other: NodeProfile) -> None:
    """An option that is not known to be a name may change the nodes."""
    assert other.content != NODES.content


def test_a_feature_is_on_or_off_and_never_changes_its_own_profile() -> None:
    """A profile is shared: what a treatment switches on is a copy's."""
    on = NODES.with_feature("image_snapshot")
    assert (on.has("image_snapshot"), NODES.has("image_snapshot"), on.has("image_streaming")) == (True, False, False)
    assert NODES.features == {}
    assert NODES.with_options(a=1).options == {"driver_version": "550", "a": 1}
    assert "a" not in NODES.options


def arm_of(**fields: Any) -> Arm:
    made = experiment(target_data(variants=["baseline"], **fields), setups=["static"])
    (cell,) = made.cells()
    return made.arm(cell)


def test_a_region_another_autoscaler_and_other_nodes_make_another_stratum() -> None:
    """And another name of target, cluster or connection does not."""
    arms = {
        "base": arm_of(),
        "region": arm_of(region="us-west-2"),
        "autoscaler": arm_of(nodes={"autoscaler": "karpenter"}),
        "nodes": arm_of(nodes={"gpu_skus": ["L4"]}),
    }
    assert len({arm.key for arm in arms.values()}) == 4
    assert arms["region"].stratum.region == "us-west-2"
    assert arms["base"].stratum.differences(arms["nodes"].stratum) == ("nodes",)
    renamed = arm_of(conn_id="other", cluster="other", cluster_name="x", registry="r")
    assert renamed.key == arms["base"].key


def test_what_a_treatment_does_to_the_nodes_is_the_variants_and_not_the_stratums() -> None:
    """A baseline and a snapshot on two targets of one kind are compared."""
    made = experiment(
        target_data("plain", variants=["baseline"]), target_data("fast", variants=["image_delivery"]), setups=["static"]
    )
    plain, fast = (made.arm(cell) for cell in made.cells())
    assert made.target("fast").nodes.has("image_snapshot")
    assert plain.stratum == fast.stratum
    assert plain.key != fast.key


def test_treating_again_keeps_what_the_nodes_were_at_first() -> None:
    """An experiment that is narrowed or joined treats its targets once more."""
    made = experiment(target_data(variants=["improved"])).target("eks-plain")
    again = made.treated(made.nodes.with_feature("another"))
    assert again.nodes_content == made.nodes_content == made.nodes.content
