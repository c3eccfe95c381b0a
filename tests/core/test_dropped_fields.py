"""Which fields an API server has left out of an object that it accepted."""

from typing import Any

import pytest

from airflow_llm_provisioning.core.dropped_fields import dropped

VOLUME = {"name": "weights", "image": {"reference": "r@sha256:1"}}


@pytest.mark.parametrize(
    ("sent", "answer", "places"),
    [
        ({"spec": {"replicas": 2}}, {"spec": {"replicas": 2, "weight": 1}, "status": {}}, []),
        ({"spec": {"replicas": 2}}, {"spec": {}}, ["spec.replicas"]),
        ({"spec": {"replicas": 0, "taints": [], "a": None, "b": "", "c": False}}, {"spec": {"replicas": 0}}, []),
        ({"spec": {"cpu": "1000m"}}, {"spec": {"cpu": "1"}}, []),
        ({"volumes": [VOLUME]}, {"volumes": [{"name": "weights"}]}, ["volumes[0].image"]),
        ({"volumes": [VOLUME]}, {"volumes": [{"name": "token"}]}, ["volumes[0]"]),
        ({"volumes": [VOLUME]}, {"volumes": [{"name": "token"}, dict(VOLUME)]}, []),
        ({"volumes": [VOLUME]}, {"volumes": None}, ["volumes[0]"]),
        ({"args": ["a", "b"]}, {"args": ["a"]}, ["args[1]"]),
        ({"spec": {"a": {"b": 1}}}, {"spec": "pruned"}, ["spec.a"]),
    ],
)
def test_what_does_not_come_back_is_named(sent: Any, answer: Any, places: list[str]) -> None:
    """The outermost place of each loss; not defaults, empty values or other units."""
    assert dropped(sent, answer, {}) == places


def test_what_was_not_asked_about_is_no_loss() -> None:
    """A field that the workload's own manifest has is the user's, whether the cluster knows it or not."""
    own = {"spec": {"unknown": 1, "volumes": [{"name": "own", "odd": 1}]}}
    sent = {"spec": {"unknown": 1, "volumes": [{"name": "own", "odd": 1}, VOLUME]}}
    answer = {"spec": {"volumes": [{"name": "own"}, {"name": "weights"}]}}
    assert dropped(sent, answer, own) == ["spec.volumes[1].image"]
