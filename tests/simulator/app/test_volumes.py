"""Caches that outlive a pod, and those that do not."""

from typing import Any

import pytest
from trial_rig import an_image

from llm_provisioning_simulator.app.application import Engine
from llm_provisioning_simulator.app.code import CodeHost
from llm_provisioning_simulator.app.download import import_warning
from llm_provisioning_simulator.app.volumes import COMPILE_CACHE, HUB_CACHE, VolumeCaches
from llm_provisioning_simulator.runtime import ContainerContext
from llm_provisioning_simulator.wheels import install_plan
from llm_provisioning_simulator.world import Delivery, NodeSpec

CLAIM = {"name": "v", "persistentVolumeClaim": {"claimName": "kept"}}
HOST = {"name": "v", "hostPath": {"path": "/mnt"}}
EMPTY: dict[str, Any] = {"name": "v", "emptyDir": {}}


def a_container(*volumes: dict[str, Any], node: str = "n1", path: str = "/home/ray/.cache") -> ContainerContext:
    """Return a container that mounts a volume."""
    mounts = [{"name": volume["name"], "mountPath": path} for volume in volumes]
    spec = NodeSpec("c", node, "eks", "us-west-2", "us-west-2a", "g6.4xlarge", {})
    pod = {"metadata": {"name": "p"}, "spec": {"volumes": list(volumes)}}
    return ContainerContext(pod, {"name": "c", "volumeMounts": mounts}, spec, an_image(), Delivery("present"))


@pytest.mark.parametrize(
    ("volume", "path", "same_node", "elsewhere"),
    [
        (CLAIM, "/home/ray/.cache", True, True),
        (CLAIM, HUB_CACHE, True, True),
        (CLAIM, "/home/ray/.cachet", False, False),
        (HOST, "/home/ray", True, False),
        (EMPTY, "/home/ray/.cache", False, False),
    ],
)
def test_what_a_pod_leaves_is_found_where_its_volume_is(
    volume: dict[str, Any], path: str, same_node: bool, elsewhere: bool
) -> None:
    """A claim goes with the cluster, a host path with its node, everything else with the pod."""
    caches = VolumeCaches()
    caches.keep(a_container(volume, path=path), HUB_CACHE, "model")
    assert caches.holds(a_container(volume, path=path), HUB_CACHE, "model") is same_node
    assert caches.holds(a_container(volume, path=path, node="n2"), HUB_CACHE, "model") is elsewhere
    assert not caches.holds(a_container(volume, path=path), HUB_CACHE, "another")
    assert not caches.holds(a_container(volume, path=path), COMPILE_CACHE, "model")
    assert not caches.holds(a_container(), HUB_CACHE, "model")


def test_pushed_code_changes_what_its_address_starts() -> None:
    """Other addresses lead where they led."""
    code, engine = CodeHost(), Engine("m", "m")
    assert code.engine("https://host/main.zip", engine) == engine
    code.push("https://host/main.zip", eager=True)
    assert code.engine("https://host/main.zip", engine).enforce_eager
    assert code.engine("https://host/49c25bb.zip", engine) == engine
    assert code.engine(None, engine) == engine


@pytest.mark.parametrize(
    ("hub", "env", "warns"),
    [
        ("2.4.0", {"HF_HUB_ENABLE_HF_TRANSFER": "1"}, True),
        ("2.4.0", {"HF_HUB_ENABLE_HF_TRANSFER": "1", "HF_XET_HIGH_PERFORMANCE": "1"}, False),
        ("2.4.0", {}, False),
        ("1.18.0", {"HF_HUB_ENABLE_HF_TRANSFER": "1"}, False),
        ("0.25.2", {"HF_HUB_ENABLE_HF_TRANSFER": "1"}, False),
    ],
)
def test_the_newest_hub_client_warns_of_the_old_switch(hub: str, env: dict[str, str], warns: bool) -> None:
    """On import, as huggingface_hub 2.4 does."""
    assert (import_warning({"huggingface-hub": hub}, env) is not None) is warns


@pytest.mark.parametrize(("hub", "brings"), [("0.31.4", False), ("0.32.0", True), ("1.0.1", True)])
def test_the_hub_client_brings_hf_xet_since_0_32(hub: str, brings: bool) -> None:
    """A pod that pins it gets the other with it."""
    added = {name for name, *_ in install_plan({}, [f"huggingface_hub=={hub}"])}
    assert ("hf-xet" in added) is brings
