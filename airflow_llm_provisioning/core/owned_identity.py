"""Whether a thing that carries our label is ours: the ledger names it, or its labels are all those of a run.

Nothing counts as ours by one sign alone, because a label can be copied or edited by hand.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Final

from airflow_llm_provisioning.core.names import (
    LABEL_CONTENT,
    LABEL_MANAGED_BY,
    LABEL_TARGET,
    LABEL_TRIAL,
    OWNER,
    label_keys_for_google,
)
from airflow_llm_provisioning.core.owned import Recorded, Thing, labelled_expiry

# What carries a trial's labels: the RayService, and what KubeRay copies them to.
OF_TRIALS: Final = ("RayService", "RayCluster", "Pod", "Service")


class Identity:
    """What the ledger's entries of a place and the labels of its things say of whose they are. `targets`: label values
    of the experiment's targets, in every spelling.
    """

    def __init__(self, entries: Sequence[Recorded], targets: Collection[str], things: Sequence[Thing]) -> None:
        self._entries, self._targets = entries, targets
        self._same_trial = Counter(thing.label(LABEL_TRIAL) for thing in things if thing.kind == "RayService")

    def entry(self, thing: Thing) -> Recorded | None:
        """Return the entry of a thing: by name, else any of the same preparation in this place."""
        named = next((entry for entry in self._entries if self.is_of(entry, thing)), None)
        content = thing.label(LABEL_CONTENT)
        if named is not None or not content:
            return named
        return next((entry for entry in self._entries if entry.content() == content), None)

    def is_of(self, entry: Recorded, thing: Thing) -> bool:
        """Return whether an entry was written for a thing. Trials reuse the names of their objects: one of another
        trial that was created after the entry had expired is another object, whose own entry was lost.
        """
        if not entry.is_of(thing):
            return False
        trials = entry.tags.get(LABEL_TRIAL), thing.label(LABEL_TRIAL)
        later = thing.created_at is not None and thing.created_at > entry.expires_at
        return not (later and all(trials) and trials[0] != trials[1])

    def is_content(self, entry: Recorded, thing: Thing) -> bool:
        """Return whether a thing holds the content that an entry was written for."""
        content = entry.content()
        return content is not None and entry.kind == thing.kind.lower() and thing.label(LABEL_CONTENT) == content

    def foreign(self, thing: Thing, trial: str, entry: Recorded | None) -> str | None:
        """Return why an object with a trial's label may not be that trial's; None where it is."""
        if thing.kind not in OF_TRIALS or (thing.kind != "RayService" and not thing.of_ray):
            return f"no trial makes such a {thing.kind}: its label was copied, so look at it and delete it by hand"
        if thing.kind == "RayService":
            return self._foreign_service(thing, trial, entry)
        if self.of_trial(trial) is not None:
            return None
        return self.missing(thing)

    def _foreign_service(self, thing: Thing, trial: str, entry: Recorded | None) -> str | None:
        other = self.of_trial(trial)
        if entry is not None:
            written = entry.tags.get(LABEL_TRIAL)
            if written == trial:
                return None
            return f"its label was changed: the ledger says that it is trial {written}'s"
        if other is not None:
            return f"its label was copied: the ledger says that trial {trial} is RayService {other.name}"
        if self._same_trial[trial] > 1:
            return f"{self._same_trial[trial]} RayServices carry this trial's label, and no entry says which is it"
        return self.missing(thing)

    def of_trial(self, trial: str) -> Recorded | None:
        """Return a trial's entry in this place."""
        return next((entry for entry in self._entries if entry.tags.get(LABEL_TRIAL) == trial), None)

    def missing(self, thing: Thing) -> str | None:
        """Return which label of a run is missing on a thing that no entry names; None where all are there."""
        if thing.label(LABEL_MANAGED_BY) != OWNER:
            return f"no ledger entry names it, and it lacks the label {LABEL_MANAGED_BY}={OWNER}"
        if not (thing.label(LABEL_TRIAL) or thing.label(LABEL_CONTENT)):
            return "no ledger entry names it, and it names neither a trial nor the content of a preparation"
        if labelled_expiry(thing.labels) is None:
            return "no ledger entry names it, and its expiry is missing or cannot be read: it may have been edited"
        target = thing.label(LABEL_TARGET)
        if target not in self._targets:
            return f"no ledger entry names it, and its target {target or '(none)'} is not one of this experiment"
        return None


def spellings(value: str) -> tuple[str, str]:
    """Return a label's value as Kubernetes, AWS and Azure have it, and as Google does."""
    return value, label_keys_for_google({"": value})[""]
