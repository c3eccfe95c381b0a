"""A refusal of the API server is told with who refuses, and what to do: a policy is no missing right."""

import json

import pytest

from airflow_llm_provisioning.exceptions import ClusterError, ConflictError, ForbiddenError
from airflow_llm_provisioning.gateways.kubernetes.errors import Attempt, NotFoundError, UnavailableError, error_for

HOOK = 'failed calling webhook "v.kb.io": failed to call webhook: Post "https://w.n.svc:443/?timeout=10s": '


@pytest.mark.parametrize(
    ("code", "message", "kind", "advice"),
    [
        (
            403,
            'admission webhook "validate.kyverno.svc-fail" denied the request: x',
            ForbiddenError,
            "owner of the policy",
        ),
        (
            403,
            'rayservices.ray.io "a" is forbidden: exceeded quota: q, requested: x',
            ForbiddenError,
            "Raise the quota",
        ),
        (
            403,
            "unable to create new content in namespace n because it is being terminated",
            ForbiddenError,
            "another one",
        ),
        (403, 'User "jane" cannot create resource "rayservices"', ForbiddenError, "Grant it by a Role"),
        (403, "rayservices is forbidden", ForbiddenError, "Grant it by a Role"),
        (400, 'admission webhook "w" denied the request: x', ClusterError, "owner of the policy"),
        (422, "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: x", ClusterError, "owner of the policy"),
        (404, 'namespaces "n" not found', NotFoundError, "Create that namespace"),
        (404, "the server could not find the requested resource", NotFoundError, "install its CRD"),
        (409, 'object is being deleted: rayservices.ray.io "a" already exists', ConflictError, "Wait until it is gone"),
        (409, "Apply failed with 1 conflict", ConflictError, "Another manager"),
        (500, f'{HOOK}service "w" not found', UnavailableError, "install it again"),
        (500, f"{HOOK}context deadline exceeded", UnavailableError, "does not answer"),
        (500, "etcdserver: leader changed", UnavailableError, "Try again later"),
        (429, "the server has received too many requests", UnavailableError, "Try again later"),
    ],
)
def test_a_refusal_is_told_with_who_refuses(code: int, message: str, kind: type[ClusterError], advice: str) -> None:
    """The status code alone does not tell: 403 is also a policy's, a quota's and a namespace's answer."""
    body = json.dumps({"kind": "Status", "message": message, "code": code}).encode()
    found = error_for(code, body, Attempt("delete", "rayservices", "n/a", "eks"))
    assert type(found) is kind
    assert message in str(found)
    assert advice in str(found)
    assert ("Grant it" in str(found)) is (advice == "Grant it by a Role")


def test_a_proxy_that_refuses_is_no_api_server() -> None:
    """Its answer is HTML, so rights in the cluster are another matter."""
    found = error_for(403, b"<html><title>403 Forbidden</title></html>", Attempt("get", "pods", "n/a", "eks"))
    assert isinstance(found, ForbiddenError)
    assert "proxies and firewalls" in str(found)
