"""The choices that a generated deployment is drawn from: what is deployed, and the distortions of its recording."""

import random
from dataclasses import dataclass
from typing import Final, Literal

Cloud = Literal["eks", "gke", "aks"]
Autoscaler = Literal["luna", "karpenter", "cluster-autoscaler"]
Engine = Literal["plain", "vllm-0.5.4", "vllm-0.33"]
Delivery = Literal["pulled", "present", "streamed"]

# The node autoscalers per cloud. Karpenter is also AKS's node auto-provisioning; GKE has no Karpenter.
AUTOSCALERS: Final[dict[Cloud, tuple[Autoscaler, ...]]] = {
    "eks": ("luna", "karpenter", "cluster-autoscaler"),
    "gke": ("luna", "cluster-autoscaler"),
    "aks": ("luna", "karpenter", "cluster-autoscaler"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """The kind of one deployment.

    `fresh`, `head_fresh`: whether the worker's and the head's node is created for the trial. `serial_nodes`: the
    worker's node is created only after the head's, although both were requested. `pip`: Ray installs packages at start.
    `exclude_head`: the head's endpoint is excluded from the serve Service, so the worker's readiness ends the trial.
    `attached_s`: when the recorder begins after the submission; None if it watched before. `marks`: whether the trace
    has marks of the apply. `pulled`: the kubelet's wording of `Pulled`.
    """

    dynamic: bool
    fresh: bool
    head_fresh: bool = False
    serial_nodes: bool = False
    cloud: Cloud = "eks"
    autoscaler: Autoscaler = "cluster-autoscaler"
    kuberay: Literal["1.1", "1.7"] = "1.7"
    engine: Engine = "plain"
    head_image: Delivery = "pulled"
    worker_image: Delivery = "pulled"
    pulled: Literal["plain", "waiting", "sized"] = "sized"
    pip: bool = False
    exclude_head: bool = False
    attached_s: float | None = None
    marks: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Distortion:
    """The distortions of a trace on its way to the recorder.

    `skew_s`: the largest offset of a source's clock. `late`, `lost`, `doubled`, `reordered`: the probability that a
    line is delayed (with all later lines of its watch), lost, received twice, or overtaken. `gaps`: number of
    interrupted watches; half of them end with a 410 and a list, the others continue. `api_restart`: all watches and
    polls are interrupted at once. `killed`: the triggerer is killed and a new recorder continues. `logs`: whether Ray
    and its logs could be read at the end.
    """

    skew_s: float = 0.0
    late: float = 0.0
    lost: float = 0.0
    doubled: float = 0.0
    reordered: float = 0.0
    gaps: int = 0
    api_restart: bool = False
    killed: bool = False
    logs: bool = True

    @property
    def none(self) -> bool:
        """Whether only the resolution of the stamps distorts the trace."""
        return self == Distortion()


def plain_scenario(rng: random.Random) -> Scenario:
    """Draw set-up and node only; the rest is as in the recordings."""
    return Scenario(dynamic=rng.random() < 0.5, fresh=rng.random() < 0.7)


def draw_scenario(rng: random.Random) -> Scenario:
    """Draw from everything that this project supports, each choice independent if the real one is."""
    cloud: Cloud = rng.choice(("eks", "gke", "aks"))
    kuberay: Literal["1.1", "1.7"] = rng.choice(("1.1", "1.7"))
    deliveries: tuple[Delivery, ...] = ("pulled", "pulled", "pulled", "present", "streamed")
    return Scenario(
        dynamic=rng.random() < 0.5,
        fresh=rng.random() < 0.75,
        head_fresh=rng.random() < 0.5,
        serial_nodes=rng.random() < 0.2,
        cloud=cloud,
        autoscaler=rng.choice(AUTOSCALERS[cloud]),
        kuberay=kuberay,
        engine=rng.choice(("plain", "vllm-0.5.4", "vllm-0.33")),
        head_image=rng.choice(deliveries),
        worker_image=rng.choice(deliveries),
        pulled=rng.choice(("plain", "waiting", "sized")),
        pip=rng.random() < 0.4,
        # The field exists since KubeRay 1.3.
        exclude_head=kuberay == "1.7" and rng.random() < 0.25,
        attached_s=None if rng.random() < 0.4 else rng.uniform(0.2, 6),
        marks=rng.random() < 0.7,
    )


def draw_distortion(rng: random.Random) -> Distortion:
    """Draw the distortions; none in a quarter of the cases."""
    if rng.random() < 0.25:
        return Distortion()
    return Distortion(
        skew_s=rng.choice((0.5, 2.0, 5.0)),
        late=rng.choice((0.0, 0.02, 0.1)),
        lost=rng.choice((0.0, 0.02, 0.1)),
        doubled=rng.choice((0.0, 0.1, 0.3)),
        reordered=rng.choice((0.0, 0.02, 0.1)),
        gaps=rng.choice((0, 0, 1, 3)),
        api_restart=rng.random() < 0.15,
        killed=rng.random() < 0.15,
        logs=rng.random() < 0.9,
    )
