"""Which trials may be compared, and which may be pooled: the only place that groups trials.

A stratum holds everything that must be equal for two trials to be comparable. An arm is a stratum and a variant: trials
of one arm are replicates of each other. Facts that were observed and differ although the stratum is equal (another
instance type, another driver) are confounders: they are named beside a comparison, and never pooled in silence.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
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
    "GPU": ("worker", "gpu"),
    "driver": ("worker", "driver"),
    "node image": ("worker", "os_image"),
    "KubeRay": ("kuberay",),
    "Ray": ("ray",),
}
KUBERNETES_MINOR: Final = "Kubernetes minor"
IMAGE_DIGEST: Final = "image digest"
_IMAGE: Final = ("worker", "image")
_READ: Final = (*CONFOUNDERS.values(), ("cluster", "gitVersion"), _IMAGE, ("worker", "image_digest"))
# `nodes` of a row that version 0.1 wrote begins with this; the name of its experiment follows.
VERSION_0_1: Final = "0.1:"
_KEYS_KEPT: Final = 4096


@dataclass(frozen=True, slots=True, order=False)
class Stratum:
    """What must be equal for two trials to be comparable.

    `origin`: `measured`, `simulated` or `unknown`. `nodes`: fingerprint of the node profile without what treatments
    change. `workload_content`: fingerprint of what is served before any treatment. `workload` is its name in the
    experiment file, for people only. None: not recorded (rows of version 0.1, or no such thing, as a model of which
    nothing was said). Rows of version 0.1 recorded neither region nor autoscaler nor nodes. Their `nodes` names their
    experiment, so they are pooled inside it and never with other rows. `fallback`: the target's name where its trials
    run only after another place had no capacity (`nodes` then tells it from equal nodes); for people only.
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
    fallback: str = field(default="", compare=False)

    @property
    def key(self) -> str:
        """Fingerprint of everything that is compared: equal keys mean equal strata."""
        return _stratum_key(self)

    @property
    def family(self) -> str:
        """Fingerprint of everything but the set-up. Strata of one family differ in their set-up only and are shown
        under one heading. Trials are never pooled by it.
        """
        return _family_of(self)

    @property
    def old_experiment(self) -> str | None:
        """The experiment of a row of version 0.1; None for every other row."""
        return self.nodes.removeprefix(VERSION_0_1) if self.nodes and self.nodes.startswith(VERSION_0_1) else None

    @property
    def label(self) -> str:
        """Return it for people: cloud, set-up, workload, and the node autoscaler where it is known. A row of version
        0.1 says that it is one.
        """
        old = self.old_experiment
        parts = (self.cloud, self.autoscaler, self.region, self.setup, self.workload or "?")
        apart = self.fallback and f"fallback {self.fallback}"
        return " / ".join(part for part in (*parts, apart, old and f"version 0.1, experiment {old}") if part)

    def differences(self, other: "Stratum") -> tuple[str, ...]:
        """Return the names of the fields in which two strata differ."""
        return tuple(f.name for f in fields(self) if f.compare and getattr(self, f.name) != getattr(other, f.name))

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON. Most have no `fallback`, and do not say it."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        return found if self.fallback else {key: value for key, value in found.items() if key != "fallback"}

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
        return _arm_key(self)

    @property
    def label(self) -> str:
        """Return it for people."""
        return f"{self.stratum.label} / {self.variant}"

    @property
    def is_baseline(self) -> bool:
        """Whether this is what the other variants of its stratum are compared with. A variant of that name with
        treatments is no baseline.
        """
        return self.variant == BASELINE and not self.treatments

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


# Trials are grouped by these keys, and a store has few arms for its many trials.
@lru_cache(maxsize=_KEYS_KEPT)
def _stratum_key(stratum: Stratum) -> str:
    return fingerprint({f.name: getattr(stratum, f.name) for f in fields(stratum) if f.compare}, 16)


@lru_cache(maxsize=_KEYS_KEPT)
def _family_of(stratum: Stratum) -> str:
    return _stratum_key(replace(stratum, setup=""))


@lru_cache(maxsize=_KEYS_KEPT)
def _arm_key(arm: Arm) -> str:
    content = {"stratum": arm.stratum.key, "variant": arm.variant, "treatments": sorted(arm.treatments)}
    return fingerprint(content, 16)


def told_apart(strata: Iterable[Stratum]) -> dict[str, str]:
    """Return what tells each family of these strata from the others, for a heading: {family: text}. Only what differs
    is named, for example `node autoscaler luna, model a/b`; of a single family the text is empty.
    """
    families = {stratum.family: replace(stratum, setup="") for stratum in strata}
    members = list(families.values())
    differing = {name for one in members for other in members for name in one.differences(other)}
    return {
        key: ", ".join(text for name, words in _WORDS.items() if name in differing and (text := words(stratum)))
        for key, stratum in families.items()
    }


