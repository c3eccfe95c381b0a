"""Silent no-ops: accelerations that were declared and did nothing, each made by the mechanism that makes it for real.

Nothing here writes a trace. Each entry changes what somebody would have changed (a package, a switch, a node pool, a
registry's tag, the hour of a conversion) and lets the simulator draw the consequence.

`truth` says how the trial must be told: `not applied`; `excluded`, where not a treatment but the trial is at fault
(its start was warm, its image is another one than its replicates'); `unknown`, where no client of a real cluster could
see more, and `why_unseen` says why: there unknown is the true answer, and it keeps the trial out as well. An entry is
caught when its row says so and cannot enter a comparison.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final, Literal

import yaml

from airflow_llm_provisioning.core.experiment import CloudName
from airflow_llm_provisioning.core.treatments import plan_serving
from airflow_llm_provisioning.core.workload import PHI3_2025, PHI3_CURRENT, ScalingSetup, Workload
from airflow_llm_provisioning.simulator.images import built_image
from airflow_llm_provisioning.simulator.instant_trial import Stage
from airflow_llm_provisioning.simulator.prepared import Prepared
from airflow_llm_provisioning.simulator.world import Image, digest_of, normalise
from proof.recorded_trial import NODES_GONE_S, Manifest, Scenario
from proof.targets import nodes_otherwise, target

Truth = Literal["not applied", "excluded", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoOp:
    """One silent no-op. `claim`: whose verdict must say it. `truth`: what it must say; `excluded` where it is the
    reason for which the trial does not count (`reason`), against its replicates where there are several.
    """

    name: str
    scenario: Scenario
    claim: str
    truth: Truth = "not applied"
    reason: str = "treatment not applied"
    why_unseen: str = ""


# -- the download ------------------------------------------------------------------------------------------------------


def with_pip(**pinned: str | None) -> Workload:
    """Return the 2025 workload with other pins; None takes a package off the list."""
    named = {name.replace("_", "-"): version for name, version in pinned.items()}
    kept = []
    for requirement in PHI3_2025.runtime_pip:
        name = requirement.partition("==")[0].replace("_", "-")
        version = named.pop(name, requirement.partition("==")[2])
        kept += [f"{name}=={version}"] if version else []
    return replace(PHI3_2025, runtime_pip=(*kept, *(f"{name}=={version}" for name, version in named.items())))


def in_runtime_env(**variables: str) -> Callable[[Manifest], None]:
    """Let the application's runtime_env set variables, which Ray puts over the containers'."""

    def change(manifest: Manifest) -> None:
        for application in _applications(manifest):
            application["runtime_env"].setdefault("env_vars", {}).update(variables)

    return change


def off_on_the_worker(manifest: Manifest) -> None:
    """Switch the download off where the weights are needed."""
    for container in _containers(manifest)[1:]:
        for variable in container["env"]:
            if variable["name"] == "HF_HUB_ENABLE_HF_TRANSFER":
                variable["value"] = "0"


def with_loader(load_format: str) -> Callable[[Manifest], None]:
    """Let the engine read its weights in another way."""

    def change(manifest: Manifest) -> None:
        for application in _applications(manifest):
            for config in application["args"].get("llm_configs", ()):
                config["engine_kwargs"]["load_format"] = load_format
            if "llm_configs" not in application["args"]:
                application["args"]["load-format"] = load_format

    return change


def with_volume(path: str) -> Callable[[Manifest], None]:
    """Mount a claim that outlives the trial."""

    def change(manifest: Manifest) -> None:
        for template in _templates(manifest):
            template["spec"]["volumes"] = [{"name": "kept", "persistentVolumeClaim": {"claimName": "kept"}}]
            for container in template["spec"]["containers"]:
                container["volumeMounts"] = [{"name": "kept", "mountPath": path}]

    return change


def _applications(manifest: Manifest) -> "_Edited":
    return _Edited(manifest)


class _Edited:
    """The applications of a manifest's Serve configuration; what is changed in them is written back."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest

    def __iter__(self) -> Any:
        config = yaml.safe_load(self._manifest["spec"]["serveConfigV2"])
        yield from config["applications"]
        self._manifest["spec"]["serveConfigV2"] = yaml.safe_dump(config, sort_keys=False)


