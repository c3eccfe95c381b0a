"""Where weights come from, and which inputs may change under the same name."""

from typing import Any

import pytest
import yaml

from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.weight_sources import not_from_the_hub, unpinned_inputs

AT = "2026-05-04T12:00:00Z"


def view(*applications: dict[str, Any], revision: str = "") -> TraceView:
    """Return the view of a RayService with these applications."""
    config = yaml.safe_dump({"applications": list(applications)})
    service = {"metadata": {"name": "s", "uid": "rs"}, "spec": {"serveConfigV2": config}}
    header = {"rayservice": {"name": "s", "uid": "rs"}, "trial": {"model": {"revision": revision}} if revision else {}}
    return TraceView(
        [
            {"received_at": AT, "type": "HEADER", "resource": "trace", "object": header},
            {"received_at": AT, "type": "ADDED", "resource": "rayservices", "object": service},
        ]
    )


@pytest.mark.parametrize(
    "args",
    [
        {},
        {"model": "microsoft/Phi-3-mini-4k-instruct", "load-format": "auto"},
        {"llm_configs": [{"model_loading_config": {"model_source": "org/model"}, "engine_kwargs": {"dtype": "auto"}}]},
        {"engine_kwargs": {"load_format": "runai_streamer"}},
    ],
)
def test_a_hub_model_comes_from_the_hub(args: dict[str, Any]) -> None:
    """A hub model's files come from the hub with every loader that reads them."""
    assert not_from_the_hub(view({"name": "llm", "args": args})) is None


@pytest.mark.parametrize(
    "address",
    [
        "https://github.com/elotl/skyray/archive/49c25bb.zip",
        "https://github.com/o/r/archive/49c25bb8c1d2e3f4a5b6c7d8e9f0a1b2c3d4e5f6.tar.gz",
        "https://files.example/r-49c25bb8c1.zip?download=1",
        "gs://bucket/0123456789abcdef/app.zip",
        "local_folder",
    ],
)
def test_code_at_a_commit_stays(address: str) -> None:
    """Code at a commit, and code in the image, do not change."""
    assert unpinned_inputs(view({"name": "a", "runtime_env": {"working_dir": address}})) == ()


@pytest.mark.parametrize(
    "runtime_env",
    [
        {"working_dir": "https://github.com/elotl/skyray/archive/main.zip"},
        {"working_dir": "https://github.com/o/r/archive/refs/tags/v1.2.zip"},
        {"py_modules": ["https://github.com/o/r/archive/49c25bb.zip", "s3://bucket/latest.zip"]},
    ],
)
def test_code_behind_a_branch_or_a_tag_moves(runtime_env: dict[str, Any]) -> None:
    """The origin's own working_dir was a branch."""
    (told,) = unpinned_inputs(view({"name": "a", "runtime_env": runtime_env}))
    assert "names no commit" in told


@pytest.mark.parametrize(("revision", "moves"), [("f39ac1d28e925b323eae81227eaba4464caced4e", 0), ("main", 1), ("", 0)])
def test_a_model_without_a_commit_moves(revision: str, moves: int) -> None:
    """`main` may change with every push; a revision that the trace does not contain is not reported."""
    assert len(unpinned_inputs(view(revision=revision))) == moves
