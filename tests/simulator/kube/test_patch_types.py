"""JSON patch, merge patch and strategic merge patch change a document as the RFCs and Kubernetes say."""

from typing import Any

import pytest

from llm_provisioning_simulator.kube.patches import json_patch, merge_patch, strategic_merge
from llm_provisioning_simulator.kube.statuses import StatusError


def pod() -> dict[str, Any]:
    return {
        "metadata": {"labels": {"a": "1", "b": "2"}, "finalizers": ["x"]},
        "spec": {
            "containers": [{"name": "ray", "image": "ray:1"}, {"name": "side", "image": "s:1"}],
            "tolerations": [1],
        },
    }


def test_merge_patch_removes_nulls_and_replaces_lists() -> None:
    """RFC 7386: null removes, maps merge, lists are replaced."""
    patched = merge_patch(pod(), {"metadata": {"labels": {"a": None, "c": "3"}}, "spec": {"containers": []}})
    assert patched["metadata"]["labels"] == {"b": "2", "c": "3"}
    assert patched["spec"]["containers"] == []
    assert patched["spec"]["tolerations"] == [1]


def test_patches_leave_the_original_alone() -> None:
    """The object given in is the store's: none of the patches alters it."""
    target = pod()
    merge_patch(target, {"metadata": {"labels": {"a": None}}})
    json_patch(target, [{"op": "remove", "path": "/metadata/labels/a"}])
    strategic_merge(target, {"spec": {"containers": [{"name": "ray", "image": "new"}]}})
    assert target == pod()


def test_strategic_merge_goes_by_merge_keys_and_directives() -> None:
    """Containers merge by name, $patch deletes, order follows, finalizers add, tolerations are replaced."""
    patch = {
        "metadata": {"finalizers": ["y"], "$deleteFromPrimitiveList/finalizers": ["x"]},
        "spec": {
            "$setElementOrder/containers": [{"name": "new"}, {"name": "ray"}],
            "containers": [
                {"name": "ray", "image": "ray:2"},
                {"name": "side", "$patch": "delete"},
                {"name": "new", "env": None},
            ],
            "tolerations": [2],
        },
    }
    patched = strategic_merge(pod(), patch)
    assert patched["metadata"]["finalizers"] == ["y"]
    assert patched["spec"] == {"containers": [{"name": "new"}, {"name": "ray", "image": "ray:2"}], "tolerations": [2]}
    assert strategic_merge(pod(), {"spec": {"$patch": "replace", "x": 1}})["spec"] == {"x": 1}
    assert strategic_merge(pod(), {"spec": {"$retainKeys": ["tolerations"]}})["spec"] == {"tolerations": [1]}


@pytest.mark.parametrize(
    ("operations", "labels"),
    [
        ([{"op": "add", "path": "/metadata/labels/x~1y", "value": "3"}], {"a": "1", "b": "2", "x/y": "3"}),
        ([{"op": "replace", "path": "/metadata/labels", "value": {}}], {}),
        ([{"op": "move", "from": "/metadata/labels/a", "path": "/metadata/labels/c"}], {"b": "2", "c": "1"}),
        ([{"op": "copy", "from": "/metadata/labels/a", "path": "/metadata/labels/b"}], {"a": "1", "b": "1"}),
        ([{"op": "test", "path": "/metadata/labels/a", "value": "1"}], {"a": "1", "b": "2"}),
    ],
)
def test_json_patch_steps(operations: list[dict[str, Any]], labels: dict[str, str]) -> None:
    """RFC 6902, with its escapes."""
    assert json_patch(pod(), operations)["metadata"]["labels"] == labels


def test_json_patch_appends_and_inserts() -> None:
    """`-` is the end of a list, an index inserts before."""
    steps = [
        {"op": "add", "path": "/spec/tolerations/-", "value": 3},
        {"op": "add", "path": "/spec/tolerations/0", "value": 0},
    ]
    assert json_patch(pod(), steps)["spec"]["tolerations"] == [0, 1, 3]


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/metadata/labels/a", "value": "2"},
        {"op": "remove", "path": "/metadata/labels/zz"},
        {"op": "replace", "path": "/metadata/zz", "value": 1},
        {"op": "add", "path": "/spec/tolerations/9", "value": 1},
        {"op": "what", "path": "/metadata"},
    ],
)
def test_a_step_that_cannot_be_done_is_422(operation: dict[str, Any]) -> None:
    """A failed test, a missing target and an unknown operation refuse the whole patch."""
    with pytest.raises(StatusError, match="the server rejected our request") as caught:
        json_patch(pod(), [operation])
    assert caught.value.code == 422
