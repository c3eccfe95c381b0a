"""Weights on a shared volume: a claim and its filler, refused where it is not shared, believed with evidence only."""

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from weight_traces import MODEL, PHI3_BYTES, REVISION, config_line, loaded_lines, v1, view_of

from airflow_llm_provisioning.core.builtin_profiles import PHI3
from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.core.manifests import engine_args, pod_template, ray_container, ray_groups
from airflow_llm_provisioning.core.prepared_objects import PreparedObjects, facts_of
from airflow_llm_provisioning.core.target import NodeProfile, Target
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.treatments import StepContext, plan_deployment, treatment
from airflow_llm_provisioning.core.treatments.shared_weights import FILL, MOUNT, VOLUME
from airflow_llm_provisioning.core.workload import builtin_workload
from airflow_llm_provisioning.exceptions import ConfigurationError
from airflow_llm_provisioning.preparation.objects import with_image_of

SHARED = treatment("shared_weights")
CURRENT = builtin_workload("phi3-current", "phi3-current")
FOLDER = f"{MOUNT}/{MODEL}@{REVISION}"
READ = {"llm_configs": [{"model_loading_config": {"model_id": MODEL, "model_source": FOLDER}}]}
HUB = {"llm_configs": [{"model_loading_config": {"model_id": MODEL, "model_source": MODEL}}]}
CONFIG = config_line("auto", model=FOLDER)
DOWNLOADED = v1(f"Time spent downloading weights for {MODEL}: 31.2 seconds", 12, "weight_utils.py:542")
FACTS = {"model": MODEL, "revision": REVISION, "bytes": PHI3_BYTES, "files": 2, "digest": "sha256:" + "a" * 64}


def a_target(**told: Any) -> Target:
    said = {key: value for key, value in {"storage_class": "efs-sc", **told}.items() if value}
    nodes = NodeProfile("t", "eks", "luna", "1.34")
    return Target("t", "c", "k", nodes, ("shared",), options={"treatments": {"shared_weights": said}})


def planned(target: Target | None = None) -> Mapping[str, Any]:
    return plan_deployment(CURRENT, [SHARED], target=target or a_target()).manifest


def claim_of(manifest: Mapping[str, Any]) -> str:
    (volume,) = pod_template(manifest, ray_groups(manifest)[0])["spec"]["volumes"]
    return str(volume["persistentVolumeClaim"]["claimName"])


def made(**fields: Any) -> dict[str, Any]:
    """Return what a trial found of the preparation when it was opened."""
    objects = [{"kind": "PersistentVolumeClaim", "name": claim_of(planned()), "uid": "u"}]
    return {"prepare_shared_weights": {"content": "c", "objects": objects, "facts": FACTS, "problems": [], **fields}}


def mounted(claim: str | None = None) -> dict[str, Any]:
    volume = {"name": VOLUME, "persistentVolumeClaim": {"claimName": claim or claim_of(planned())}}
    return {"volumes": [volume], "volumeMounts": [{"name": VOLUME, "mountPath": MOUNT}]}


def seen(*lines: str, args: Any = READ, worker: Any = None, steps: Any = None) -> TraceView:
    found = made() if steps is None else steps
    return view_of(*lines, args=args, worker=mounted() if worker is None else worker, prepared_steps=found)


def test_every_ray_container_mounts_the_claim_and_the_engine_reads_it() -> None:
    """Read-only; the folder names model and revision, and the claim follows from them."""
    manifest = planned()
    assert [item.source for item in engine_args(manifest)] == [FOLDER]
    for group in ray_groups(manifest):
        (mount,) = ray_container(manifest, group)["volumeMounts"]
        assert (mount["mountPath"], mount["readOnly"]) == (MOUNT, True)
    assert claim_of(manifest).startswith("llm-shared-weights-")
    assert claim_of(planned(a_target(claim="mine"))) == "mine"


def objects_of(target: Target) -> tuple[Mapping[str, Any], ...]:
    (step,) = SHARED.steps
    manifest = planned(target)
    context = StepContext(target, CURRENT.recipe, {"image": "i"}, manifest=lambda: manifest)
    arguments = step.arguments(context)
    return PreparedObjects.from_dict({**arguments, "ready": {}}).objects


def test_the_preparation_makes_the_claim_and_fills_it_once() -> None:
    """A claim that many nodes mount, and a Job on the head's kind of node with the pinned revision."""
    claim, job = objects_of(a_target(size="200Gi"))
    assert claim["metadata"]["name"] == claim_of(planned())
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert (claim["spec"]["storageClassName"], claim["spec"]["resources"]["requests"]) == (
        "efs-sc",
        {"storage": "200Gi"},
    )
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["args"] == [MODEL, REVISION, FOLDER]


