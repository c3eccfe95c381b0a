"""Hostile and broken input: one sentence that names the source, never another exception, never long.

500 examples of each kind; 10,000 with LLM_PROVISIONING_FUZZ=full.
"""

import copy
import json
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sample_manifests import NAMES, sample, text_of

from airflow_llm_provisioning.core.manifests import (
    Placement,
    check_ray_service,
    content,
    engine_groups,
    images,
    manifest_diff,
    parse_documents,
    place,
    runtime_env_vars,
    runtime_pip,
    setup_of,
    with_added_pip,
    with_env,
    with_identity,
    with_image,
    with_pull_policy,
    with_runtime_env_vars,
    with_setup,
    with_volume,
    without_runtime_pip,
)
from airflow_llm_provisioning.core.workload import ScalingSetup
from airflow_llm_provisioning.exceptions import ManifestError

WHERE = "experiment.yaml, workload mine"
LIMIT_S = 2.0
EXAMPLES = 10_000 if os.environ.get("LLM_PROVISIONING_FUZZ") == "full" else 500
fuzz = settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))

MARKS = Placement({"a": "b"}, {"a": "b"}, {"a": "b"}, [{"operator": "Exists"}])
VOLUME, MOUNT = {"name": "v", "emptyDir": {}}, {"name": "v", "mountPath": "/v"}
CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "image": lambda m: with_image(m, dict.fromkeys(images(m), "new:1")),
    "policy": lambda m: with_pull_policy(m, "Always"),
    "env": lambda m: with_env(m, {"NEW": "1"}),
    "pip": runtime_pip,
    "added pip": lambda m: with_added_pip(m, ["new==1"]),
    "no pip": without_runtime_pip,
    "variables": runtime_env_vars,
    "added variables": lambda m: with_runtime_env_vars(m, {"NEW": "1"}),
    "volume": lambda m: with_volume(m, engine_groups(m), VOLUME, MOUNT),
    "place": lambda m: place(m, MARKS, MARKS),
    "identity": lambda m: with_identity(m, "new", "default", {"a": "b"}),
    "set-up": setup_of,
    "static": lambda m: with_setup(m, ScalingSetup.STATIC),
    "dynamic": lambda m: with_setup(m, ScalingSetup.DYNAMIC),
    "content": content,
}


def attempt(act: Callable[[], Any], *words: str) -> Any:
    """Return what `act` returns, or None for a refusal; hold the refusal to one line with `words`, and the time."""
    started = time.process_time()
    result = None
    try:
        result = act()
    except ManifestError as error:
        told = str(error)
        assert told.splitlines() == [told], told
        assert all(word in told for word in words), told
        assert told.endswith((".", "`"))
        assert len(told) < 20_000
    assert time.process_time() - started < LIMIT_S
    return result


def go_through(source: Any) -> None:
    """Parse, and change what can be parsed: whether or not it would be deployed."""
    parsed = attempt(lambda: parse_documents(source, where=WHERE), WHERE)
    if parsed is None:
        return
    manifest = parsed.ray_service
    json.dumps(manifest, allow_nan=False)
    before = copy.deepcopy(manifest)
    attempt(lambda: check_ray_service(manifest), "RayService")
    made: Any = manifest
    for change in CHANGES.values():
        changed = attempt(lambda change=change: change(manifest))
        made = changed if isinstance(changed, dict) else made
    attempt(lambda: manifest_diff(manifest, made))
    assert manifest == before


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates() | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=4),
    max_leaves=15,
)
YAML_PIECES = st.sampled_from(
    ["a", "b: ", "- ", "\n", "  ", "&x ", "*x", "<<: ", "---\n", "[", "]", "{", "}", ",", "!!int ", "!t ",
     "'", '"', "|\n",
     "? ", ": ", "#", "%", "kind: RayService\n", "metadata:\n", "2024-01-01", "1e9", ".nan", "~", "\t", "\0", "\ud800",
     "é", "apiVersion: ray.io/v1\n", "{{ x }}", "0x1", "items:\n", "kind: List\n"]
)  # fmt: skip


@fuzz
@given(st.lists(YAML_PIECES, max_size=40).map("".join))
@example("[" * 5000)
@example("{" * 5000)
@example('{"a":' * 5000)
@example("- " * 5000)
@example("? " * 3000)
@example("kind: RayService\n" * 2)
@example("a: &a [*a]")
@example("a: !!python/object:os.system x")
@example("a: " + "9" * 6000)
@example('{"kind": "RayService", "a": ' + "9" * 6000 + "}")
def test_any_text(text: str) -> None:
    """Pieces of YAML in any order."""
    go_through(text)


@fuzz
@given(st.binary(max_size=200) | st.text(max_size=200))
def test_any_bytes_and_characters(source: Any) -> None:
    """Random bytes, and random characters."""
    go_through(source)


@fuzz
@given(VALUES)
def test_any_value(value: Any) -> None:
    """Any Python value, as it is, and under a RayService's keys."""
    go_through(value)
    go_through({"kind": "RayService", "apiVersion": "ray.io/v1", "metadata": value, "spec": value})


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield (*path, key)
        yield from places(item, (*path, key))


def unfolded(name: str) -> dict[str, Any]:
    manifest = sample(name)
    manifest["spec"]["serveConfigV2"] = yaml.safe_load(manifest["spec"]["serveConfigV2"])
    return manifest


