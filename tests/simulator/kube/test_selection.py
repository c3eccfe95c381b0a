"""Label and field selectors choose as the API server's do."""

from typing import Any

import pytest

from llm_provisioning_simulator.kube.resources import EVENTS_VIEW, ResourceTable
from llm_provisioning_simulator.kube.selectors import selector
from llm_provisioning_simulator.kube.statuses import StatusError

TABLE = ResourceTable()
POD: dict[str, Any] = {
    "metadata": {"name": "p", "namespace": "n", "labels": {"app": "ray", "tier": "gpu"}},
    "spec": {"nodeName": "node-1"},
    "status": {"phase": "Running"},
}


@pytest.mark.parametrize(
    ("labels", "chosen"),
    [
        ("app=ray", True),
        ("app==ray,tier!=cpu", True),
        ("app!=ray", False),
        ("other!=ray", True),
        ("app in (ray, vllm),tier", True),
        ("app notin (ray)", False),
        ("!other", True),
        ("!app", False),
        ("app=", False),
    ],
)
def test_label_selectors(labels: str, chosen: bool) -> None:
    """Equality, sets and existence, joined by commas."""
    test = selector(labels, "", TABLE["pods"])
    assert test is not None
    assert test(POD) is chosen


@pytest.mark.parametrize(
    ("fields", "chosen"),
    [
        ("spec.nodeName=node-1", True),
        ("status.phase!=Succeeded,status.phase!=Failed", True),
        ("metadata.name=x", False),
    ],
)
def test_field_selectors(fields: str, chosen: bool) -> None:
    """The fields that `kubectl describe node` selects by."""
    test = selector("", fields, TABLE["pods"])
    assert test is not None
    assert test(POD) is chosen


def test_events_are_selected_in_both_views() -> None:
    """events.k8s.io calls the object `regarding`; the stored event is the same."""
    event = {"metadata": {"name": "e"}, "involvedObject": {"name": "p"}}
    core = selector("", "involvedObject.name=p", TABLE["events"])
    view = selector("", "regarding.name=p", EVENTS_VIEW)
    assert core is not None
    assert view is not None
    assert core(event)
    assert view(event)


@pytest.mark.parametrize(("labels", "fields"), [("a in b", ""), ("", "spec.image=x"), ("", "metadata.name")])
def test_a_bad_selector_is_400(labels: str, fields: str) -> None:
    """Unparsable, or a field the server does not index."""
    with pytest.raises(StatusError) as caught:
        selector(labels, fields, TABLE["pods"])
    assert caught.value.code == 400
