"""Each treatment is believed with evidence only."""

import re
from pathlib import Path
from typing import Any

import pytest
from treatment_traces import DIGEST, IMAGE, OTHER_DIGEST, SERVED, TRANSFER, XET, environments, trace, verdict

from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.treatments import (
    DeploymentPlan,
    Treatment,
    known_treatments,
    undeclared,
)


def test_fast_download_is_applied_where_an_old_hub_honours_it() -> None:
    """Switch on in both pods, hf_transfer and a hub before 1.0 installed, at start or in the image."""
    packages = ("huggingface_hub==0.25.2", "hf_transfer==0.1.9")
    assert verdict("fast_download", trace(env=TRANSFER, pip=packages)).value == "yes"
    assert verdict("fast_download", trace(env=TRANSFER, recipe=packages)).value == "yes"


@pytest.mark.parametrize(
    ("packages", "env", "value", "words"),
    [
        (("huggingface_hub==1.2.0", "hf_transfer==0.1.9"), TRANSFER, "no", "ignores hf_transfer since 1.0"),
        (("huggingface_hub==0.34.1", "hf_transfer==0.1.9", "hf_xet==1.1"), TRANSFER, "no", "takes precedence"),
        (
            ("huggingface_hub==0.34.1", "hf_transfer==0.1.9", "hf_xet==1.1"),
            {**TRANSFER, "HF_HUB_DISABLE_XET": "1"},
            "yes",
            "honours",
        ),
        (("huggingface_hub==0.25.2",), TRANSFER, "unknown", "hf_transfer is in no list"),
        (("hf_transfer==0.1.9",), TRANSFER, "unknown", "Which huggingface_hub ran is not known"),
        (("hf_transfer==0.1.9", "huggingface_hub>=0.20"), TRANSFER, "unknown", "is not known"),
        (("hf_transfer==0.1.9", "huggingface_hub==0.25.2"), {}, "no", "no HF_HUB_ENABLE_HF_TRANSFER"),
        (("hf_xet==1.8.0",), XET, "yes", "hf_xet==1.8.0 is installed"),
        (("huggingface_hub==0.25.2",), XET, "no", "does not know hf_xet yet"),
        ((), XET, "unknown", "hf_xet is in no list"),
        (("huggingface_hub==0.34.1", "hf_transfer==0.1.9"), TRANSFER, "no", "with hf_xet, which takes precedence"),
        (("huggingface_hub==0.30.2", "hf_transfer==0.1.9"), TRANSFER, "yes", "honours"),
        (("huggingface_hub==0.30.2", "hf_transfer==0.1.9", "hf_xet==1.0.0"), TRANSFER, "no", "takes precedence"),
        (("huggingface_hub==1.18.0",), XET, "yes", "which brings hf_xet"),
        (("hf_xet==1.8.0",), {**XET, "HF_HUB_DISABLE_XET": "1"}, "no", "uses no hf_xet then"),
        (("huggingface_hub==0.25.2", "hf_transfer==0.1.9"), {**XET, **TRANSFER}, "yes", "honours"),
        (("vllm==0.5.4", "huggingface_hub==0.25.2", "hf_transfer==0.1.9"), {}, "yes", "honours"),
        (
            ("vllm==0.5.4", "huggingface_hub==0.25.2", "hf_transfer==0.1.9"),
            {"HF_HUB_ENABLE_HF_TRANSFER": "0"},
            "no",
            "=0",
        ),
    ],
)
def test_fast_download_that_does_nothing_is_not_believed(
    packages: tuple[str, ...], env: dict[str, str], value: str, words: str
) -> None:
    """The classic silent no-op, the precedence of hf_xet, and what cannot be told."""
    found = verdict("fast_download", trace(env=env, pip=packages))
    assert found.value == value
    assert words in " ".join(found.evidence)


