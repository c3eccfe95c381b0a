"""Ready by the serve Service's first endpoint; failed early if waiting is pointless; objects of the same name do not
count.
"""

from typing import Any

import pytest

from airflow_llm_provisioning.core.completion import reply_flaw
from airflow_llm_provisioning.core.readiness import Readiness

SERVICE_SLICE = {"kubernetes.io/service-name": "a-serve-svc"}


def line(second: float, kind: str | None, resource: str, obj: Any, **extra: Any) -> dict[str, Any]:
    at = f"2026-05-04T12:{int(second) // 60:02d}:{second % 60:09.6f}Z"
    return {"received_at": at, "type": kind, "resource": resource, "object": obj, **extra}


def rayservice(second: float, *, kind: str = "MODIFIED", uid: str = "rs", **more: Any) -> dict[str, Any]:
    metadata = {"name": "a", "namespace": "n", "uid": uid, "creationTimestamp": "2026-05-04T12:00:00Z"}
    return line(second, kind, "rayservices", {"metadata": metadata | more.pop("metadata", {}), **more})


def endpoints(second: float, *, ready: bool | None = True, created: str = "2026-05-04T12:01:00Z", owner: str = "svc",
              service: str = "a-serve-svc", addresses: Any = ("10.0.0.1",)) -> dict[str, Any]:  # fmt: skip
    metadata = {
        "name": "a-serve-svc-1", "namespace": "n", "uid": "eps", "creationTimestamp": created,
        "labels": {"kubernetes.io/service-name": service}, "ownerReferences": [{"uid": owner}],
    }  # fmt: skip
    conditions = {} if ready is None else {"ready": ready}
    return line(
        second,
        "ADDED",
        "endpointslices",
        {"metadata": metadata, "endpoints": [{"addresses": list(addresses), "conditions": conditions}]},
    )


def service(second: float, uid: str, owner: str) -> dict[str, Any]:
    return line(second, "ADDED", "services", {"metadata": {"uid": uid, "ownerReferences": [{"uid": owner}]}})


def judge(*lines: dict[str, Any], **options: Any) -> Readiness:
    readiness = Readiness("a", "n", **options)
    for item in lines:
        readiness.feed(item)
    return readiness


@pytest.mark.parametrize("ready", [True, None])
def test_a_ready_endpoint_is_the_finish_line(ready: bool | None) -> None:
    """An endpoint whose `ready` is true or unset ends the wait; unset means ready in discovery/v1."""
    assert judge(rayservice(0), endpoints(61, ready=ready)).state == "endpoint_ready"


@pytest.mark.parametrize(
    "other",
    [
        endpoints(61, ready=False),
        endpoints(61, addresses=()),
        endpoints(61, service="a-head-svc"),
        endpoints(61, created="2026-05-04T11:59:00Z"),
        line(61, "DELETED", "endpointslices", endpoints(61)["object"]),
        line(61, "MODIFIED", "endpointslices", None),
    ],
)
def test_other_endpoints_are_not_the_finish_line(other: dict[str, Any]) -> None:
    """Endpoints that are not ready, have no address, belong to another Service or to an earlier object of that name, or
    are deleted, do not count.
    """
    assert judge(rayservice(0), other).state == "pending"


def test_a_slice_of_a_foreign_service_does_not_count() -> None:
    """A Service that another RayService owns does not make this one ready."""
    assert judge(rayservice(0), service(1, "svc", "other"), endpoints(61)).state == "pending"
    assert judge(rayservice(0), service(1, "svc", "rs"), endpoints(61)).state == "endpoint_ready"


def test_initializing_timeout_fails_at_once() -> None:
    """KubeRay does not retry after it, so the wait ends; the reason contains KubeRay's message."""
    condition = {"type": "Ready", "status": "False", "reason": "InitializingTimeout", "message": "took 75s"}
    found = judge(rayservice(80, status={"conditions": [condition]}))
    assert found.state == "failed"
    assert "InitializingTimeout" in str(found.reason)


