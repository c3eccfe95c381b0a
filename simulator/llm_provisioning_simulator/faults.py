"""What goes wrong in one simulated cluster, on request: switched in a test or over HTTP, read where it happens.

Counters count down as they are used up; everything else stays until it is switched back. The API's faults act on HTTP
clients only, never on the controllers inside the simulator.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, Final

CHOICES: Final[dict[str, frozenset[str]]] = {}
"""Fault -> the names it can be switched to; filled by the modules that read it."""


@dataclass(slots=True)
class Faults:
    """One cluster's faults. Each module of the simulator adds the ones it reads."""

    watch_dropped: int = 0
    """So many watches lose their connection, open ones first."""
    gone_410: int = 0
    """So many watches that resume from a resourceVersion are told it is too old."""
    too_many_requests_429: int = 0
    """So many requests are turned away, with Retry-After: 1."""
    server_error_500: int = 0
    """So many requests fail with an internal error, before they did anything."""
    api_latency_s: float = 0.0
    """Virtual seconds before each request is looked at."""
    lost_reply: dict[str, int] = field(default_factory=dict)
    """Plural -> so many creates of it are carried out, and then the connection breaks before the reply."""
    held_reply: dict[str, int] = field(default_factory=dict)
    """Verb and plural (`create:rayservices`) -> so many of these requests are carried out, and never answered."""
    forbidden: list[str] = field(default_factory=list)
    """Refused to the client: plurals (`nodes`), or verb and plural (`create:rayservices`)."""

    quota_refused: bool = False
    """The cloud gives no instance: its quota is used up."""
    no_stock: str = ""
    """The cloud has no machine (`infra.stock.WORDS`: `stock_out`, `spot`); empty: it has."""
    no_stock_in: list[str] = field(default_factory=list)
    """The zones in which `no_stock` is so; none: everywhere."""
    machines_left: int = 0
    """While the cloud has no machine, it still gives so many: the capacity is partial."""
    node_never_joins: bool = False
    """Instances start, and never become Nodes."""
    image_pull_backoff: bool = False
    """Registries do not know any tag."""
    pull_trouble: str = ""
    """Every pull fails in this way, after asking (`infra.pulltroubles.TROUBLES`); empty: none does."""
    gpu_driver_mismatch: bool = False
    """Nodes' NVIDIA driver and its library do not fit: no container with a GPU starts."""
    slow_hub: float | None = None
    """The model hub sends so many bytes a second."""
    deploy_failed: bool = False
    """The Serve application fails to import."""
    replica_crash: bool = False
    """The replica's constructor raises."""
    engine_error: str = ""
    """The error with which every engine ends (`app.engine_errors.FAULTS`); empty: none does."""
    webhook: str = ""
    """The admission webhook that no new pod of Ray passes (`app.webhooks.ANSWERS`); empty: every pod passes."""
    agent_silent: bool = False
    """Ray's dashboard agents answer no probe, while everything else of Ray runs."""
    operator_silent: bool = False
    """The KubeRay operator does nothing at all: no finalizer, no status."""
    completion: str = ""
    """The misbehaving server that answers on the application's port (`app.openai.MISBEHAVIOURS`); empty: a good one."""

    _listeners: list[Callable[[], None]] = field(default_factory=list, repr=False)

    def switch(self, name: str, value: Any) -> None:
        """Set a fault by name. KeyError: no such fault; TypeError: not a value it can have."""
        if name not in self.values():
            raise KeyError(name)
        fitting = _fitting(name, getattr(self, name), value)
        if fitting and name in CHOICES and fitting not in CHOICES[name]:
            known = ", ".join(sorted(CHOICES[name]))
            raise TypeError(f"the fault {name} takes one of {known}, or an empty text, not {value!r}")
        setattr(self, name, fitting)
        for listener in self._listeners:
            listener()

    def values(self) -> dict[str, Any]:
        """Return every fault and its present value."""
        return {item.name: getattr(self, item.name) for item in fields(self) if not item.name.startswith("_")}

    def on_switch(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every switch: for what waits and would not look by itself."""
        self._listeners.append(listener)

    def use_up(self, name: str) -> bool:
        """Count a counter down; tell whether the fault happens now."""
        left: int = getattr(self, name)
        if left <= 0:
            return False
        setattr(self, name, left - 1)
        return True

    def lose_reply(self, plural: str) -> bool:
        """Count `lost_reply` of a resource down; tell whether the reply is lost."""
        return _counted_down(self.lost_reply, plural)

    def hold_reply(self, verb: str, plural: str) -> bool:
        """Count `held_reply` of a request down; tell whether it is never answered."""
        return _counted_down(self.held_reply, f"{verb}:{plural}")

    def forbids(self, verb: str, plural: str) -> bool:
        """Tell whether the client may not do this."""
        return plural in self.forbidden or f"{verb}:{plural}" in self.forbidden


def _counted_down(counts: dict[str, int], key: str) -> bool:
    left = counts.get(key, 0)
    if left <= 0:
        return False
    counts[key] = left - 1
    return True


def _fitting(name: str, present: Any, value: Any) -> Any:
    """Return the value if it is of the fault's kind; a switched-off optional rate is None."""
    if isinstance(present, (bool, str)):
        fits = isinstance(value, type(present))
    elif isinstance(present, dict):
        fits = isinstance(value, dict) and all(isinstance(item, int) for item in value.values())
    elif isinstance(present, list):
        fits = isinstance(value, list) and all(isinstance(item, str) for item in value)
    elif isinstance(present, int):
        fits = isinstance(value, int) and not isinstance(value, bool)
    else:
        fits = value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))
    if not fits:
        raise TypeError(f"the fault {name} takes a value like {present!r}, not {value!r}")
    return value
