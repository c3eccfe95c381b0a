"""The spans of a deployment that can be followed while it runs, and what an arm's earlier trials took for them.

They are coarser than the phases of the analysis: what only the logs at the end tell (weights, model load, compile) is
one span here. Both ends of a span are milestones of the analysis, so earlier trials give its median.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from statistics import median, quantiles
from types import MappingProxyType
from typing import Any, Final, Self

NODE: Final = "node provisioning"
PULL_WAIT: Final = "wait for the image pull"
PULL: Final = "image pull"
INIT: Final = "init container"
CONTAINER: Final = "container start"
READINESS: Final = "readiness"
OPERATOR: Final = "operator start"
PODS: Final = "pod creation"
SERVE: Final = "Serve start"
PLACEMENT: Final = "placement of the Serve replica"
REPLICA: Final = "replica request"
ENGINE: Final = "engine start (weights, model load, compile)"
PUBLISH: Final = "service and endpoint"
COMPLETION: Final = "first completion"

ROLES: Final = ("head", "worker")

# Span of a pod -> its first and its last milestone, each with alternatives, the first of which that was seen counts.
_POD: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    NODE: (("pod_created",), "scheduled"),
    PULL: (("pull_started",), "pull_finished"),
    INIT: (("init_started",), "init_finished"),
    CONTAINER: (("init_finished", "pull_finished", "scheduled"), "container_started"),
    READINESS: (("container_started",), "ready"),
}
SPANS: Final[Mapping[str, tuple[tuple[str, ...], str]]] = MappingProxyType(
    {
        OPERATOR: (("submitted",), "raycluster_created"),
        **{
            f"{role} {span}": (tuple(f"{role}.{name}" for name in begins), f"{role}.{ends}")
            for role in ROLES
            for span, (begins, ends) in _POD.items()
        },
        SERVE: (("head.ready",), "serve_config_sent"),
        REPLICA: (("serve_config_sent",), "replica_requested"),
        ENGINE: (("replica_requested",), "app_running"),
        PUBLISH: (("app_running",), "endpoint_ready"),
        COMPLETION: (("endpoint_ready",), "first_completion"),
    }
)
# Fewer totals have no middle half.
_MIN_FOR_QUARTILES: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What an arm's earlier comparable trials took. `n`: how many. `total_s`: their median total; `low_s`, `high_s`:
    the middle half of the totals, None of fewer than three. `spans`: median seconds by the name of a span of `SPANS`.
    `image_bytes`: compressed size of the worker's image, where a preparation told it.
    """

    n: int = 0
    total_s: float | None = None
    low_s: float | None = None
    high_s: float | None = None
    spans: Mapping[str, float] = field(default_factory=dict)
    image_bytes: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any] | None) -> Self:
        """Read what `as_dict` wrote; None: nothing is expected."""
        return cls(**data) if data else cls()


def expected_of(
    totals: Sequence[float], milestones: Iterable[Mapping[str, datetime]], image_bytes: int | None = None
) -> Expected:
    """Return what is expected after trials with these totals (seconds) and these milestones (name -> instant)."""
    known = list(milestones)
    spans = {name: found for name in SPANS if (found := _median_span(name, known)) is not None}
    if not totals:
        return Expected(image_bytes=image_bytes)
    low_s, _, high_s = quantiles(totals, n=4) if len(totals) >= _MIN_FOR_QUARTILES else (None, None, None)
    return Expected(
        n=len(totals),
        total_s=round(median(totals), 3),
        low_s=None if low_s is None else round(low_s, 3),
        high_s=None if high_s is None else round(high_s, 3),
        spans=spans,
        image_bytes=image_bytes,
    )


def _median_span(name: str, trials: Sequence[Mapping[str, datetime]]) -> float | None:
    begins, ends = SPANS[name]
    took = []
    for trial in trials:
        begun = next((trial[start] for start in begins if start in trial), None)
        if begun is not None and ends in trial and trial[ends] >= begun:
            took.append((trial[ends] - begun).total_seconds())
    return round(median(took), 3) if took else None