HONOURED = ("huggingface_hub==0.25.2", "hf_transfer==0.1.9")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"variables": {"HF_HUB_ENABLE_HF_TRANSFER": "0"}},
            "The application's runtime_env has HF_HUB_ENABLE_HF_TRANSFER=0",
        ),
        ({"args": {"load-format": "dummy"}}, "generates random weights"),
        (
            {"args": {"llm_configs": [{"engine_kwargs": {"load_format": "tensorizer"}}]}},
            "reads other files than the hub's",
        ),
        ({"args": {"model": "/models/phi"}}, "read from /models/phi"),
        (
            {"args": {"llm_configs": [{"model_loading_config": {"model_source": {"bucket_uri": "s3://b/m"}}}]}},
            "s3://b/m",
        ),
        ({"log": "FutureWarning: ... deprecated as 'hf_transfer' is not used anymore."}, "not used anymore"),
        ({"log": "Starting to load model m...\nLoading weights took 9.1 seconds"}, "downloaded none"),
    ],
)
def test_a_download_that_does_not_happen_cannot_be_fast(fields: dict[str, Any], words: str) -> None:
    """Switched off where it counts, nothing to download, or a client that says it knows no hf_transfer any more."""
    found = verdict("fast_download", trace(**{"env": TRANSFER, "pip": HONOURED, **fields}))
    assert found.value == "no"
    assert words in " ".join(found.evidence)


@pytest.mark.parametrize(
    "log",
    [
        "Starting to load model m...\nTime spent downloading weights for m: 4 seconds\nLoading weights took 9 seconds",
        "Starting to load model m...\nLoading model weights took 7.1659 GB",
        "Loading weights took 9.1 seconds",
    ],
)
def test_a_log_that_does_not_say_so_takes_no_download_away(log: str) -> None:
    """Downloaded; an engine that never says it; a log whose beginning is cut off."""
    assert verdict("fast_download", trace(env=TRANSFER, pip=HONOURED, log=log)).value == "yes"


@pytest.mark.parametrize(
    ("declared", "fields", "words"),
    [
        ((), {"env": XET}, "HF_XET_HIGH_PERFORMANCE=1"),
        ((), {"variables": TRANSFER}, "HF_HUB_ENABLE_HF_TRANSFER=1"),
        ((), {"pip": ("vllm==0.5.4", *HONOURED)}, "vLLM switches it on by itself"),
        (("bake_packages",), {"pulled": "QUICK"}, "are too fast for a network"),
        (("bake_packages",), {"pulled": "PRESENT", "young": True}, "already present"),
        (("fast_download",), {"env": TRANSFER, "pip": HONOURED}, ""),
        (("bottlerocket_snapshot",), {"pulled": "PRESENT", "young": True}, ""),
        ((), {"pulled": "PRESENT"}, ""),
        ((), {"pulled": "PULLED", "young": True}, ""),
        ((), {"pip": ("vllm==0.5.4", "huggingface_hub==1.0.1", "hf_transfer==0.1.9")}, ""),
    ],
)
def test_an_acceleration_that_nobody_declared_is_told(
    declared: tuple[str, ...], fields: dict[str, Any], words: str
) -> None:
    """A baseline that was accelerated is none. A node that was there before is the cold start's business, not this."""
    messages = {"QUICK": QUICK, "PRESENT": PRESENT, "PULLED": PULLED}
    if "pulled" in fields:
        fields = {**fields, "pulled": messages[fields["pulled"]]}
    found = " ".join(undeclared(trace(**fields), declared))
    assert words in found
    assert bool(words) == bool(found)


def test_a_switch_in_one_pod_only_is_not_on() -> None:
    """The worker downloads; a head alone is not enough."""
    packages = ("huggingface_hub==0.25.2", "hf_transfer==0.1.9")
    assert verdict("fast_download", trace(env=TRANSFER, worker_env={}, pip=packages)).value == "no"


def test_baked_packages_are_applied_when_our_image_ran_and_nothing_was_installed() -> None:
    """By digest, and not by the reference."""
    prepared = {"image": IMAGE, "digest": DIGEST}
    assert verdict("bake_packages", trace(prepared=prepared)).value == "yes"


@pytest.mark.parametrize(
    ("fields", "value", "words"),
    [
        ({"prepared": {"image": IMAGE, "digest": OTHER_DIGEST}}, "no", f"ran {DIGEST}; prepared was {OTHER_DIGEST}"),
        ({"prepared": {"image": IMAGE, "digest": DIGEST}, "pip": ("vllm==0.5.4",)}, "no", "asks for pip vllm"),
        ({"prepared": {"image": IMAGE}}, "unknown", "its digest was not seen"),
        ({"prepared": {"image": "other:1"}}, "no", "its digest was not seen"),
        ({"prepared": {}}, "unknown", "what was prepared, are not known"),
    ],
)
def test_baked_packages_that_are_not_are_not_believed(fields: dict[str, Any], value: str, words: str) -> None:
    """Another image under the tag, packages installed all the same, or nothing to compare with."""
    found = verdict("bake_packages", trace(**fields))
    assert found.value == value
    assert words in " ".join(found.evidence)