def status(state: str, message: str = "") -> dict[str, Any]:
    apps = {"llm": {"status": state, "message": message}}
    return {"pendingServiceStatus": {"rayClusterName": "c", "applicationStatuses": apps}}


def test_a_failed_application_ends_the_wait_after_its_grace() -> None:
    """DEPLOY_FAILED must last for the grace period; no further line is needed."""
    readiness = judge(rayservice(20, status=status("DEPLOY_FAILED", "boom")), graces={"deploy_failed": 30})
    assert readiness.state == "pending"
    readiness.feed(line(51, "BOOKMARK", "pods", {}))
    assert readiness.state == "failed"
    assert "boom" in str(readiness.reason)


def test_a_vanished_status_does_not_clear_a_failure_and_another_does() -> None:
    """The status may be missing while the head is not ready; only an observed retry restarts the grace period."""
    vanished = judge(
        rayservice(20, status=status("DEPLOY_FAILED")), rayservice(30, status={}), rayservice(60, status={})
    )
    assert vanished.state == "failed"
    retried = judge(
        rayservice(20, status=status("DEPLOY_FAILED")),
        rayservice(30, status=status("DEPLOYING")),
        rayservice(60, status={}),
    )
    assert retried.state == "pending"


def test_serve_answers_of_other_clusters_do_not_count() -> None:
    """A poll of another RayCluster's dashboard does not count."""
    body = {"applications": {"llm": {"status": "DEPLOY_FAILED", "message": "boom"}}}
    ours = line(20, None, "serve-rest", body, service="c-head-svc", status_code=200)
    foreign = line(20, None, "serve-rest", body, service="d-head-svc", status_code=200)
    start = rayservice(1, status=status("DEPLOYING"))
    assert judge(start, foreign, line(90, "BOOKMARK", "pods", {})).state == "pending"
    assert judge(start, ours, line(90, "BOOKMARK", "pods", {})).state == "failed"


@pytest.mark.parametrize("gone", [{"kind": "DELETED"}, {"metadata": {"deletionTimestamp": "2026-05-04T12:00:30Z"}}])
def test_deletion_by_another_actor_fails(gone: dict[str, Any]) -> None:
    """A deleted RayService cannot become ready."""
    assert judge(rayservice(0), rayservice(30, **gone)).state == "failed"


def test_a_rayservice_with_another_uid_is_ignored() -> None:
    """Deleting an older RayService of the same name does not end the wait."""
    assert judge(rayservice(0), rayservice(30, kind="DELETED", uid="older"), uid="rs").state == "pending"


GOOD = b'{"model": "m", "choices": [{"text": "hello", "finish_reason": "stop"}]}'


def test_a_whole_answer_of_the_requested_model_is_valid() -> None:
    """This is the only valid reply."""
    assert reply_flaw(200, {"Content-Type": "application/json"}, GOOD, expect_model="m") is None


@pytest.mark.parametrize(
    ("status_code", "headers", "body"),
    [
        (200, {}, b""),
        (200, {"content-type": "application/json"}, b"{}"),
        (200, {"content-type": "application/json"}, GOOD[:30]),
        (200, {"Content-Length": "4000"}, GOOD),
        (200, {"content-type": "text/html"}, b"<html>ok</html>"),
        (200, {"content-type": "text/event-stream"}, b"data: {}\n\n"),
        (200, {"content-type": "application/json"}, GOOD.replace(b'"m"', b'"other"')),
        (200, {"content-type": "application/json"}, GOOD.replace(b"hello", b"  ")),
        (200, {"content-type": "application/json"}, b'{"error": {"message": "no"}}'),
        (503, {"content-type": "application/json"}, GOOD),
    ],
)
def test_servers_that_cannot_answer_are_refused(status_code: int, headers: dict[str, str], body: bytes) -> None:
    """An empty, truncated, HTML or streamed answer, another model and an error are no completion; each has a reason."""
    assert reply_flaw(status_code, headers, body, expect_model="m")