def _templates(manifest: Manifest) -> list[dict[str, Any]]:
    spec = manifest["spec"]["rayClusterConfig"]
    return [group["template"] for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])]


def _containers(manifest: Manifest) -> list[dict[str, Any]]:
    return [container for template in _templates(manifest) for container in template["spec"]["containers"]]


def _fast(name: str, truth: Truth = "not applied", why_unseen: str = "", **fields: Any) -> NoOp:
    fields = {"target": target("eks", "plain"), "declared": PHI3_2025, "variant": "fast_download", **fields}
    return NoOp(name=name, scenario=Scenario(**fields), claim="fast_download", truth=truth, why_unseen=why_unseen)


DOWNLOADS: Final = (
    _fast("hf_transfer on huggingface_hub 1.0", declared=with_pip(huggingface_hub="1.0.1")),
    _fast(
        "hf_transfer on huggingface_hub 2.4, dynamic",
        declared=with_pip(huggingface_hub="2.4.0"),
        setup=ScalingSetup.DYNAMIC,
    ),
    _fast("hf_xet overrides hf_transfer", declared=with_pip(huggingface_hub="0.31.4", hf_xet="1.1.0")),
    _fast("huggingface_hub 0.34 brings hf_xet by itself", declared=with_pip(huggingface_hub="0.34.1")),
    _fast("hf_transfer is switched on and not installed", declared=replace(PHI3_2025, fast_download_pip=())),
    _fast(
        "hf_transfer is installed and not switched on",
        declared=PHI3_2025,
        manifest=in_runtime_env(HF_HUB_ENABLE_HF_TRANSFER="0"),
    ),
    _fast("hf_transfer is switched off on the worker", manifest=off_on_the_worker, target=target("gke", "plain")),
    _fast(
        "hf_xet is disabled beside its own switch",
        declared=PHI3_CURRENT,
        manifest=in_runtime_env(HF_HUB_DISABLE_XET="1"),
    ),
    _fast("the loader makes its weights up", declared=PHI3_CURRENT, manifest=with_loader("dummy")),
    _fast(
        "the loader of the old engine makes its weights up",
        manifest=with_loader("dummy"),
        target=target("aks", "plain"),
    ),
    _fast(
        "the weights are in a cache already",
        declared=PHI3_CURRENT,
        manifest=with_volume("/home/ray/.cache/huggingface"),
        earlier=1,
        pause_s=NODES_GONE_S,
    ),
    _fast(
        "the weights are in a cache already, and the engine does not tell",
        manifest=with_volume("/home/ray/.cache/huggingface"),
        earlier=1,
        pause_s=NODES_GONE_S,
        truth="unknown",
        why_unseen="vLLM 0.5.4 prints no line of a download; that the cache is on a volume is all that can be seen.",
    ),
)


# -- the image's way to the node ---------------------------------------------------------------------------------------


def with_images(**fields: Any) -> Callable[[Manifest], None]:
    """Change how every Ray container gets its image."""

    def change(manifest: Manifest) -> None:
        for container in _containers(manifest):
            container.update(fields)

    return change


def with_pull_secret(manifest: Manifest) -> None:
    """Let the pods bring credentials of their own."""
    for template in _templates(manifest):
        template["spec"]["imagePullSecrets"] = [{"name": "mine"}]


def by_digest(prepared: Prepared) -> str:
    """Name the prepared image by its digest."""
    return f"{str(prepared.image).rpartition(':')[0]}@{prepared.digest}"


def _prepared_image(on: Stage, prepared: Prepared) -> Image:
    return on.world.images[str(prepared.image)]


