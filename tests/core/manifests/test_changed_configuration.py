"""Serve's configuration: packages and variables are read, added and taken out, and the rest stays as it is."""

import json
from typing import Any

import pytest
from change_builders import parts, serving
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_manifests import application, sample, small

from airflow_llm_provisioning.core.manifests import (
    runtime_env_vars,
    runtime_pip,
    serve_config,
    with_added_pip,
    with_env,
    with_runtime_env_vars,
    without_runtime_pip,
)
from airflow_llm_provisioning.exceptions import ManifestError


def test_a_variable_of_a_runtime_environment_is_not_contradicted() -> None:
    """Ray would prefer the user's: the container's would say something untrue."""
    manifest = serving("{env_vars: {A: '0'}}")
    with pytest.raises(ManifestError, match=r"'A' cannot be set: spec.serveConfigV2: .*env_vars sets it to another"):
        with_env(manifest, {"A": "1"})
    assert parts(with_env(manifest, {"A": "0"}))[2]["env"] == [{"name": "A", "value": "0"}]


@pytest.mark.parametrize(
    ("environment", "packages", "added"),
    [
        ("{}", (), {"pip": ["new==1"]}),
        ("null", (), {"pip": ["new==1"]}),
        ("{pip: null}", (), {"pip": ["new==1"]}),
        ("{pip: [a==1, b]}", ("a==1", "b"), {"pip": ["a==1", "b", "new==1"]}),
        ("{pip: {packages: [a], c: false}}", ("a",), {"pip": {"packages": ["a", "new==1"], "c": False}}),
        ("{uv: [a]}", ("a",), {"uv": ["a", "new==1"]}),
        ("{uv: {packages: [a], v: ==0.4}}", ("a",), {"uv": {"packages": ["a", "new==1"], "v": "==0.4"}}),
        ("{pip: [New]}", ("New",), {"pip": ["new==1"]}),
        ("{pip: ['new == 1']}", ("new == 1",), {"pip": ["new == 1"]}),
    ],
)  # fmt: skip
def test_packages_are_read_and_added_in_the_users_form(
    environment: str, packages: tuple[str, ...], added: dict[str, Any]
) -> None:
    """List or mapping, pip or uv; a bare name takes the version, an equal requirement is not repeated."""
    manifest = serving(environment)
    assert runtime_pip(manifest) == packages
    made = with_added_pip(manifest, ["new==1"])
    assert application(made)["runtime_env"] == added
    assert runtime_pip(without_runtime_pip(made)) == ()
    assert "pip" not in application(without_runtime_pip(made)).get("runtime_env", {})


def test_packages_of_deployments_and_models_count() -> None:
    """They replace the application's: added to where there are any, and taken away."""
    manifest = small(
        """
applications:
- {name: a, import_path: 'm:a', runtime_env: {pip: [x]}, deployments: [
    {name: D, ray_actor_options: {runtime_env: {pip: [x, y]}}}, {name: E, ray_actor_options: {runtime_env: {}}}]}
- {name: b, import_path: 'm:b', args: {llm_configs: [{runtime_env: {uv: [z]}}]}}
"""
    )
    assert runtime_pip(manifest) == ("x", "y", "z")
    made = with_added_pip(manifest, ["n==1"])
    first, second = application(made), application(made, 1)
    assert first["runtime_env"] == {"pip": ["x", "n==1"]}
    assert [item["ray_actor_options"]["runtime_env"] for item in first["deployments"]] == [
        {"pip": ["x", "y", "n==1"]},
        {},
    ]
    assert second["runtime_env"] == {"pip": ["n==1"]}
    assert second["args"]["llm_configs"][0]["runtime_env"] == {"uv": ["z", "n==1"]}
    assert runtime_pip(without_runtime_pip(made)) == ()


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ("{pip: ./requirements.txt}", "runtime_env.pip names a requirements file"),
        ("{pip: {packages: r.txt}}", "runtime_env.pip.packages names a requirements file"),
        ("{uv: r.txt}", "runtime_env.uv names a requirements file"),
        ("{pip: 5}", "runtime_env.pip is a number; allowed is a list"),
        ("{conda: {dependencies: [pip]}}", "runtime_env.conda names an environment that is made elsewhere"),
        ("{image_uri: 'i:1'}", "runtime_env.image_uri names an environment"),
        ("{container: {image: i}}", "runtime_env.container names an environment"),
        ("{pip: [-r x.txt]}", r"pip\[0\] is no plain requirement"),
        ("{pip: [a, ./local.whl]}", r"pip\[1\] is no plain requirement"),
        ("{pip: ['${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}/x.whl']}", r"pip\[0\] is no plain requirement"),
        ('{pip: ["x\'; curl evil #"]}', r"pip\[0\] is no plain requirement"),
        ('{pip: ["a\\nRUN evil"]}', r"pip\[0\] is no plain requirement"),
        ("{pip: [5]}", r"pip\[0\] is no plain requirement"),
    ],
)
def test_what_cannot_be_baked_is_refused(environment: str, words: str) -> None:
    """With application and key; nothing is taken away silently either."""
    manifest = serving(environment)
    for act in (runtime_pip, without_runtime_pip):
        with pytest.raises(ManifestError, match=rf"application 'llm' cannot be baked .*{words}"):
            act(manifest)


