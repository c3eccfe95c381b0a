"""Which of our things may be deleted: never by one sign alone, never what a running trial uses."""

from typing import Any

import pytest
from owned_builders import CLOUD, HOLDER, NOW, TRIAL, closed, entry_of, hours, judged, of_trial, prepared

from airflow_llm_provisioning.core.names import (
    LABEL_EXPIRES,
    LABEL_MANAGED_BY,
    LABEL_TARGET,
    LABEL_TRIAL,
    expiry,
    label_keys_for_google,
)
from airflow_llm_provisioning.core.owned import Listing, OwnedThing, Records, State, Thing, may_delete
from airflow_llm_provisioning.core.owned_judgement import elsewhere, may_run
from airflow_llm_provisioning.core.ownership import LABEL_APPLIED_BY


def only(items: list[OwnedThing]) -> OwnedThing:
    (item,) = items
    return item


def test_what_is_recorded_and_not_expired_is_in_use() -> None:
    """A trial between two of its tasks: kept."""
    service = of_trial()
    item = only(judged(service, entries=(entry_of(service),)))
    assert (item.state, may_delete(item)) == (State.IN_USE, False)
    assert item.of == f"trial {TRIAL}"
    assert item.age_s == 3 * 3600


def test_what_expired_is_deleted_also_without_a_store() -> None:
    """The results store is lost: labels that a run writes, all of them, are identity enough for a RayService."""
    for entries in ((), None):
        item = only(judged(of_trial(left_h=-1), entries=entries))
        assert (item.state, may_delete(item)) == (State.EXPIRED, True)


def test_a_closed_trials_object_is_an_orphan_before_it_expires() -> None:
    """Its row is written, so nothing waits for it."""
    service = of_trial()
    item = only(judged(service, entries=(entry_of(service),), holders=(HOLDER,), **closed()))
    assert (item.state, may_delete(item)) == (State.ORPHAN, True)


@pytest.mark.parametrize("left_h", [-5, 1])
def test_what_the_locks_holder_may_run_is_never_deleted(left_h: float) -> None:
    """Also when its expiry says otherwise, because it was edited or a clock is wrong; also by `everything`."""
    item = only(judged(of_trial(left_h=left_h), holders=(HOLDER,)))
    assert (item.state, item.held) == (State.IN_USE, True)
    assert not may_delete(item, everything=True)


def test_the_lock_of_another_run_does_not_protect_what_expired() -> None:
    """Another DAG run waits to use the cluster; this leftover is why it cannot."""
    assert may_delete(only(judged(of_trial(left_h=-1), holders=("nightly/run-2/demo",))))


@pytest.mark.parametrize(
    ("holder", "may"),
    [
        (HOLDER, True),
        ("nightly/run-2/demo", False),
        ("other/run-1/demo", False),
        ("somebody", True),
        ("nightly/run-1/a/cluster", True),
    ],
)
def test_the_holder_of_a_lock_names_its_run(holder: str, may: bool) -> None:
    """Ids may hold slashes; what is not of our form leaves it open."""
    assert may_run(holder, TRIAL) is may


def test_a_name_that_was_shortened_may_be_any_run() -> None:
    """The part that names the run may be cut off."""
    assert may_run("nightly/run-2/demo", "e" * 54 + "-01234567")


def test_locks_that_could_not_be_read_protect_everything() -> None:
    """Not known is not idle."""
    expired = of_trial(left_h=-1)
    item = only(judged(expired, entries=(entry_of(expired),), holders=None))
    assert (item.state, may_delete(item, everything=True)) == (State.UNKNOWN, False)


def test_the_later_expiry_of_label_and_ledger_counts() -> None:
    """A label that was edited to the past deletes nothing that the ledger still keeps."""
    edited = of_trial(left_h=-9)
    item = only(judged(edited, entries=(entry_of(edited),)))
    assert (item.state, item.expires_at) == (State.IN_USE, NOW + hours(1))


