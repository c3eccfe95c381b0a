"""An engine that does not come up: what decides it, and where its exception stands."""

import json

import pytest
from test_any_workload import IMAGE, PHI3, VLLM, a_group, a_service, an_application
from trial_rig import TrialRig, an_image, in_virtual_time, tiny_profile

from llm_provisioning_simulator.app.application import Engine
from llm_provisioning_simulator.app.engine_errors import engine_failure
from llm_provisioning_simulator.hub_models import PHI3 as PHI3_MODEL
from llm_provisioning_simulator.hub_models import HubModel

SMALL = HubModel("a/small", "0" * 40, {"model.safetensors": 2 * 2**30})


def error(engine: Engine, model: HubModel, sku: str, fault: str = "") -> str:
    failure = engine_failure(engine, model, {sku: 1} if sku else {}, fault)
    return failure.error if failure else ""


def test_what_fits_comes_up() -> None:
    """Phi-3-mini on an L4 as the experiment serves it, and any model on a node whose GPU is not known."""
    assert error(Engine("m", "m", memory_share=0.7), PHI3_MODEL, "L4") == ""
    assert error(Engine("m", "m"), PHI3_MODEL, "") == ""


@pytest.mark.parametrize(
    ("engine", "sku", "text"),
    [
        (Engine("m", "m"), "T4", ""),
        (Engine("m", "m", dtype="bfloat16"), "T4", "Your Tesla T4 GPU has compute capability 7.5"),
        (Engine("m", "m", memory_share=0.2), "L4", "No available memory for the cache blocks"),
        (Engine("m", "m", max_model_len=131072), "L4", "max seq len (131072), (48.00 GiB KV cache is needed"),
        (Engine("m", "m", max_model_len=131072, gpus=8.0), "L4", ""),
    ],
)
def test_memory_and_capability_of_the_gpu_decide(engine: Engine, sku: str, text: str) -> None:
    """Weights, cache of the longest request and data type, each against what the GPU has; spread over several."""
    found = error(engine, PHI3_MODEL, sku)
    assert (text in found) if text else found == ""


def test_weights_larger_than_the_gpu_are_no_question_of_its_share() -> None:
    """The CUDA allocator's own error, while random weights of any size are not read at all."""
    large = HubModel("a/large", "0" * 40, {"model.safetensors": 140_000_000_000})
    assert error(Engine("m", "m"), large, "L4").startswith("torch.OutOfMemoryError: CUDA out of memory.")
    assert error(Engine("m", "m", load_format="dummy"), large, "L4") == ""


@in_virtual_time
async def test_the_cause_stands_in_the_engines_own_output() -> None:
    """V1: the replica says only "See root cause above"; the worker's output holds the exception."""
    application = an_application(
        import_path="ray.serve.llm:build_openai_app",
        args={
            "llm_configs": [
                {
                    "model_loading_config": {"model_id": "phi", "model_source": PHI3},
                    "engine_kwargs": {"max_model_len": 131072},
                }
            ]
        },
    )
    async with TrialRig(tiny_profile(), image=an_image(IMAGE, **VLLM)) as cluster:
        cluster.apply(a_service(application, a_group("gpu", gpus=1, name="w"), head=a_group("cpu")))
        await cluster.until(lambda: cluster.applications().get("app", {}).get("status") == "DEPLOY_FAILED", 900.0)
        deployments = cluster.applications()["app"]["serveDeploymentStatuses"]
        message = next(item["message"] for item in deployments.values() if item["status"] == "DEPLOY_FAILED")
        assert "RuntimeError: Engine core initialization failed. See root cause above." in message
        assert "max seq len" not in message
        _, nodes = await cluster.get("/api/v0/nodes")
        worker = next(row for row in json.loads(nodes)["data"]["result"]["result"] if not row["is_head_node"])
        _, index = await cluster.get("/api/v0/logs", query=f"node_id={worker['node_id']}")
        files = json.loads(index)["data"]["result"]["worker_out"]
        texts = [
            (await cluster.get("/api/v0/logs/file", query=f"node_id={worker['node_id']}&filename={name}&lines=-1"))[1]
            for name in files
        ]
        assert any(b"EngineCore failed to start." in text and b"max seq len (131072)" in text for text in texts)
