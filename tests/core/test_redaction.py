"""What the recorder stores: switches that decide verdicts, no secret, no repeat."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import yaml

from airflow_llm_provisioning.core.trace import Deduplicator, line, redact
from airflow_llm_provisioning.core.trace.objects import EVENT_RESOURCES, Version, build_event
from airflow_llm_provisioning.core.trace.secrets import find_secrets


def test_environment_values_go_and_names_stay() -> None:
    """A token in a container's environment is never stored; the switches of the download treatment are."""
    pod = {
        "spec": {
            "containers": [
                {
                    "env": [
                        {"name": "HF_TOKEN", "value": "hf_secret"},
                        {"name": "HF_HUB_ENABLE_HF_TRANSFER", "value": "1"},
                        {"name": "FROM", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                    ]
                }
            ]
        }
    }
    kept = redact("pods", pod)
    env = {entry["name"]: entry for entry in kept["spec"]["containers"][0]["env"]}
    assert "hf_secret" not in json.dumps(kept)
    assert env["HF_HUB_ENABLE_HF_TRANSFER"]["value"] == "1"
    assert env["FROM"]["valueFrom"]["secretKeyRef"]["name"] == "s"
    assert pod["spec"]["containers"][0]["env"][0]["value"] == "hf_secret"


def test_serve_configuration_loses_its_variables_and_keeps_its_packages() -> None:
    """The configuration is text inside the RayService: its env_vars are redacted, and pip stays readable."""
    config = "applications:\n- name: llm\n  runtime_env:\n    env_vars:\n      TOKEN: secret\n    pip: [vllm==0.5.4]\n"
    kept = redact("rayservices", {"spec": {"serveConfigV2": config}})["spec"]["serveConfigV2"]
    assert "secret" not in kept
    assert "vllm==0.5.4" in kept
    assert redact("rayservices", {"spec": {"serveConfigV2": "a: ["}})["spec"]["serveConfigV2"] == "<redacted>"


@pytest.mark.parametrize(
    "variables",
    [
        "\n      INSTANTTENSOR_BACKEND: URING,AIO",
        "\n      INSTANTTENSOR_BACKEND: 'URING, AIO'\n      HF_HUB_DISABLE_XET: '1'",
        " {INSTANTTENSOR_BACKEND: 'URING,AIO', HF_HUB_DISABLE_XET: '1'}",
        "\n      INSTANTTENSOR_BACKEND: |-\n        URING,AIO",
    ],
)
def test_variables_that_verdicts_need_are_still_yaml(variables: str) -> None:
    """A value with a comma, in every form that YAML has for it. A secret in a comment goes all the same."""
    config = f"# password: hunter-2\napplications:\n- name: llm\n  runtime_env:\n    env_vars:{variables}\n"
    kept = redact("rayservices", {"spec": {"serveConfigV2": config}})
    told = kept["spec"]["serveConfigV2"]
    assert yaml.safe_load(told) == yaml.safe_load(config)
    assert "hunter-2" not in told
    assert redact("rayservices", kept) == kept
    assert find_secrets([line(datetime(2026, 11, 30, tzinfo=UTC), "ADDED", "rayservices", kept)]) == ()


def test_runtime_environments_in_answers_lose_their_variables() -> None:
    """The answers of Ray and Serve repeat the variables, as mappings and as text."""
    answer = {
        "runtime_env": {"env_vars": {"TOKEN": "secret"}},
        "serialized_runtime_env": '{"env_vars": {"T": "secret"}}',
    }
    assert "secret" not in json.dumps(redact("ray-actors", answer))


def test_bulk_and_copies_go() -> None:
    """The copy of kubectl, managed fields' content, the data of secrets and Serve's metrics are not stored."""
    obj = {
        "metadata": {
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "all of it", "a": "b"},
            "managedFields": [{"manager": "m", "time": "2026-05-04T12:00:00Z", "fieldsV1": {"f:x": {}}}],
        },
        "controller_health_metrics": {"x": 1},
        "data": {"k": "v"},
    }
    assert redact("pods", obj) == {
        "metadata": {"annotations": {"a": "b"}, "managedFields": [{"manager": "m", "time": "2026-05-04T12:00:00Z"}]},
        "data": {"k": "v"},
    }
    assert "data" not in redact("configmaps", obj)