@pytest.mark.parametrize(
    ("thing", "words"),
    [
        (of_trial("Pod", left_h=-1), "no trial makes such a Pod: its label was copied"),
        (of_trial("Secret", left_h=-1), "no trial makes such a Secret"),
        (of_trial(left_h=-1, labels={LABEL_MANAGED_BY: ""}), "lacks the label app.kubernetes.io/managed-by"),
        (of_trial(left_h=-1, labels={LABEL_EXPIRES: "soon"}), "its expiry is missing or cannot be read"),
        (of_trial(left_h=-1, labels={LABEL_TARGET: "theirs"}), "its target theirs is not one of this experiment"),
        (of_trial(left_h=-1, labels={LABEL_TARGET: "pLain"}), "its target pLain is not one of this experiment"),
        (of_trial(left_h=-1, labels={LABEL_TARGET: "plai"}), "its target plai is not one of this experiment"),
        (of_trial(left_h=-1, labels={LABEL_TARGET: ""}), "its target (none) is not one of this experiment"),
    ],
    ids=["pod", "secret", "owner", "expiry", "target", "target-in-another-case", "target-cut", "target-emptied"],
)
def test_a_label_alone_makes_nothing_ours(thing: Thing, words: str) -> None:
    """Reported, and never deleted, not even by `everything`."""
    item = only(judged(thing))
    assert item.state is State.UNRECORDED
    assert words in item.why
    assert not may_delete(item, everything=True)


def test_a_copy_of_a_recorded_service_is_told_from_it() -> None:
    """The manifest was applied again under another name: the ledger names the one."""
    real, copy = of_trial(left_h=-1), of_trial(name="mine", left_h=-1)
    first, second = judged(real, copy, entries=(entry_of(real, expires_at=NOW - hours(1)),))
    assert (first.state, second.state) == (State.EXPIRED, State.UNRECORDED)
    assert f"the ledger says that trial {TRIAL} is RayService llm" in second.why


def test_two_services_with_one_trials_label_and_no_ledger_are_both_kept() -> None:
    """Which one is the copy cannot be said."""
    assert not any(may_delete(item) for item in judged(of_trial(left_h=-1), of_trial(name="mine", left_h=-1)))


def test_a_trial_label_that_was_changed_is_told() -> None:
    """The ledger has another trial for an object of that name."""
    service = of_trial(left_h=-1, trial="another-trial")
    recorded = entry_of(service, tags={LABEL_TRIAL: TRIAL}, expires_at=NOW - hours(1))
    item = only(judged(service, entries=(recorded,)))
    assert item.state is State.UNRECORDED
    assert f"the ledger says that it is trial {TRIAL}'s" in item.why


def test_the_ledgers_name_without_our_label_is_unknown() -> None:
    """The label was removed, or the object is another owner's: not deleted, and never called clean."""
    bare = Thing(place="cluster:demo/serving", kind="RayService", name="llm", uid="u")
    item = only(judged(bare, entries=(entry_of(of_trial(), expires_at=NOW - hours(1)),)))
    assert (item.state, may_delete(item, everything=True)) == (State.UNKNOWN, False)


def test_children_share_the_state_of_their_service_and_go_with_it() -> None:
    """Only the RayService is deleted; the operator and the garbage collector delete the rest."""
    service = of_trial(left_h=-1)
    ray = of_trial("RayCluster", "llm-x", left_h=-1, owners=(str(service.uid),), of_ray=True)
    pod = Thing(place=service.place, kind="Pod", name="head", uid="p", owners=(str(ray.uid),), of_ray=True)
    items = judged(service, ray, pod)
    assert [item.state for item in items] == [State.EXPIRED] * 3
    assert [may_delete(item) for item in items] == [True, False, False]
    assert items[2].why == "it goes when RayCluster llm-x is gone"


def test_a_cluster_whose_service_is_gone_is_deleted_itself() -> None:
    """A deletion that orphaned it left the GPU held."""
    assert may_delete(only(judged(of_trial("RayCluster", "llm-x", left_h=-1, owners=("gone",), of_ray=True))))


