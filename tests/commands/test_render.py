"""`llm-provisioning render`: what a variant applies, or what it changes; no secret, no cluster, no traceback."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_llm_provisioning import cli
from airflow_llm_provisioning.core.builtin_profiles import PHI3_2025, PHI3_CURRENT
from airflow_llm_provisioning.core.manifests import builtin_manifest, check_ray_service
from airflow_llm_provisioning.dag_factory import load_experiment

SIMULATED = Path(cli.__file__).parent / "example_dags" / "experiments" / "simulated.yaml"
EXPERIMENT = load_experiment(SIMULATED)
CELLS = [(target.name, variant) for target in EXPERIMENT.targets for variant in target.variants]
# Made up, of the shape of a hub token.
SECRET = "hf_" + "AbCdEfGhIjKlMnOpQrStUvWxYz012345"

Render = Callable[..., tuple[int, str, str]]


@pytest.fixture
def render(capsys: pytest.CaptureFixture[str]) -> Render:
    """Run the command: exit code, output, errors."""

    def command(*words: object) -> tuple[int, str, str]:
        code = cli.main(["render", *(str(word) for word in words)])
        out, err = capsys.readouterr()
        return code, out, err

    return command


def own_experiment(folder: Path, manifest: dict[str, Any]) -> Path:
    """Write an experiment with a manifest of a user's on a cluster of any kind; return its path."""
    (folder / "mine.yaml").write_text(yaml.safe_dump(manifest), encoding="utf-8")
    nodes = {"cloud": "generic", "autoscaler": "native", "kubernetes_minor": "1.34"}
    target = {"name": "any", "cluster": "any", "conn_id": "k8s", "variants": ["baseline", "fast_download"]}
    data = {"name": "mine", "workloads": {"mine": {"manifest": "mine.yaml"}}, "targets": [target | {"nodes": nodes}]}
    path = folder / "it.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