def test_another_version_of_the_users_is_not_overwritten() -> None:
    """Names are compared as pip compares them."""
    manifest = serving("{pip: ['HF.Transfer==0.1.8', 'ray[llm]']}")
    with pytest.raises(
        ManifestError, match=r"'llm' cannot install 'hf_transfer==0.1.9': .*requires 'HF.Transfer==0.1.8'"
    ):
        with_added_pip(manifest, ["hf_transfer==0.1.9"])
    with pytest.raises(ManifestError, match=r"requires 'ray\[llm\]'"):
        with_added_pip(manifest, ["ray==2.46"])
    assert with_added_pip(manifest, ["hf-transfer"]) == manifest
    with pytest.raises(ManifestError, match=r"cannot install more: .*Ray allows no pip beside it"):
        with_added_pip(serving("{conda: env}"), ["a==1"])


def test_more_can_be_installed_beside_what_cannot_be_baked() -> None:
    """Options, files and markers in a list stay; the path of a requirements file takes no more."""
    manifest = serving("{pip: [--pre, ./a.whl, \"b; python_version < '3.12'\"]}")
    made = application(with_added_pip(manifest, ["new==1"]))
    assert made["runtime_env"]["pip"] == ["--pre", "./a.whl", "b; python_version < '3.12'", "new==1"]
    for environment, words in (("{pip: r.txt}", "pip is a text"), ("{uv: {packages: 5}}", "uv.packages is a number")):
        with pytest.raises(ManifestError, match=f"'llm' cannot install more: .*{words}; allowed is a list of texts"):
            with_added_pip(serving(environment), ["new==1"])


def test_nothing_to_change_leaves_the_text_as_it_is() -> None:
    """Comments and spacing included."""
    manifest = sample("kuberay-llm-serve")
    assert (
        with_added_pip(manifest, []) == with_runtime_env_vars(manifest, {}) == without_runtime_pip(manifest) == manifest
    )


def test_runtime_variables_are_read_by_application_and_added_to_all() -> None:
    """The user's other variables stay; another value is refused."""
    manifest = sample("kuberay-sample")
    assert runtime_env_vars(manifest) == {"fruit_app": {}, "math_app": {}}
    made = with_runtime_env_vars(manifest, {"A": "1"})
    assert runtime_env_vars(made) == {"fruit_app": {"A": "1"}, "math_app": {"A": "1"}}
    assert runtime_env_vars(with_runtime_env_vars(made, {"B": "2"}))["math_app"] == {"A": "1", "B": "2"}
    assert with_runtime_env_vars(made, {"A": "1"}) == made
    with pytest.raises(ManifestError, match=r"'A' cannot be set in application 'fruit_app'.*to another value"):
        with_runtime_env_vars(made, {"A": "2"})


TRICKY = {
    "template": "{% if x %}{{ x }}{% endif %}\n  indented: {{ y }}  \n\n# no comment\n\ttab\n",
    "one line": "{{ bos }} {# c #} 'q' \"d\" *a &b !c %d @e `f`: g " + "long " * 60,
    "like numbers": ["1e3", "0o17", "1:30", "0x1", "1_000", "-1", ".5", "2024-01-01", "+1"],
    "like truth": ["y", "N", "yes", "no", "on", "Off", "true", "null", "~", ""],
    "plain": [1, 1.5, 1e-5, True, None, [], {}],
    "ünï": "😀 \u2028 \x85 \x07",
    "trailing": "a \n b\t\n",
}


def test_a_changed_configuration_keeps_the_rest() -> None:
    """Unknown keys, their order, chat templates, and texts that look like numbers."""
    config = {
        "proxy": "x",
        "applications": [{"import_path": "m:a", "z": TRICKY, "name": "a"}],
        "later": {"b": 1, "a": 2},
    }
    manifest = small(json.dumps(config))
    made = serve_config(with_added_pip(manifest, ["a==1"]))
    assert list(made) == ["proxy", "applications", "later"]
    assert list(made["applications"][0]) == ["import_path", "z", "name", "runtime_env"]
    assert list(made["later"]) == ["b", "a"]
    assert made["applications"][0].pop("runtime_env") == {"pip": ["a==1"]}
    assert made == config


def test_what_another_parser_would_read_anew_is_quoted() -> None:
    """go-yaml reads a plain 1e3 as a number and a plain y as a truth value."""
    written = with_added_pip(small(json.dumps({"applications": [{"import_path": "m:a", "z": TRICKY}]})), ["a==1"])
    text = written["spec"]["serveConfigV2"]
    assert '- "1e3"\n' in text
    assert '- "0o17"\n' in text
    assert '- "y"\n' in text
    assert '- "N"\n' in text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_characters="\0")),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=300, deadline=None, database=None)
@given(JSON)
def test_any_configuration_round_trips(value: Any) -> None:
    """Everything in an application's arguments is there after a change."""
    config = {"applications": [{"name": "a", "import_path": "m:a", "args": value}]}
    manifest = small(json.dumps(config))
    assert serve_config(manifest) == config
    made = serve_config(with_added_pip(manifest, ["x==1"]))
    assert made["applications"][0]["args"] == value
