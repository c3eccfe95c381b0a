"""Each variant serves what it should, is refused where it cannot be, and is believed with evidence only."""

import json
import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from proof.variants import VARIANTS

from airflow_llm_provisioning.core.builtin_profiles import PHI3_2025
from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.core.manifests import images, ray_container, ray_groups, runtime_pip
from airflow_llm_provisioning.core.target import NodeProfile, Target
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.treatments import (
    IMAGE_DELIVERY,
    DeploymentPlan,
    StepContext,
    Treatment,
    deployed_manifest,
    groups,
    known_treatments,
    plan_deployment,
    resolved,
    steps_of,
    treated_nodes,
    undeclared,
)
from airflow_llm_provisioning.core.variants import BUILTIN_VARIANTS
from airflow_llm_provisioning.core.verdicts import Verdict
from airflow_llm_provisioning.core.workload import Workload, builtin_workload
from airflow_llm_provisioning.exceptions import ConfigurationError
from airflow_llm_provisioning.operators import PrepareObjects

SERVED = [builtin_workload(name, name) for name in ("phi3-2025", "phi3-current")]
DIGEST, OTHER_DIGEST = "sha256:" + "1" * 64, "sha256:" + "2" * 64
IMAGE = "registry.example/serving:r-1"
TRANSFER = {"HF_HUB_ENABLE_HF_TRANSFER": "1"}
XET = {"HF_XET_HIGH_PERFORMANCE": "1"}


def line(resource: str, obj: Mapping[str, Any], second: int = 0, kind: str = "ADDED") -> dict[str, Any]:
    return {"received_at": f"2026-05-04T12:00:{second:02d}Z", "type": kind, "resource": resource, "object": obj}


def pod(role: str, *, env: Mapping[str, str], digest: str, image: str) -> dict[str, Any]:
    owner = {"kind": "RayCluster", "name": "c", "uid": "rc", "controller": True}
    return {
        "metadata": {
            "name": role,
            "uid": role,
            "labels": {"ray.io/node-type": role, "ray.io/cluster": "c"},
            "ownerReferences": [owner],
            "creationTimestamp": "2026-05-04T12:00:01Z",
        },
        "spec": {
            "nodeName": f"node-{role}",
            "containers": [
                {"name": "main", "image": image, "env": [{"name": key, "value": env[key]} for key in sorted(env)]}
            ],
        },
        "status": {"containerStatuses": [{"name": "main", "imageID": f"{image.partition(':')[0]}@{digest}"}]},
    }


def trace(
    *,
    pip: tuple[str, ...] = (),
    env: Mapping[str, str] | None = None,
    worker_env: Mapping[str, str] | None = None,
    recipe: tuple[str, ...] | None = (),
    prepared: Mapping[str, Any] | None = None,
    digest: str = DIGEST,
    image: str = IMAGE,
    pulled: str | None = None,
    evidence: tuple[tuple[str, bool | None], ...] = (),
    variables: Mapping[str, str] | None = None,
    args: Mapping[str, Any] | None = None,
    log: str = "",
    young: bool = False,
) -> TraceView:
    """Return the view of a small trial: what was configured, how both pods' images came, what the cloud said, what the
    engine's log says. `young`: the nodes came after the submission.
    """
    runtime_env = {key: value for key, value in (("pip", list(pip)), ("env_vars", dict(variables or {}))) if value}
    trial = {
        "recipe": {"pip": list(recipe)} if recipe is not None else {},
        "prepared": dict(prepared or {}),
        "model": {"weight_bytes": 7_642_182_880},
    }
    header = {"format": 1, "origin": "simulated", "rayservice": {"name": "s", "uid": "rs"}, "trial": trial}
    config = json.dumps({"applications": [{"name": "llm", "args": dict(args or {}), "runtime_env": runtime_env}]})
    service = {"metadata": {"name": "s", "uid": "rs", "creationTimestamp": "2026-05-04T12:00:00Z"}}
    owner = {"kind": "RayService", "name": "s", "uid": "rs", "controller": True}
    lines = [
        line("trace", header, kind="HEADER"),
        line("rayservices", {**service, "spec": {"serveConfigV2": config}}),
        line("rayclusters", {"metadata": {"name": "c", "uid": "rc", "ownerReferences": [owner]}}),
    ]
    for role in ("head", "worker"):
        told = (worker_env if role == "worker" and worker_env is not None else env) or {}
        lines.append(line("pods", pod(role, env=told, digest=digest, image=image), 1))
        if pulled:
            event = {
                "metadata": {"uid": f"e-{role}", "name": f"e-{role}"},
                "reason": "Pulled",
                "message": pulled,
                "involvedObject": {"kind": "Pod", "name": role, "uid": role},
            }
            lines.append(line("events", event, 2))
    if young:
        stamp = "2026-05-04T12:00:01Z"
        lines += [
            line("nodes", {"metadata": {"name": f"node-{role}", "uid": f"n-{role}", "creationTimestamp": stamp}}, 1)
            for role in ("head", "worker")
        ]
    if log:
        read = {"received_at": "2026-05-04T12:00:03Z", "resource": "ray-log-file", "filename": "worker-1.out"}
        lines.append({**read, "object": log})
    lines += [
        line("trace", {"claim": claim, "holds": holds, "detail": "d", "source": "s"}, 3, "EVIDENCE")
        for claim, holds in evidence
    ]
    return TraceView(lines)