def snapshot_of(change: Callable[[Stage, Prepared], Mapping[str, Any]]) -> Callable[[Stage, Prepared], None]:
    """Let the snapshot be another one than the plan's."""

    def after(on: Stage, prepared: Prepared) -> None:
        name = str(prepared.snapshot_id)
        on.world.snapshots[name] = replace(on.world.snapshots[name], **change(on, prepared))

    return after


def older_image_in_the_snapshot(on: Stage, prepared: Prepared) -> None:
    """The snapshot was taken of what the tag led to before it was built anew."""
    image = _prepared_image(on, prepared)
    old = replace(image, digest=digest_of("older", image.digest))
    on.world.contents[old.digest] = old
    name = str(prepared.snapshot_id)
    held = {str(prepared.image): old.digest}
    on.world.snapshots[name] = replace(on.world.snapshots[name], images=held)


def tag_moved(on: Stage, prepared: Prepared) -> None:
    """Somebody pushed another image of the same size under the tag."""
    image = _prepared_image(on, prepared)
    on.world.push(replace(image, digest=digest_of("moved", image.digest)))


def converted_at(after_s: float | None) -> Callable[[Stage, Prepared], None]:
    """Let the conversion end so many seconds after the preparation; None: it was never begun."""

    def after(on: Stage, prepared: Prepared) -> None:
        image = _prepared_image(on, prepared)
        on.world.aks_converted.pop((image.repository, image.digest))
        if after_s is not None:
            ended_at = on.clock.now() + timedelta(seconds=after_s)
            on.world.aks_converted[image.repository, image.digest] = ended_at

    return after


def other_repository_converted(on: Stage, prepared: Prepared) -> None:
    """The same digest was converted, in the repository beside it."""
    image = _prepared_image(on, prepared)
    made_at = on.world.aks_converted.pop((image.repository, image.digest))
    on.world.aks_converted[f"{image.repository}-staging", image.digest] = made_at


def _world(change: Callable[[Stage], object]) -> Callable[[Stage, Prepared], None]:
    def after(on: Stage, prepared: Prepared) -> None:
        change(on)

    return after


def registry_elsewhere(on: Stage, prepared: Prepared) -> None:
    """The repository is on another continent; what was pulled there before warmed no cache here."""
    image = _prepared_image(on, prepared)
    on.world.push(replace(image, region="europe-west4"))


def ubuntu_pools(on: Stage) -> None:
    """Let the pools run an image that cannot stream, whatever their setting says."""
    for name, pool in on.description.pools.items():
        on.description.pools[name] = replace(pool, image_type="UBUNTU_CONTAINERD")
    on.description.streaming = False


def _delivery(name: str, cloud: CloudName, claim: str, **fields: Any) -> NoOp:
    fields = {"target": target(cloud, "fast"), "declared": PHI3_2025, "variant": "improved", **fields}
    return NoOp(name=name, scenario=Scenario(**fields), claim=claim)


def _snapshot(name: str, **fields: Any) -> NoOp:
    return _delivery(name, "eks", **{"claim": "bottlerocket_snapshot", **fields})


def _gke(name: str, **fields: Any) -> NoOp:
    return _delivery(name, "gke", "gke_image_streaming", **fields)


def _aks(name: str, **fields: Any) -> NoOp:
    return _delivery(name, "aks", "aks_artifact_streaming", **fields)


_KARPENTER: Final = target("eks", "fast", "karpenter")
_GKE_POOLS: Final = target("gke", "fast", "native")
_AKS_POOLS: Final = target("aks", "fast", "native")
_RATED: Final = target("eks", "fast", volume_initialization_rate_mib_s=300)

