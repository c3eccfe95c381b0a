"""Server-side apply: create or update, owners, conflicts, and what a manager gives up."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_provisioning_simulator.kube.apply import apply
from llm_provisioning_simulator.kube.ownership import (
    changes,
    contains,
    created,
    insert,
    paths,
    updated,
    without,
)
from llm_provisioning_simulator.kube.statuses import StatusError

NOW = "2026-11-22T08:00:00Z"


def config(data: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", **metadata}, "data": data}


def applied(
    live: dict[str, Any] | None, wanted: dict[str, Any], manager: str, *, force: bool = False
) -> dict[str, Any]:
    new, managed = apply(live, wanted, manager, force=force, now=NOW)
    return new | {"metadata": new["metadata"] | {"managedFields": managed}}


def owners(item: dict[str, Any]) -> dict[str, list[tuple[str, ...]]]:
    entries = item["metadata"]["managedFields"]
    return {entry["manager"]: sorted(paths(entry["fieldsV1"])) for entry in entries}


def test_a_field_of_another_manager_is_a_conflict() -> None:
    """Another value for an owned field is a 409 that names owner and field; the same value is shared."""
    live = applied(None, config({"k": "v"}), "alice")
    shared = applied(live, config({"k": "v"}), "bob")
    assert owners(shared) == {"alice": [("f:data", "f:k")], "bob": [("f:data", "f:k")]}
    with pytest.raises(StatusError, match=r'Apply failed with 1 conflict: conflict with "alice" using v1: .data.k'):
        apply(live, config({"k": "w"}), "bob", force=False, now=NOW)


def test_force_takes_the_field() -> None:
    """With force the value changes and the loser owns it no longer."""
    live = applied(None, config({"k": "v", "own": "1"}), "alice")
    forced = applied(live, config({"k": "w"}), "bob", force=True)
    assert forced["data"] == {"k": "w", "own": "1"}
    assert owners(forced) == {"alice": [("f:data", "f:own")], "bob": [("f:data", "f:k")]}


def test_what_a_manager_no_longer_applies_goes() -> None:
    """A field left out is removed, unless another manager holds it too."""
    live = applied(None, config({"k": "v", "both": "1"}, labels={"x": "y"}), "alice")
    live = applied(live, config({"both": "1"}), "bob")
    left = applied(live, config({"k": "v"}), "alice")
    assert left["data"] == {"k": "v", "both": "1"}
    assert "labels" not in left["metadata"]


def test_a_map_emptied_once_can_be_filled_again() -> None:
    """Applied with fields, empty, with fields: each apply leaves what it said."""
    live = applied(None, config({"k": "v"}), "alice")
    live = applied(live, config({}), "alice")
    live = applied(live, config({"k": "w"}), "alice")
    assert live["data"] == {"k": "w"}
    assert owners(live) == {"alice": [("f:data", "f:k")]}


def test_the_same_apply_again_changes_nothing() -> None:
    """An unchanged apply returns an equal object: no write, no new version."""
    live = applied(None, config({"k": "v"}), "alice")
    again, managed = apply(live, config({"k": "v"}), "alice", force=False, now="2030-01-01T00:00:00Z")
    assert again == live
    assert managed == live["metadata"]["managedFields"]


def test_keyed_lists_merge_by_their_keys() -> None:
    """Two managers each own a container of the same pod; giving one up removes only that."""
    both = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}
    first = both | {"spec": {"containers": [{"name": "ray", "image": "ray:1"}]}}
    second = both | {"spec": {"containers": [{"name": "side", "image": "side:1"}]}}
    live = applied(applied(None, first, "alice"), second, "bob")
    assert [item["name"] for item in live["spec"]["containers"]] == ["ray", "side"]
    third = both | {"spec": {"containers": [{"name": "other", "image": "o:1"}]}}
    moved = applied(live, third, "bob")
    assert [item["name"] for item in moved["spec"]["containers"]] == ["ray", "other"]
    assert [item["name"] for item in live["spec"]["containers"]] == ["ray", "side"]


def test_defaults_are_no_change_and_override_nothing() -> None:
    """A schema's defaults inside a list owned as a whole make no conflict; those beside it leave others' values."""

    def fill_in(item: dict[str, Any]) -> None:
        item["spec"].setdefault("strategy", "Default")
        for group in item["spec"]["groups"]:
            group.setdefault("hosts", 1)

    wanted = {"apiVersion": "v1", "kind": "X", "metadata": {"name": "a"}, "spec": {"groups": [{"size": 1}]}}
    live, managed = apply(None, wanted, "alice", force=False, now=NOW, fill_in=fill_in)
    live["metadata"]["managedFields"] = managed
    live["spec"]["strategy"] = "Other"
    again, after = apply(live, wanted, "alice", force=False, now="2030-01-01T00:00:00Z", fill_in=fill_in)
    assert (again, after) == (live, managed)
    shared, _ = apply(live, wanted, "bob", force=False, now=NOW, fill_in=fill_in)
    assert shared["spec"] == {"groups": [{"size": 1, "hosts": 1}], "strategy": "Other"}


def test_a_plain_write_takes_what_it_changes() -> None:
    """An update owns what it altered, and an applier that wants it back must force."""
    live = applied(None, config({"k": "v"}), "alice")
    new = live | {"data": {"k": "w"}}
    managed = updated(live, new, "editor", NOW, None)
    edited = new | {"metadata": live["metadata"] | {"managedFields": managed}}
    assert owners(edited) == {"editor": [("f:data", "f:k")]}
    with pytest.raises(StatusError, match='conflict with "editor"'):
        apply(edited, config({"k": "v"}), "alice", force=False, now=NOW)


def test_status_writes_are_owned_apart() -> None:
    """The entry of a subresource carries its name."""
    item = config({})
    managed = created(item | {"status": {"phase": "x"}}, "alice", NOW)
    assert [entry.get("subresource") for entry in managed] == [None]
    with_managed = item | {"metadata": item["metadata"] | {"managedFields": managed}}
    later = updated(with_managed, with_managed | {"status": {"phase": "y"}}, "kubelet", NOW, "status")
    assert [(entry["manager"], entry.get("subresource")) for entry in later][-1] == ("kubelet", "status")


_KEYS = st.sampled_from(["f:a", "f:b", "f:c", 'k:{"name":"x"}'])
_PATHS = st.lists(st.lists(_KEYS, min_size=1, max_size=4).map(tuple), min_size=1, max_size=8, unique=True)


# Two cores, shared by many tests: how long a draw takes says nothing.
FEW_EXAMPLES = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@FEW_EXAMPLES
@given(_PATHS)
def test_a_tree_holds_exactly_what_was_put_in(given_paths: list[tuple[str, ...]]) -> None:
    """Insert then list gives the same paths, and taking all out leaves nothing."""
    tree: dict[str, Any] = {}
    for path in given_paths:
        insert(tree, path)
    assert sorted(paths(tree)) == sorted(given_paths)
    assert all(contains(tree, path) for path in given_paths)
    assert without(tree, given_paths) == {}
    assert sorted(paths(tree)) == sorted(given_paths)


_VALUES = st.recursive(
    st.integers() | st.text(max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3) | st.lists(inner, max_size=3),
    max_leaves=8,
)


@FEW_EXAMPLES
@given(
    st.dictionaries(st.sampled_from(["spec", "data"]), _VALUES),
    st.dictionaries(st.sampled_from(["spec", "data"]), _VALUES),
)
def test_changes_are_empty_only_between_equals(old: dict[str, Any], new: dict[str, Any]) -> None:
    """No change is overlooked, and none is found where nothing changed."""
    assert changes(old, old) == ([], [])
    assert (changes(old, new) == ([], [])) == (old == new)
