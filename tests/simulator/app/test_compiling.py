"""What a simulated engine finds in its compile cache, and what it prints of it."""

from typing import Any

import pytest
from trial_rig import an_image

from llm_provisioning_simulator.app.application import Engine
from llm_provisioning_simulator.app.compiling import CompileCache, compile_steps, look_up
from llm_provisioning_simulator.app.volumes import COMPILE_CACHE, VolumeCaches
from llm_provisioning_simulator.runtime import ContainerContext
from llm_provisioning_simulator.world import Delivery, NodeSpec

ENGINE = Engine("m", "m")
NEW = {"vllm": "0.22.0", "torch": "2.11.0"}


def a_container(gpu: str = "L4", uid: str = "u") -> ContainerContext:
    """Return a container of one pod with an emptyDir at the engine's cache."""
    spec = NodeSpec("c", "n", "eks", "us-west-2", "us-west-2a", "g6.4xlarge", {gpu: 1})
    pod = {"metadata": {"name": "p", "uid": uid}, "spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}
    mounts = [{"name": "v", "mountPath": COMPILE_CACHE}]
    return ContainerContext(pod, {"name": "c", "volumeMounts": mounts}, spec, an_image(), Delivery("present"))


def start(caches: VolumeCaches, ctx: ContainerContext | None = None, **told: Any) -> CompileCache:
    """Look up, and leave what a start leaves."""
    given = {"packages": NEW, "engine": ENGINE, "env": {}, **told}
    ctx = ctx or a_container()
    found = look_up(caches, ctx, given["packages"], given["engine"], given["env"])
    for entry in found.entries:
        caches.keep(ctx, found.root, entry)
    return found


@pytest.mark.parametrize(("torch", "found"), [("2.6.0", 2), ("2.9.1", 2), ("2.10.0", 3), ("2.11.0", 2), ("2.13.0", 2)])
def test_the_second_start_finds_the_graphs_and_with_torch_2_10_the_third(torch: str, found: int) -> None:
    """What 2.10 saved first it cannot load, and gives no reason."""
    caches, packages = VolumeCaches(), {"vllm": "0.19.0", "torch": torch}
    starts = [start(caches, packages=packages) for _ in range(4)]
    assert [one.found for one in starts].index(True) + 1 == found
    assert [one.refused for one in starts[:found]] == [None, *([""] * (found - 2)), None]


@pytest.mark.parametrize(
    ("other", "refused"),
    [
        ({"packages": {"vllm": "0.23.0", "torch": "2.11.0"}}, None),
        ({"packages": {"vllm": "0.22.0", "torch": "2.12.0"}}, None),
        ({"engine": Engine("m", "m", max_model_len=64)}, None),
        ({"engine": Engine("m", "m", optimization_level=1)}, None),
        ({"engine": Engine("/mnt/m", "m")}, None),
        ({"env": {"VLLM_USE_FLASHINFER_SAMPLER": "1"}}, None),
        ({"ctx": a_container("A10G")}, "Compile package was created with different GPU: cached=L4, current=A10G"),
    ],
)
def test_another_key_finds_nothing(other: dict[str, Any], refused: str | None) -> None:
    """Release, torch, configuration, level, the model's path, a variable; another GPU's artifact refuses by itself."""
    caches = VolumeCaches()
    start(caches)
    assert start(caches).found
    found = start(caches, **other)
    assert (found.found, found.refused) == (False, refused)


def test_what_is_in_no_key_changes_nothing() -> None:
    """The name it serves under, the memory's share, its port and the place of the cache itself."""
    caches = VolumeCaches()
    start(caches)
    env = {"VLLM_PORT": "1", "VLLM_CACHE_ROOT": COMPILE_CACHE, "HF_HOME": "/x"}
    assert start(caches, engine=Engine("m", "other", memory_share=0.7), env=env).found
    assert not start(caches, ctx=a_container(uid="another pod")).found


@pytest.mark.parametrize("torch", ["2.6.0", "2.11.0"])
def test_the_lines_are_those_of_the_release(torch: str) -> None:
    """A miss and a hit; the whole function since torch 2.10."""
    caches, aot = VolumeCaches(), torch == "2.11.0"
    packages = {"vllm": "0.22.0", "torch": torch}
    miss, hit = (
        [step.message for step in compile_steps(10.0, start(caches, packages=packages), modern=aot)] for _ in range(2)
    )
    shape = "compile range (1, 8192)" if aot else "dynamic shape"
    assert f"Compiling a graph for {shape} takes 7.00 s" in miss
    assert f"Directly load the compiled graph(s) for {shape} from the cache, took 7.000 s" in hit
    assert any("saved AOT compiled function to" in text for text in miss) is aot
    assert any("Directly load AOT compilation from path" in text for text in hit) is aot
    off = look_up(caches, a_container(), packages, ENGINE, {"VLLM_DISABLE_COMPILE_CACHE": "1"})
    first = next(iter(compile_steps(10.0, off, modern=aot)))
    assert first.message == "vLLM's torch.compile cache is disabled."
