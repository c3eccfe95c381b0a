"""The tags of what the clouds' preparations make: one scheme, and how each cloud spells it.

The keys are those of `core/names.py`. A cloud that forbids some characters spells them otherwise; what is read back is
always under our own keys. An expiry is only ever moved later: what is used again is kept for the one who asks longest.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from airflow_llm_provisioning.core.names import (
    LABEL_CONTENT,
    LABEL_EXPIRES,
    LABEL_MANAGED_BY,
    LABEL_TARGET,
    OWNER,
    expiry,
    preparation_tags,
    read_expiry,
)
from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.gateways.clouds.verbs import keep_until

OUR_KEYS: Final = (LABEL_MANAGED_BY, LABEL_CONTENT, LABEL_TARGET, LABEL_EXPIRES)


def _as_it_is(tags: Mapping[str, str]) -> dict[str, str]:
    return dict(tags)


@dataclass(frozen=True, slots=True)
class TagScheme:
    """How one cloud spells our tags. `spell`: our tags -> the cloud's; it may change keys and values."""

    spell: Callable[[Mapping[str, str]], dict[str, str]] = _as_it_is

    def key(self, ours: str) -> str:
        """Return the cloud's spelling of one of our keys."""
        return next(iter(self.spell({ours: ""})))

    def read(self, tags: Mapping[str, str] | None) -> dict[str, str]:
        """Return tags under our keys, whichever of the two spellings they have; others stay as they are."""
        ours = {self.key(key): key for key in OUR_KEYS}
        found = {ours.get(str(key), str(key)): str(value) for key, value in dict(tags or {}).items()}
        if LABEL_EXPIRES in found:
            # Google allows lower case only.
            found[LABEL_EXPIRES] = found[LABEL_EXPIRES].upper()
        return found

    def is_ours(self, tags: Mapping[str, str] | None) -> bool:
        """Return whether tags say that this package made the thing."""
        return self.read(tags).get(LABEL_MANAGED_BY) == OWNER

    def later_expiry(self, tags: Mapping[str, str] | None, until: datetime) -> dict[str, str]:
        """Return the tag to write so that a thing is kept until then; nothing where it is kept so long already."""
        kept_until, wanted = read_expiry(self.read(tags).get(LABEL_EXPIRES, "")), expiry(until)
        if kept_until is not None and expiry(kept_until) >= wanted:
            return {}
        return self.spell({LABEL_EXPIRES: wanted})


def preparation_tags_of(operation: Operation, content: str, until: datetime | None = None) -> dict[str, str]:
    """Return, in our spelling, the tags of what an operation makes; `until` where it is not to be kept so long."""
    return preparation_tags(content, until or keep_until(operation), operation.request.get("target"))