PRESENT = f'Container image "{IMAGE}" already present on machine'
PULLED = f'Successfully pulled image "{IMAGE}" in 2m10.8s (2m10.8s including waiting). Image size: 11600000000 bytes.'
QUICK = f'Successfully pulled image "{IMAGE}" in 2.1s (2.1s including waiting). Image size: 11600000000 bytes.'


@pytest.mark.parametrize(
    ("pulled", "said", "value"),
    [
        (PRESENT, True, "yes"),
        (PRESENT, False, "no"),
        (PRESENT, None, "unknown"),
        (PULLED, True, "no"),
        (None, True, "unknown"),
        # imagePullPolicy Always: the registry was asked, and no layer was moved.
        (QUICK, True, "yes"),
        (QUICK, False, "no"),
        (QUICK, None, "unknown"),
    ],
)
def test_a_snapshot_must_be_mounted_and_found(pulled: str | None, said: bool | None, value: str) -> None:
    """The cloud says the volume came from it, and kubelet found the layers there: both or not believed."""
    view = trace(pulled=pulled, evidence=(("snapshot_mounted", said),))
    assert verdict("bottlerocket_snapshot", view).value == value


@pytest.mark.parametrize(("pulled", "value"), [(QUICK, "yes"), (PULLED, "no"), (PRESENT, "unknown"), (None, "unknown")])
@pytest.mark.parametrize("name", ["gke_image_streaming", "aks_artifact_streaming"])
def test_streaming_shows_in_the_pulls(name: str, pulled: str | None, value: str) -> None:
    """Gigabytes in seconds were mounted; minutes were a full pull; silence proves nothing."""
    said = (("image_streamed", True),) if name == "aks_artifact_streaming" else ()
    assert verdict(name, trace(pulled=pulled, evidence=said)).value == value


@pytest.mark.parametrize("said", [(), (("image_streamed", None),)])
def test_a_quick_pull_on_aks_proves_nothing_while_registry_and_pool_are_not_known(
    said: tuple[tuple[str, bool | None], ...],
) -> None:
    """AKS has no signal of its own: without the image's and the pool's state a fast pull stays unknown."""
    assert verdict("aks_artifact_streaming", trace(pulled=QUICK, evidence=said)).value == "unknown"


def test_a_registry_that_was_not_converted_rules_aks_streaming_out() -> None:
    """A quick pull alone does not stand against the cloud's no; the cloud's yes alone does not stand for the pull."""
    assert verdict("aks_artifact_streaming", trace(pulled=QUICK, evidence=(("image_streamed", False),))).value == "no"
    assert verdict("aks_artifact_streaming", trace(pulled=None, evidence=(("image_streamed", True),))).value == (
        "unknown"
    )


@pytest.mark.parametrize("name", list(known_treatments()))
def test_an_empty_trace_proves_nothing(name: str) -> None:
    """Unknown is not success, and not failure."""
    assert verdict(name, TraceView([])).value == "unknown"


def test_the_treatment_that_the_page_shows_is_a_whole_one() -> None:
    """Copied as it stands, it has all that is asked of a treatment, and is believed with evidence only."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "treatments.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (example,) = [code for code in blocks if "FasterStart" in code]
    names: dict[str, Any] = {}

    exec(compile(example, "treatments.md", "exec"), names)  # noqa: S102 - our own words

    treatment = names["FasterStart"]()
    asked = {*Treatment.__annotations__, *(name for name in vars(Treatment) if not name.startswith("_"))}
    assert asked <= set(dir(treatment))
    env = environments(treatment.change(DeploymentPlan.of(SERVED[1]), SERVED[1]).manifest)[0]
    assert treatment.verify(trace(env=env)).value == "yes"
    assert treatment.verify(trace()).value != "yes"
    assert treatment.undeclared(trace(env=env))
    assert treatment.undeclared(trace()) is None
