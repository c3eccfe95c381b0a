"""Whose a RayService is: by the labels of its trial, or of the DAG run that applied it. Never by its name."""

from collections.abc import Mapping
from typing import Any, Final

from airflow_llm_provisioning.core.fields import dig, mapping, text
from airflow_llm_provisioning.core.names import LABEL_TRIAL, fingerprint, label_value

LABEL_APPLIED_BY: Final = "llm-provisioning/applied-by"
LABEL_RUN: Final = "llm-provisioning/run"


def run_label(dag_id: str, run_id: str) -> str:
    """Return the label value of a DAG run: readable, and different for ids that differ in any character."""
    return f"{label_value(f'{dag_id}.{run_id}')[:50].rstrip('-._')}-{fingerprint({'dag': dag_id, 'run': run_id}, 8)}"


def labels_of(obj: Any) -> Mapping[str, Any]:
    """Return an object's labels."""
    return mapping(dig(obj, "metadata", "labels"))


def belongs_to(obj: Any, label: str, owner: str) -> bool:
    """Return whether an object carries this owner's label."""
    return text(labels_of(obj).get(label)) == label_value(owner)


def owned_by_another_run(obj: Any, run: str) -> bool:
    """Return whether a trial or another DAG run applied an object. An object without labels of this package is of no
    run: server-side apply protects its fields.
    """
    labels = labels_of(obj)
    if LABEL_TRIAL in labels:
        return True
    return labels.get(LABEL_RUN) != run if LABEL_RUN in labels else LABEL_APPLIED_BY in labels


def owner_of(obj: Any) -> str:
    """Return the owner of an object in words, with its uid."""
    labels, uid = labels_of(obj), text(dig(obj, "metadata", "uid"))
    for label, words in ((LABEL_TRIAL, "trial"), (LABEL_RUN, "DAG run"), (LABEL_APPLIED_BY, "the task")):
        if value := text(labels.get(label)):
            return f"{words} {value!r} ({label}; uid {uid})"
    return f"something else, because it has no label of this package (uid {uid})"


class ExpectedOwner:
    """Tells when a RayService belongs to another owner than the one that waits for it.

    `owner`: {label: value} of the trial or DAG run; None: nothing is expected. A trial's object always carries its
    label. A DAG run may wait for an object that another one applied; once it was its own, it must stay its own.
    `generation`: what was applied. The operator raises it by one when it adds its finalizer; later ones are changes.
    """

    def __init__(self, owner: Mapping[str, str] | None, generation: int | None = None) -> None:
        self._owner = dict(owner or {})
        self._generation = generation
        self._was_ours = LABEL_TRIAL in self._owner

    def other(self, obj: Any) -> str | None:
        """Return the other owner of a version of the object in words; None if there is none."""
        if not self._owner or self._owner.items() <= labels_of(obj).items():
            self._was_ours = True
            return None
        return owner_of(obj) if self._was_ours or self._is_changed(obj) else None

    def _is_changed(self, obj: Any) -> bool:
        generation = dig(obj, "metadata", "generation")
        return self._generation is not None and isinstance(generation, int) and generation > self._generation + 1
