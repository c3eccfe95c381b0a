"""Setting up a target's nodes ends only when the node autoscaler works by the new configuration."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_in_background import BackgroundCluster, simulated_target
from operator_harness import run

from airflow_llm_provisioning.exceptions import ClusterError, ConfigurationError
from airflow_llm_provisioning.operators import SetUpNodes
from airflow_llm_provisioning.preparation import nodes as node_set_up


@pytest.mark.usefixtures("results_db")
def test_luna_has_read_its_configuration_when_the_set_up_ends(simulated: BackgroundCluster) -> None:
    """A trial that begins at once gets nodes of the new configuration: Luna's deployments run anew by then."""
    result = run(SetUpNodes(task_id="s", target=simulated_target().as_dict()))
    assert result["restarted"] == ["elotl/elotl-luna-manager", "elotl/elotl-luna-webhook"]
    assert result["seconds"] >= 3
    for name in ("elotl-luna-manager", "elotl-luna-webhook"):
        (found,) = [item for item in simulated.objects("deployments") if item["metadata"]["name"] == name]
        assert found["status"]["observedGeneration"] == found["metadata"]["generation"] == 2


@pytest.mark.usefixtures("results_db")
def test_a_deployment_that_does_not_come_back_is_said(
    simulated: BackgroundCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pod that never becomes available keeps the old configuration in force: no silent success."""
    monkeypatch.setattr(node_set_up, "ROLL_OUT_S", 60.0)

    def broken(item: dict[str, Any]) -> None:
        item["status"]["availableReplicas"] = 0

    store = simulated.simulated.store
    simulated.call(
        lambda: store.mutate("deployments", "elotl-luna-webhook", "elotl", broken, subresource="status", manager="t")
    )
    with pytest.raises(ClusterError, match=r"elotl/elotl-luna-webhook on sim .* did not run anew within 60 s"):
        run(SetUpNodes(task_id="s", target=simulated_target().as_dict()))


@pytest.mark.usefixtures("results_db")
def test_lunas_configuration_can_be_written_instead_of_applied(simulated: BackgroundCluster, tmp_path: Path) -> None:
    """For those who deploy Luna by Helm: values, disks, user data, the objects and what to restart, all as files; the
    cluster is left as it is. The files say what would have been applied.
    """
    before = luna_config(simulated)
    target = simulated_target()
    nodes = target.nodes.with_feature("image_snapshot")
    prepared = {"snapshot_id": "snap-1", "volume_gib": 40, "volume_initialization_rate_mib_s": 200}
    result = run(
        SetUpNodes(
            task_id="s",
            target=replace(target, nodes=nodes, variants=("improved",)).as_dict(),
            prepared=prepared,
            files_dir=str(tmp_path),
        )
    )
    assert (result["applied"], result["restarted"], result["price_basis"]) == ([], [], "files only")
    assert luna_config(simulated) == before
    found = {Path(path).name: Path(path).read_text(encoding="utf-8") for path in result["written"]}
    assert set(found) == {
        "additional-helm-values.txt",
        "block-device-mappings.json",
        "manifests.yaml",
        "restart.sh",
        "user-data.toml",
    }
    data = {item["DeviceName"]: item["Ebs"] for item in json.loads(found["block-device-mappings.json"])}["/dev/xvdb"]
    assert (data["SnapshotId"], data["VolumeInitializationRate"]) == ("snap-1", 200)
    assert "--set-file aws.blockDeviceMappings=block-device-mappings.json" in found["additional-helm-values.txt"]
    (config_map,) = yaml.safe_load_all(found["manifests.yaml"])
    assert json.loads(config_map["data"]["aws.blockDeviceMappings"])[1]["Ebs"] == data
    assert found["restart.sh"].splitlines() == [
        "kubectl --namespace elotl rollout restart deployment/elotl-luna-manager",
        "kubectl --namespace elotl rollout restart deployment/elotl-luna-webhook",
    ]


def luna_config(simulated: BackgroundCluster) -> list[Any]:
    return [item for item in simulated.objects("configmaps") if item["metadata"]["name"] == "elotl-luna"]


@pytest.mark.usefixtures("results_db", "simulated")
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """One sentence, and nothing is applied."""
    (tmp_path / "taken").write_text("")
    with pytest.raises(ConfigurationError, match=r"files cannot be written into .*taken"):
        run(SetUpNodes(task_id="s", target=simulated_target().as_dict(), files_dir=str(tmp_path / "taken")))


@pytest.mark.usefixtures("results_db", "simulated")
def test_a_volume_smaller_than_its_snapshot_is_refused() -> None:
    """EC2 would refuse every node: the snapshot's size comes from its preparation, the volume's from the target."""
    target = simulated_target()
    nodes = replace(target.nodes.with_feature("image_snapshot"), data_volume_gib=40)
    with pytest.raises(ConfigurationError, match="data_volume_gib is 40, smaller than the snapshot's 60 GiB"):
        run(
            SetUpNodes(
                task_id="s",
                target=replace(target, nodes=nodes, variants=("improved",)).as_dict(),
                prepared={"snapshot_id": "snap-1", "volume_gib": 60},
            )
        )
