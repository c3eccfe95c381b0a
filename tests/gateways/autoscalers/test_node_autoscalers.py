"""What is peculiar to one node autoscaler; what all must meet alike is in tests/contract."""

import json
import re
import tomllib
from dataclasses import replace

import pytest
from node_profiles import OPTIONS, profile

from airflow_llm_provisioning.core.experiment import NodeProfile, Target
from airflow_llm_provisioning.core.names import LABEL_TARGET
from airflow_llm_provisioning.gateways.autoscalers import AUTOSCALERS
from airflow_llm_provisioning.gateways.autoscalers.base import NodeAutoscaler
from airflow_llm_provisioning.gateways.autoscalers.luna import shared_cluster_problems


def node_autoscaler(name: str) -> NodeAutoscaler:
    return AUTOSCALERS[name]


def luna_data(given: NodeProfile) -> dict[str, str]:
    (config_map,) = node_autoscaler("luna").setup(given).manifests
    assert (config_map["metadata"]["namespace"], config_map["metadata"]["name"]) == ("elotl", "elotl-luna")
    return dict(config_map["data"])


def test_luna_mounts_the_snapshot_on_the_data_volume_only() -> None:
    """Only /dev/xvdb carries the snapshot, its rate and the profile's size; the system volume begins empty."""
    data = luna_data(profile(snapshot_id="snap-1", data_volume_gib=90, volume_initialization_rate_mib_s=300))
    system, volume = json.loads(data["aws.blockDeviceMappings"])
    assert (system["DeviceName"], "SnapshotId" in system["Ebs"]) == ("/dev/xvda", False)
    assert volume["DeviceName"] == "/dev/xvdb"
    assert volume["Ebs"]["SnapshotId"] == "snap-1"
    assert volume["Ebs"]["VolumeSize"] == 90
    assert volume["Ebs"]["VolumeInitializationRate"] == 300


def test_luna_without_a_snapshot_keeps_everything_else_equal() -> None:
    """Baseline and improved differ in the snapshot alone: not in AMI, disks or user data."""
    with_snapshot, without = luna_data(profile(snapshot_id="snap-1")), luna_data(profile())
    assert "snap-" not in without["aws.blockDeviceMappings"]
    differing = {key for key in without if without[key] != with_snapshot[key]}
    assert differing == {"aws.blockDeviceMappings"}


def test_luna_names_the_cluster_in_bottlerockets_user_data() -> None:
    """The TOML parses and holds the API server; GPU nodes use the -nvidia image, %s standing for the minor."""
    data = luna_data(profile())
    settings = tomllib.loads(data["aws.userData"])["settings"]["kubernetes"]
    assert settings == {"api-server": "https://x.eks.amazonaws.com", "cluster-certificate": "Q0E="}
    assert data["aws.imageSsmQueryGpu"] == "/aws/service/bottlerocket/aws-k8s-%s-nvidia/x86_64/latest/image_id"
    assert data["aws.isBottlerocketImage"] == "true"


def test_luna_says_streaming_in_each_clouds_own_words() -> None:
    """AKS has a switch, both ways; GKE has the node's service account."""
    streaming = {"image_streaming": True}
    assert luna_data(profile("aks", features=streaming)) == {"azure.enableArtifactStreaming": "true"}
    assert luna_data(profile("aks")) == {"azure.enableArtifactStreaming": "false"}
    assert luna_data(profile("gke", features=streaming)) == {"gcp.nodeServiceAccount": OPTIONS["node_service_account"]}


def test_luna_restarts_what_reads_its_configuration_and_emits_files() -> None:
    """Both deployments start again; the files say the same as the ConfigMap, for those who use Helm."""
    setup = node_autoscaler("luna").setup(profile(snapshot_id="snap-1"))
    assert set(setup.restarts) == {("elotl", "elotl-luna-manager"), ("elotl", "elotl-luna-webhook")}
    assert "snap-1" in setup.files["block-device-mappings.json"]
    assert "--set-file aws.userData=user-data.toml" in setup.files["additional-helm-values.txt"]
    assert "--set aws.isBottlerocketImage=true" in setup.files["additional-helm-values.txt"]


