"""What a treatment is: one acceleration. The contract for this package's own treatments and for those of others.

A treatment says where it exists, what must be prepared for it, how it changes the RayService and the nodes, what it
makes old on purpose, and how a recording proves or refutes it. It is pure: the preparation's work is done by operators
that its steps name.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from airflow_llm_provisioning.core.effects import Effect, EffectFacts
from airflow_llm_provisioning.core.target import NodeProfile, Target
from airflow_llm_provisioning.core.workload import ImageRecipe, ScalingSetup, Workload

if TYPE_CHECKING:
    from airflow_llm_provisioning.core.trace import TraceView
    from airflow_llm_provisioning.core.verdicts import Verdict


Found = Mapping[str, Sequence[Mapping[str, Any]] | None]
"""Resource of a cluster -> its objects; None where the cluster has no such resource."""


@dataclass(frozen=True, slots=True)
class DeploymentPlan:
    """What a variant deploys, while its treatments change it.

    `manifest`: the RayService. `recipe`: what its image is built from; at first nothing but the image that the manifest
    names. `own_image`: whether the image must be in a registry of the target's (built, or copied unchanged), because
    the public one cannot be snapshotted or streamed, or lacks what the recipe adds. `env`: what treatments have put
    into the Ray containers' environment so far. `target`: where it is deployed, None for nowhere.
    """

    manifest: Mapping[str, Any]
    recipe: ImageRecipe
    own_image: bool = False
    env: Mapping[str, str] = field(default_factory=dict)
    target: Target | None = None

    @classmethod
    def of(
        cls, workload: Workload, setup: ScalingSetup | None = None, target: Target | None = None
    ) -> "DeploymentPlan":
        """Return the plan of the baseline, in a set-up or in the manifest's own."""
        manifest = workload.manifest if setup is None else workload.manifest_for(setup)
        return cls(manifest, workload.recipe, target=target)

    def in_own_registry(self) -> "DeploymentPlan":
        """Return the plan with its image in the target's registry."""
        return replace(self, own_image=True)

    def with_manifest(self, manifest: Mapping[str, Any]) -> "DeploymentPlan":
        """Return the plan with a changed RayService."""
        return replace(self, manifest=manifest)


@dataclass(frozen=True, slots=True)
class StepContext:
    """What a preparation step knows when the DAG is built.

    `image`: reference to the result of the image's build ({image, digest, size_bytes, ...}); where it is not built,
    {image} as the manifest names it. `recipe`: what is built, or the plain image. `pools`: returns the names of the
    node pools that `SetUpNodes` makes for the target. `manifest`: returns the RayService that is served with the image
    (of several workloads the first), placed on the target's nodes; its image may not be built yet. `served`: returns
    (image, RayService) of every variant that wants the step, `image` of the same form as above.
    """

    target: Target
    recipe: ImageRecipe
    image: Any = field(default_factory=dict)
    pools: Callable[[], tuple[str, ...]] = tuple
    manifest: Callable[[], Mapping[str, Any]] = dict
    served: Callable[[], tuple[tuple[Any, Mapping[str, Any]], ...]] = tuple


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a target's preparation.

    `name`: unique within a target; it is the task's id. `operator`: `package.module:Class`, imported when the DAG is
    built. `arguments`: returns the operator's own arguments; the factory adds `task_id` and `results_conn_id`.
    `before_nodes`: whether it must have ended before the target's nodes are set up. `per_image`: whether it runs once
    for every image of the target, else once for the target. `gives_nodes`: whether its result goes into the node
    profile (`SetUpNodes.prepared`). `gives_image`: whether its result is the image that later steps need; it runs only
    for images that are built. `one_image`: whether the variants of a target that want it must be served with one image.
    """

    name: str
    operator: str
    arguments: Callable[[StepContext], Mapping[str, Any]]
    before_nodes: bool = True
    per_image: bool = True
    gives_nodes: bool = False
    gives_image: bool = False
    one_image: bool = False


class Treatment(Protocol):
    """One acceleration. Subclass `BaseTreatment` to take the defaults; attributes of the class are enough."""

    @property
    def name(self) -> str:
        """Lower-case letters, digits and underscores; unique among all installed treatments."""
        ...

    @property
    def group(self) -> str | None:
        """Name of the alternatives it belongs to: a variant that lists the group gets the member that exists on the
        target's cloud.
        """
        ...

    @property
    def clouds(self) -> frozenset[str]:
        """Where it exists; empty: everywhere."""
        ...

    @property
    def order(self) -> int:
        """Treatments change a manifest in ascending order: packages are added (10) before they are baked (20)."""
        ...

    @property
    def steps(self) -> tuple[Step, ...]:
        """What must be prepared, in order. The same step of two treatments runs once."""
        ...

    @property
    def claims(self) -> tuple[str, ...]:
        """What the cloud is asked before the trial is deleted; the answers are in the trace as evidence."""
        ...

    @property
    def keeps_warm(self) -> tuple[str, ...]:
        """What it makes old on purpose, of `core.verdicts.WARM_KINDS` (`node`, `image_cache`, `compile_cache`,
        `weights`): a start that met such a thing counts as cold only if `kept` says that it was the prepared one.
        """
        ...

    @property
    def looks_at(self) -> tuple[str, ...]:
        """Resources of the cluster (`deployments`, `daemonsets`, ...) that preflight lists in all namespaces for
        `on_cluster`.
        """
        ...

    def requires(self, profile: NodeProfile, workload: Workload) -> tuple[str, ...]:
        """Return every reason why it is impossible with these nodes and this workload, in sentences."""
        ...

    def on_cluster(self, found: "Found", *, declared: bool) -> tuple[str, ...]:
        """Return in sentences what a target's cluster lacks for it (a controller, a switch, a driver); for variants
        that do not declare it (`declared` is false), what the cluster would give them all the same.

        `found`: resource of `looks_at` -> its objects; None for one that this cluster does not have.
        """
        ...

    def change(self, plan: DeploymentPlan, workload: Workload) -> DeploymentPlan:
        """Return what is deployed with this treatment."""
        ...

    def companions(self, manifest: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
        """Return objects that are created right after the RayService, belong to it and go with it, without name,
        namespace and owner (`core.companions`). `manifest`: the RayService as it is applied, with its image and its
        place on the target's nodes.
        """
        ...

    def nodes(self, profile: NodeProfile) -> NodeProfile:
        """Return the nodes with this treatment. Applied twice it must give the same."""
        ...

    def verify(self, view: "TraceView") -> "Verdict":
        """Say from a trial's trace whether it was really applied, with the evidence."""
        ...

    def kept(self, view: "TraceView") -> "Verdict":
        """Say whether what the trial found old is what was prepared for it (identity, content, who filled it). Asked
        only of a treatment that keeps something warm.
        """
        ...

    def undeclared(self, view: "TraceView") -> str | None:
        """Return what says that a trial which does not declare it had it all the same, or None."""
        ...


