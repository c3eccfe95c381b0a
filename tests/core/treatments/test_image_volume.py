"""Image volumes: mounted by digest, refused where the cluster would drop them, believed with evidence only."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from weight_traces import AT, MODEL, config_line, line, loaded_lines, v1, view_of

from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.core.image_arrival import image_arrival, volume_pulls
from airflow_llm_provisioning.core.manifests import engine_args, pod_template, ray_container, ray_groups
from airflow_llm_provisioning.core.target import NodeProfile, Target
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.treatments import plan_deployment, treatment
from airflow_llm_provisioning.core.treatments.image_volume import MOUNT
from airflow_llm_provisioning.core.workload import builtin_workload
from airflow_llm_provisioning.exceptions import ConfigurationError

VOLUME = treatment("image_volume")
CURRENT = builtin_workload("phi3-current", "phi3-current")
ARTIFACT = "registry.example/weights/phi@sha256:" + "1" * 64
OTHER = "registry.example/weights/phi@sha256:" + "2" * 64
READ = {"llm_configs": [{"model_loading_config": {"model_id": MODEL, "model_source": MOUNT}}]}
CONFIG = config_line("auto", model=MOUNT)


def a_target(minor: str = "1.35", **told: Any) -> Target:
    said = {key: value for key, value in {"reference": ARTIFACT, **told}.items() if value}
    options = {"treatments": {"image_volume": said}}
    return Target("t", "c", "k", NodeProfile("t", "eks", "luna", minor), ("mounted",), options=options)


def planned_volume() -> dict[str, Any]:
    """Return the volume as the treatment writes it."""
    made = plan_deployment(CURRENT, [VOLUME], target=a_target()).manifest
    (volume,) = pod_template(made, ray_groups(made)[0])["spec"]["volumes"]
    return dict(volume)


def mounted(**image: Any) -> dict[str, Any]:
    """Return what a worker's pod has of the volume, with another image where one is given."""
    volume = planned_volume()
    if image:
        volume = {"name": volume["name"], **image}
    return {"volumes": [volume], "volumeMounts": [{"name": volume["name"], "mountPath": MOUNT, "readOnly": True}]}


def pulled(reference: str = ARTIFACT, size: int = 7_645_000_000) -> tuple[dict[str, Any], ...]:
    """Return the kubelet's events about a volume of the worker, and those about its container's image."""
    text = f'Successfully pulled image "{reference}" in 35.4s (35.4s including waiting). Image size: {size} bytes.'
    told = [("Pulling", f'Pulling image "{reference}"', ""), ("Pulled", text, "")]
    told.append(("Pulled", 'Container image "ray:1" already present on machine', "spec.containers{ray}"))
    return tuple(an_event(number, *item) for number, item in enumerate(told))


def an_event(number: int, reason: str, message: str, path: str) -> dict[str, Any]:
    involved = {"kind": "Pod", "name": "worker", "uid": "worker", **({"fieldPath": path} if path else {})}
    metadata = {"uid": f"e{number}", "name": f"e{number}", "resourceVersion": str(number + 1)}
    told = {"metadata": metadata, "reason": reason, "message": message, "involvedObject": involved}
    return line("events", told | {"firstTimestamp": f"{AT}:10Z", "lastTimestamp": f"{AT}:10Z"}, 10 + number)


def seen(*lines: str, worker: Mapping[str, Any] | None = None, args: Any = READ, events: Any = None) -> TraceView:
    return view_of(
        *lines, args=args, worker=mounted() if worker is None else worker, more=pulled() if events is None else events
    )


def test_every_ray_container_mounts_the_artifact_and_the_engine_reads_it() -> None:
    """The head too, where the builder reads the model's configuration."""
    made = plan_deployment(CURRENT, [VOLUME], target=a_target(folder="model")).manifest
    for group in ray_groups(made):
        (volume,) = pod_template(made, group)["spec"]["volumes"]
        assert volume["image"] == {"reference": ARTIFACT, "pullPolicy": "IfNotPresent"}
        (mount,) = ray_container(made, group)["volumeMounts"]
        assert mount == {"name": volume["name"], "mountPath": MOUNT, "readOnly": True}
    assert [item.source for item in engine_args(made)] == [f"{MOUNT}/model"]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (a_target(), None),
        (a_target("1.33", feature_gate=True), None),
        (a_target("1.33"), "the gate ImageVolume is off by default before Kubernetes 1.35"),
        (a_target("1.30"), "needs Kubernetes 1.31 or later; these nodes run 1.30"),
        (a_target(reference=None), "needs options.treatments.image_volume.reference on target 't'"),
        (a_target(reference="registry.example/weights/phi:1"), "with its digest"),
    ],
)
def test_a_cluster_that_would_drop_it_is_refused(target: Target, words: str | None) -> None:
    """An old API server, a gate that is off, a reference whose content may change."""
    made: Any = {"workloads": (CURRENT,), "variants": {"mounted": ("image_volume",)}}
    if words is None:
        Experiment("e", (target,), **made)
        return
    with pytest.raises(ConfigurationError, match=words):
        Experiment("e", (target,), **made)


