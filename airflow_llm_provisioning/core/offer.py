"""What a DAG for single trials can start, as JSON in its form: targets with their workloads, set-ups and variants.

The page reads it from the DAG as Airflow stores it. So it needs no experiment file, offers only what is possible, and
offers it for every DAG that has such a form.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.core.fields import items, mapping, text
from airflow_llm_provisioning.core.treatments import steps_of

# The key in the schema of the parameter `target`. Airflow and JSON Schema ignore keys that they do not know.
OFFER: Final = "llm_provisioning"
SET_UP_NODES: Final = "set_up_nodes"


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedTarget:
    """What can run on a target. `workloads`: name -> set-ups; `steps`: the preparation that its variants need."""

    name: str
    cluster: str
    namespace: str
    cloud: str
    region: str | None
    autoscaler: str
    gpus: tuple[str, ...]
    variants: tuple[str, ...]
    workloads: Mapping[str, tuple[str, ...]]
    steps: tuple[str, ...]

    def cells(self) -> Iterator[dict[str, str]]:
        """Yield every possible combination, as the form's values."""
        for variant in self.variants:
            for workload, setups in self.workloads.items():
                for setup in setups:
                    yield {"target": self.name, "variant": variant, "workload": workload, "setup": setup}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what `offer_of` wrote; a value of another type becomes empty."""
        return cls(
            name=text(data.get("name")),
            cluster=text(data.get("cluster")),
            namespace=text(data.get("namespace")),
            cloud=text(data.get("cloud")),
            region=text(data.get("region")) or None,
            autoscaler=text(data.get("autoscaler")),
            gpus=_texts(data.get("gpus")),
            variants=_texts(data.get("variants")),
            workloads={text(name): _texts(setups) for name, setups in mapping(data.get("workloads")).items()},
            steps=_texts(data.get("steps")),
        )


def offer_of(experiment: Experiment) -> str:
    """Return what an experiment's single trials can be, as JSON text: Airflow stores it unchanged."""
    told = {"targets": [asdict(_target(experiment, target.name)) for target in experiment.targets]}
    return json.dumps(told, separators=(",", ":"))


def offered_targets(offer: Any) -> list[OfferedTarget]:
    """Read what `offer_of` wrote. What is no offer offers nothing."""
    try:
        told = json.loads(text(offer) or "null")
    except (ValueError, RecursionError):
        return []
    listed = (mapping(target) for target in items(mapping(told).get("targets")))
    return [OfferedTarget.from_dict(target) for target in listed if text(target.get("name"))]


def _target(experiment: Experiment, name: str) -> OfferedTarget:
    target = experiment.target(name)
    treatments = [item for variant in target.variants for item in experiment.treatments(variant, target.cloud)]
    return OfferedTarget(
        name=target.name,
        cluster=target.cluster,
        namespace=target.namespace,
        cloud=target.cloud,
        region=target.region,
        autoscaler=target.nodes.autoscaler,
        gpus=target.nodes.gpu_skus,
        variants=target.variants,
        workloads={
            workload.name: tuple(str(setup) for setup in workload.offered_setups)
            for workload in experiment.workloads_on(target)
        },
        steps=(*(step.name for step in steps_of(treatments)), SET_UP_NODES),
    )


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(text(item) for item in items(value) if text(item))