def test_a_single_operators_service_is_listed_and_left_to_its_dag() -> None:
    """It has no expiry and no ledger entry."""
    service = of_trial(labels=dict.fromkeys((LABEL_TRIAL, LABEL_EXPIRES, LABEL_TARGET, LABEL_MANAGED_BY), ""))
    alone = Thing(place=service.place, kind="RayService", name="llm", labels={LABEL_APPLIED_BY: "a_dag.apply"})
    item = only(judged(alone))
    assert (item.state, may_delete(item, everything=True)) == (State.UNRECORDED, False)


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({"holders": ()}, State.EXPIRED),
        ({"holders": (HOLDER,)}, State.IN_USE),
        ({"holders": None}, State.UNKNOWN),
    ],
)
def test_the_lock_itself(fields: dict[str, Any], state: State) -> None:
    """Whose time is over may go; the one that is held never."""
    lease = Thing(place=CLOUD, kind="Lease", name="l", labels={LABEL_MANAGED_BY: "airflow-llm-provisioning"}, uid="u")
    item = only(judged(lease, **fields))
    assert (item.state, may_delete(item)) == (state, state is State.EXPIRED)


def test_a_node_is_told_and_never_deleted() -> None:
    """Its autoscaler ends the machine; deleting the Node alone would hide it."""
    node = Thing(place=CLOUD, kind="Node", name="n", labels={LABEL_TARGET: "plain"}, created_at=NOW - hours(5))
    item = only(judged(node))
    assert (item.state, may_delete(item, everything=True)) == (State.ORPHAN, False)
    assert only(judged(node, holders=(HOLDER,))).state is State.IN_USE


def test_a_preparation_is_kept_for_as_long_as_its_trials_use_it() -> None:
    """Every night a trial: the snapshot lives on, for as long as it was meant to be kept after the last one."""
    snapshot = prepared(left_h=-1)
    entry = entry_of(snapshot, intended_at=NOW - hours(25), expires_at=NOW - hours(1))
    used = judged(snapshot, entries=(entry,), place=CLOUD, used_at={"plain": NOW - hours(10)})
    assert (only(used).state, only(used).why[-20:]) == (State.IN_USE, "2026-05-02 02:00 UTC"[-20:])
    unused = judged(snapshot, entries=(entry,), place=CLOUD, used_at={"plain": NOW - hours(40), "other": NOW})
    assert may_delete(only(unused))


def test_a_preparation_is_never_deleted_while_a_trial_runs() -> None:
    """Expired, and the lock of a cluster of its targets is held, or cannot be read."""
    snapshot = prepared(left_h=-1)
    for holders in ((HOLDER,), None):
        entry = entry_of(snapshot, expires_at=NOW - hours(1))
        item = only(judged(snapshot, entries=(entry,), place=CLOUD, holders=holders))
        assert not may_delete(item, everything=True)


def test_a_preparation_without_a_readable_ledger_is_unknown() -> None:
    """Whether trials still use it is in the rows alone."""
    item = only(judged(prepared(left_h=-1), entries=None, place=CLOUD))
    assert (item.state, may_delete(item)) == (State.UNKNOWN, False)


def test_everything_deletes_what_is_kept_and_nobody_uses() -> None:
    """Taking the experiment down."""
    snapshot = prepared()
    item = only(judged(snapshot, entries=(entry_of(snapshot),), place=CLOUD))
    assert (may_delete(item), may_delete(item, everything=True)) == (False, True)


def test_googles_spelling_is_read() -> None:
    """Keys without a slash, values in lower case."""
    thing = prepared(left_h=-1)
    spelled = label_keys_for_google({**thing.labels, LABEL_EXPIRES: expiry(NOW - hours(1)), LABEL_TARGET: "Plain.A"})
    ours = {LABEL_MANAGED_BY: thing.labels[LABEL_MANAGED_BY]}
    google = prepared(labels={**dict.fromkeys(thing.labels, ""), **spelled, **ours})
    item = only(judged(google, place=CLOUD, targets=("Plain.A",)))
    assert may_delete(item)
    recorded = entry_of(google, kind="snapshot", name="by-content", expires_at=NOW - hours(1))
    used = judged(google, entries=(recorded,), place=CLOUD, used_at={"Plain.A": NOW}, targets=())
    assert only(used).state is State.IN_USE


