"""Every change does what it says, keeps what the user wrote, and refuses to overwrite what the user decided."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_manifests import application, sample, small

from airflow_llm_provisioning.core.manifests import (
    GPU_TOLERATION,
    Placement,
    accelerators,
    engine_groups,
    images,
    is_accelerator,
    max_replicas,
    place,
    pod_template,
    ray_container,
    ray_groups,
    runtime_env_vars,
    runtime_pip,
    serve_config,
    setup_of,
    starting_replicas,
    with_added_pip,
    with_env,
    with_first_init_container,
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

NOTHING = Placement()


def parts(manifest: dict[str, Any], index: int = 1) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return the group, its pod's spec and its Ray container; 0 is the head, 1 the first worker group."""
    group = ray_groups(manifest)[index]
    spec = manifest["spec"]["rayClusterConfig"]
    found = spec["headGroupSpec"] if index == 0 else spec["workerGroupSpecs"][index - 1]
    return found, pod_template(manifest, group)["spec"], ray_container(manifest, group)


def serving(environment: str, rest: str = "") -> dict[str, Any]:
    return small(f"applications: [{{name: llm, import_path: 'm:app', runtime_env: {environment}{rest}}}]")


@pytest.mark.parametrize(
    ("resource", "counts"),
    [
        ("nvidia.com/gpu", True),
        ("nvidia.com/mig-2g.20gb", True),
        ("nvidia.com/gpu.shared", True),
        ("amd.com/gpu", True),
        ("google.com/tpu", True),
        ("aws.amazon.com/neuron", True),
        ("habana.ai/gaudi", True),
        ("cpu", False),
        ("memory", False),
        ("ephemeral-storage", False),
        ("hugepages-2Mi", False),
        ("kubernetes.io/batch-cpu", False),
        ("scheduling.k8s.io/foo", False),
    ],
)
def test_every_extended_resource_is_an_accelerator(resource: str, counts: bool) -> None:
    """And no resource of Kubernetes' own."""
    assert is_accelerator(resource) is counts
    asked = accelerators({"resources": {"requests": {resource: "1"}, "limits": {resource: 2, "cpu": 1}}})
    assert asked == ({resource: 2} if counts else {})


def test_none_asked_for_is_no_accelerator() -> None:
    """Zero is none; what is no number is refused."""
    assert accelerators({"resources": {"limits": {"nvidia.com/gpu": "0"}}}) == {}
    assert accelerators({}) == accelerators({"resources": None}) == {}
    with pytest.raises(ManifestError, match=r"nvidia.com/gpu has the amount '1.5'; allowed are whole numbers"):
        accelerators({"resources": {"limits": {"nvidia.com/gpu": "1.5"}}})


