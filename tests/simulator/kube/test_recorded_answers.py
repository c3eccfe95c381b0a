"""Answers to wrong requests, as a real API server 1.34.9 with KubeRay 1.7.0 gave them (recording `simdiff.txt`)."""

import copy
from typing import Any

import aiohttp
import pytest
from test_kube_server import CORE, RAY, call, ray_service

Object = dict[str, Any]
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
UNCHECKED = (
    "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the "
    "existing errors to complete validation"
)
GROUP = "spec.rayClusterConfig.workerGroupSpecs[0]"


def a_service(name: str = "probe") -> Object:
    """A RayService with one worker group, whose container has a port and a memory limit."""
    container = {"name": "ray", "image": "a:1", "ports": [{"containerPort": 6379}]}
    container["resources"] = {"limits": {"memory": "2Gi"}}  # type: ignore[assignment]
    template = {"spec": {"containers": [container]}}
    group = {"groupName": "w", "replicas": 1, "minReplicas": 0, "maxReplicas": 1, "template": template}
    cluster = {"headGroupSpec": {"template": copy.deepcopy(template)}, "workerGroupSpecs": [group]}
    return ray_service(name) | {"spec": {"rayClusterConfig": cluster}}


def group_of(service: Object) -> Object:
    found: Object = service["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]
    return found


async def test_an_absent_field_of_a_port_gets_its_default(http: aiohttp.ClientSession) -> None:
    """ports[].protocol is TCP in the stored object, in every group."""
    _, body = await call(http, "POST", RAY, json=a_service())
    cluster = body["spec"]["rayClusterConfig"]
    for group in (cluster["headGroupSpec"], cluster["workerGroupSpecs"][0]):
        assert group["template"]["spec"]["containers"][0]["ports"] == [{"containerPort": 6379, "protocol": "TCP"}]


async def test_an_invalid_object_is_refused_before_it_is_found_to_exist(http: aiohttp.ClientSession) -> None:
    """422, 400 and 415 come before 409: the object that is there plays no part."""
    await call(http, "POST", RAY, json=a_service())
    text, without, label, quantity = (a_service() for _ in range(4))
    group_of(text)["replicas"] = "one"
    del group_of(without)["template"]["spec"]["containers"]
    label["metadata"]["labels"] = {"a": "x" * 64}
    group_of(quantity)["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"] = "2 Gi"
    wrong = f'{GROUP}.replicas: Invalid value: "string": {GROUP}.replicas in body must be of type integer: "string"'
    expected = (
        (text, f"[{wrong}, {UNCHECKED}]"),
        (without, f"[{GROUP}.template.spec.containers: Required value, {UNCHECKED}]"),
        (label, f'metadata.labels: Invalid value: "{"x" * 64}": must be no more than 63 characters'),
    )
    for item, message in expected:
        status, body = await call(http, "POST", RAY, json=item)
        assert (status, body["message"]) == (422, f'RayService.ray.io "probe" is invalid: {message}')
    status, body = await call(http, "POST", RAY, json=quantity)
    memory = f"{GROUP}.template.spec.containers[0].resources.limits.memory"
    assert status == 422
    assert body["message"].startswith(
        f'RayService.ray.io "probe" is invalid: {memory}: Invalid value: "2 Gi": {memory} in body should match '
    )
    status, body = await call(http, "POST", RAY, json=a_service())
    assert (status, body["reason"]) == (409, "AlreadyExists")


async def test_strict_validation_refuses_unknown_fields_and_plain_validation_does_not(
    http: aiohttp.ClientSession,
) -> None:
    """fieldValidation=Strict is what kubectl sends; without it the field is passed over."""
    item = a_service()
    item["spec"]["nonsense"] = 1
    status, body = await call(http, "POST", f"{RAY}?fieldValidation=Strict", json=item)
    assert (status, body["reason"]) == (400, "BadRequest")
    assert body["message"] == (
        'RayService in version "v1" cannot be handled as a RayService: strict decoding error: unknown field '
        '"spec.nonsense"'
    )
    status, _ = await call(http, "POST", RAY, json=item)
    assert status == 201


@pytest.mark.parametrize("value", [1, 1.5, True, ["a"]])
async def test_an_annotation_that_is_no_string_is_a_bad_request(http: aiohttp.ClientSession, value: Any) -> None:
    """400, as the real server cannot decode it."""
    item = a_service()
    item["metadata"]["annotations"] = {"a": value}
    status, body = await call(http, "POST", RAY, json=item)
    assert (status, body["reason"]) == (400, "BadRequest")


async def test_a_body_that_is_no_object_says_what_it_should_be(http: aiohttp.ClientSession) -> None:
    """JSON of another type, and no JSON at all: 400 with the kind."""
    status, body = await call(http, "POST", RAY, data='"text"', headers={"Content-Type": "application/json"})
    assert status == 400
    assert body["message"].startswith(
        "the object provided is unrecognized (must be of type RayService): couldn't get version/kind; json parse "
        'error: json: cannot unmarshal string into Go value of type struct { APIVersion string "json:\\"apiVersion'
    )
    status, body = await call(http, "POST", RAY, data="{]", headers={"Content-Type": "application/json"})
    assert status == 400


async def test_another_content_type_is_not_taken(http: aiohttp.ClientSession) -> None:
    """415 with the list of what is."""
    status, body = await call(http, "POST", RAY, data="{}", headers={"Content-Type": "text/plain"})
    assert (status, body["reason"]) == (415, "UnsupportedMediaType")
    assert body["message"] == (
        "the body of the request was in an unknown format - accepted media types include: application/json, "
        "application/yaml, application/vnd.kubernetes.protobuf"
    )


async def test_a_delete_with_another_uid_names_both(http: aiohttp.ClientSession) -> None:
    """The group is the kind's, not the resource's."""
    _, created = await call(http, "POST", RAY, json=a_service())
    other = "11111111-2222-3333-4444-555555555555"
    status, body = await call(http, "DELETE", f"{RAY}/probe", json={"preconditions": {"uid": other}})
    assert (status, body["reason"]) == (409, "Conflict")
    assert body["message"] == (
        f'Operation cannot be fulfilled on RayService.ray.io "probe": the UID in the precondition ({other}) does not '
        f"match the UID in record ({created['metadata']['uid']}). The object might have been deleted and then recreated"
    )


async def test_an_update_without_a_version_is_worded_by_the_resource(http: aiohttp.ClientSession) -> None:
    """The one refusal that calls the kind by its plural."""
    await call(http, "POST", RAY, json=a_service())
    status, body = await call(http, "PUT", f"{RAY}/probe", json=a_service())
    assert status == 422
    assert body["message"] == (
        'rayservices.ray.io "probe" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an '
        "update"
    )


async def test_a_put_creates_an_absent_lease_and_no_absent_config_map(http: aiohttp.ClientSession) -> None:
    """201 for the kinds whose strategy allows it, 404 for the others."""
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "none"}, "spec": {}}
    status, body = await call(http, "PUT", f"{LEASES}/none", json=lease)
    assert (status, body["kind"]) == (201, "Lease")
    status, _ = await call(http, "PUT", f"{CORE}/configmaps/none", json={"metadata": {"name": "none"}})
    assert status == 404