def test_a_version_is_new_once() -> None:
    """A repeated version, or an older one after a new list, is not new; a newer one, a deletion and a bookmark are
    distinguished.
    """

    def obj(version: str) -> dict[str, object]:
        return {"metadata": {"uid": "u", "resourceVersion": version}}

    seen = Deduplicator()
    assert seen.is_new("pods", "ADDED", obj("9"))
    assert not seen.is_new("pods", "LISTED", obj("9"))
    assert seen.is_new("pods", "MODIFIED", obj("10"))
    assert not seen.is_new("pods", "LISTED", obj("9"))
    assert seen.is_new("events", "ADDED", obj("9"))
    # The same event by the other API.
    assert not seen.is_new("events.events.k8s.io", "ADDED", obj("9"))
    assert seen.is_new("events.events.k8s.io", "MODIFIED", obj("11"))
    assert not seen.is_new("events", "MODIFIED", obj("11"))
    assert seen.is_new("pods", "DELETED", obj("10"))
    assert not seen.is_new("pods", "DELETED", obj("11"))
    assert not seen.is_new("pods", "BOOKMARK", {"metadata": {"resourceVersion": "12"}})
    assert seen.is_new("serve-rest", None, {"applications": {}})
    assert seen.is_new("serve-rest", None, {"applications": {}})


RECORDINGS = sorted((Path(__file__).parents[1] / "recordings").glob("**/*.jsonl.gz"))


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name)
def test_either_event_api_alone_tells_the_same(path: Path) -> None:
    """On real clusters: an event says as much in the older API as in the newer one, so one copy of it is stored."""
    lines = [json.loads(text) for text in gzip.decompress(path.read_bytes()).splitlines()]
    views: dict[str, dict[tuple[str, str], Version]] = {name: {} for name in EVENT_RESOURCES}
    for item in lines:
        if item.get("resource") in views and item["type"] != "DELETED":
            metadata = item["object"]["metadata"]
            version = Version(datetime(2026, 1, 1, tzinfo=UTC), "ADDED", item["object"])
            views[item["resource"]][metadata["uid"], metadata["resourceVersion"]] = version
    older, newer = views["events"], views["events.events.k8s.io"]
    for key in older.keys() & newer.keys():
        assert build_event([older[key]]) == build_event([newer[key]])


def test_what_is_remembered_of_a_specification_hides_the_next_secret_too() -> None:
    """Versions with the same specification share one copy without secrets; another value in it is another one."""

    def pod(value: str, *, kept: str = "a") -> dict[str, Any]:
        env = [{"name": "PLAIN", "value": value}, {"name": "HF_HUB_ENABLE_HF_TRANSFER", "value": kept}]
        return {"metadata": {"uid": "1"}, "spec": {"containers": [{"env": env}], "nodeName": value[:1]}}

    first, again = redact("pods", pod("x-canary")), redact("pods", pod("x-canary"))
    assert first["spec"] is again["spec"]
    others = [redact("pods", pod(f"y-canary-{number}", kept=str(number)))["spec"] for number in range(3)]
    assert "canary" not in json.dumps([first, *others])
    assert [spec["containers"][0]["env"][1]["value"] for spec in others] == ["0", "1", "2"]
    assert [spec["nodeName"] for spec in others] == ["y"] * 3


def test_a_specification_that_is_no_plain_json_is_redacted_as_well() -> None:
    """A read-only mapping, one that is nested too deep for a digest, and one that is too large to be remembered."""
    env = {"env": [{"name": "TOKEN", "value": "canary"}]}
    deep: Any = env
    for _ in range(3000):
        deep = [deep]
    large = {**env, "text": ["word"] * 20_000}
    for spec in (MappingProxyType(env), deep, large):
        assert "canary" not in str(redact("pods", {"spec": spec}))
    assert redact("pods", {"spec": large})["spec"]["text"] == large["text"]


@pytest.mark.parametrize("neighbour", [{}, {"<redacted>": 1}, {"<redacted>": 1, "other": 2}])
def test_a_name_that_is_a_secret_goes_beside_every_neighbour(neighbour: dict[str, int]) -> None:
    """What is left of it may be a name that stands there already."""
    name = "hf_" + "A" * 30
    for told in ({name: 1, **neighbour}, {**neighbour, name: 1}):
        assert name not in json.dumps(redact("rayservices", {"status": told}))