def test_an_entry_without_its_thing_is_vanished_when_it_may_be_closed() -> None:
    """A ledger restored from a backup: what is long gone. Before its expiry it may still be created."""
    service = of_trial()
    past = entry_of(service, expires_at=NOW - hours(1))
    assert only(judged(entries=(past,))).state is State.VANISHED
    assert only(judged(entries=(entry_of(service),), **closed())).state is State.VANISHED
    assert only(judged(entries=(entry_of(service),))).state is State.IN_USE


def test_a_place_that_could_not_be_listed_is_unknown() -> None:
    """With its sentence; no entry of it counts as vanished."""
    past = entry_of(of_trial(), expires_at=NOW - hours(1))
    items = judged(entries=(past,), problems={"": "The API server does not answer."})
    assert [item.state for item in items] == [State.UNKNOWN, State.UNKNOWN]
    assert {item.why for item in items} == {"The API server does not answer."}


def test_one_kind_that_could_not_be_listed_is_unknown() -> None:
    """The others are judged."""
    service = of_trial(left_h=-1)
    pod = entry_of(prepared("Pod", "warm"), place=service.place, expires_at=NOW - hours(1))
    items = judged(service, entries=(pod,), problems={"Pod": "may not list pods"})
    assert [(item.kind, str(item.state)) for item in items] == [
        ("RayService", "expired"),
        ("pod", "unknown"),
        ("Pod", "unknown"),
    ]


def test_an_entry_of_a_place_that_no_target_leads_to_is_unknown() -> None:
    """The target was renamed or left the file: that place is not looked at."""
    entry = entry_of(of_trial())
    records = Records(entries=(entry,))
    assert only(elsewhere(records, [Listing(place=CLOUD, now=NOW)])).state is State.UNKNOWN
    assert elsewhere(records, [Listing(place=entry.place, now=NOW)]) == []


def test_an_entry_of_a_cloud_that_failed_has_its_sentence() -> None:
    """Before it answers, an account is known by the cloud's name alone."""
    entry = entry_of(prepared())
    failed = Listing(place="cloud:eks", now=NOW, problems={"": "The security token is expired."})
    assert only(elsewhere(Records(entries=(entry,)), [failed])).why == "The security token is expired."


def test_an_entry_of_another_experiments_target_is_left_to_it() -> None:
    """Another account of that region, or another cluster of that name, may have the thing."""
    past = entry_of(prepared(), expires_at=NOW - hours(1))
    item = only(judged(entries=(past,), place=CLOUD, targets=("mine",)))
    assert (item.state, item.ours) == (State.VANISHED, False)
    assert only(judged(entries=(past,), place=CLOUD)).ours


def test_an_unknown_clock_expires_nothing() -> None:
    """Neither ours nor the cluster's is known."""
    item = only(judged(of_trial(left_h=-1), now=None))
    assert (item.state, may_delete(item)) == (State.UNKNOWN, False)
    assert only(judged(entries=(entry_of(of_trial()),), now=None)).state is State.UNKNOWN


def test_what_carries_no_mark_is_not_taken_for_gone() -> None:
    """A streaming artifact of another owner's image: only the ledger knows it. Beside a marked one of its repository it
    goes with that.
    """
    entry = entry_of(prepared("streaming_artifact", "host/theirs@sha256:1"), expires_at=NOW - hours(1))
    item = only(judged(entries=(entry,), place=CLOUD, standing=frozenset({"1"})))
    assert (item.state, "delete it by hand" in item.why) == (State.UNKNOWN, True)
    marked = prepared("streaming_artifact", "host/theirs@sha256:2", labels={"llm-provisioning/content": "other"})
    items = judged(marked, entries=(entry,), place=CLOUD, standing=frozenset({"1"}))
    assert items[-1].state is State.IN_USE
    assert only(judged(entries=(entry,), place=CLOUD)).state is State.VANISHED