async def test_a_continue_token_that_is_none_is_a_bad_request(http: aiohttp.ClientSession) -> None:
    """400: lists come whole, so that no token is the server's."""
    status, body = await call(http, "GET", f"{CORE}/pods?continue=aW52YWxpZA")
    assert (status, body["reason"]) == (400, "BadRequest")
    assert body["message"] == (
        "invalid continue token: continue key is not valid: invalid character 'i' looking for beginning of value"
    )


async def test_a_watch_from_the_first_version_is_too_old(http: aiohttp.ClientSession) -> None:
    """200, and one line: 410 Expired with the oldest version that can be watched."""
    async with http.get(f"{RAY}?watch=true&resourceVersion=1&timeoutSeconds=1") as response:
        text = await response.text()
    assert response.status == 200
    assert '"type":"ERROR"' in text
    assert "too old resource version: 1 (" in text
    assert '"code":410' in text


async def test_a_path_of_nothing_is_plain_text(http: aiohttp.ClientSession) -> None:
    """What no API serves is answered by the router."""
    async with http.get("/apis/ray.io/v1/namespaces/default/raythings") as response:
        assert (response.status, await response.text()) == (404, "404 page not found\n")
        assert response.content_type == "text/plain"


async def test_a_label_selector_that_is_none_says_where(http: aiohttp.ClientSession) -> None:
    """The parser's own words."""
    status, body = await call(http, "GET", f"{CORE}/pods?labelSelector=a%3D%3D%3D")
    assert (status, body["message"]) == (400, "unable to parse requirement: found '=', expected: identifier")


async def test_an_access_review_gives_no_reason(http: aiohttp.ClientSession) -> None:
    """Only whether it is allowed."""
    review = {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}}
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    _, body = await call(http, "POST", path, json=review)
    assert body["status"] == {"allowed": True}
