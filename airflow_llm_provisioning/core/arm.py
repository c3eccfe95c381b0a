"""Which trials may be compared, and which may be pooled: the only place that groups trials.

A stratum holds everything that must be equal for two trials to be comparable. An arm is a stratum and a variant: trials
of one arm are replicates of each other. Facts that were observed and differ although the stratum is equal (another
instance type, another driver) are confounders: they are named beside a comparison, and never pooled in silence.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

from airflow_llm_provisioning.core.fields import dig
from airflow_llm_provisioning.core.names import fingerprint

BASELINE: Final = "baseline"

# Observed facts that may differ inside a stratum: name -> where `environment_of` puts it.
CONFOUNDERS: Final[Mapping[str, tuple[str, ...]]] = {
    "head instance type": ("head", "instance_type"),
    "worker instance type": ("worker", "instance_type"),
    "head zone": ("head", "zone"),
    "worker zone": ("worker", "zone"),
    "image digest": ("worker", "image_digest"),
    "GPU": ("worker", "gpu"),
    "driver": ("worker", "driver"),
    "node image": ("worker", "os_image"),
    "KubeRay": ("kuberay",),
    "Ray": ("ray",),
}
KUBERNETES_MINOR: Final = "Kubernetes minor"


@dataclass(frozen=True, slots=True, order=False)
class Stratum:
    """What must be equal for two trials to be comparable.

    `origin`: `measured`, `simulated` or `unknown`. `nodes`: fingerprint of the node profile without what treatments
    change. `workload_content`: fingerprint of what is served before any treatment. `workload` is its name in the
    experiment file, for people only. None: not recorded (rows of version 0.1, or no such thing, as a model of which
    nothing was said).
    """

    origin: str
    cloud: str
    setup: str
    workload_content: str
    region: str | None = None
    autoscaler: str | None = None
    nodes: str | None = None
    model_id: str | None = None
    model_revision: str | None = None
    workload: str = field(default="", compare=False)

    @property
    def key(self) -> str:
        """Fingerprint of everything that is compared: equal keys mean equal strata."""
        return fingerprint({f.name: getattr(self, f.name) for f in fields(self) if f.compare}, 16)

    @property
    def label(self) -> str:
        """Return it for people: cloud, set-up, workload, and the node autoscaler where it is known."""
        return " / ".join(
            part for part in (self.cloud, self.autoscaler, self.region, self.setup, self.workload or "?") if part
        )

    def differences(self, other: "Stratum") -> tuple[str, ...]:
        """Return the names of the fields in which two strata differ."""
        return tuple(f.name for f in fields(self) if f.compare and getattr(self, f.name) != getattr(other, f.name))

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Stratum":
        """Read what `as_dict` wrote."""
        return cls(**{f.name: data[f.name] for f in fields(cls) if f.name in data})


@dataclass(frozen=True, slots=True)
class Arm:
    """A stratum with a variant. `treatments`: the variant's treatments as they resolve on this cloud, in order, because
    the same name may stand for another list after the experiment file was edited.
    """

    stratum: Stratum
    variant: str
    treatments: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Fingerprint of the arm: equal keys mean replicates of the same thing."""
        content = {"stratum": self.stratum.key, "variant": self.variant, "treatments": sorted(self.treatments)}
        return fingerprint(content, 16)

    @property
    def label(self) -> str:
        """Return it for people."""
        return f"{self.stratum.label} / {self.variant}"

    @property
    def is_baseline(self) -> bool:
        """Whether this is what the other variants of its stratum are compared with."""
        return self.variant == BASELINE

    def seen_at(self, origin: str) -> "Arm":
        """Return the arm with the origin that the cluster itself states."""
        return replace(self, stratum=replace(self.stratum, origin=origin))

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"stratum": self.stratum.as_dict(), "variant": self.variant, "treatments": list(self.treatments)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Arm":
        """Read what `as_dict` wrote."""
        return cls(Stratum.from_dict(data["stratum"]), data["variant"], tuple(data["treatments"]))


def observed_facts(environment: Mapping[str, Any]) -> dict[str, str]:
    """Return the possible confounders of one trial, as far as they were observed: {name: value}.

    `environment`: as `core.timing.environment.environment_of` returns it.
    """
    found = {name: dig(environment, *path) for name, path in CONFOUNDERS.items()}
    found[KUBERNETES_MINOR] = _minor(environment.get("cluster"))
    return {name: value for name, value in found.items() if isinstance(value, str) and value}


@dataclass(frozen=True, slots=True)
class Confounder:
    """An observed fact that is not the same in all trials that are compared. `values`: value -> number of trials."""

    name: str
    values: Mapping[str, int]

    def __str__(self) -> str:
        """Return it as a sentence part: `worker instance type: g6.2xlarge (3), g5.2xlarge (2)`."""
        counted = ", ".join(f"{value} ({count})" for value, count in sorted(self.values.items()))
        return f"{self.name}: {counted}"


def confounders(environments: Sequence[Mapping[str, Any]]) -> tuple[Confounder, ...]:
    """Return every observed fact that has more than one value among these trials. A fact that was not observed in a
    trial says nothing about it.
    """
    seen: dict[str, Counter[str]] = {}
    for environment in environments:
        for name, value in observed_facts(environment).items():
            seen.setdefault(name, Counter())[value] += 1
    return tuple(Confounder(name, dict(values)) for name, values in sorted(seen.items()) if len(values) > 1)


def _minor(version: Any) -> str | None:
    """Return `1.34` of a cluster's version information ({major, minor, gitVersion}, as GET /version returns it)."""
    git = dig(version, "gitVersion")
    parts = str(git).lstrip("v").split(".") if isinstance(git, str) else []
    return ".".join(parts[:2]) if len(parts) >= 2 else None
