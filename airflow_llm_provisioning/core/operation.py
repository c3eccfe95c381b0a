"""A long piece of work on a cloud, as data: what was asked for, how far it is, what came of it.

A gateway's `start` returns an Operation at once; `poll` takes one and returns the next. It is JSON on purpose: a
trigger's arguments are stored, and a triggerer that was killed begins again with the *first* operation. So every step
must find what an earlier run of it created (deterministic names, tags, client tokens) instead of creating it again.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal

OperationState = Literal["running", "succeeded", "failed"]

KEEP_DAYS: Final = 30
"""How many days what a preparation made is kept, where the request does not say `keep_days`."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One long operation of one cloud.

    `verb`: `build_image`, `snapshot_image`, `enable_streaming`, `set_up_node_pool`, ...
    `request`: what was asked for, JSON. `progress`: what the gateway must remember between polls, JSON, never a secret.
    `step`: where it stands, in words for a log line. `result`: only when succeeded. `error`: only when failed.
    """

    verb: str
    request: Mapping[str, Any]
    state: OperationState = "running"
    step: str = "starting"
    progress: Mapping[str, Any] = field(default_factory=dict)
    result: Mapping[str, Any] | None = None
    error: str | None = None

    def at(self, step: str, **progress: Any) -> "Operation":
        """Return the operation moved on to `step`, with `progress` added to what it remembers."""
        return replace(self, step=step, progress={**self.progress, **progress})

    def succeeded(self, **result: Any) -> "Operation":
        """Return the operation ended well, with its result."""
        return replace(self, state="succeeded", step="done", result=result)

    def failed(self, error: str) -> "Operation":
        """Return the operation ended badly; `error` is one sentence for the user."""
        return replace(self, state="failed", error=error)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Operation":
        """Read what `as_dict` wrote."""
        return cls(**data)
