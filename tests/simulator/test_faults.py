"""Faults are switched by name, count down, and refuse what they cannot be."""

import pytest

from llm_provisioning_simulator.faults import CHOICES, Faults
from llm_provisioning_simulator.infra.pulltroubles import TROUBLES


def test_counters_count_down_to_nothing() -> None:
    """A counter happens so many times and no more."""
    faults = Faults()
    faults.switch("server_error_500", 2)
    assert [faults.use_up("server_error_500") for _ in range(3)] == [True, True, False]


def test_lost_replies_count_for_each_resource() -> None:
    """Only creates of the named resource lose their reply."""
    faults = Faults()
    faults.switch("lost_reply", {"rayservices": 1})
    assert not faults.lose_reply("pods")
    assert [faults.lose_reply("rayservices") for _ in range(2)] == [True, False]


def test_held_replies_count_for_each_verb_and_resource() -> None:
    """Only the named requests go unanswered, and only so many."""
    faults = Faults(held_reply={"delete:leases": 1})
    assert not faults.hold_reply("create", "leases")
    assert [faults.hold_reply("delete", "leases") for _ in range(2)] == [True, False]


def test_forbidden_takes_plurals_and_verbs() -> None:
    """`nodes` forbids everything on nodes, `create:pods` only the create."""
    faults = Faults(forbidden=["nodes", "create:pods"])
    assert faults.forbids("list", "nodes")
    assert faults.forbids("create", "pods")
    assert not faults.forbids("list", "pods")


def test_a_switch_is_heard() -> None:
    """Listeners are called after the value is there."""
    faults = Faults()
    heard: list[int] = []
    faults.on_switch(lambda: heard.append(faults.gone_410))
    faults.switch("gone_410", 3)
    assert heard == [3]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gone_410", "1"),
        ("gone_410", True),
        ("forbidden", "nodes"),
        ("quota_refused", 1),
        ("lost_reply", ["pods"]),
        ("pull_trouble", "no-such"),
    ],
)
def test_a_value_of_another_kind_is_refused(name: str, value: object) -> None:
    """A counter is an integer, a list a list: a typo must not switch a fault silently off."""
    with pytest.raises(TypeError, match=name):
        Faults().switch(name, value)


def test_a_fault_of_many_kinds_knows_their_names() -> None:
    """Each name is taken, and the empty text switches it off again."""
    faults = Faults()
    assert CHOICES["pull_trouble"] == set(TROUBLES)
    for name in (*TROUBLES, ""):
        faults.switch("pull_trouble", name)
        assert faults.pull_trouble == name


def test_an_unknown_fault_is_refused() -> None:
    """Misspelt faults would make a test pass for nothing."""
    with pytest.raises(KeyError):
        Faults().switch("_listeners", [])