def test_the_engine_runs_where_accelerators_are() -> None:
    """Else on all workers, else on the head; a head with a GPU counts."""
    manifest = small()
    cpu_group = {"groupName": "cpu", "template": {"spec": {"containers": [{"name": "w", "image": "a:1"}]}}}
    manifest["spec"]["rayClusterConfig"]["workerGroupSpecs"].append(cpu_group)
    assert [group.name for group in engine_groups(manifest)] == ["gpu"]
    parts(manifest)[2].pop("resources")
    assert [group.name for group in engine_groups(manifest)] == ["gpu", "cpu"]
    parts(manifest, 0)[2]["resources"] = {"limits": {"amd.com/gpu": 1}}
    assert [group.name for group in engine_groups(manifest)] == ["headgroup"]
    del manifest["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    parts(manifest, 0)[2].pop("resources")
    assert [group.role for group in engine_groups(manifest)] == ["head"]


@pytest.mark.parametrize(
    ("counts", "starts"),
    [
        ({}, 0),
        ({"replicas": 2}, 2),
        ({"minReplicas": 1}, 1),
        ({"replicas": 0, "minReplicas": 1}, 1),
        ({"replicas": 9, "maxReplicas": 4}, 4),
    ],
)
def test_a_group_starts_as_kuberay_starts_it(counts: dict[str, int], starts: int) -> None:
    """Replicas between their bounds; with the autoscaler on, none means dynamic."""
    manifest = small(enableInTreeAutoscaling=True)
    parts(manifest)[0].pop("replicas")
    parts(manifest)[0].update(counts)
    worker = ray_groups(manifest)[1]
    assert starting_replicas(manifest, worker) == starts
    assert max_replicas(manifest, worker) == counts.get("maxReplicas")
    assert setup_of(manifest) is (ScalingSetup.STATIC if starts else ScalingSetup.DYNAMIC)


def test_static_starts_every_engine_group() -> None:
    """With what the user wanted, at least one; Ray's autoscaler and the variable that needs it are gone."""
    manifest = small(enableInTreeAutoscaling=True, autoscalerOptions={"version": "v2"})
    parts(manifest)[0].update(replicas=0, minReplicas=0, maxReplicas=0)
    parts(manifest, 0)[2]["env"] = [{"name": "RAY_enable_autoscaler_v2", "value": "1"}, {"name": "A", "value": "1"}]
    made = with_setup(manifest, ScalingSetup.STATIC)
    assert {key: parts(made)[0][key] for key in ("replicas", "minReplicas", "maxReplicas")} == {
        "replicas": 1,
        "minReplicas": 0,
        "maxReplicas": 1,
    }
    assert {"enableInTreeAutoscaling", "autoscalerOptions"}.isdisjoint(made["spec"]["rayClusterConfig"])
    assert parts(made, 0)[2]["env"] == [{"name": "A", "value": "1"}]


def test_an_engine_group_that_nothing_would_start_is_started() -> None:
    """No autoscaler and no replica: it would wait without end."""
    manifest = small()
    parts(manifest)[0]["replicas"] = 0
    assert parts(with_setup(manifest, ScalingSetup.STATIC))[0]["replicas"] == 1


def test_dynamic_starts_no_engine_and_may_grow_as_far_as_before() -> None:
    """The user's autoscaler options are kept, and groups without an engine."""
    manifest = small(autoscalerOptions={"version": "v2"})
    parts(manifest)[0].update(replicas=3, minReplicas=3, maxReplicas=2)
    cpu_group = {"groupName": "cpu", "replicas": 2, "template": {"spec": {"containers": [{"name": "w", "image": "a"}]}}}
    manifest["spec"]["rayClusterConfig"]["workerGroupSpecs"].append(cpu_group)
    made = with_setup(manifest, ScalingSetup.DYNAMIC)
    assert {key: parts(made)[0][key] for key in ("replicas", "minReplicas", "maxReplicas")} == {
        "replicas": 0,
        "minReplicas": 0,
        "maxReplicas": 2,
    }
    assert parts(made, 2)[0] == cpu_group
    assert made["spec"]["rayClusterConfig"]["autoscalerOptions"] == {"version": "v2"}
    manifest["spec"]["rayClusterConfig"].pop("workerGroupSpecs")
    with pytest.raises(ManifestError, match="dynamic set-up needs a worker group that runs the engine"):
        with_setup(manifest, ScalingSetup.DYNAMIC)


def test_an_image_is_replaced_wherever_it_runs_ray() -> None:
    """In init containers of the same image and the autoscaler's too; a sidecar and another init container stay."""
    manifest = small(autoscalerOptions={"image": "a:1"})
    _, spec, _ = parts(manifest)
    spec["initContainers"] = [{"name": "i", "image": "a:1"}, {"name": "j", "image": "busybox"}]
    spec["containers"].append({"name": "side", "image": "a:1"})
    made = with_image(manifest, {"a:1": "b:2"})
    _, spec, container = parts(made)
    assert images(made) == ("b:2",)
    assert [item["image"] for item in spec["initContainers"]] == ["b:2", "busybox"]
    assert spec["containers"][1]["image"] == "a:1"
    assert made["spec"]["rayClusterConfig"]["autoscalerOptions"] == {"image": "b:2"}
    assert container["image"] == "b:2"
    swapped = with_image(with_image(manifest, {"a:1": "c"}), {"c": "a:1"})
    assert swapped == manifest
    with pytest.raises(ManifestError, match="'x:1' cannot be replaced: no Ray container uses it; these do: a:1"):
        with_image(manifest, {"x:1": "b:2"})


def test_images_are_told_head_first_and_once() -> None:
    """Each can be replaced by its own."""
    manifest = small()
    parts(manifest, 0)[2]["image"] = "head:1"
    assert images(manifest) == ("head:1", "a:1")
    assert images(with_image(manifest, {"head:1": "a:1", "a:1": "head:1"})) == ("a:1", "head:1")


def test_a_pull_policy_is_set_where_ray_runs() -> None:
    """And an unknown one is refused."""
    made = with_pull_policy(small(), "IfNotPresent")
    assert [ray_container(made, group)["imagePullPolicy"] for group in ray_groups(made)] == ["IfNotPresent"] * 2
    with pytest.raises(ManifestError, match="'Sometimes' is unknown; allowed are Always, IfNotPresent, Never"):
        with_pull_policy(small(), "Sometimes")


def test_variables_are_added_behind_the_users() -> None:
    """In every Ray container, sorted; an equal one is not repeated, null counts as none."""
    manifest = small()
    parts(manifest)[2]["env"] = [{"name": "Z", "value": "1"}, {"name": "B", "value": "2"}]
    parts(manifest, 0)[2]["env"] = None
    made = with_env(manifest, {"B": "2", "A": "1"})
    assert [item["name"] for item in parts(made)[2]["env"]] == ["Z", "B", "A"]
    assert parts(made, 0)[2]["env"] == [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"name": "A", "value": "made-up"}, "sets it to another value"),
        ({"name": "A"}, "sets it to another value"),
        ({"name": "A", "valueFrom": {"secretKeyRef": {}}}, r"takes it from elsewhere \(valueFrom\)"),
    ],
)
def test_a_variable_of_the_users_is_not_overwritten(entry: dict[str, Any], words: str) -> None:
    """The refusal names group and variable, and no value."""
    manifest = small()
    parts(manifest)[2]["env"] = [entry]
    told = rf"variable 'A' cannot be set: the Ray container of spec\..*\[0\] \(group gpu\) {words}"
    with pytest.raises(ManifestError, match=told) as raised:
        with_env(manifest, {"A": "1"})
    assert "made-up" not in str(raised.value)


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


