"""One trial, from the plan to the row: what it is, what it serves, how it is reached, what was found when it opened.

The same frozen dataclass is drawn by the plan, travels through XCom, heads the trace and stands in the row. It never
holds a manifest or a secret: tasks render the manifest anew from the experiment, and compare its fingerprint.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import Any, Final, Self

from airflow_llm_provisioning.core.arm import Arm, Stratum
from airflow_llm_provisioning.core.names import fingerprint
from airflow_llm_provisioning.core.workload import ImageRecipe, Model

# After its time limit a trial is deleted and its nodes are waited for. What is older than this was forgotten.
EXPIRES_AFTER_LIMIT: Final = timedelta(hours=2)
DEFAULT_TIMEOUT_S: Final = 3600.0
# The status of a planned trial that was skipped, because its arm had enough trials.
NOT_NEEDED: Final = "not_needed"
# How long the nodes are waited for after a delete, where the target does not say it: node autoscalers remove an empty
# node after a minute (Karpenter here) to ten (Cluster Autoscaler's --scale-down-unneeded-time), and then the cloud ends
# the machine.
NODES_GONE_S: Final = 1800.0


def run_prefix(experiment: str, dag_id: str, run_id: str) -> str:
    """Return what the names of all trials of a DAG run begin with."""
    return f"{experiment}-{fingerprint({'dag_id': dag_id, 'run_id': run_id}, 8)}-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """Where a trial stands in its DAG run. `number` counts from 0 per cluster; `attempt` counts re-runs of the slot;
    `seed` drew the order. `fallback`: in which of its target's fallbacks it runs, 0: in the target itself. `fixed_id`:
    the trial's name where it does not follow from the slot, as in a row that other code wrote into a store of version
    0.1.
    """

    experiment: str
    dag_id: str
    run_id: str
    cluster: str
    number: int
    replicate: int
    seed: int
    attempt: int = 1
    fixed_id: str | None = None
    fallback: int = 0

    @property
    def slot_id(self) -> str:
        """The slot's name: the same slot of the same DAG run always has the same."""
        fallback = f"-f{self.fallback}" if self.fallback else ""
        return f"{run_prefix(self.experiment, self.dag_id, self.run_id)}{self.cluster}-{self.number:02d}{fallback}"

    @property
    def first_id(self) -> str:
        """The name that all attempts of a slot share, also those that other code named."""
        return replace(self, attempt=1, fixed_id=None).slot_id

    @property
    def place_before(self) -> Self:
        """The slot in which the trial was tried before it fell back to this one."""
        return replace(self, fallback=self.fallback - 1, attempt=1, fixed_id=None)

    @property
    def trial_id(self) -> str:
        """The trial's name everywhere: store, ledger, labels."""
        if self.fixed_id is not None:
            return self.fixed_id
        return self.slot_id if self.attempt == 1 else f"{self.slot_id}.{self.attempt}"

    @property
    def lock_holder(self) -> str:
        """Who holds the cluster's lock: the DAG run, whose slots on a cluster follow one another."""
        return f"{self.dag_id}/{self.run_id}/{self.cluster}"

    def is_attempt(self, trial_id: str) -> bool:
        """Return whether a trial was a run of this slot."""
        return trial_id == self.slot_id or trial_id.startswith(f"{self.slot_id}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What a trial serves. `workload`: its name in the experiment file. `image`: the reference that the Ray
    containers are given (of the head, where they differ), "" before the trial is opened; `images`: all of them.
    `recipe`: what that image is built from, or its plain base. `model`: None where the experiment does not say
    which one is served. `overrides`: what a form changed ({image, model_id, revision}). `model_source`: where the
    model's revision was read, in a row of version 0.1, which recorded no sizes and so has no `model`; its id and
    revision are in the stratum.
    """

    workload: str
    model: Model | None = None
    image: str = ""
    images: tuple[str, ...] = ()
    recipe: ImageRecipe | None = None
    overrides: Mapping[str, str] = field(default_factory=dict)
    model_source: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "workload": self.workload,
            "model": asdict(self.model) if self.model else None,
            "image": self.image,
            "images": list(self.images),
            "recipe": self.recipe.as_dict() if self.recipe else None,
            "overrides": dict(self.overrides),
            "model_source": self.model_source,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what `as_dict` wrote."""
        return cls(
            workload=data["workload"],
            model=Model(**data["model"]) if data.get("model") else None,
            image=data.get("image") or "",
            images=tuple(data.get("images") or ()),
            recipe=ImageRecipe.from_dict(data["recipe"]) if data.get("recipe") else None,
            overrides=dict(data.get("overrides") or {}),
            model_source=data.get("model_source"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What the preparations left for a trial. None: not prepared, or not known.

    `disk_image`: GKE's image of the nodes' secondary boot disk, `disk_digest`: of the container image that it holds.
    `steps`: of prepared objects, by the preparation's verb (`prepare_<treatment>`), as they were when the trial was
    opened (`core.prepared_objects.Found`, as JSON).
    """

    image: str | None = None
    digest: str | None = None
    size_bytes: int | None = None
    snapshot_id: str | None = None
    volume_gib: int | None = None
    volume_initialization_rate_mib_s: int | None = None
    disk_image: str | None = None
    disk_digest: str | None = None
    pool: str | None = None
    steps: Mapping[str, Mapping[str, Any]] | None = None

    def updated(self, result: Mapping[str, Any]) -> Self:
        """Return it with what a later preparation's result says; what that does not say stays."""
        known = {f.name: result[f.name] for f in fields(self) if result.get(f.name) is not None}
        return replace(self, **known)

    def as_dict(self) -> dict[str, Any]:
        """Return what is known, as JSON."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what `as_dict` wrote; other keys are ignored."""
        return cls().updated(data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How a trial's tasks reach what they need: references as `connections.open_cluster` and `open_cloud` take them.
    Connection ids only, never a credential.
    """

    cluster: Mapping[str, Any]
    cloud: Mapping[str, Any] | None
    results_conn_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What was decided when the trial was opened. `labels` are on every object of it; `node_selector` finds the nodes
    that its node autoscaler makes; `manifest_content` is the fingerprint of the RayService that is applied; `place`
    names cluster and namespace in the ledger; `completion` is the request whose valid answer is waited for.
    `nodes_gone_s`: how long its nodes are waited for after the delete, in the cluster's clock; 0: not at all, because
    nothing removes them. Rows of version 0.1 recorded neither labels nor the manifest's fingerprint: no labels, None.
    """

    at: datetime
    rayservice: str
    namespace: str
    labels: Mapping[str, str]
    place: str
    manifest_content: str | None
    node_selector: str | None = None
    prepared: Prepared = Prepared()
    completion: Mapping[str, Any] | None = None
    ledger_entry: str | None = None
    nodes_gone_s: float = NODES_GONE_S

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        data = {f.name: getattr(self, f.name) for f in fields(self)}
        completion = dict(self.completion) if self.completion else None
        return data | {
            "at": self.at.isoformat(),
            "labels": dict(self.labels),
            "prepared": self.prepared.as_dict(),
            "completion": completion,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what `as_dict` wrote."""
        return cls(
            **{
                **data,
                "at": datetime.fromisoformat(data["at"]),
                "prepared": Prepared.from_dict(data.get("prepared") or {}),
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One deployment of one arm on one target. `opened` is None until `OpenTrial` has run. `grace_s`,
    `no_capacity_fails`: as in the experiment. `pricing`: {prices: the experiment's own (`PriceBook.as_dict`), disk_gib:
    of each node}, as far as there are any. `budget`: {money, gpu_hours, node_hour_at_most} of this trial, as far as
    there are limits.
    """

    slot: Slot
    arm: Arm
    target: str
    served: Served
    access: Access | None = None
    timeout_s: float = DEFAULT_TIMEOUT_S
    grace_s: Mapping[str, float | None] = field(default_factory=dict)
    opened: Opened | None = None
    no_capacity_fails: bool = False
    pricing: Mapping[str, Any] = field(default_factory=dict)
    budget: Mapping[str, float] = field(default_factory=dict)

    @property
    def trial_id(self) -> str:
        """The trial's name everywhere."""
        return self.slot.trial_id

    @property
    def stratum(self) -> Stratum:
        """What must be equal for another trial to be comparable."""
        return self.arm.stratum

    def attempted(self, finished: int) -> "Trial":
        """Return the trial as the attempt after `finished` ones whose rows are written."""
        return replace(self, slot=replace(self.slot, attempt=finished + 1))

    def expires_at(self, opened_at: datetime) -> datetime:
        """Return when anything that is left of it may be deleted."""
        return opened_at + timedelta(seconds=self.timeout_s) + EXPIRES_AFTER_LIMIT

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON, for XCom."""
        return {
            "trial_id": self.trial_id,
            "slot": {key: value for key, value in asdict(self.slot).items() if key != "fallback" or value},
            "arm": self.arm.as_dict(),
            "target": self.target,
            "served": self.served.as_dict(),
            "access": asdict(self.access) if self.access else None,
            "timeout_s": self.timeout_s,
            "grace_s": dict(self.grace_s),
            **({"no_capacity_fails": True} if self.no_capacity_fails else {}),
            **({"pricing": dict(self.pricing)} if self.pricing else {}),
            **({"budget": dict(self.budget)} if self.budget else {}),
            "opened": self.opened.as_dict() if self.opened else None,
        }

    def stored(self) -> dict[str, Any]:
        """Return what a row of the results store keeps: everything but how it is reached."""
        data = self.as_dict()
        del data["access"]
        return data

    def header(self) -> dict[str, Any]:
        """Return what the head of a trace says of its trial: what it is, not how it is reached."""
        data = self.stored()
        if data["opened"] is not None:
            data["opened"] = {key: value for key, value in data["opened"].items() if key != "ledger_entry"}
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Trial":
        """Read what `as_dict`, `stored` or `header` wrote."""
        access, opened = data.get("access"), data.get("opened")
        return cls(
            slot=Slot(**data["slot"]),
            arm=Arm.from_dict(data["arm"]),
            target=data["target"],
            served=Served.from_dict(data["served"]),
            access=Access(**access) if access else None,
            # Rows of version 0.1 recorded none.
            timeout_s=float(data.get("timeout_s", DEFAULT_TIMEOUT_S)),
            grace_s=dict(data.get("grace_s") or {}),
            opened=Opened.from_dict(opened) if opened else None,
            no_capacity_fails=data.get("no_capacity_fails") is True,
            pricing=dict(data.get("pricing") or {}),
            budget=dict(data.get("budget") or {}),
        )
