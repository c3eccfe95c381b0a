"""What a target says of its Kubernetes version, held against the version that its API server tells."""

from dataclasses import replace

import pytest

from airflow_llm_provisioning.core.cluster_version import as_served, minor_of, told_version, version_problem
from airflow_llm_provisioning.core.target import NodeProfile, Target

TARGET = Target("fast", "c", "k", NodeProfile("fast", "eks", "karpenter", "1.34"), ("baseline",))


@pytest.mark.parametrize(
    ("answer", "minor"),
    [
        ({"gitVersion": "v1.34.9-eks-4096722", "major": "1", "minor": "34+"}, 34),
        ({"gitVersion": "v1.35.2-gke.1842000"}, 35),
        ({"gitVersion": "v1.9.11"}, 9),
        ({"gitVersion": "v1.33.4+k3s1"}, 33),
        ({"gitVersion": "v1.36.0-alpha.0.12+abcdef-dirty"}, 36),
        ({"major": "1", "minor": "30+"}, 30),
        ({"gitVersion": "", "major": "1", "minor": ""}, None),
        ({"gitVersion": "v2.1.0"}, None),
        ({"gitVersion": ["v1.34.0"]}, None),
        ({}, None),
    ],
)
def test_every_clouds_form_of_a_version_is_read(answer: dict[str, object], minor: int | None) -> None:
    """With a vendor's suffix, from `major` and `minor` where there is no other, and not at all where none is told."""
    assert minor_of(told_version(answer)) == minor


@pytest.mark.parametrize(
    ("version", "level", "words"),
    [
        ("v1.34.9-eks-4096722", None, ""),
        ("v1.33.5-eks-1", "error", "runs v1.33.5-eks-1: nodes cannot be newer than their API server. Say 1.33"),
        ("v1.9.0", "error", "nodes cannot be newer"),
        ("v1.35.2-gke.1842000", "note", "if its nodes do too, say 1.35"),
        ("v1.37.0", "note", "say 1.37"),
        ("v1.38.0", "error", "takes nodes of 1.35 and later only"),
        ("", "note", "not checked: nodes.kubernetes_minor of target 'fast'. demo tells no version"),
    ],
)
def test_a_version_that_differs_is_told_with_what_to_do(version: str, level: str | None, words: str) -> None:
    """An older server is an error, as are nodes that it takes no more; a newer one is a note, because nodes may lag."""
    found = version_problem(TARGET, version, "demo")
    assert (found[0] if found else None) == level
    assert words in (found[1] if found else "")


def test_treatments_are_asked_again_with_an_older_version_only() -> None:
    """A newer server has what the target's own version has."""
    older = as_served(TARGET, "v1.30.4")
    assert older == replace(TARGET, nodes=replace(TARGET.nodes, kubernetes_minor="1.30"))
    assert as_served(TARGET, "v1.35.0") is as_served(TARGET, "v1.34.0") is as_served(TARGET, "") is None