def verdict(name: str, view: TraceView) -> Verdict:
    return known_treatments()[name].verify(view)


def plan_of(served: Workload, variant: str, cloud: str) -> DeploymentPlan:
    return plan_deployment(served, resolved(BUILTIN_VARIANTS[variant], cloud))


def environments(manifest: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the environment of every Ray container."""
    containers = [ray_container(manifest, group) for group in ray_groups(manifest)]
    return [{item["name"]: item["value"] for item in container.get("env") or ()} for container in containers]


@pytest.mark.parametrize(
    ("variant", "cloud", "names"),
    [
        ("baseline", "eks", []),
        ("baseline", "generic", []),
        ("fast_download", "generic", ["fast_download"]),
        ("baked_image", "aks", ["bake_packages"]),
        ("image_delivery", "gke", ["gke_image_streaming"]),
        ("improved", "eks", ["fast_download", "bake_packages", "bottlerocket_snapshot"]),
        ("improved", "gke", ["fast_download", "bake_packages", "gke_image_streaming"]),
        ("improved", "aks", ["fast_download", "bake_packages", "aks_artifact_streaming"]),
    ],
)
def test_a_variant_is_its_treatments_on_that_cloud(variant: str, cloud: str, names: list[str]) -> None:
    """`improved` is the origin's bundle; the image delivery alone differs by cloud."""
    assert [item.name for item in resolved(BUILTIN_VARIANTS[variant], cloud)] == names


@pytest.mark.parametrize(
    ("names", "cloud", "words"),
    [
        (
            ("fast_download", IMAGE_DELIVERY),
            "generic",
            "stands for one of .*aks_artifact_streaming.* none of them exists",
        ),
        ((IMAGE_DELIVERY,), "oci", "on 'oci' none of them exists there"),
        (("bottlerocket_snapshot",), "gke", "exists on eks, not on 'gke'"),
        (("fast_downlod",), "eks", "'fast_downlod' is unknown: did you mean 'fast_download'"),
    ],
)
def test_an_impossible_variant_is_refused(names: tuple[str, ...], cloud: str, words: str) -> None:
    """In one sentence; nothing is left out silently."""
    with pytest.raises(ConfigurationError, match=words):
        resolved(names, cloud)


def test_every_treatment_is_in_a_variant_and_the_other_way_round() -> None:
    """No treatment without a use among the variants of the proofs, no name without a treatment."""
    names = {
        item.name
        for listed in VARIANTS.values()
        for name in listed
        for item in groups().get(name) or (known_treatments()[name],)
    }
    assert names == set(known_treatments())
    assert BUILTIN_VARIANTS.items() <= VARIANTS.items()
    assert {item.clouds for item in groups()[IMAGE_DELIVERY]} == {frozenset({c}) for c in ("eks", "gke", "aks")}


@pytest.mark.parametrize("served", SERVED, ids=lambda item: item.name)
def test_the_baseline_serves_the_base_image_as_it_is(served: Workload) -> None:
    """What it lacks is installed at start."""
    plan = plan_of(served, "baseline", "eks")
    assert deployed_manifest(plan, served, "ignored") == served.manifest
    assert not plan.own_image


@pytest.mark.parametrize("served", SERVED, ids=lambda item: item.name)
def test_fast_download_alone_installs_at_start(served: Workload) -> None:
    """As the origin's slower variant: one more package by pip, the switch in both pods' environment."""
    made = deployed_manifest(plan_of(served, "fast_download", "gke"), served, None)
    assert runtime_pip(made) == (*runtime_pip(served.manifest), *served.fast_download.pip)
    assert environments(made) == [dict(served.fast_download.env)] * 2
    assert images(made) == served.images


@pytest.mark.parametrize("cloud", ["eks", "gke", "aks"])
@pytest.mark.parametrize("served", SERVED, ids=lambda item: item.name)
def test_improved_bakes_everything(served: Workload, cloud: str) -> None:
    """Engine and downloader are in the recipe, with the switch; nothing is installed at start; our image is served."""
    plan = plan_of(served, "improved", cloud)
    assert plan.recipe.pip == (*runtime_pip(served.manifest), *served.fast_download.pip)
    assert plan.recipe.env == dict(served.fast_download.env)
    made = deployed_manifest(plan, served, IMAGE)
    assert (images(made), runtime_pip(made)) == ((IMAGE,), ())
    assert environments(made) == [dict(served.fast_download.env)] * 2
    assert plan.recipe.tag() == plan_of(served, "improved", "eks").recipe.tag()


def test_image_delivery_alone_mirrors_the_base() -> None:
    """A public base cannot be snapshotted or streamed: an unchanged copy in our registry is served."""
    served = SERVED[0]
    plan = plan_of(served, "image_delivery", "eks")
    assert plan.own_image
    assert plan.recipe == PHI3_2025.image
    assert runtime_pip(deployed_manifest(plan, served, IMAGE)) == PHI3_2025.runtime_pip


def test_an_image_that_was_not_built_is_asked_for() -> None:
    """No silent fall-back to the base."""
    with pytest.raises(ConfigurationError, match="run its preparation first"):
        deployed_manifest(plan_of(SERVED[0], "improved", "eks"), SERVED[0], None)


def test_an_image_of_the_users_own_is_what_was_planned() -> None:
    """The baseline serves it as it is; a variant builds on it."""
    mine = SERVED[0].with_image("mine:1")
    assert images(deployed_manifest(plan_of(mine, "baseline", "eks"), mine, None)) == ("mine:1",)
    assert plan_of(mine, "improved", "eks").recipe.base == "mine:1"
    assert mine.content != SERVED[0].content


@pytest.mark.parametrize(
    ("variant", "cloud", "steps"),
    [
        ("baseline", "eks", []),
        ("fast_download", "eks", []),
        ("baked_image", "gke", ["build_image"]),
        ("improved", "eks", ["build_image", "snapshot_image"]),
        ("improved", "gke", ["build_image", "enable_streaming", "warm_image"]),
        ("improved", "aks", ["build_image", "enable_streaming"]),
    ],
)
def test_the_steps_before_a_variant(variant: str, cloud: str, steps: list[str]) -> None:
    """In order, each once."""
    assert [step.name for step in steps_of(resolved(BUILTIN_VARIANTS[variant], cloud))] == steps


@pytest.mark.parametrize("variants", [("baseline", "improved"), ("improved", "baseline"), ("baked_image", "improved")])
def test_variants_that_need_different_nodes_want_two_targets(variants: tuple[str, ...]) -> None:
    """A target is never reconfigured between trials."""
    target = Target("t", "c", "k", NodeProfile("t", "eks", "luna", "1.34"), variants)
    with pytest.raises(ConfigurationError, match=r"need different nodes .*give each a target of its own"):
        Experiment("e", (target,))


@pytest.mark.parametrize("treatment", known_treatments().values(), ids=lambda item: item.name)
def test_every_treatment_keeps_its_contract(treatment: Treatment) -> None:
    """Nodes are changed once and for all, a manifest is never changed in place, every step's operator can be made."""
    cloud = next(iter(sorted(treatment.clouds)), "eks")
    skus = ("A10",) if cloud == "aks" else ("L4",)
    named = {"cpu_instance_type": "m5.xlarge", "gpu_instance_type": "g6.4xlarge"}
    # Some need an autoscaler that knows what they ask for, or the names of the machines.
    profiles = [
        NodeProfile("t", cloud, "luna", "1.34", gpu_skus=skus),
        NodeProfile("t", cloud, "karpenter", "1.34", **named),
    ]
    nodes = next(one for one in profiles if any(treatment.requires(one, served) == () for served in SERVED))
    once = treated_nodes(nodes, [treatment])
    assert treated_nodes(once, [treatment]) == once
    assert Target("t", "c", "k", nodes, ("v",)).treated(once).nodes_content == nodes.content
    for served in SERVED:
        before = json.dumps(served.manifest, sort_keys=True)
        treatment.change(DeploymentPlan.of(served), served)
        assert json.dumps(served.manifest, sort_keys=True) == before
    target = Target("t", "c", "k", once, ("v",), cloud_conn_id="cloud", cluster_name="c")
    for step in treatment.steps:
        module, _, name = step.operator.partition(":")
        operator = getattr(import_module(module), name)
        context = StepContext(target, SERVED[0].recipe, {"image": IMAGE, "digest": DIGEST})
        assert operator(task_id=step.name, **step.arguments(context)).task_id == step.name
        # A second preparation of objects on the target would replace the first one's.
        assert operator is not PrepareObjects or not step.per_image


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
