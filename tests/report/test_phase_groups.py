"""The groups of phases in a chart."""

import pytest

from airflow_llm_provisioning.core.timing.milestones import PHASES
from airflow_llm_provisioning.report.phase_groups import GROUPS, UNSEPARATED, group_of, position


def test_every_phase_belongs_to_a_group() -> None:
    """A phase that is added later must be in a group."""
    assert [phase for phase in PHASES if group_of(phase) is UNSEPARATED] == []


def test_groups_have_different_colours_and_share_no_phase() -> None:
    """One colour per group, one group per phase."""
    assert len({group.colour for group in (*GROUPS, UNSEPARATED)}) == len(GROUPS) + 1
    names = [name for group in GROUPS for name in group.names]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("phase", "title"),
    [
        ("head_image_pull", "image pull"),
        ("worker_image_pull", "image pull"),
        ("worker_pull_wait+worker_image_pull", "image pull"),
        ("weight_download+model_load", "weights"),
        ("head_node_boot+head_image_pull", "not separable"),
        ("a_phase_of_a_later_version", "not separable"),
    ],
)
def test_a_joined_phase_has_a_group_only_if_its_parts_agree(phase: str, title: str) -> None:
    """A joined phase is not attributed to one of its parts."""
    assert group_of(phase).title == title


def test_phases_are_in_causal_order() -> None:
    """A joined phase has the position of its first part."""
    assert sorted(sorted(PHASES), key=position) == list(PHASES)
    assert position("app_build+replica_request") == position("app_build")