def test_a_node_of_a_target_whose_nodes_stay_is_in_use() -> None:
    """Nothing removes them there, or a pod of ours is on it."""
    for fields in ({"stays": True}, {"busy": True}):
        node = Thing(place=CLOUD, kind="Node", name="n", created_at=NOW - hours(5), **fields)
        assert only(judged(node)).state is State.IN_USE


@pytest.mark.parametrize(
    "expires", ["2026043T120000Z", "20260430T12000Z", "20260430T120000", "20260430 120000Z", "2026-04-30T12:00:00Z", ""]
)
def test_an_expiry_that_was_cut_expires_nothing(expires: str) -> None:
    """A character is missing: it is not read as an earlier day. Without an entry the object is reported."""
    cut = of_trial(labels={LABEL_EXPIRES: expires})
    item = only(judged(cut))
    assert (item.state, may_delete(item, everything=True)) == (State.UNRECORDED, False)
    kept = only(judged(cut, entries=(entry_of(cut),)))
    assert (kept.state, kept.expires_at) == (State.IN_USE, NOW + hours(1))


@pytest.mark.parametrize("kind", ["RayService", "ConfigMap", "Deployment", "snapshot", "node_pool"])
def test_what_names_neither_trial_nor_content_is_not_ours(kind: str) -> None:
    """Its trial's label was emptied, or owner, target and expiry were copied: expired, reported, and left."""
    bare = of_trial(kind, left_h=-1, labels={LABEL_TRIAL: ""})
    item = only(judged(bare))
    assert (item.state, may_delete(item, everything=True)) == (State.UNRECORDED, False)
    assert "it names neither a trial nor the content of a preparation" in item.why


def test_an_old_entry_does_not_claim_a_later_trials_service() -> None:
    """The ledger was restored from a backup of the days before: its entry of that name is of a trial long gone, and
    that of the service is lost. The service goes by its own labels, the old entry is closed.
    """
    service = of_trial(left_h=-1, trial="a-later-trial")
    old = entry_of(
        service, tags={LABEL_TRIAL: TRIAL}, intended_at=NOW - hours(99), expires_at=NOW - hours(90), entry_id="7"
    )
    first, second = judged(service, entries=(old,))
    assert (first.state, first.entry, may_delete(first)) == (State.EXPIRED, None, True)
    assert (second.state, second.entry) == (State.VANISHED, old)
    running = judged(of_trial(left_h=1, trial="a-later-trial"), entries=(old,))[0]
    assert (running.state, may_delete(running)) == (State.UNRECORDED, False)


@pytest.mark.parametrize("problem", ["RayService", "RayCluster"])
def test_what_may_have_an_owner_that_was_not_listed_is_unknown(problem: str) -> None:
    """One kind is forbidden (403): deleting a RayCluster of a RayService that stands makes the operator create another
    one, and so does a pod of a RayCluster.
    """
    kind = {"RayService": "RayCluster", "RayCluster": "Pod"}[problem]
    part = of_trial(kind, "llm-x", left_h=-1, owners=("not-listed",), of_ray=True)
    item = judged(part, entries=(entry_of(of_trial()),), problems={problem: "forbidden"}, **closed())[0]
    assert (item.state, may_delete(item, everything=True)) == (State.UNKNOWN, False)
    assert f"{problem}s could not be listed" in item.why


def test_targets_that_differ_in_case_are_two() -> None:
    """Two experiments on one cluster; in a cloud, Google keeps both as one."""
    service, image = of_trial(left_h=-1), prepared(left_h=-1)
    assert only(judged(service, targets=("Plain",))).state is State.UNRECORDED
    assert only(judged(image, place=CLOUD, targets=("Plain",))).state is State.EXPIRED
