"""Objects of a preparation: names that follow from the content, readiness in the controllers' own terms, and whether
what is there is still what was prepared.
"""

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_llm_provisioning.core.companions import placed
from airflow_llm_provisioning.core.names import LABEL_CONTENT, LABEL_EXPIRES, LABEL_MANAGED_BY, LABEL_TRIAL, OWNER
from airflow_llm_provisioning.core.prepared_objects import (
    LABEL_PREPARES,
    PreparedObjects,
    as_it_is,
    facts_of,
    failed,
    not_ready,
)
from airflow_llm_provisioning.exceptions import ConfigurationError

UNTIL = datetime(2026, 6, 1, tzinfo=UTC)
CLAIM = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": {"accessModes": ["ReadWriteMany"]}}
JOB = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "spec": {"template": {"metadata": {"labels": {"app": "fill"}}, "spec": {"volumes": [{"claimName": "{name}"}]}}},
}
CLASS = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "low"}, "value": -10}


def wanted(*objects: dict[str, Any]) -> PreparedObjects:
    """Return prepared objects of a made-up treatment."""
    return PreparedObjects.from_dict({"treatment": "shared_weights", "objects": list(objects)})


def test_the_name_follows_from_the_content_and_stands_for_itself_in_other_objects() -> None:
    """The same objects have the same names whenever they are made; a Job finds its claim by the placeholder."""
    claim, job, priority = wanted(CLAIM, JOB, CLASS).placed("eks", "llm", UNTIL)
    name = claim["metadata"]["name"]
    assert name.startswith("llm-shared-weights-")
    assert job["metadata"]["name"] == name == job["spec"]["template"]["spec"]["volumes"][0]["claimName"]
    assert claim["metadata"]["namespace"] == "llm"
    assert "namespace" not in priority["metadata"]
    assert priority["metadata"]["name"] == "low"
    assert wanted(CLAIM, JOB, CLASS).placed("eks", "llm", datetime.now(UTC))[0]["metadata"]["name"] == name
    assert wanted({**CLAIM, "spec": {}}, JOB).placed("eks", "llm", UNTIL)[0]["metadata"]["name"] != name


def test_everything_is_labelled_and_pods_are_not_rolled_by_an_expiry() -> None:
    """The objects carry owner, content and expiry; the template of their pods all but the expiry."""
    job = wanted(JOB).placed("eks", "llm", UNTIL)[0]
    labels, of_pods = job["metadata"]["labels"], job["spec"]["template"]["metadata"]["labels"]
    assert labels[LABEL_MANAGED_BY] == OWNER
    assert labels[LABEL_EXPIRES] == "20260601T000000Z"
    assert of_pods == {"app": "fill", **{key: value for key, value in labels.items() if key != LABEL_EXPIRES}}
    assert labels[LABEL_CONTENT] in job["metadata"]["name"]
    assert labels[LABEL_PREPARES] == "shared_weights"
    assert "labels" not in JOB["spec"]["template"].get("spec", {})


def test_two_objects_of_a_kind_have_two_names() -> None:
    """The second one is numbered."""
    first, second = wanted(CLAIM, {**CLAIM, "spec": {"volumeName": "b"}}).placed("eks", "llm", UNTIL)
    assert second["metadata"]["name"] == f"{first['metadata']['name']}-2"


