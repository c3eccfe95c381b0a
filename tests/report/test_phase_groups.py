"""Which phases a chart paints alike."""

import pytest

from airflow_llm_provisioning.core.timing.milestones import PHASES
from airflow_llm_provisioning.report.phase_groups import GROUPS, NOT_TOLD_APART, group_of, position


def test_every_phase_there_is_belongs_to_a_group() -> None:
    """A phase that somebody adds to the route is not silently painted as unknown."""
    assert [phase for phase in PHASES if group_of(phase) is NOT_TOLD_APART] == []


def test_groups_have_colours_of_their_own_and_share_no_phase() -> None:
    """One colour per group, one group per phase."""
    assert len({group.colour for group in (*GROUPS, NOT_TOLD_APART)}) == len(GROUPS) + 1
    names = [name for group in GROUPS for name in group.names]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("phase", "title"),
    [
        ("head_image_pull", "image pull"),
        ("worker_image_pull", "image pull"),
        ("worker_pull_wait+worker_image_pull", "image pull"),
        ("weight_download+model_load", "weights"),
        ("head_node_boot+head_image_pull", "not told apart"),
        ("a_phase_of_a_later_version", "not told apart"),
    ],
)
def test_a_joined_phase_has_a_group_only_if_its_parts_agree(phase: str, title: str) -> None:
    """What was not told apart is not claimed for either side."""
    assert group_of(phase).title == title


def test_phases_stand_in_the_order_of_the_route() -> None:
    """A joined phase stands where its first part would."""
    assert sorted(sorted(PHASES), key=position) == list(PHASES)
    assert position("app_build+replica_request") == position("app_build")
