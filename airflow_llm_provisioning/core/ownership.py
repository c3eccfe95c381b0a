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