def test_luna_marks_head_and_worker() -> None:
    """Both carry Luna's label; only the worker asks for a GPU."""
    nodes, given = node_autoscaler("luna"), profile(cpu_instance_type="m5.xlarge")
    head, worker = nodes.placement(given, "head"), nodes.placement(given, "worker")
    assert head.labels == worker.labels == {"elotl-luna": "true"}
    assert worker.annotations == {"node.elotl.co/instance-gpu-skus": "L4,A10G,A10,L40S"}
    assert head.annotations == {"node.elotl.co/instance-type-regexp": "^m5.xlarge$"}


def test_two_luna_profiles_cannot_share_a_cluster() -> None:
    """One ConfigMap per cluster: baseline and snapshot on the same cluster are refused, on two clusters fine."""
    plain, snapshot = profile(), profile(snapshot_id="snap-1")
    one = Target("plain", "c1", "conn", plain, ("baseline",))
    other = Target("fast", "c1", "conn", snapshot, ("improved",))
    (problem,) = shared_cluster_problems([one, other])
    assert "plain" in problem
    assert "fast" in problem
    assert shared_cluster_problems([one, replace(other, cluster="c2")]) == []
    assert shared_cluster_problems([one, replace(one, name="again")]) == []
    assert shared_cluster_problems([one, replace(other, nodes=profile(features={"image_snapshot": True}))])


@pytest.mark.parametrize(
    ("autoscaler", "missing", "words"),
    [("luna", "api_server", "api_server"), ("karpenter", "role", "IAM role"), ("karpenter", "discovery", "discovery")],
)
def test_a_missing_option_is_named(autoscaler: str, missing: str, words: str) -> None:
    """What only the account can know is asked for by name."""
    problems = node_autoscaler(autoscaler).check(profile("eks", autoscaler, options={missing: None}))
    assert any(words in problem for problem in problems)


def test_karpenter_spells_the_snapshot_as_its_crd_does() -> None:
    """EC2NodeClass: snapshotID, volumeSize as a quantity, volumeInitializationRate; both pools refer to the class."""
    given = profile("eks", "karpenter", snapshot_id="snap-1", volume_initialization_rate_mib_s=200)
    node_class, cpu, gpu = node_autoscaler("karpenter").setup(given).manifests
    device = node_class["spec"]["blockDeviceMappings"][1]
    assert device == {
        "deviceName": "/dev/xvdb",
        "ebs": {
            "volumeSize": "80Gi",
            "volumeType": "gp3",
            "deleteOnTermination": True,
            "snapshotID": "snap-1",
            "volumeInitializationRate": 200,
        },
    }
    reference = {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "eks-improved"}
    assert (
        cpu["spec"]["template"]["spec"]["nodeClassRef"] == gpu["spec"]["template"]["spec"]["nodeClassRef"] == reference
    )


def test_karpenter_keeps_the_head_off_gpu_nodes_and_asks_for_the_skus() -> None:
    """Only the GPU pool is tainted and limited to the profile's GPUs, in AWS's lower-case names."""
    given = profile("eks", "karpenter")
    nodes = node_autoscaler("karpenter")
    _, cpu, gpu = nodes.setup(given).manifests
    assert "taints" not in cpu["spec"]["template"]["spec"]
    assert gpu["spec"]["template"]["spec"]["taints"][0]["key"] == "nvidia.com/gpu"
    names = [item for item in gpu["spec"]["template"]["spec"]["requirements"] if item["key"].endswith("gpu-name")]
    assert names[0]["values"] == ["l4", "a10g", "a10", "l40s"]
    assert nodes.placement(given, "worker").node_selector == {LABEL_TARGET: "eks-improved"}
    assert gpu["spec"]["template"]["metadata"]["labels"] == {LABEL_TARGET: "eks-improved"}


