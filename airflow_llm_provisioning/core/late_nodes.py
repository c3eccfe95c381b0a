"""Nodes that may still appear after their pods were deleted, because a node autoscaler does not cancel its request."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class AwaitedNodes:
    """Which nodes are waited for. `selector`: of the autoscaler's nodes, or None if no label identifies them. `since`:
    before this instant none was requested. `limit_s`: how long after the delete one may still appear. `pods`: names of
    the pods that had no node.
    """

    selector: str | None
    since: datetime
    limit_s: float
    pods: tuple[str, ...] = ()

    def of(self, pods: Mapping[str, str]) -> Self | None:
        """Return it for these pods (name -> uid); None without any."""
        return replace(self, pods=tuple(sorted(pods))) if pods else None

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "selector": self.selector,
            "since": self.since.isoformat(),
            "limit_s": self.limit_s,
            "pods": list(self.pods),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what `as_dict` wrote."""
        since = datetime.fromisoformat(data["since"])
        return cls(data["selector"], since, float(data["limit_s"]), tuple(data.get("pods") or ()))


@dataclass(frozen=True, slots=True)
class LateNodes:
    """What came of them. `limit_s`: how long was waited for their appearance. `nodes`: name -> seconds from the delete
    to the node's creation, negative before it. `gone`: whether all of them were gone at the end. `nodes` and `gone` are
    None where no label identifies such nodes.
    """

    pods: tuple[str, ...]
    limit_s: float
    nodes: Mapping[str, float] | None
    gone: bool | None

    def flag(self, waited_s: float) -> str:
        """Say what became of the nodes, `waited_s` seconds after the delete."""
        waiting = f"deleted while {', '.join(self.pods)} had no node: "
        if self.nodes is None:
            return f"{waiting}one may still come, and the next trial may start warm"
        if not self.nodes:
            return f"{waiting}none was seen to come within {self.limit_s:.0f} s of the delete"
        came = ", ".join(f"{name} ({made_s:+.0f} s)" for name, made_s in self.nodes.items())
        if self.gone:
            return f"{waiting}made all the same, counted from the delete, and gone again: {came}"
        return f"{waiting}still there {waited_s:.0f} s after the delete: {came}; the next trial may start warm"

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        nodes = None if self.nodes is None else dict(self.nodes)
        return {"pods": list(self.pods), "limit_s": self.limit_s, "nodes": nodes, "gone": self.gone}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what `as_dict` wrote."""
        return cls(tuple(data["pods"]), data["limit_s"], data["nodes"], data["gone"])