VOLUME = {"name": "weights", "image": {"reference": "w:1"}}
MOUNT = {"name": "weights", "mountPath": "/weights", "readOnly": True}


def test_a_volume_is_added_to_the_groups_that_need_it() -> None:
    """Once, beside the user's."""
    manifest = sample("kuberay-vllm-tpu")
    made = with_volume(manifest, engine_groups(manifest), VOLUME, MOUNT)
    assert parts(made)[1]["volumes"] == [*parts(manifest)[1]["volumes"], VOLUME]
    assert parts(made)[2]["volumeMounts"] == [*parts(manifest)[2]["volumeMounts"], MOUNT]
    assert parts(made, 0) == parts(manifest, 0)
    assert with_volume(made, engine_groups(made), VOLUME, MOUNT) == made


@pytest.mark.parametrize(
    ("volume", "mount", "words"),
    [
        ({"name": "dshm", "emptyDir": {}}, {"name": "dshm", "mountPath": "/x"}, "'dshm' cannot be added: .*tpu-group"),
        (VOLUME, {"name": "weights", "mountPath": "/data"}, "'/data' cannot be added: .*with this mountPath"),
        (VOLUME, {"name": "other", "mountPath": "/x"}, "needs a name, and its mount that name"),
        ({}, {}, "needs a name"),
    ],
)  # fmt: skip
def test_a_volume_of_the_users_is_not_replaced(volume: dict[str, Any], mount: dict[str, Any], words: str) -> None:
    """Neither by its name nor by its path."""
    manifest = sample("kuberay-vllm-tpu")
    with pytest.raises(ManifestError, match=words):
        with_volume(manifest, engine_groups(manifest), volume, mount)


WAIT = {"name": "wait", "image": "busybox", "command": ["true"]}


def test_an_init_container_comes_before_the_users() -> None:
    """Once, in the groups that need it; one of the same name, in either list, is not replaced."""
    manifest = with_first_init_container(small(), ray_groups(small())[:1], {**WAIT, "name": "mine"})
    made = with_first_init_container(manifest, ray_groups(manifest), WAIT)
    inits = [pod_template(made, group)["spec"]["initContainers"] for group in ray_groups(made)]
    assert [[item["name"] for item in one] for one in inits] == [["wait", "mine"], ["wait"]]
    assert with_first_init_container(made, ray_groups(made), WAIT) == made
    assert "initContainers" not in pod_template(small(), ray_groups(small())[0])["spec"]
    taken = ray_container(made, ray_groups(made)[0])["name"]
    for other in ({**WAIT, "image": "mine"}, {**WAIT, "name": taken}):
        with pytest.raises(ManifestError, match="has another of this name"):
            with_first_init_container(made, ray_groups(made), other)