DELIVERIES: Final = (
    _snapshot(
        "the instance store holds the containers, not the snapshot's volume",
        target=_KARPENTER,
        nodes=nodes_otherwise(_KARPENTER, options={**_KARPENTER.nodes.options, "instance_store_policy": "RAID0"}),
    ),
    _snapshot(
        "the nodes were set up without the snapshot", nodes=nodes_otherwise(target("eks", "fast"), snapshot=False)
    ),
    _snapshot("the pods name the image in the snapshot otherwise", image=by_digest, setup=ScalingSetup.DYNAMIC),
    _snapshot(
        "the snapshot is of another Kubernetes minor",
        after_preparation=snapshot_of(lambda _on, _prepared: {"kubernetes_minor": "1.33"}),
    ),
    _snapshot("the snapshot holds no image", after_preparation=snapshot_of(lambda _on, _prepared: {"images": {}})),
    _snapshot(
        "the snapshot holds an older image of the tag",
        variant="image_delivery",
        claim="variant_image",
        after_preparation=older_image_in_the_snapshot,
    ),
    _snapshot(
        "the volume's initialization rate was not applied",
        target=_RATED,
        nodes=nodes_otherwise(_RATED, volume_initialization_rate_mib_s=None),
    ),
    _snapshot(
        "the tag moved after the snapshot, and the registry is asked",
        claim="bake_packages",
        after_preparation=tag_moved,
        manifest=with_images(imagePullPolicy="Always"),
    ),
    _gke(
        "nobody in the region had pulled the image",
        after_preparation=_world(lambda on: on.world.gke_warm_cache.clear()),
    ),
    _gke("the registry is in another region", after_preparation=registry_elsewhere),
    _gke(
        "the streaming API is off",
        after_preparation=_world(lambda on: setattr(on.world, "gke_streaming_api_enabled", False)),
        setup=ScalingSetup.DYNAMIC,
    ),
    _gke(
        "streaming is off on the cluster",
        after_preparation=_world(lambda on: setattr(on.description, "streaming", False)),
    ),
    _gke(
        "streaming is off on the node pools",
        target=_GKE_POOLS,
        nodes=nodes_otherwise(_GKE_POOLS, streaming=False),
        after_preparation=_world(lambda on: setattr(on.description, "streaming", False)),
    ),
    _gke("the pools do not run Container-Optimized OS", target=_GKE_POOLS, after_preparation=_world(ubuntu_pools)),
    _gke(
        "the nodes' account may not use the streaming service",
        after_preparation=_world(
            lambda on: on.world.gke_policy.update(
                bindings=[
                    {**binding, "members": list(binding["members"])}
                    for binding in on.world.gke_policy["bindings"]
                    if binding["role"] != "roles/serviceusage.serviceUsageConsumer"
                ]
            )
        ),
    ),
    _aks("the pods name the image by digest", image=by_digest),
    _aks("the image was never converted", after_preparation=converted_at(None)),
    _aks("the conversion ended after the pull", after_preparation=converted_at(500.0)),
    _aks("another repository's image was converted", after_preparation=other_repository_converted),
    _aks("the registry is not Premium", after_preparation=_world(lambda on: on.world.aks_premium_registries.clear())),
    _aks("the node pools are not switched on", target=_AKS_POOLS, nodes=nodes_otherwise(_AKS_POOLS, streaming=False)),
    _aks(
        "Luna was not told to stream",
        nodes=nodes_otherwise(target("aks", "fast"), streaming=False),
        setup=ScalingSetup.DYNAMIC,
    ),
    _aks("the pods bring pull secrets of their own", manifest=with_pull_secret),
    _aks("the tag moved after the conversion", after_preparation=tag_moved),
)


# -- the trial itself --------------------------------------------------------------------------------------------------


def pip_all_the_same(manifest: Manifest) -> None:
    """Leave the list of packages in the configuration although the image has them."""
    for application in _applications(manifest):
        application["runtime_env"]["pip"] = list(PHI3_2025.runtime_pip)


def branch(manifest: Manifest) -> None:
    """Take the application's code from a branch, as the origin did."""
    for application in _applications(manifest):
        application["runtime_env"]["working_dir"] = _BRANCH