def test_an_engine_that_cannot_be_led_there_is_refused() -> None:
    """A model that is not named; a manifest that mounts something else at the place."""
    assert VOLUME.requires(a_target().nodes, CURRENT) == ()
    assert "needs to know the model" in VOLUME.requires(a_target().nodes, replace(CURRENT, model=None))[0]
    made = plan_deployment(CURRENT, [VOLUME], target=a_target()).manifest
    (told,) = VOLUME.requires(a_target().nodes, replace(CURRENT, manifest=made))
    assert re.search(rf"The mount '{MOUNT}' cannot be added: .*headGroupSpec", told)


def test_weights_that_were_mounted_and_read_are_believed() -> None:
    """The planned artifact in the pod as it was stored, the kubelet's event about it, and the engine's loading line."""
    found = VOLUME.verify(seen(CONFIG, *loaded_lines(6.4)))
    assert found.value == "yes"
    assert "Successfully pulled image" in found.evidence[0]
    assert "1.19 GB/s" in found.evidence[1]


HUB = {"llm_configs": [{"model_loading_config": {"model_id": MODEL, "model_source": MODEL}}]}
DOWNLOADED = v1(f"Time spent downloading weights for {MODEL}: 31.2 seconds", 12, "weight_utils.py:542")


@pytest.mark.parametrize(
    ("lines", "fields", "words"),
    [
        ((CONFIG, *loaded_lines()), {"args": HUB}, f"does not read the weights from {MOUNT}"),
        ((CONFIG, DOWNLOADED, *loaded_lines()), {}, "The weights were downloaded: .*31.2 seconds"),
        ((CONFIG, *loaded_lines()), {"worker": {}}, f"Pod worker has no mount at {MOUNT}"),
        ((CONFIG, *loaded_lines()), {"worker": mounted(emptyDir={})}, "the field was dropped"),
        ((CONFIG, *loaded_lines()), {"worker": mounted(image={"reference": OTHER})}, "is not the planned artifact"),
        ((CONFIG, *loaded_lines()), {"events": pulled(size=9_000_000)}, "has 0.0 GB, and the weights have 7.6 GB"),
        ((config_line("dummy", model=MOUNT),), {}, "load_format is dummy"),
    ],
)
def test_a_volume_without_effect_is_refuted(lines: tuple[str, ...], fields: dict[str, Any], words: str) -> None:
    """Read elsewhere, downloaded all the same, dropped with its mount or by itself, another artifact, an empty one."""
    found = VOLUME.verify(seen(*lines, **fields))
    assert found.value == "no"
    assert re.search(words, " ".join(found.evidence)), found.evidence


@pytest.mark.parametrize(("lines", "events"), [((CONFIG,), None), ((CONFIG, *loaded_lines()), ())])
def test_a_silent_recording_is_unknown(lines: tuple[str, ...], events: Any) -> None:
    """No loading line; no event about the volume."""
    assert VOLUME.verify(seen(*lines, events=events)).value == "unknown"


def test_a_volumes_pull_is_no_pull_of_a_container() -> None:
    """The container's image was there; the weights came by a pull of their own."""
    view = seen(CONFIG)
    assert image_arrival(view, view.worker).delivered == "present"
    (worker,) = view.engine_pods
    assert [event.reason for event in volume_pulls(view, worker)] == ["Pulling", "Pulled"]


def test_a_baseline_with_such_a_volume_is_told() -> None:
    """`undeclared` names pod and image."""
    assert ARTIFACT in (VOLUME.undeclared(seen(CONFIG)) or "")
    assert VOLUME.undeclared(seen(CONFIG, args=HUB)) is None
