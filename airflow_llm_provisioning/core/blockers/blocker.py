"""One blocker, and how long each kind of it is waited for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

from airflow_llm_provisioning.exceptions import ConfigurationError

# Kind -> seconds for which a blocker of this kind must stand before the wait ends early; None: the wait never ends for
# it, because it can pass by itself. In the order in which blockers are named.
GRACE_S: Final[Mapping[str, float | None]] = MappingProxyType(
    {
        # KubeRay does not retry after it.
        "operator_refused": 0.0,
        # A status may show DEPLOY_FAILED for moments while a new configuration replaces it. The failures in the
        # recordings stay.
        "deploy_failed": 30.0,
        # The third same end is already a minute after the first one (kubelet back-off of 10, 20, 40 s).
        "crash_loop": 60.0,
        # The kubelet waits 10 s to 300 s between tries (its documentation on images); this covers about four tries.
        "image_refused": 180.0,
        # The kubelet retries every few seconds; another controller may create a Secret a moment later.
        "container_refused": 180.0,
        # A Secret, a ConfigMap or a claim that does not exist.
        "object_missing": 180.0,
        # KubeRay retries every few seconds and more slowly later.
        "pod_refused": 180.0,
        "quota": None,
        "image_delayed": None,
        "container_delayed": None,
        "crashed": None,
        "pod_failed": None,
        "liveness": None,
        "volume": None,
        "unschedulable": None,
        "capacity": None,
        "operator_retries": None,
        "replica_retries": None,
        "waiting": None,
    }
)
_ORDER: Final = {kind: position for position, kind in enumerate(GRACE_S)}
_MOST_NAMED: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocker:
    """What keeps a deployment from proceeding.

    `kind`: a key of `GRACE_S`. `about`: the object, as `Pod n/a-worker, container ray-worker`. `reason`: the cluster's
    word for it. `sentence`: the cluster's own sentence. `since`: when it was first seen to stand. `advice`: what to do,
    where it is known. `pod`: the name of its pod; empty for other objects.
    """

    kind: str
    about: str
    reason: str
    sentence: str
    since: datetime
    advice: str = ""
    pod: str = ""

    @property
    def passes(self) -> bool:
        """Whether it can pass by itself."""
        return GRACE_S[self.kind] is None

    def told(self, now: datetime) -> str:
        """Return it as one or two sentences."""
        lasted = f" (for {(now - self.since).total_seconds():.0f} s)"
        said = ": ".join(part for part in (self.about, self.reason, self.sentence.rstrip(".")) if part)
        return f"{said}{lasted}.{' ' if self.advice else ''}{self.advice}"

    def ends_at(self, graces: Mapping[str, float | None]) -> datetime | None:
        """Return when the wait ends because of it; None: never. `graces`: see `grace_periods`."""
        grace = graces.get(self.kind)
        return None if grace is None else self.since + timedelta(seconds=grace)


def grace_periods(own: Mapping[str, Any] | None = None) -> dict[str, float | None]:
    """Return the grace period of every kind in seconds; `own` replaces defaults (None: wait until the limit).

    Raises ConfigurationError for an unknown kind and for a value that is no number of seconds.
    """
    graces = dict(GRACE_S)
    if own and "unschedulable" in own:
        # A pod that finds no node is `capacity` once a refusal is known; a limit for the one was meant for both.
        graces["capacity"] = own["unschedulable"]
    for kind, value in (own or {}).items():
        if kind not in GRACE_S:
            raise ConfigurationError(
                f"There is no kind of blocker {kind!r} to give a grace period to. Use one of: {', '.join(GRACE_S)}."
            )
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value is not None and not (number and 0 <= value < float("inf")):
            raise ConfigurationError(
                f"The grace period of {kind!r} is {value!r}. Give a number of seconds of 0 or more, or null to wait "
                "until the time limit."
            )
        graces[kind] = None if value is None else float(value)
    return graces


def comes_with_time(graces: Mapping[str, float | None]) -> bool:
    """Return whether a grace period is of a kind whose blockers come and go by time alone, without a line: a probe that
    failed a while ago, a refusal that is old. Those that cannot pass by themselves begin and end with a line only.
    """
    return any(grace is not None and GRACE_S[kind] is None for kind, grace in graces.items())


def in_order(blockers: Iterable[Blocker]) -> tuple[Blocker, ...]:
    """Return blockers with those first that cannot pass by themselves, then by kind, age and object."""
    return tuple(sorted(blockers, key=lambda one: (one.passes, _ORDER[one.kind], one.since, one.about)))


def named_together(blockers: Iterable[Blocker], now: datetime) -> str:
    """Return the most telling blockers in sentences; empty if there is none.

    Objects that wait is named only where nothing else is wrong.
    """
    found = list(blockers)
    telling = [one for one in found if one.kind != "waiting"] or found
    more = len(telling) - _MOST_NAMED
    said = " ".join(one.told(now) for one in telling[:_MOST_NAMED])
    return f"{said} And {more} more like these." if more > 0 else said
