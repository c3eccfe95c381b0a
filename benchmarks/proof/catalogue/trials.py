"""Trials that differ from their label: warm, with another image, or with an undeclared acceleration."""

from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from airflow_llm_provisioning.core.builtin_profiles import PHI3_2025
from airflow_llm_provisioning.core.treatments import plan_deployment, resolved
from airflow_llm_provisioning.core.variants import BUILTIN_VARIANTS
from llm_provisioning_simulator.images import built_image
from llm_provisioning_simulator.instant_trial import Stage
from llm_provisioning_simulator.prepared import Prepared
from llm_provisioning_simulator.world import digest_of, normalise
from proof.catalogue.edits import BRANCH, branch, claim, in_runtime_env, with_redundant_pip, with_volume
from proof.catalogue.entry import NoOp, Truth
from proof.recorded_trial import NODES_GONE_S, Scenario
from proof.targets import target
from proof.workloads import SERVED_2025, SERVED_CURRENT, with_pip


def push_to_the_branch(on: Stage) -> None:
    """Push code that starts the engine in another way."""
    on.cluster.application.runtime.code.push(BRANCH, eager=True)


def move_base_tag(on: Stage) -> None:
    """Push another image under the tag of the public base after the first trial."""
    base = on.world.images[normalise(PHI3_2025.image.base)]
    if on.clock.now() - on.clock.virtual_epoch > timedelta(seconds=NODES_GONE_S):
        on.world.push(replace(base, digest=digest_of("moved", base.digest)))


def mirrored(on: Stage, _prepared: Prepared) -> None:
    """Put the improved variant's image into the registry under another name."""
    plan = plan_deployment(SERVED_2025, resolved(BUILTIN_VARIANTS["improved"], on.description.cloud))
    dockerfile = plan.recipe.dockerfile()
    on.world.push(built_image(on.world, dockerfile, _MIRROR, region=on.description.region, now=on.clock.now()))


_MIRROR: Final = "123456789012.dkr.ecr.us-west-2.amazonaws.com/mine/serving:latest"


def _trial(
    name: str, claim: str, truth: Truth = "not applied", reason: str = "treatment not applied", **fields: Any
) -> NoOp:
    fields = {"target": target("eks", "plain"), "declared": SERVED_2025, "variant": "baseline", **fields}
    return NoOp(name=name, scenario=Scenario(**fields), claim=claim, truth=truth, reason=reason)


TRIALS: Final = (
    _trial(
        "packages are baked and installed at start as well",
        "bake_packages",
        target=target("gke", "plain"),
        variant="baked_image",
        manifest=with_redundant_pip,
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
        image=lambda _prepared: _MIRROR,
    ),
    _trial("the node and its image are from the last trial", "cold_start", "excluded", "start warm", earlier=1),
    _trial(
        "the node is the last trial's, and its snapshot makes it look new",
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
        declared=SERVED_CURRENT,
        manifest=with_volume("/home/ray/.cache/vllm"),
        before_submission=claim,
        earlier=1,
        pause_s=NODES_GONE_S,
    ),
    _trial(
        "the public base's tag moved between replicates",
        "cold_start",
        "excluded",
        "another image",
        before_submission=move_base_tag,
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
        "a baked image is streamed, and it was not declared",
        "nothing_undeclared",
        target=target("gke", "fast"),
        variant="baked_image",
    ),
    _trial(
        "a baked image is in the nodes' snapshot, and it was not declared",
        "nothing_undeclared",
        target=target("eks", "fast"),
        variant="baked_image",
    ),
    _trial(
        "hf_transfer is in the baked image, and it was not declared",
        "nothing_undeclared",
        variant="baked_image",
        declared=with_pip(hf_transfer="0.1.9"),
    ),
    _trial(
        "the baseline's pods switch the fast download on",
        "nothing_undeclared",
        declared=SERVED_CURRENT,
        manifest=in_runtime_env(HF_XET_HIGH_PERFORMANCE="1"),
    ),
)
