"""The fast download by Xet: believed with a client that has hf_xet, refuted by the client's own word."""

import re
from typing import Any

import pytest
from weight_traces import a_pod, config_line, line, loaded_lines, v1, view_of

from airflow_llm_provisioning.core.treatments import treatment
from airflow_llm_provisioning.core.verdicts import Verdict

FAST = treatment("fast_download")
ON = {"HF_XET_HIGH_PERFORMANCE": "1"}
FELL_BACK = (
    "Xet Storage is enabled for this repo, but the 'hf_xet' package is not installed. Falling back to regular HTTP "
    "download. For better performance, install the package with: `pip install huggingface_hub[hf_xet]`"
)


def judged(*lines: str, hub: str = "huggingface_hub==2.4.0", env: dict[str, str] | None = None) -> Verdict:
    downloaded = v1("Time spent downloading weights for microsoft/Phi-3-mini-4k-instruct: 21.4 seconds", 27)
    served = (config_line("auto"), *lines, downloaded, *loaded_lines())
    recipe: dict[str, Any] = {"base": "b", "pip": [hub, "vllm==0.22.1"], "env": {}}
    head = line("pods", a_pod("head", ON, None), 2, kind="MODIFIED")
    return FAST.verify(view_of(*served, env=ON | (env or {}), recipe=recipe, more=[head]))


@pytest.mark.parametrize(
    ("lines", "fields", "value", "words"),
    [
        ((), {}, "yes", "huggingface_hub 2.4 is installed, which brings hf_xet"),
        ((), {"env": {"HF_ENDPOINT": "https://huggingface.co"}}, "yes", "brings hf_xet"),
        ((FELL_BACK,), {}, "no", "says in .* that hf_xet is not installed"),
        (
            (f"WARNING:huggingface_hub.file_download:{FELL_BACK}",),
            {"hub": "huggingface_hub==0.34.4"},
            "no",
            "Falling b",
        ),
        ((), {"env": {"HF_HUB_DISABLE_XET": "1"}}, "no", "uses no hf_xet"),
        ((), {"env": {"HF_ENDPOINT": "https://hf-mirror.example"}}, "unknown", "came from https://hf-mirror.example"),
        ((), {"hub": "huggingface_hub"}, "unknown", "hf_xet is in no list of packages"),
    ],
)
def test_xet_is_believed_where_the_client_has_it(
    lines: tuple[str, ...], fields: dict[str, Any], value: str, words: str
) -> None:
    """The client's own warning outweighs its release; of a mirror it is not known whether it serves Xet."""
    found = judged(*lines, **fields)
    assert found.value == value
    assert re.search(words, " ".join(found.evidence)), found.evidence