@pytest.mark.parametrize(
    ("obj", "words"),
    [
        ({"kind": "Deployment", "metadata": {"generation": 2}, "status": {"observedGeneration": 1}}, "has not seen"),
        ({"kind": "Deployment", "spec": {"replicas": 2}, "status": {"availableReplicas": 1}}, "1 of 2 pods"),
        ({"kind": "Deployment", "spec": {}, "status": {"availableReplicas": 1}}, None),
        ({"kind": "DaemonSet", "status": {"desiredNumberScheduled": 3, "numberReady": 2}}, "2 of 3 pods"),
        ({"kind": "DaemonSet", "status": {"desiredNumberScheduled": 0}}, None),
        ({"kind": "StatefulSet", "spec": {"replicas": 1}}, "0 of 1 pods"),
        ({"kind": "Job", "status": {"succeeded": 0}}, "0 of its pods succeeded"),
        ({"kind": "Job", "status": {"conditions": [{"type": "Complete", "status": "True"}]}}, None),
        ({"kind": "PersistentVolumeClaim", "status": {"phase": "Pending"}}, "it is Pending"),
        ({"kind": "PersistentVolumeClaim", "status": {"phase": "Bound"}}, None),
        ({"kind": "ConfigMap"}, None),
        ({"kind": "CapacityBuffer"}, "no condition ReadyForProvisioning"),
        (
            {
                "kind": "CapacityBuffer",
                "status": {
                    "conditions": [
                        {"type": "ReadyForProvisioning", "status": "False", "reason": "LimitedByQuotas", "message": "2"}
                    ]
                },
            },
            r"is False \(LimitedByQuotas: 2\)",
        ),
    ],
)
def test_readiness_is_the_controllers(obj: dict[str, Any], words: str | None) -> None:
    """As kubectl's `rollout status` and `wait` judge; a condition that the treatment names decides for other kinds."""
    told = not_ready(obj, {"CapacityBuffer": "ReadyForProvisioning"})
    assert (told is None) if words is None else re.search(words, told or "")


def test_a_failed_job_says_why() -> None:
    """Its own condition, reason and message."""
    condition = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "has reached"}
    assert failed({"kind": "Job", "status": {"conditions": [condition]}}) == "BackoffLimitExceeded: has reached"
    assert failed({"kind": "Job", "status": {"conditions": [{**condition, "status": "False"}]}}) is None


def test_what_a_job_prints_becomes_facts() -> None:
    """The last readable line counts; other lines and broken ones are not."""
    log = (
        'x\n2026-05-04T12:00:00Z LLM-PREPARED {"sha256": "a"}\nLLM-PREPARED {"sha256": "b", "bytes": 7}\nLLM-PREPARED {'
    )
    assert facts_of(log) == {"sha256": "b", "bytes": 7}
    assert facts_of("nothing") == {}


def test_what_was_changed_since_is_told() -> None:
    """Gone, another one of its name, or not ready: each in a sentence. A finished Job may be gone."""
    made = {
        "content": "c",
        "objects": [
            {"kind": "Deployment", "name": "d", "uid": "1"},
            {"kind": "PersistentVolumeClaim", "name": "p", "uid": "2"},
            {"kind": "Job", "name": "j", "uid": "3"},
        ],
    }
    deployment = {"kind": "Deployment", "metadata": {"uid": "1"}, "spec": {"replicas": 1}}
    claim = {"kind": "PersistentVolumeClaim", "metadata": {"uid": "9"}, "status": {"phase": "Bound"}}
    assert as_it_is(made, [deployment, claim, None], [])["problems"] == [
        "Deployment d is not ready: 0 of 1 pods are ready.",
        "PersistentVolumeClaim p is another one than was prepared (uid 9).",
    ]
    deployment["status"] = {"availableReplicas": 1}
    claim["metadata"] = {"uid": "2"}
    found = as_it_is(made, [deployment, claim, None], [{"name": "n", "uid": "u"}])
    assert (found["problems"], found["nodes"]) == ([], [{"name": "n", "uid": "u"}])
    assert as_it_is(made, [None, claim, None], [])["problems"] == ["Deployment d is gone."]


def test_what_cannot_be_prepared_is_refused() -> None:
    """Every reason at once, with the treatment's name."""
    with pytest.raises(ConfigurationError, match=r"object 0 has no kind; object 1 has no apiVersion"):
        wanted({"apiVersion": "v1"}, {"kind": "Job"})
    with pytest.raises(ConfigurationError, match="there are no objects"):
        wanted()


def test_companions_belong_to_their_service() -> None:
    """Named after it, with its labels, removed with it by owner reference."""
    service = {
        "apiVersion": "ray.io/v1",
        "metadata": {"name": "phi", "namespace": "llm", "uid": "u", "labels": {LABEL_TRIAL: "t"}},
    }
    (pod,) = placed([{"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": {"a": "b"}}}], service)
    assert pod["metadata"]["name"] == "phi-companion-0"
    assert pod["metadata"]["labels"] == {"a": "b", LABEL_TRIAL: "t"}
    assert pod["metadata"]["ownerReferences"] == [
        {"apiVersion": "ray.io/v1", "kind": "RayService", "name": "phi", "uid": "u"}
    ]
