"""vLLM's lower optimization levels: what is changed, what is refused, what a recording proves."""

from dataclasses import replace
from typing import Any

import pytest
from proof.recorded_trial import Scenario
from proof.targets import target
from proof.workloads import SERVED_CURRENT
from treatment_recordings import Recording, told

from airflow_llm_provisioning.core.manifests import engine_args, with_engine_args
from airflow_llm_provisioning.core.target import NodeProfile
from airflow_llm_provisioning.core.treatments import plan_deployment
from airflow_llm_provisioning.core.treatments.optimization_level import OptimizationLevel
from airflow_llm_provisioning.core.workload import Workload, builtin_workload
from airflow_llm_provisioning.exceptions import ManifestError

LEVELS = (OptimizationLevel(0), OptimizationLevel(1))
NODES = NodeProfile(name="n", cloud="eks", autoscaler="luna", kubernetes_minor="1.34", gpu_skus=("L4",))


@pytest.fixture(scope="module", params=[0, 1])
def recorded(request: pytest.FixtureRequest) -> tuple[str, Recording]:
    name = f"optimization_level_{request.param}"
    return name, Recording(Scenario(target=target("eks"), declared=SERVED_CURRENT, variant=name))


def mine(**arguments: Any) -> Workload:
    """Return a user's own workload whose engine has these arguments."""
    served = builtin_workload("mine", "phi3-current")
    return replace(served, manifest=with_engine_args(served.manifest, arguments), profile=None)


def in_logs(old: str, new: str) -> Any:
    """Change a text in the engine's logs."""

    def change(line: dict[str, Any]) -> dict[str, Any]:
        if line["resource"] == "ray-log-file":
            line["object"] = line["object"].replace(old, new)
        return line

    return change


@pytest.mark.parametrize("item", LEVELS)
def test_the_change_is_one_argument_of_every_engine(item: OptimizationLevel) -> None:
    """A user's own manifest like a built-in one; applied twice it is the same."""
    served = mine()
    plan = plan_deployment(served, [item])
    assert [engine.values["optimization_level"] for engine in engine_args(plan.manifest)] == [item.level]
    assert item.change(plan, served) == plan
    assert plan.recipe == served.recipe


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ({"enforce_eager": True}, "enforce_eager"),
        ({"compilation_config": {"mode": 3}}, "compilation_config.mode"),
        ({"compilation_config": {"cudagraph_mode": "FULL"}}, "compilation_config.cudagraph_mode"),
    ],
)
def test_what_outweighs_a_level_is_refused(arguments: dict[str, Any], key: str) -> None:
    """VLLM would keep the user's value without a word."""
    for item in LEVELS:
        (sentence,) = item.requires(NODES, mine(**arguments))
        assert f"sets {key}, which vLLM prefers" in sentence
    assert LEVELS[0].requires(NODES, mine()) == ()


def test_an_older_engine_and_another_level_are_refused() -> None:
    """The origin's vLLM 0.5.4 knows no level; a level of the user's is not overwritten."""
    (sentence,) = LEVELS[0].requires(NODES, builtin_workload("origin", "phi3-2025"))
    assert "needs vLLM 0.12 or later; workload 'origin' installs vllm==0.5.4" in sentence
    (sentence,) = LEVELS[0].requires(NODES, mine(optimization_level=3))
    assert "sets it to 3" in sentence
    with pytest.raises(ManifestError, match="optimization_level"):
        plan_deployment(mine(), LEVELS)


def test_the_configuration_line_proves_it_and_the_speed_stands_beside_it(recorded: tuple[str, Recording]) -> None:
    """Cold, applied, and told that it may serve slower, with the measured figure."""
    name, recording = recorded
    assert (recording.row.applied, recording.row.start) == ("applied", "cold")
    found = recording.verdict(name)
    assert found.value == "yes"
    assert "may serve slower" in told(found)
    assert "tokens/s (" in told(found)


def test_another_mode_refutes_it(recorded: tuple[str, Recording]) -> None:
    """What the engine was configured with counts, not what was asked for."""
    name, recording = recorded
    graphs = "NONE: 0" if name.endswith("0") else "PIECEWISE: 1"
    change = in_logs(f"<CUDAGraphMode.{graphs}>", "<CUDAGraphMode.FULL_AND_PIECEWISE: (2, 1)>")
    found = recording.verdict(name, change)
    assert found.value == "no"
    assert "CUDA graphs FULL_AND_PIECEWISE" in told(found)


def test_an_engine_without_levels_refutes_it(recorded: tuple[str, Recording]) -> None:
    """Releases before 0.12 had another meaning of -O."""
    name, recording = recorded
    assert recording.verdict(name, in_logs("(v0.22", "(v0.11")).value == "no"


def test_a_silent_engine_is_unknown(recorded: tuple[str, Recording]) -> None:
    """No configuration line, or one that does not say what is compiled."""
    name, recording = recorded
    assert recording.verdict(name, in_logs("Initializing a V1 LLM engine", "Starting")).value == "unknown"
    assert recording.verdict(name, in_logs("'cudagraph_mode'", "'other'")).value == "unknown"


_BACKEND = (
    "is not supported with spec-decode for attention backend FlashInferBackend (support: AttentionCGSupport.NEVER)"
)


@pytest.mark.parametrize(
    ("line", "refuted"),
    [
        (f"WARNING [compilation.py:1459] CUDAGraphMode.PIECEWISE {_BACKEND}; setting cudagraph_mode=NONE", {1}),
        ("WARNING CUDAGraph is not supported for ngram decoding; setting cudagraph_mode=PIECEWISE", {0}),
        ("WARNING Skipping CUDA graph capture. To turn on CUDA graph capture, ensure `cudagraph_mode` was not", {1}),
        ("INFO [backends.py:872] Dynamo bytecode transform time: 7.37 s", {0}),
        ("INFO [decorators.py:311] saved AOT compiled function to /home/ray/.cache/vllm/torch_aot_compile/6ee4", {0}),
    ],
)
def test_what_the_engine_did_later_counts_more_than_its_configuration(
    line: str, refuted: set[int], recorded: tuple[str, Recording]
) -> None:
    """An attention backend may choose other graphs than the level's, or none."""
    name, recording = recorded
    found = recording.verdict(name, in_logs("Initializing a V1 LLM", f"x\n{line}\nInitializing a V1 LLM"))
    assert found.value == ("no" if int(name[-1]) in refuted else "yes")
    assert (f"Engine: {line}" in told(found)) is (found.value == "no")


def test_a_compiled_graph_refutes_level_0() -> None:
    """An engine that compiles is not at level 0, even if its configuration says so."""
    recording = Recording(Scenario(target=target("eks"), declared=SERVED_CURRENT, variant="optimization_level_0"))
    line = "INFO 05-04 12:00:00 [backends.py:342] Compiling a graph for compile range (1, 8192) takes 9.00 s\n"
    found = recording.verdict(
        "optimization_level_0", in_logs("Initializing a V1 LLM", f"x\n{line}Initializing a V1 LLM")
    )
    assert found.value == "no"
    assert "Compiling a graph for" in told(found)


def test_without_timed_answers_the_speed_is_said_to_be_unknown(recorded: tuple[str, Recording]) -> None:
    """The level is applied all the same."""
    name, recording = recorded
    found = recording.verdict(name, lambda line: None if line["object"] == {} or _is_speed(line) else line)
    assert found.value == "yes"
    assert "was not measured in this trial" in told(found)


def _is_speed(line: dict[str, Any]) -> bool:
    return line["resource"] == "trace" and line["object"].get("mark") == "serving_speed"
