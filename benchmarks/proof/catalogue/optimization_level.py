"""Optimization levels that something else in the engine's configuration outweighs, or that nothing declares."""

from collections.abc import Callable
from typing import Any, Final

import yaml

from airflow_llm_provisioning.core.workload import ScalingSetup
from proof.catalogue.entry import NoOp
from proof.recorded_trial import Manifest, Scenario
from proof.targets import target
from proof.workloads import SERVED_CURRENT


def with_engine(**arguments: Any) -> Callable[[Manifest], None]:
    """Set arguments of the engine after the manifest was rendered; None takes one away."""

    def change(manifest: Manifest) -> None:
        config = yaml.safe_load(manifest["spec"]["serveConfigV2"])
        for application in config["applications"]:
            for model in application["args"]["llm_configs"]:
                given = model["engine_kwargs"] | arguments
                model["engine_kwargs"] = {key: value for key, value in given.items() if value is not None}
        manifest["spec"]["serveConfigV2"] = yaml.safe_dump(config, sort_keys=False)

    return change


def _level(name: str, level: int, **fields: Any) -> NoOp:
    claim = f"optimization_level_{level}"
    fields = {"target": target("eks"), "declared": SERVED_CURRENT, "variant": claim, **fields}
    return NoOp(name=name, scenario=Scenario(**fields), claim=claim)


OPTIMIZATION_LEVELS: Final = (
    _level("the level is taken from the configuration on its way", 0, manifest=with_engine(optimization_level=None)),
    _level(
        "an explicit compilation configuration outweighs level 0",
        0,
        target=target("gke"),
        manifest=with_engine(compilation_config={"mode": 3, "cudagraph_mode": "FULL_AND_PIECEWISE"}),
    ),
    _level(
        "CUDA graphs are asked for at level 0", 0, manifest=with_engine(compilation_config={"cudagraph_mode": "FULL"})
    ),
    _level(
        "full CUDA graphs are asked for at level 1",
        1,
        target=target("aks"),
        manifest=with_engine(compilation_config={"cudagraph_mode": "FULL_AND_PIECEWISE"}),
        setup=ScalingSetup.DYNAMIC,
    ),
    _level("the engine is told to be eager at level 1", 1, manifest=with_engine(enforce_eager=True)),
    NoOp(
        name="the baseline's engine starts at level 0, and it was not declared",
        scenario=Scenario(
            target=target("eks"),
            declared=SERVED_CURRENT,
            variant="baseline",
            manifest=with_engine(optimization_level=0),
        ),
        claim="nothing_undeclared",
    ),
)