def test_native_asks_the_cloud_for_pools_that_the_pods_select() -> None:
    """The pools carry the label of the placement; the head selects it only where it has a pool."""
    nodes = node_autoscaler("native")
    given = profile("gke", "native", gpu_instance_type="g2-standard-8", cpu_instance_type="e2-standard-4")
    setup = nodes.setup(given)
    assert setup.cloud_pools
    assert setup.cloud_pools[0]["labels"] == nodes.placement(given, "worker").node_selector
    assert [pool["machine_type"] for pool in setup.cloud_pools[1:]] == ["e2-standard-4"]
    assert nodes.placement(given, "head").node_selector == nodes.placement(given, "worker").node_selector
    headless = replace(given, cpu_instance_type=None)
    assert nodes.placement(headless, "head").node_selector == {}
    assert len(nodes.setup(headless).cloud_pools) == 1


def test_native_names_pools_as_aks_allows() -> None:
    """At most 12 lower-case letters and digits, GPU and CPU distinct."""
    given = profile("aks", "native", gpu_instance_type="a", cpu_instance_type="b")
    setup = node_autoscaler("native").setup(replace(given, name="9-AKS-improved-nightly"))
    assert setup.cloud_pools
    names = [setup.cloud_pools[0]["name"], setup.cloud_pools[1]["name"]]
    assert len(set(names)) == 2
    assert all(re.fullmatch(r"[a-z][a-z0-9]{0,11}", name) for name in names)


def test_native_hands_the_nodes_system_to_the_cloud() -> None:
    """AKS streams on some systems only; where none is named the cloud's gateway chooses."""
    given = profile("aks", "native", gpu_instance_type="a", cpu_instance_type="b")
    named = replace(given, options={**given.options, "os_sku": "Ubuntu2404"})
    native = node_autoscaler("native")
    assert {pool.get("os_sku") for pool in native.setup(named).cloud_pools} == {"Ubuntu2404"}
    assert {pool.get("os_sku") for pool in native.setup(given).cloud_pools} == {None}


def test_native_on_eks_emits_the_launch_templates_disks() -> None:
    """The managed node group is the user's; its launch template data holds the snapshot and no instance profile."""
    text = (
        node_autoscaler("native")
        .setup(profile("eks", "native", snapshot_id="snap-1"))
        .files["launch-template-data.json"]
    )
    data = json.loads(text)
    assert data["BlockDeviceMappings"][1]["Ebs"]["SnapshotId"] == "snap-1"
    assert "IamInstanceProfile" not in data


def test_nodes_that_are_simply_there_have_no_selector() -> None:
    """Where pods select nothing, no label tells which nodes are the target's."""
    assert node_autoscaler("native").node_selector(profile("generic", "native")) is None


def test_a_target_without_a_pool_for_heads_is_known_by_its_workers() -> None:
    """The head goes wherever it fits; what the worker selects is the target's."""
    given = profile("gke", "native", gpu_instance_type="g2-standard-8")
    assert node_autoscaler("native").node_selector(given) == f"{LABEL_TARGET}=eks-improved"


def test_karpenters_targets_are_told_apart() -> None:
    """Two targets in one cluster have nodes of their own; Luna's are everyone's."""
    one, other = profile("eks", "karpenter"), replace(profile("eks", "karpenter"), name="eks-plain")
    selectors = {
        name: [node_autoscaler(name).node_selector(given) for given in (one, other)] for name in ("karpenter", "luna")
    }
    assert len(set(selectors["karpenter"])) == 2
    assert len(set(selectors["luna"])) == 1


def test_a_gpu_that_shares_its_name_is_told_by_its_memory() -> None:
    """AWS calls both sizes of the A100 `a100`; the larger one is asked for by its memory, and alone."""
    large = profile("eks", "karpenter", gpu_skus=("A100-80GB",))
    assert list(node_autoscaler("karpenter").check(large)) == []
    gpu = node_autoscaler("karpenter").setup(large).manifests[2]
    wanted = {item["key"]: item.get("values") for item in gpu["spec"]["template"]["spec"]["requirements"]}
    assert wanted["karpenter.k8s.aws/instance-gpu-name"] == ["a100"]
    assert wanted["karpenter.k8s.aws/instance-gpu-memory"] == ["81920"]
    (problem,) = node_autoscaler("karpenter").check(profile("eks", "karpenter", gpu_skus=("A100-80GB", "L4")))
    assert "A100-80GB" in problem