UNFOLDED = {name: unfolded(name) for name in NAMES}
PLACES = {name: list(places(UNFOLDED[name])) for name in NAMES}


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """Return a sample with up to three nodes deleted, replaced or doubled, Serve's configuration included."""
    name = draw(st.sampled_from(NAMES))
    manifest = copy.deepcopy(UNFOLDED[name])
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(PLACES[name]))
        parent: Any = manifest
        for key in path[:-1]:
            has = (isinstance(parent, dict) and key in parent) or (
                isinstance(parent, list) and key in range(len(parent))
            )
            parent = parent[key] if has else None
        key, how = path[-1], draw(st.sampled_from(["delete", "replace", "list", "key"]))
        present = isinstance(parent, dict) and key in parent
        present = present or (isinstance(parent, list) and isinstance(key, int) and key < len(parent))
        if not present:
            continue
        if how == "delete":
            del parent[key]
        else:
            parent[key] = {"replace": draw(VALUES), "list": [parent[key], parent[key]], "key": {"x": parent[key]}}[how]
    spec = manifest.get("spec")
    if isinstance(spec, dict) and isinstance(spec.get("serveConfigV2"), dict):
        spec["serveConfigV2"] = yaml.dump(spec["serveConfigV2"])
    return manifest


@fuzz
@given(mutated())
def test_any_change_of_a_sample(manifest: dict[str, Any]) -> None:
    """Nodes deleted, doubled, wrapped and retyped."""
    go_through(manifest)


@fuzz
@given(st.sampled_from(NAMES), st.integers(0, 3000), st.integers(0, 60), st.lists(YAML_PIECES, max_size=3).map("".join))
def test_any_change_of_a_samples_text(name: str, start: int, length: int, put: str) -> None:
    """A piece of the file is replaced by another."""
    text = text_of(name)
    go_through(text[:start] + put + text[start + length :])


def bomb(levels: int, width: int) -> str:
    lines = ["a0: &a0 [x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels)]
    return "kind: RayService\n" + "\n".join(lines)


def shared() -> dict[str, Any]:
    value: Any = ["x"]
    for _ in range(40):
        value = [value, value]
    return {"kind": "RayService", "spec": value}


def cyclic() -> dict[str, Any]:
    value: dict[str, Any] = {"kind": "RayService"}
    value["spec"] = value
    return value


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (lambda: "kind: RayService\na: &a x\nb: [" + "*a, " * 101 + "]", "more than 100 aliases; allowed are 100"),
        (lambda: bomb(9, 9), "stands for more than 200,000 values"),
        (lambda: f"kind: RayService\na: &a [{'x, ' * 3000}]\nb: [{'*a, ' * 90}]", "more than 200,000 values"),
        (lambda: "kind: RayService\nx: [" + "1, " * 300_000 + "]", "more than 200,000 values"),
        (lambda: '{"kind": "RayService", "x": [' + "1, " * 300_000 + "1]}", "more than 200,000 values"),
        (lambda: '{"kind": "RayService", "x": [' + '{"a": 1}, ' * 450_000 + "1]}", "more than 200,000 values"),
        (lambda: '{"kind": "RayService", "x": [' + '"", ' * 1_200_000 + "1]}", "more than 200,000 values"),
        (lambda: "---\n" * 1_200_000, "more than 200,000 values"),
        (lambda: "a: " + "x" * 5_000_000, "has 5,000,003 bytes; allowed are 5,000,000"),
        (lambda: b"\xff" * 5_000_001, "has 5,000,001 bytes; allowed are 5,000,000"),
        (lambda: {"kind": "RayService", "a": ["x" * 1_000_000] * 6}, "more than 5,000,000 characters"),
        (lambda: "kind: RayService\na: " + "[" * 100 + "]" * 100, "nested deeper than 100 levels"),
        (lambda: "a:\n" + "\n".join(" " * n + "a:" for n in range(1, 102)), "nested deeper than 100 levels"),
        (shared, "more than 200,000 values"),
        (cyclic, "nested deeper than 100 levels"),
    ],
)  # fmt: skip
def test_bombs_are_refused_in_time(source: Callable[[], Any], words: str) -> None:
    """Aliases, breadth, depth, size, shared and cyclic objects; the refusal says which limit it was."""
    made = source()
    started = time.process_time()
    with pytest.raises(ManifestError, match=words) as raised:
        parse_documents(made, where=WHERE)
    assert time.process_time() - started < LIMIT_S
    assert str(raised.value).startswith(WHERE)


@pytest.mark.parametrize("text", [bomb(40, 9), bomb(9, 9), "[" * 3000, "a: [" * 200])
def test_a_bomb_in_serves_configuration_is_refused_too(text: str) -> None:
    """It is YAML inside a text, and has the same limits."""
    manifest = sample("skyray-baseline")
    manifest["spec"]["serveConfigV2"] = text
    started = time.process_time()
    with pytest.raises(ManifestError, match=r"spec.serveConfigV2 (holds|stands|is)"):
        check_ray_service(manifest)
    assert time.process_time() - started < LIMIT_S


def test_what_stands_inside_a_json_string_is_no_separator() -> None:
    """300,000 commas, brackets and escaped quotes are one value; a text that does not end is refused in time."""
    inside = ',[{\\"' * 300_000
    parsed = parse_documents(f'{{"kind": "RayService", "a": "{inside}"}}', where=WHERE).ray_service
    assert parsed["a"] == inside.replace("\\", "")
    started = time.process_time()
    with pytest.raises(ManifestError, match="is no YAML"):
        parse_documents(f'{{"kind": "RayService", "a": "{inside}', where=WHERE)
    assert time.process_time() - started < LIMIT_S


def test_what_is_just_allowed_passes() -> None:
    """100 aliases, 90 levels, 190,000 values."""
    deep = "[" * 90 + "]" * 90
    text = f"kind: RayService\na: &a [x]\nb: [{', '.join(['*a'] * 100)}]\nc: {deep}\nd: [{'1, ' * 190_000}]"
    parsed = parse_documents(text, where=WHERE).ray_service
    assert len(parsed["b"]) == 100
    assert len(parsed["d"]) == 190_000
