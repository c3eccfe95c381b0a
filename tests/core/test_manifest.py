"""The trial's RayService has the origin's shape, field by field; what is none is refused in one sentence."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from airflow_llm_provisioning.core.builtin_profiles import PHI3_2025, PROFILES
from airflow_llm_provisioning.core.manifest import parse_manifest, serve_service
from airflow_llm_provisioning.core.manifests import (
    Placement,
    check_ray_service,
    place,
    serve_applications,
    with_env,
    with_identity,
)
from airflow_llm_provisioning.core.target import NodeProfile
from airflow_llm_provisioning.core.treatments import DeploymentPlan, deployed_manifest, plan_deployment, resolved
from airflow_llm_provisioning.core.variants import BUILTIN_VARIANTS
from airflow_llm_provisioning.core.workload import ScalingSetup, Workload, builtin_workload
from airflow_llm_provisioning.exceptions import ConfigurationError, ManifestError
from airflow_llm_provisioning.gateways.autoscalers import AUTOSCALERS

REVISION = "f39ac1d28e925b323eae81227eaba4464caced4e"
IMAGE = "registry/image:1"
LUNA = NodeProfile("n", "eks", "luna", "1.34")
# One package to install at start, so that the claims do not depend on the profile's list.
PIP = ("vllm==0.5.4",)


def served(pip: tuple[str, ...] = PIP) -> Workload:
    return builtin_workload("phi3-2025", "phi3-2025", replace(PHI3_2025, runtime_pip=pip))


def manifest(
    setup: ScalingSetup = ScalingSetup.STATIC,
    *,
    workload: Workload | None = None,
    plan: DeploymentPlan | None = None,
    nodes: NodeProfile = LUNA,
    name: str = "llm-model-serve",
) -> dict[str, Any]:
    """Return what is applied: a plan's manifest (default: the baseline with two variables, from our registry), with the
    marks of the nodes and the trial's labels.
    """
    workload = workload or served()
    if plan is None:
        plan = DeploymentPlan.of(workload, setup).in_own_registry()
        plan = plan.with_manifest(with_env(plan.manifest, {"B": "2", "A": "1"}))
    autoscaler = AUTOSCALERS[nodes.autoscaler]
    placed = place(
        deployed_manifest(plan, workload, IMAGE),
        head=autoscaler.placement(nodes, "head"),
        workers=autoscaler.placement(nodes, "worker"),
    )
    return with_identity(placed, name=name, namespace="serving", labels={"llm-provisioning/trial": "t-1"})


def cluster_of(made: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = made["spec"]["rayClusterConfig"]
    return found


def application(made: dict[str, Any]) -> dict[str, Any]:
    (only,) = yaml.safe_load(made["spec"]["serveConfigV2"])["applications"]
    found: dict[str, Any] = only
    return found


def test_the_head_is_the_origins() -> None:
    """2 CPU, 8 Gi, requests equal to limits, four ports, dashboard on all addresses, Luna's label, no toleration."""
    head = cluster_of(manifest())["headGroupSpec"]
    amounts = {"cpu": "2", "memory": "8Gi"}
    assert head == {
        "rayStartParams": {"dashboard-host": "0.0.0.0"},  # noqa: S104
        "template": {
            "metadata": {"labels": {"llm-provisioning/trial": "t-1", "elotl-luna": "true"}},
            "spec": {
                "containers": [
                    {
                        "name": "ray-head",
                        "image": "registry/image:1",
                        "imagePullPolicy": "IfNotPresent",
                        "resources": {"requests": amounts, "limits": amounts},
                        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                        "ports": [
                            {"containerPort": 6379, "name": "gcs-server"},
                            {"containerPort": 8265, "name": "dashboard"},
                            {"containerPort": 10001, "name": "client"},
                            {"containerPort": 8000, "name": "serve"},
                        ],
                    }
                ]
            },
        },
    }