def test_marks_go_to_the_right_groups() -> None:
    """Head and workers each get their own; only GPU groups tolerate the taint of GPU nodes."""
    head, workers = (
        Placement(labels={"for": "head"}),
        Placement(node_selector={"for": "workers"}, annotations={"a": "b"}),
    )
    made = place(small(), head, workers)
    assert pod_template(made, ray_groups(made)[0])["metadata"] == {"labels": {"for": "head"}}
    assert {"nodeSelector", "tolerations"}.isdisjoint(parts(made, 0)[1])
    assert pod_template(made, ray_groups(made)[1])["metadata"] == {"annotations": {"a": "b"}}
    assert parts(made)[1]["nodeSelector"] == {"for": "workers"}
    assert parts(made)[1]["tolerations"] == [dict(GPU_TOLERATION)]
    assert place(made, head, workers) == made


@pytest.mark.parametrize(
    ("resource", "tolerates"),
    [("nvidia.com/gpu", True), ("nvidia.com/mig-1g.10gb", True), ("google.com/tpu", False), ("amd.com/gpu", False)],
)
def test_only_nvidias_accelerators_need_its_toleration(resource: str, tolerates: bool) -> None:
    """Slices of a GPU stand on nodes with the same taint."""
    manifest = small()
    parts(manifest)[2]["resources"] = {"limits": {resource: 1}}
    assert ("tolerations" in parts(place(manifest, NOTHING, NOTHING))[1]) is tolerates


@pytest.mark.parametrize(
    ("toleration", "covers"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "nvidia.com/gpu", "operator": "Exists"}, True),
        ({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}, True),
        ({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "nvidia.com/gpu", "operator": "Equal", "value": "present", "effect": "NoSchedule"}, False),
        ({"key": "other", "operator": "Exists"}, False),
        ({"key": "nvidia.com/gpu", "operator": "Exists", "tolerationSeconds": 5}, False),
    ],
)
def test_a_toleration_is_added_unless_the_user_has_it(toleration: dict[str, Any], covers: bool) -> None:
    """A wider one of the user's is enough."""
    manifest = small()
    parts(manifest)[1]["tolerations"] = [toleration]
    made = parts(place(manifest, NOTHING, NOTHING))[1]["tolerations"]
    assert made == ([toleration] if covers else [toleration, dict(GPU_TOLERATION)])


def test_a_place_of_the_users_is_not_overwritten() -> None:
    """Both values are named."""
    marks = Placement(node_selector={"cloud.google.com/gke-accelerator": "nvidia-a100"})
    with pytest.raises(ManifestError, match=r"Group gpu-group .* is 'nvidia-l4', and the target needs 'nvidia-a100'"):
        place(sample("kuberay-high-throughput-llm"), NOTHING, marks)
    marks = Placement(annotations={"node.elotl.co/instance-gpu-skus": "A100"})
    with pytest.raises(ManifestError, match=r"is 'L4,A10G,A10,L40S', and the target needs 'A100'"):
        place(sample("skyray-baseline"), NOTHING, marks)


def test_identity_is_ours_and_the_users_labels_stay() -> None:
    """On the RayService and every pod; what a server added to a copied manifest goes."""
    manifest = sample("skyray-baseline")
    last = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "mine": "1"}
    manifest["metadata"] |= {"uid": "u", "resourceVersion": "1", "managedFields": [], "annotations": last}
    manifest["status"] = {"serviceStatus": "Running"}
    made = with_identity(manifest, "trial-1", "serving", {"elotl-luna": "ours", "trial": "1"})
    assert made["metadata"] == {
        "name": "trial-1",
        "namespace": "serving",
        "labels": {"app.kubernetes.io/instance": "rayservice", "elotl-luna": "ours", "trial": "1"},
        "annotations": {"mine": "1"},
    }
    assert "status" not in made
    for group in ray_groups(made):
        assert pod_template(made, group)["metadata"]["labels"] == {"elotl-luna": "ours", "trial": "1"}
    with pytest.raises(ManifestError, match="its name has 48 characters"):
        with_identity(manifest, "x" * 48, "serving", {})