def test_the_manifest_of_a_variant_beside_it_gives_the_same_preparation() -> None:
    """A baseline on the same target has the same image, and its manifest may be the one that the step is given."""
    (step,) = SHARED.steps
    told = [
        step.arguments(StepContext(a_target(), CURRENT.recipe, {"image": "i"}, manifest=lambda given=given: given))
        for given in (planned(), CURRENT.manifest)
    ]
    assert told[0]["objects"] == told[1]["objects"]


def test_every_model_of_a_target_is_put_on_a_volume() -> None:
    """Two workloads on one target: a claim and a Job for each model, in the image that each is served with."""
    (step,) = SHARED.steps
    model = replace(PHI3, model_id="microsoft/another", revision="b" * 40)
    other = builtin_workload("other", "phi3-current").with_model(model)
    second = plan_deployment(other, [SHARED], target=a_target()).manifest
    images = {"image": "first"}, {"image": "second"}
    served = ((images[0], planned()), (images[1], second), (images[0], planned()))
    arguments = step.arguments(StepContext(a_target(), CURRENT.recipe, served=lambda: served))
    objects = with_image_of(arguments["objects"], arguments["image"])
    assert [item["kind"] for item in objects] == ["PersistentVolumeClaim", "Job"] * 2
    (first,), (last,) = (item["spec"]["template"]["spec"]["containers"] for item in objects if item["kind"] == "Job")
    assert [(job["image"], job["args"][0]) for job in (first, last)] == [
        ("first", MODEL),
        ("second", "microsoft/another"),
    ]
    assert arguments["idle"][0]["amount"] == 200


def test_a_claim_that_exists_is_only_filled() -> None:
    """Static volumes of Mountpoint for S3 or Cloud Storage FUSE are the user's own."""
    (job,) = objects_of(a_target(claim="mine", storage_class=None))
    (volume,) = job["spec"]["template"]["spec"]["volumes"]
    assert (job["kind"], volume["persistentVolumeClaim"]) == ("Job", {"claimName": "mine"})


def test_the_filler_tells_what_lies_on_the_volume(tmp_path: Path) -> None:
    """The program itself, run with a stand-in of huggingface_hub: bytes and digest of the files that vLLM loads."""
    (tmp_path / "huggingface_hub.py").write_text(
        "import pathlib\n"
        "def snapshot_download(model, revision, local_dir):\n"
        "    folder = pathlib.Path(local_dir)\n"
        "    folder.mkdir(parents=True)\n"
        "    held = {'b.safetensors': b'22', 'a.safetensors': b'1', 'x.bin': b'no', 'c.json': b'{}'}\n"
        "    for name, content in held.items():\n"
        "        (folder / name).write_bytes(content)\n"
    )
    command = [sys.executable, "-c", FILL, MODEL, REVISION, str(tmp_path / "volume" / "m@r")]
    ran = subprocess.run(  # noqa: S603 - our own program
        command, capture_output=True, text=True, check=True, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}
    )
    digest = f"sha256:{hashlib.sha256(b'122').hexdigest()}"
    told = {"model": MODEL, "revision": REVISION, "bytes": 3, "files": 2, "digest": digest}
    assert facts_of(f"2026-05-04T12:00:00Z {ran.stdout}") == told
    assert json.dumps(told) in ran.stdout


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (a_target(), None),
        (a_target(storage_class=None, claim="mine"), None),
        (a_target(storage_class=None), "needs options.treatments.shared_weights.storage_class on target 't'"),
        (a_target(access_mode="ReadWriteOnce"), "access_mode is ReadWriteOnce, and one node cannot share it"),
        (a_target(size="many"), "size is no size like 100Gi"),
    ],
)
def test_a_target_that_cannot_share_is_refused(target: Target, words: str | None) -> None:
    """No class, a mode of one node, no size."""
    given: Any = {"workloads": (CURRENT,), "variants": {"shared": ("shared_weights",)}}
    if words is None:
        Experiment("e", (target,), **given)
        return
    with pytest.raises(ConfigurationError, match=words):
        Experiment("e", (target,), **given)


