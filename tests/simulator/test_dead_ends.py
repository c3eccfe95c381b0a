"""Every dead end of the table happens by its mechanism, and the cluster says so in the words that real ones use."""

import pytest

from llm_provisioning_simulator.dead_ends import ALL, DeadEnd, produce, says


def test_the_table_lists_many_kinds() -> None:
    """At least forty, no two of one name, no two that say the same for the same change."""
    assert len(ALL) >= 40
    assert len({end.name for end in ALL}) == len(ALL)
    assert len({end.changed for end in ALL}) == len(ALL)


@pytest.mark.parametrize("end", ALL, ids=lambda end: end.name)
def test_a_dead_end_says_what_the_table_expects_and_never_gets_ready(end: DeadEnd) -> None:
    """The expected object says the expected reason and sentence, and the RayService is not Ready two minutes later."""
    lines = produce(end.name, after_s=120.0)
    assert any(says(line, end.says) for line in lines)
    services = [line["object"] for line in lines if line["resource"] == "rayservices"]
    rows = (services[-1].get("status") or {}).get("conditions") or ()
    assert not any(row["type"] == "Ready" and row["status"] == "True" for row in rows)