def test_the_worker_is_the_origins() -> None:
    """8 CPU, 20 Gi, one GPU, the taint's toleration, Luna's label and its annotation of GPUs."""
    (group,) = cluster_of(manifest())["workerGroupSpecs"]
    amounts = {"cpu": "8", "memory": "20Gi", "nvidia.com/gpu": "1"}
    container = group["template"]["spec"]["containers"][0]
    assert container["resources"] == {"requests": amounts, "limits": amounts}
    assert group["groupName"] == "gpu-group"
    assert group["template"]["metadata"] == {
        "labels": {"llm-provisioning/trial": "t-1", "elotl-luna": "true"},
        "annotations": {"node.elotl.co/instance-gpu-skus": "L4,A10G,A10,L40S"},
    }
    assert group["template"]["spec"]["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    ]


def test_static_has_its_worker_and_dynamic_asks_for_it() -> None:
    """Static: one worker, no autoscaler. Dynamic: Ray's autoscaler with the origin's resources, workers from 0."""
    static, dynamic = cluster_of(manifest()), cluster_of(manifest(ScalingSetup.DYNAMIC))
    counts = [
        {key: found["workerGroupSpecs"][0][key] for key in ("replicas", "minReplicas", "maxReplicas")}
        for found in (static, dynamic)
    ]
    assert counts == [
        {"replicas": 1, "minReplicas": 0, "maxReplicas": 4},
        {"replicas": 0, "minReplicas": 0, "maxReplicas": 4},
    ]
    assert "enableInTreeAutoscaling" not in static
    assert "autoscalerOptions" not in static
    assert dynamic["enableInTreeAutoscaling"] is True
    amounts = {"cpu": "1", "memory": "1000Mi"}
    assert dynamic["autoscalerOptions"] == {
        "upscalingMode": "Default",
        "resources": {"requests": amounts, "limits": amounts},
    }


def test_set_ups_differ_in_scaling_only() -> None:
    """Everything else is equal: a difference between them is theirs."""
    static, dynamic = manifest(), manifest(ScalingSetup.DYNAMIC)
    for made in (static, dynamic):
        cluster = cluster_of(made)
        cluster["workerGroupSpecs"][0].pop("replicas")
        cluster.pop("enableInTreeAutoscaling", None)
        cluster.pop("autoscalerOptions", None)
    assert static == dynamic


def test_the_application_is_the_origins() -> None:
    """One application `llm` at `/`, its builder, arguments and environment; code and model pinned to commits."""
    assert application(manifest()) == {
        "name": "llm",
        "route_prefix": "/",
        "import_path": "luna-llm-serve.llm:build_app",
        "args": {
            "model": "microsoft/Phi-3-mini-4k-instruct",
            "revision": REVISION,
            "tensor-parallel-size": "1",
            "dtype": "bfloat16",
            "gpu-memory-utilization": "0.7",
        },
        "runtime_env": {
            "env_vars": {
                "MODEL_ID": "microsoft/Phi-3-mini-4k-instruct",
                "MODEL_REVISION": REVISION,
                "TENSOR_PARALLELISM": "1",
            },
            "working_dir": "https://github.com/elotl/skyray/archive/49c25bb.zip",
            "pip": ["vllm==0.5.4"],
        },
        "deployments": [{"name": "VLLMDeployment", "num_replicas": 1, "ray_actor_options": {"num_cpus": 1}}],
    }


def test_nothing_to_install_means_no_pip_at_all() -> None:
    """An empty list would still make Ray build an environment."""
    assert "pip" not in application(manifest(workload=served(pip=())))["runtime_env"]


def test_the_finish_line_is_the_origins_service() -> None:
    """The Service whose endpoint ends the trial."""
    assert serve_service(manifest()) == "llm-model-serve-serve-svc"
    assert serve_applications(manifest()) == ["llm"]


def test_labels_and_namespace_are_on_everything() -> None:
    """A listing by label finds the service and every pod."""
    made = manifest()
    assert made["metadata"] == {
        "name": "llm-model-serve",
        "namespace": "serving",
        "labels": {"llm-provisioning/trial": "t-1"},
    }


def test_placement_adds_to_what_the_origin_has() -> None:
    """Selector and tolerations of a target's nodes; the GPU's toleration stays."""
    marks = Placement(node_selector={"pool": "x"}, tolerations=[{"key": "k", "operator": "Exists"}])
    made = place(served().manifest, head=marks, workers=marks)
    head = cluster_of(made)["headGroupSpec"]["template"]["spec"]
    worker = cluster_of(made)["workerGroupSpecs"][0]["template"]["spec"]
    assert head["nodeSelector"] == worker["nodeSelector"] == {"pool": "x"}
    assert [item["key"] for item in head["tolerations"]] == ["k"]
    assert [item["key"] for item in worker["tolerations"]] == ["nvidia.com/gpu", "k"]


NODES = [
    NodeProfile("n", "eks", "luna", "1.34"),
    NodeProfile("n", "gke", "luna", "1.34", cpu_instance_type="e2-standard-4"),
    NodeProfile("n", "aks", "luna", "1.34", gpu_instance_type="Standard_NV36ads_A10_v5"),
    NodeProfile("n", "eks", "karpenter", "1.34"),
    NodeProfile("n", "gke", "native", "1.34", gpu_instance_type="g2-standard-8"),
    NodeProfile("n", "aks", "native", "1.34", gpu_instance_type="Standard_NV36ads_A10_v5"),
    NodeProfile("n", "generic", "native", "1.34"),
]


@pytest.fixture(scope="module")
def real_crd(shared_folder: Path) -> jsonschema.Draft4Validator:
    """KubeRay's own schema; fields it does not know are refused, as a strict API server refuses them."""
    crd = yaml.safe_load((shared_folder / "crds" / "ray.io_rayservices.yaml").read_text())
    (version,) = [item for item in crd["spec"]["versions"] if item["name"] == "v1"]
    return jsonschema.Draft4Validator(closed(version["schema"]["openAPIV3Schema"]))


def closed(schema: Any) -> Any:
    """Return the schema with no unknown properties allowed, and integer-or-string fields taken as such."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(value) for key, value in schema.items()}
    if isinstance(made.get("properties"), dict) and "x-kubernetes-preserve-unknown-fields" not in made:
        made.setdefault("additionalProperties", False)
    return made


@pytest.mark.parametrize("nodes", NODES, ids=lambda item: f"{item.cloud}-{item.autoscaler}")
@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_every_trials_manifest_is_valid_for_kuberay(
    real_crd: jsonschema.Draft4Validator, profile: str, nodes: NodeProfile
) -> None:
    """Both set-ups, every variant that is possible on that cloud, every node autoscaler's marks."""
    workload, checked = builtin_workload(profile, profile), 0
    for names in BUILTIN_VARIANTS.values():
        try:
            treatments = resolved(names, nodes.cloud)
        except ConfigurationError:
            continue
        for setup in ScalingSetup:
            made = manifest(workload=workload, plan=plan_deployment(workload, treatments, setup), nodes=nodes)
            # KubeRay's schema describes spec and status; metadata is any object.
            problems = [
                error
                for error in real_crd.iter_errors(copy.deepcopy(made))
                if not (error.path and error.path[0] == "metadata")
            ]
            assert problems == []
            checked += 1
    assert checked >= 6


def test_the_real_schema_does_refuse(real_crd: jsonschema.Draft4Validator) -> None:
    """A wrong field and a missing one are found: the test above means something."""
    made = manifest()
    made["spec"]["rayClusterConfig"]["headGroup"] = {}
    del made["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]
    told = "\n".join(error.message for error in real_crd.iter_errors(made))
    assert "headGroup" in told
    assert "'template' is a required property" in told


BAD = [
    ({"kind": "Deployment", "apiVersion": "apps/v1"}, "it is a apps/v1 Deployment, not a ray.io RayService"),
    ({}, r"it is a \? \?, not a ray.io RayService"),
    ({"apiVersion": "ray.io/v1", "kind": "RayService"}, "metadata.name is missing; spec.rayClusterConfig is missing"),
    ({"apiVersion": "ray.io/v1", "kind": "RayService", "metadata": "x", "spec": []}, "metadata.name is missing"),
    ({"apiVersion": "ray.io/v1", "kind": "RayService", "metadata": {"name": 5}}, "metadata.name is a number"),
]


@pytest.mark.parametrize(("bad", "words"), BAD)
def test_what_is_no_rayservice_is_refused(bad: dict[str, Any], words: str) -> None:
    """All problems at once, in one sentence, for any types."""
    with pytest.raises(ManifestError, match=words) as raised:
        check_ray_service(bad)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("x" * 48, "its name has 48 characters and KubeRay allows 47"),
        ("Llm", "its name must be lower-case"),
        ("1llm", "begin with a letter"),
        ("llm.a", "its name must be"),
        ("", "metadata.name is missing"),
    ],
)
def test_a_name_that_kuberay_refuses_is_refused_here(name: str, words: str) -> None:
    """Before a cluster sees it; 47 characters are fine."""
    with pytest.raises(ManifestError, match=words):
        manifest(name=name)
    assert manifest(name="x" * 47)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("", "names no application"),
        (None, "names no application"),
        ({"applications": []}, "names no application"),
        ("applications: []", "names no application"),
        ("- a", "names no application"),
        ("applications: {a: 1}", "names no application"),
        ("a: [", "serveConfigV2 is no YAML"),
    ],
)
def test_a_service_that_serves_nothing_is_refused(config: Any, words: str) -> None:
    """It would never become ready, and cost until its limit."""
    made = manifest()
    made["spec"]["serveConfigV2"] = config
    with pytest.raises(ManifestError, match=words):
        check_ray_service(made)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "is no YAML"),
        ("", "holds 0 documents"),
        ("a: 1\n---\nb: 2", "holds 2 documents"),
        ("path/to/service.yml", "found the text 'path/to/service.yml'. The path of a file must end in"),
        ("- a", "must be one RayService"),
    ],
)
def test_text_that_is_no_manifest_is_refused(text: str, words: str) -> None:
    """With what was found and what would be right."""
    with pytest.raises(ManifestError, match=words):
        parse_manifest(text)


def test_yaml_and_dict_read_the_same() -> None:
    """A dict is copied, text is parsed, a leading separator does no harm."""
    made = manifest()
    assert parse_manifest("---\n" + yaml.safe_dump(made)) == made
    assert parse_manifest(made) == made
    assert parse_manifest(made) is not made