class BaseTreatment:
    """Defaults of the contract: exists everywhere, prepares nothing, changes nothing."""

    name: str = ""
    group: str | None = None
    # Group of alternatives that it does the same as, without being its member; the contract does not require it.
    alternative_to: str | None = None
    clouds: frozenset[str] = frozenset()
    order: int = 50
    steps: tuple[Step, ...] = ()
    claims: tuple[str, ...] = ()
    keeps_warm: tuple[str, ...] = ()
    looks_at: tuple[str, ...] = ()

    def requires(self, profile: NodeProfile, workload: Workload) -> tuple[str, ...]:
        """Return nothing: it is possible everywhere."""
        return ()

    def on_cluster(self, found: "Found", *, declared: bool) -> tuple[str, ...]:
        """Return nothing: it needs nothing of the cluster."""
        return ()

    def requires_of(self, target: Target, workload: Workload) -> tuple[str, ...]:
        """Return every reason why it is impossible on this target, beside its nodes: what the target does not say of
        it, or says otherwise. The contract does not require it.
        """
        return ()

    def on_cluster_of(self, target: Target, found: "Found") -> tuple[str, ...]:
        """Return in sentences what the cluster lacks of what the target names for it (a class, a driver). `found`: as
        of `on_cluster`. Asked only where a variant declares it; the contract does not require it.
        """
        return ()

    def dry_runs(self, target: Target, workload: Workload) -> tuple[Mapping[str, Any], ...]:
        """Return objects that preflight asks the API server to accept without storing them, because a server may drop
        what they need silently: a field of them that does not come back, and that the workload's own RayService does
        not have, refuses the target. With a name, without a namespace. The contract does not require it.
        """
        return ()

    def asks_cloud(self, target: Target) -> Mapping[str, Mapping[str, object]]:
        """Return what preflight asks the target's cloud before money is spent: claim -> what the cloud is told of it,
        as `Cloud.verify` takes both. A claim that does not hold refuses the target. The contract does not require it.
        """
        return {}

    def vain_in(self, setup: ScalingSetup) -> str | None:
        """Return None: it can help in every set-up. A sentence (without a full stop) says why it can change nothing in
        this one: no trial of it is planned there. The contract does not require it.
        """
        return None

    def change(self, plan: DeploymentPlan, workload: Workload) -> DeploymentPlan:
        """Return the plan unchanged."""
        return plan

    def companions(self, manifest: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
        """Return nothing: the RayService is created alone."""
        return ()

    def nodes(self, profile: NodeProfile) -> NodeProfile:
        """Return the nodes unchanged."""
        return profile

    def kept(self, view: "TraceView") -> "Verdict":
        """Return unknown: what was found is not known to be what was prepared."""
        from airflow_llm_provisioning.core.verdicts import Verdict

        return Verdict(f"{self.name}_kept", "unknown", (f"{self.name} does not say what it keeps warm.",))

    def undeclared(self, view: "TraceView") -> str | None:
        """Return None: nothing gives it away."""
        return None

    def effect(self, facts: EffectFacts) -> Effect | None:
        """Return what it does to the phases of a start, for `what-if`; None: not known. The contract does not require
        it.
        """
        return None


def effect_of(item: Treatment, facts: EffectFacts) -> Effect | None:
    """Return what a treatment does to phases; None where it does not say it, as one of another package may not."""
    told = getattr(item, "effect", None)
    found = told(facts) if callable(told) else None
    return found if isinstance(found, Effect) else None
