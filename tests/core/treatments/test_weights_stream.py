"""Streamed weights: the bucket of the target, refused where it cannot stream, believed with evidence only."""

import re
from dataclasses import replace
from typing import Any

import pytest
from weight_traces import MODEL, config_line, line, loaded_lines, v1, view_of

from airflow_llm_provisioning.core.builtin_profiles import PHI3, PHI3_CURRENT
from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.core.manifests import engine_args, ray_container, ray_groups, serve_config, with_env
from airflow_llm_provisioning.core.target import NodeProfile, Target
from airflow_llm_provisioning.core.timing.causal_order import causal_order_of
from airflow_llm_provisioning.core.timing.engine_logs import read_logs
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.treatments import plan_deployment, treatment
from airflow_llm_provisioning.core.workload import WeightStreaming, Workload, builtin_workload
from airflow_llm_provisioning.exceptions import ConfigurationError, ManifestError

STREAM = treatment("weights_stream")
CURRENT = builtin_workload("phi3-current", "phi3-current")
BUCKET = "s3://weights/phi-3-mini"
LLM = {"llm_configs": [{"model_loading_config": {"model_id": MODEL, "model_source": BUCKET}}]}
FOLDER = "/home/ray/.cache/vllm/assets/model_streamer/a6caa38b"
CONFIG = config_line("runai_streamer", model=FOLDER)


def a_target(cloud: str = "eks", region: str | None = "us-west-2", **told: Any) -> Target:
    bucket = {"source": BUCKET, "region": "us-west-2", **told}
    nodes = NodeProfile("t", cloud, "luna", "1.34")
    options = {"treatments": {"weights_stream": {key: value for key, value in bucket.items() if value}}}
    return Target("t", "c", "k", nodes, ("streamed",), region=region, cloud_conn_id="cloud", options=options)


def azure(**told: Any) -> Target:
    return a_target("aks", source="az://weights/phi", **told)


def streamed(size: str = "7.1 GiB", seconds: float = 11.01, process: str = "(EngineCore pid=412)") -> str:
    head = f"{process} [2026-05-04 12:01:20] INFO file_streamer.py:66: [RunAI Streamer] Overall time to stream"
    return f"{head} {size} of all files to cpu: {seconds}s, 664.3 MiB/s"


def seen(*lines: str, region: bool | None = None, args: Any = LLM, **fields: Any) -> TraceView:
    told = {"claim": "weights_bucket_region", "holds": region, "detail": "Bucket weights.", "source": "s3"}
    return view_of(*lines, args=args, more=[line("trace", told, 40, "EVIDENCE")], **fields)


def test_it_leads_every_engine_to_the_targets_bucket() -> None:
    """Loader, concurrency, and the address; the model keeps its name."""
    made = plan_deployment(CURRENT, [STREAM], target=a_target())
    (engine,) = engine_args(made.manifest)
    assert (engine.source, engine.served) == (BUCKET, MODEL)
    assert engine.values["load_format"] == "runai_streamer"
    assert engine.values["model_loader_extra_config"] == {"concurrency": 16}


def test_a_users_own_application_is_led_there_too() -> None:
    """VLLM's arguments beside a model, as texts of a command line; the name of requests stays."""
    application = {"name": "a", "import_path": "my:app", "args": {"model": MODEL, "max-model-len": "4096"}}
    spec = {**CURRENT.manifest["spec"], "serveConfigV2": str({"applications": [application]})}
    mine = Workload("mine", {**CURRENT.manifest, "spec": spec}, PHI3)
    told = replace(mine, weights_stream=WeightStreaming(concurrency=32))
    args = serve_config(plan_deployment(told, [STREAM], target=a_target()).manifest)["applications"][0]["args"]
    assert (args["model"], args["served-model-name"]) == (BUCKET, MODEL)
    assert args["model-loader-extra-config"] == '{"concurrency": 32}'


def test_a_container_of_azure_is_told_with_its_storage_account() -> None:
    """In every Ray container, because the head reads the model's files too; an account that the user's own manifest
    names needs no second place, and another one is refused.
    """
    manifest = plan_deployment(CURRENT, [STREAM], target=azure(account="mine")).manifest
    wanted = {"name": "AZURE_STORAGE_ACCOUNT_NAME", "value": "mine"}
    assert all(wanted in ray_container(manifest, group)["env"] for group in ray_groups(manifest))
    mine = replace(CURRENT, manifest=with_env(CURRENT.manifest, {wanted["name"]: "mine"}))
    assert STREAM.requires_of(azure(), mine) == ()
    with pytest.raises(ManifestError, match="'AZURE_STORAGE_ACCOUNT_NAME' cannot be set"):
        plan_deployment(mine, [STREAM], target=azure(account="another"))
    assert "AZURE_STORAGE_ACCOUNT_NAME" not in str(plan_deployment(CURRENT, [STREAM], target=a_target()).manifest)


