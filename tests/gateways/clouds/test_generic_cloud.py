"""The cloud that is none: every verb refused in one clear sentence, nothing claimed, nothing owned."""

import pytest

from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.exceptions import ConfigurationError
from airflow_llm_provisioning.gateways.clouds.base import Cloud, Owned
from airflow_llm_provisioning.gateways.clouds.generic.cloud import GenericCloud


@pytest.mark.parametrize(
    ("verb", "advice"),
    [
        ("build_image", "build and push the image yourself"),
        ("snapshot_image", "target on eks"),
        ("enable_streaming", "target on gke or aks"),
        ("set_up_node_pool", "set up the nodes"),
        ("anything", "choose a target on eks, gke or aks"),
    ],
)
def test_every_verb_is_refused_with_what_to_do_instead(verb: str, advice: str) -> None:
    """A verb names itself and the way out, at its start and where an operation of it turns up."""
    cloud: Cloud = GenericCloud()
    with pytest.raises(ConfigurationError, match=rf"^{verb} is impossible .*{advice}"):
        cloud.start(verb, {})
    assert advice in (cloud.poll(Operation(verb, {})).error or "")
    assert list(cloud.verbs()) == []


def test_ended_operation_is_left_alone() -> None:
    """What ended stays as it ended."""
    ended = Operation("build_image", {}).succeeded(image="x")
    assert GenericCloud().poll(ended) is ended


def test_claims_are_unknown_and_nothing_is_owned() -> None:
    """Unknown is not success; nothing is listed, nothing deleted, no cluster found."""
    cloud = GenericCloud()
    assert [(e.claim, e.holds) for e in cloud.verify(["image_streamed", "x"], {})] == [
        ("image_streamed", None),
        ("x", None),
    ]
    assert cloud.list_owned() == []
    with pytest.raises(ConfigurationError, match="nothing is ever created"):
        cloud.delete_owned(Owned("image", "x", {}))
    with pytest.raises(ConfigurationError, match="connection of type kubernetes"):
        cloud.cluster_access("c")