def push_to_the_branch(on: Stage) -> None:
    """Somebody pushes code that starts the engine otherwise."""
    on.cluster.application.runtime.code.push(_BRANCH, eager=True)


def base_moves(on: Stage) -> None:
    """The public base's owner pushes another image under its tag once the first trial is over."""
    base = on.world.images[normalise(PHI3_2025.image.base)]
    if on.clock.now() - on.clock.virtual_epoch > timedelta(seconds=NODES_GONE_S):
        on.world.push(replace(base, digest=digest_of("moved", base.digest)))


def mirrored(on: Stage, _prepared: Prepared) -> None:
    """The improved variant's image is in the registry too, for whoever names it."""
    plan = plan_serving(PHI3_2025, "improved", on.description.cloud)
    dockerfile = plan.recipe.dockerfile()
    on.world.push(built_image(on.world, dockerfile, _MINE, region=on.description.region, now=on.clock.now()))


_BRANCH: Final = "https://github.com/elotl/skyray/archive/main.zip"
_MINE: Final = "123456789012.dkr.ecr.us-west-2.amazonaws.com/mine/serving:latest"


def _trial(
    name: str, claim: str, truth: Truth = "not applied", reason: str = "treatment not applied", **fields: Any
) -> NoOp:
    fields = {"target": target("eks", "plain"), "declared": PHI3_2025, "variant": "baseline", **fields}
    return NoOp(name=name, scenario=Scenario(**fields), claim=claim, truth=truth, reason=reason)


TRIALS: Final = (
    _trial(
        "packages are baked and installed all the same",
        "bake_packages",
        target=target("gke", "plain"),
        variant="baked_image",
        manifest=pip_all_the_same,
    ),
    _trial(
        "the baked image was built and the base is served",
        "bake_packages",
        variant="baked_image",
        image=lambda _prepared: PHI3_2025.image.base,
    ),
    _trial(
        "the baseline's image has the packages already",
        "variant_image",
        after_preparation=mirrored,
        image=lambda _prepared: _MINE,
    ),
    _trial("the node and its image are the last trial's", "cold_start", "excluded", "start warm", earlier=1),
    _trial(
        "the node is the last trial's, and its snapshot hides it",
        "cold_start",
        "excluded",
        "start warm",
        target=target("eks", "fast"),
        variant="improved",
        earlier=1,
    ),
    _trial(
        "the engine finds its graphs compiled",
        "cold_start",
        "excluded",
        "start warm",
        declared=PHI3_CURRENT,
        manifest=with_volume("/home/ray/.cache/vllm"),
        earlier=1,
        pause_s=NODES_GONE_S,
    ),
    _trial(
        "the public base's tag moved between replicates",
        "cold_start",
        "excluded",
        "another image",
        before_submission=base_moves,
        earlier=1,
        pause_s=NODES_GONE_S,
    ),
    _trial(
        "the working_dir is a branch, and it moved",
        "inputs_pinned",
        manifest=branch,
        before_submission=push_to_the_branch,
    ),
    _trial(
        "a baked image is streamed, and nobody declared it",
        "nothing_undeclared",
        target=target("gke", "fast"),
        variant="baked_image",
    ),
    _trial(
        "a baked image is in the nodes' snapshot, and nobody declared it",
        "nothing_undeclared",
        target=target("eks", "fast"),
        variant="baked_image",
    ),
    _trial(
        "hf_transfer is in the baked image, and nobody declared it",
        "nothing_undeclared",
        variant="baked_image",
        declared=with_pip(hf_transfer="0.1.9"),
    ),
    _trial(
        "the baseline's pods switch the fast download on",
        "nothing_undeclared",
        declared=PHI3_CURRENT,
        manifest=in_runtime_env(HF_XET_HIGH_PERFORMANCE="1"),
    ),
)

CATALOGUE: Final = (*DOWNLOADS, *DELIVERIES, *TRIALS)