def test_what_a_target_says_of_treatments_is_not_for_its_cloud() -> None:
    """The reference that opens the cloud has no `treatments`."""
    assert "treatments" not in (a_target().cloud_reference() or {})


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (a_target(source=None), r"needs options.treatments.weights_stream.source on target 't'"),
        (a_target(source="https://host/m"), "needs options.treatments.weights_stream.source"),
        (a_target(source="gs://weights/phi"), "gs://weights/phi is not one of eks, whose nodes read s3://"),
        (a_target(region=None), None),
        (
            replace(a_target(), options={"treatments": {"weights_stream": {"source": BUCKET}}}),
            "the bucket's own region",
        ),
        (a_target(region="eu-west-1"), "is in us-west-2 and the nodes are in eu-west-1: copy it"),
        (a_target("generic"), None),
        (a_target(), None),
        (azure(), "needs options.treatments.weights_stream.account on target 't': az://weights/phi"),
        (azure(account="No Account"), "account on target 't' is no storage account's name"),
        (azure(account="mine"), None),
        (a_target(account="mine"), "account on target 't' is for az:// sources, and the source is s3://weights/phi"),
    ],
)
def test_a_bucket_that_cannot_be_used_is_refused_with_the_experiment(target: Target, words: str | None) -> None:
    """None named, another cloud's, another region's: before a trial costs money."""
    made = {"workloads": (CURRENT,), "variants": {"streamed": ("weights_stream",)}}
    if words is None:
        Experiment("e", (target,), **made)  # type: ignore[arg-type]
        return
    with pytest.raises(ConfigurationError, match=words):
        Experiment("e", (target,), **made)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("workload", "words"),
    [
        (builtin_workload("o", "phi3-2025"), "knows since 0.7; workload 'o' installs vllm==0.5.4"),
        (replace(CURRENT, model=replace(PHI3, weight_format="pt")), "has pt files"),
        (builtin_workload("n", "phi3-current", replace(PHI3_CURRENT, ray_version="2.57.0")), "Ray 2.57.0 drops"),
        (replace(CURRENT, model=None), "needs to know the model"),
    ],
)
def test_an_engine_that_cannot_stream_is_refused(workload: Workload, words: str) -> None:
    """Old engines, other files, a Ray that drops the address, a model that is not named."""
    told = STREAM.requires(a_target().nodes, workload)
    assert any(re.search(words, sentence) for sentence in told), told
    assert STREAM.requires(a_target().nodes, CURRENT) == ()


@pytest.mark.parametrize("region", [True, None])
def test_a_stream_of_the_pinned_bytes_is_believed(region: bool | None) -> None:
    """One rank with all of them; the cloud may say nothing of the bucket's region."""
    found = STREAM.verify(seen(CONFIG, streamed(), region=region))
    assert found.value == "yes"
    assert "The pinned weights have 7.1 GiB." in found.evidence


def test_ranks_that_share_the_work_stream_it_together() -> None:
    """Distributed streaming: each rank writes its part."""
    halves = (streamed("3.6 GiB", process="(Worker_TP0 pid=1)"), streamed("3.5 GiB", process="(Worker_TP1 pid=2)"))
    assert STREAM.verify(seen(CONFIG, *halves)).value == "yes"


DOWNLOADED = v1(f"Time spent downloading weights for {MODEL}: 31.204113 seconds", 12, "weight_utils.py:542")
MIRRORED = (
    "INFO 2026-05-04 12:01:01,000 llm_LLMServer x -- Finished downloading model and tokenizer for phi from S3 storage"
)
HUB = {"llm_configs": [{"model_loading_config": {"model_id": MODEL, "model_source": MODEL}}]}


@pytest.mark.parametrize(
    ("lines", "fields", "words"),
    [
        ((config_line("auto"), *loaded_lines()), {}, "ran with load_format=auto"),
        ((CONFIG, DOWNLOADED, streamed()), {"args": HUB}, "names no bucket as the source"),
        ((CONFIG, DOWNLOADED, streamed()), {}, "were downloaded first: .*31.204113 seconds"),
        ((MIRRORED, CONFIG, streamed()), {}, "were downloaded first: .*from S3 storage"),
        ((CONFIG, streamed("3.9 GiB")), {}, "have 7.1 GiB: it is another model"),
        ((CONFIG, streamed()), {"region": False}, "Bucket weights"),
    ],
)
def test_a_stream_that_was_none_is_refuted(lines: tuple[str, ...], fields: dict[str, Any], words: str) -> None:
    """Another loader, a download of the hub or of the bucket, another checkpoint, another region."""
    found = STREAM.verify(seen(*lines, **fields))
    assert found.value == "no"
    assert re.search(words, " ".join(found.evidence))


@pytest.mark.parametrize(
    ("lines", "fields"),
    [
        ((), {}),
        ((CONFIG,), {}),
        ((CONFIG, streamed()), {"weight_bytes": None}),
        ((CONFIG, streamed(seconds=60.0)), {}),
    ],
)
def test_a_silent_recording_is_unknown(lines: tuple[str, ...], fields: dict[str, Any]) -> None:
    """No line of the streamer, no size to hold it against, and a stream so slow that it may come from far away while
    the cloud does not say where the bucket is.
    """
    assert STREAM.verify(seen(*lines, **fields)).value == "unknown"


def test_a_slow_stream_from_the_same_region_is_applied() -> None:
    """It was slow, and it is what was declared: 51.7 GiB in 303 s were published."""
    assert STREAM.verify(seen(CONFIG, streamed(seconds=60.0), region=True)).value == "yes"


def test_ray_that_skips_the_weights_downloaded_none() -> None:
    """Ray copies the small files of the bucket under the same words."""
    skipped = "INFO 2026-05-04 12:01:00,000 llm_LLMServer x -- Skipping download of safetensors files."
    assert STREAM.verify(seen(skipped, MIRRORED, CONFIG, streamed())).value == "yes"


def test_a_baseline_that_streams_is_told() -> None:
    """`undeclared` names the streamer's line."""
    assert "Overall time to stream" in (STREAM.undeclared(seen(CONFIG, streamed())) or "")
    assert STREAM.undeclared(seen(config_line("auto"), *loaded_lines())) is None


def test_a_stream_has_no_download_phase() -> None:
    """The order of milestones knows that nothing was downloaded; of a hub's model it does not."""
    for args, expected in ((LLM, False), (HUB, True)):
        view = seen(CONFIG, streamed(), args=args)
        order = causal_order_of(view, read_logs(view.logs, None), ())
        assert ("weights_downloaded" in order.expected) is expected