def test_a_cluster_without_any_storage_class_is_refused() -> None:
    """By preflight, for variants that declare the treatment."""
    found = {"storageclasses": [{"metadata": {"name": "efs-sc"}, "provisioner": "efs.csi.aws.com"}], "csidrivers": []}
    assert "driver efs.csi.aws.com, which the cluster does not have" in SHARED.on_cluster_of(a_target(), found)[0]
    there = {**found, "csidrivers": [{"metadata": {"name": "efs.csi.aws.com"}}]}
    assert (
        SHARED.on_cluster_of(a_target(), there) == SHARED.on_cluster_of(a_target(), {**found, "csidrivers": None}) == ()
    )
    (told,) = SHARED.on_cluster_of(a_target(storage_class="fast"), there)
    assert "has no StorageClass 'fast'; it has efs-sc: name one of these" in told
    assert "has no StorageClass" in SHARED.on_cluster({"storageclasses": []}, declared=True)[0]
    assert SHARED.on_cluster({"storageclasses": [{}]}, declared=True) == ()
    assert SHARED.on_cluster({"storageclasses": None}, declared=False) == ()
    assert "needs to know the model" in SHARED.requires(a_target().nodes, replace(CURRENT, model=None))[0]


@pytest.mark.parametrize(
    ("driver", "refused"),
    [
        ("ebs.csi.aws.com", True),
        ("pd.csi.storage.gke.io", True),
        ("disk.csi.azure.com", True),
        ("kubernetes.io/aws-ebs", True),
        ("file.csi.azure.com", False),
        ("fsx.csi.aws.com", False),
        ("filestore.csi.storage.gke.io", False),
    ],
)
def test_a_class_that_makes_disks_is_refused(driver: str, refused: bool) -> None:
    """A second node could not mount such a claim; one that is read only, or that exists, is the user's own matter."""
    classes = [{"metadata": {"name": "class"}, "provisioner": driver}]
    found = {"storageclasses": classes, "csidrivers": [{"metadata": {"name": driver}}]}
    told = SHARED.on_cluster_of(a_target(storage_class="class"), found)
    assert bool(told) is refused
    assert not refused or (driver in told[0] and "needs a class of a shared file system" in told[0])
    assert SHARED.on_cluster_of(a_target(storage_class="class", access_mode="ReadOnlyMany"), found) == ()


def test_the_prepared_volume_is_believed() -> None:
    """The very claim, the pinned revision and bytes, and the engine's loading line; so is what was kept warm."""
    view = seen(CONFIG, *loaded_lines(19.6))
    assert SHARED.verify(view).value == "yes"
    assert SHARED.kept(view).value == "yes"
    assert "The Job put 7.64 GB of revision f39ac1d2" in " ".join(SHARED.verify(view).evidence)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"args": HUB}, f"does not read the weights from {MOUNT}"),
        ({"worker": {}}, f"mounts no claim at {MOUNT}, not the prepared one"),
        ({"worker": mounted("other")}, "mounts the claim other at .* not the prepared one"),
        ({"steps": {}}, "No volume was prepared for the target"),
        ({"steps": made(problems=["PersistentVolumeClaim x is gone."])}, "PersistentVolumeClaim x is gone"),
        ({"steps": made(facts={**FACTS, "revision": "0" * 40})}, f"The trial serves revision {REVISION}"),
        ({"steps": made(facts={**FACTS, "bytes": 0})}, "put 0.00 GB .* The pinned weights have 7.64 GB"),
    ],
)
def test_a_volume_that_is_not_the_prepared_one_is_refuted(fields: dict[str, Any], words: str) -> None:
    """Not read, not mounted, another claim, never prepared, gone, another revision, empty."""
    found = SHARED.verify(seen(CONFIG, *loaded_lines(), **fields))
    assert found.value == "no"
    assert re.search(words, " ".join(found.evidence)), found.evidence


def test_a_download_refutes_it() -> None:
    """The engine fetched the weights all the same."""
    assert SHARED.verify(seen(CONFIG, DOWNLOADED, *loaded_lines())).value == "no"


@pytest.mark.parametrize(("lines", "steps"), [((CONFIG,), None), ((CONFIG, *loaded_lines()), made(facts={}))])
def test_a_silent_recording_is_unknown(lines: tuple[str, ...], steps: Any) -> None:
    """No loading line; a filler that did not tell what it put there."""
    assert SHARED.verify(seen(*lines, steps=steps)).value == "unknown"


def test_a_baseline_with_such_a_volume_is_told() -> None:
    """`undeclared` names pod and claim."""
    assert claim_of(planned()) in (SHARED.undeclared(seen(CONFIG)) or "")
    assert SHARED.undeclared(seen(CONFIG, args=HUB)) is None