def observed_facts(environment: Mapping[str, Any]) -> dict[str, str]:
    """Return the possible confounders of one trial, as far as they were observed: {name: value}.

    The image digest is named with its image: another image is the work of a treatment, another digest under the same
    name is not. `environment`: as `core.timing.environment.environment_of` returns it.
    """
    found = {name: dig(environment, *path) for name, path in CONFOUNDERS.items()}
    found[KUBERNETES_MINOR] = _minor(environment.get("cluster"))
    image = dig(environment, "worker", "image")
    found[f"{IMAGE_DIGEST} of {image}" if image else IMAGE_DIGEST] = image_digest(environment)
    return {name: value for name, value in found.items() if isinstance(value, str) and value}


def comparable_environment(environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of an environment that `observed_facts` reads. Many trials share it."""
    kept: dict[str, Any] = {}
    for path in _READ:
        value = dig(environment, *path)
        # The image names the digest's fact, as text.
        value = str(value) if value and path == _IMAGE else value
        if isinstance(value, str) and value:
            parent = kept
            for key in path[:-1]:
                parent = parent.setdefault(key, {})
            parent[path[-1]] = value
    return kept


def image_digest(environment: Mapping[str, Any]) -> str | None:
    """Return the digest of the image that the worker ran, or None where it was not observed."""
    digest = dig(environment, "worker", "image_digest")
    return digest if isinstance(digest, str) and digest else None


@dataclass(frozen=True, slots=True)
class Confounder:
    """An observed fact that is not the same in all trials that are compared. `values`: value -> number of trials.
    `baseline`: the same of the baseline arm, where two arms are held against each other.
    """

    name: str
    values: Mapping[str, int]
    baseline: Mapping[str, int] | None = None

    def __str__(self) -> str:
        """Return it as a sentence part: `worker instance type: g6.2xlarge (3), baseline g5.2xlarge (2)`."""
        against = f", baseline {_counted(self.baseline)}" if self.baseline is not None else ""
        return f"{self.name}: {_counted(self.values)}{against}"


def confounders(environments: Iterable[Mapping[str, Any]]) -> tuple[Confounder, ...]:
    """Return every observed fact that has more than one value among these trials. A fact that was not observed in a
    trial says nothing about it.
    """
    return tuple(Confounder(name, values) for name, values in _seen(environments).items() if len(values) > 1)


def confounders_between(
    environments: Iterable[Mapping[str, Any]], baseline: Iterable[Mapping[str, Any]]
) -> tuple[Confounder, ...]:
    """Return every fact whose observed values are not the same set in an arm and in its baseline. A fact that was
    observed in one of them only says nothing.
    """
    own, base = _seen(environments), _seen(baseline)
    return tuple(
        Confounder(name, values, base[name])
        for name, values in own.items()
        if name in base and set(values) != set(base[name])
    )


def _seen(environments: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    # Many trials share one object of what they observed (`gateways.store.thin`).
    objects: dict[int, Mapping[str, Any]] = {}
    times: Counter[int] = Counter()
    for environment in environments:
        objects[id(environment)] = environment
        times[id(environment)] += 1
    seen: dict[str, Counter[str]] = {}
    for key, environment in objects.items():
        for name, value in observed_facts(environment).items():
            seen.setdefault(name, Counter())[value] += times[key]
    return {name: dict(sorted(values.items())) for name, values in sorted(seen.items())}


def _counted(values: Mapping[str, int]) -> str:
    return ", ".join(f"{value} ({count})" for value, count in sorted(values.items()))


def _minor(version: Any) -> str | None:
    """Return `1.34` of a cluster's version information ({major, minor, gitVersion}, as GET /version returns it)."""
    git = dig(version, "gitVersion")
    parts = str(git).lstrip("v").split(".") if isinstance(git, str) else []
    return ".".join(parts[:2]) if len(parts) >= 2 else None


def _nodes(stratum: Stratum) -> str:
    old = stratum.old_experiment
    told = f"version 0.1, experiment {old}" if old is not None else _named("node profile", stratum.nodes)
    return f"fallback {stratum.fallback} ({told})" if stratum.fallback else told


def _content(stratum: Stratum) -> str:
    """Return the content's fingerprint, because two contents may have one name. Version 0.1 recorded none."""
    return "" if stratum.old_experiment is not None else f" ({stratum.workload_content})"


def _named(what: str, value: str | None) -> str:
    return f"{what} {value}" if value else f"{what} not recorded"


def _unless_old(what: str, value: str | None, stratum: Stratum) -> str:
    """Return nothing for what no row of version 0.1 has: that it is such a row is said once."""
    return "" if value is None and stratum.old_experiment is not None else _named(what, value)


# In the order in which a heading names them.
_WORDS: Final[Mapping[str, Callable[[Stratum], str]]] = {
    "origin": lambda s: s.origin,
    "cloud": lambda s: s.cloud,
    "region": lambda s: _unless_old("region", s.region, s),
    "autoscaler": lambda s: _unless_old("node autoscaler", s.autoscaler, s),
    "nodes": _nodes,
    "workload_content": lambda s: f"workload {s.workload or '?'}{_content(s)}",
    "model_id": lambda s: _named("model", s.model_id),
    "model_revision": lambda s: _named("revision", s.model_revision and s.model_revision[:12]),
}