def own_manifest() -> dict[str, Any]:
    """A RayService that holds a token in plain text, as users' manifests do."""
    manifest = builtin_manifest(PHI3_CURRENT)
    head = manifest["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    head["env"] = [{"name": "HF_TOKEN", "value": SECRET}]
    return manifest


@pytest.mark.parametrize("setup", ["static", "dynamic"])
@pytest.mark.parametrize(("target", "variant"), CELLS)
def test_every_cell_of_the_simulated_example_is_a_whole_rayservice(
    render: Render, target: str, variant: str, setup: str
) -> None:
    """In its set-up, with its target's namespace, and with the image that its variant needs."""
    code, out, err = render(SIMULATED, target, variant, "--setup", setup)
    assert (code, err) == (0, "")
    made = yaml.safe_load(out)
    check_ray_service(made)
    cluster = made["spec"]["rayClusterConfig"]
    assert bool(cluster.get("enableInTreeAutoscaling")) is (setup == "dynamic")
    assert made["metadata"]["namespace"] == "default"
    image = cluster["headGroupSpec"]["template"]["spec"]["containers"][0]["image"]
    if variant == "improved":
        assert image.startswith("REGISTRY/REPOSITORY:r-")
    else:
        assert image == PHI3_2025.image.base_reference


def test_the_image_can_be_named(render: Render) -> None:
    """As the preparation returned it; every Ray container gets it."""
    _, out, _ = render(SIMULATED, "eks-fast", "improved", "--image", "registry.example/r:1")
    assert out.count("image: registry.example/r:1\n") == 2


def changed(diff: str, sign: str) -> list[str]:
    """Return the lines that a diff adds or removes."""
    return [line[1:].strip() for line in diff.splitlines() if line.startswith(sign) and not line.startswith(sign * 3)]


@pytest.mark.parametrize(
    ("target", "image"), [("eks-fast", "registry.example/r:1"), ("gke-fast", "r.pkg.dev/x:1"), ("aks-fast", "x.io/r:1")]
)
def test_the_diff_shows_image_environment_packages_and_placement(render: Render, target: str, image: str) -> None:
    """The bundle of the origin: what each of its treatments and the target change."""
    code, out, _ = render(SIMULATED, target, "improved", "--setup", "static", "--image", image, "--diff")
    assert code == 0
    added, removed = changed(out, "+"), changed(out, "-")
    assert added.count(f"image: {image}") == 2
    assert removed.count(f"image: {PHI3_2025.image.base_reference}") == 2
    assert added.count("- name: HF_HUB_ENABLE_HF_TRANSFER") == 2
    assert added.count('value: "1"') == 4
    assert {f"- {item}" for item in PHI3_2025.runtime_pip} <= set(removed)
    assert not {f"- {item}" for item in PHI3_2025.runtime_pip} & set(added)
    # Luna's label on both pods, and the GPUs that the worker may run on.
    assert added.count("elotl-luna: 'true'") == 2
    assert [line for line in added if line.startswith("node.elotl.co/instance-gpu-skus: ")]


def test_the_diff_of_a_baseline_shows_where_it_runs_and_nothing_else(render: Render) -> None:
    """No treatment: image, environment and packages stay."""
    _, out, _ = render(SIMULATED, "eks-plain", "baseline", "--setup", "static", "--diff")
    told = "\n".join(changed(out, "+") + changed(out, "-"))
    assert "elotl-luna" in told
    assert "image:" not in told
    assert "HF_" not in told
    assert "vllm" not in told


def test_fast_download_alone_adds_its_package_at_start(render: Render) -> None:
    """Nothing is built: the base image stays."""
    _, out, _ = render(SIMULATED, "eks-plain", "fast_download", "--setup", "static", "--diff")
    assert "- hf_transfer==0.1.9" in changed(out, "+")
    assert "image:" not in "\n".join(changed(out, "-"))


@pytest.mark.parametrize("options", [(), ("--diff",)])
def test_a_users_secret_is_never_printed(render: Render, tmp_path: Path, options: tuple[str, ...]) -> None:
    """In the manifest and in the diff, even where the variable itself is changed or stands beside a change."""
    path = own_experiment(tmp_path, own_manifest())
    for variant in ("baseline", "fast_download"):
        code, out, err = render(path, "any", variant, *options)
        assert (code, err) == (0, "")
        assert SECRET not in out
    assert "HF_TOKEN" in render(path, "any", "fast_download")[1]
    assert "HF_XET_HIGH_PERFORMANCE" in render(path, "any", "fast_download", *options)[1]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("eks-plane", "baseline"), "Target 'eks-plane' is unknown: did you mean 'eks-plain'? Known are aks-fast, "),
        (("eks-plain", "baselin"), "Variant 'baselin' is unknown: did you mean 'baseline'? Known are "),
        (("eks-plain", "improved"), "Target 'eks-plain' was prepared for baseline, fast_download, not for variant "),
        (
            ("eks-plain", "baseline", "--workload", "phi3-2024"),
            "Workload 'phi3-2024' is unknown: did you mean 'phi3-2025'? Known are phi3-2025",
        ),
    ],
)
def test_an_unknown_name_is_one_sentence(render: Render, words: tuple[str, ...], told: str) -> None:
    """With the nearest name, exit code 2 and no traceback."""
    code, out, err = render(SIMULATED, *words)
    assert (code, out) == (2, "")
    assert err.startswith("llm-provisioning: ")
    assert told in err
    assert err.count("\n") == 1


def test_a_setup_that_the_workload_does_not_offer_is_refused(render: Render, tmp_path: Path) -> None:
    """A user's manifest is changed for the other set-up only if the file says so."""
    code, out, err = render(own_experiment(tmp_path, own_manifest()), "any", "baseline", "--setup", "dynamic")
    assert (code, out) == (2, "")
    assert "Workload 'mine' is static, not dynamic" in err


@pytest.mark.parametrize(
    ("text", "words"),
    [(None, "cannot be read: No such file or directory"), ("name: x", "`targets` is missing"), ("a: [", "is no YAML")],
)
def test_a_file_that_is_no_experiment_is_refused(render: Render, tmp_path: Path, text: str | None, words: str) -> None:
    """By its name."""
    path = tmp_path / "it.yaml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    code, out, err = render(path, "a", "baseline")
    assert (code, out) == (2, "")
    assert str(path) in err
    assert words in err
    assert "Traceback" not in err
