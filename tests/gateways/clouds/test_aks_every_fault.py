"""Everything that can go wrong on Azure, on the whole path build -> convert -> pool: what is left, and what is said."""

import asyncio
from typing import Any

import pytest
from aks_stand import BUILD, POOL, Stand, azure

from airflow_llm_provisioning.exceptions import ProvisioningError
from airflow_llm_provisioning.gateways.clouds.aks.streaming import ADVICE
from llm_provisioning_simulator.clouds.aks.tasks import Registry

pytestmark = pytest.mark.aks

QUICK = {
    "create_pool": 1.0,
    "delete_pool": 1.0,
    "build_queue": 0.5,
    "build_failure": 0.5,
    "convert_bytes_s": 5e9,
    "referrer_lag": 0.5,
}
THROTTLED = {"kind": "http", "status": 429, "code": "TooManyRequests", "message": "slow down", "retry_after_s": 1}
DOWN = {"kind": "http", "status": 503, "code": "ServiceUnavailable", "message": "down"}
NO_REPLY = {"kind": "lost_reply"}
EXPIRED = {"kind": "expired_token"}
IN_PROGRESS = {"kind": "http", "status": 409, "code": "OperationNotAllowed", "message": "another operation in progress"}
CONFLICT = {"kind": "http", "status": 409, "code": "CONFLICT", "message": "a conversion is going on"}


def ends(status: str, code: str = "InternalError") -> dict[str, Any]:
    return {"kind": "operation", "status": status, "code": code, "message": "no luck"}


async def operate(stand: Stand, verb: str, request: dict[str, Any]) -> tuple[dict[str, Any] | None, str | None]:
    """Run one operation as a task does, a new gateway at every look; return its result or the sentence it ended with.

    What has not ended after many looks is far beyond every limit then.
    """
    try:
        operation = await stand.start(verb, request)
    except ProvisioningError as error:
        return None, str(error)
    async with asyncio.timeout(60):
        for look in range(10_000):
            if operation.state != "running":
                return dict(operation.result) if operation.result is not None else None, operation.error
            if look == 60:
                stand.jump_s(9001)
            operation = await stand.poll(operation)
            await asyncio.sleep(0.01)
    raise AssertionError(operation)


async def walk(stand: Stand) -> str | None:
    """Build, convert, set the pool up, as far as it goes; return the sentence it ended with."""
    stand.durations.update(QUICK)
    built, error = await operate(stand, "build_image", BUILD)
    if built is None:
        return error
    request = {"image": built["image"], "digest": built["digest"], "cluster": "c1"}
    converted, error = await operate(stand, "enable_streaming", request)
    if converted is None:
        return error
    _, error = await operate(stand, "set_up_node_pool", {"cluster": "c1", "pool": POOL})
    return error


async def left(stand: Stand) -> list[str]:
    """Return the kinds of what is ours, as a new process lists it, after checking that nothing goes on any more and
    that the ledger says the same.
    """
    assert [run.run_id for run in stand.sim.tasks.runs.values() if run.status in ("Queued", "Running")] == []
    assert [item.identity for item in going_on(stand)] == []
    owned = await stand.owned()
    entries = stand.ledger.open_entries()
    assert {(entry.kind, entry.identity) for entry in entries} == {(item.kind, item.identity) for item in owned}
    return [item.kind for item in owned]


def going_on(stand: Stand) -> list[Any]:
    return [item for item in stand.sim.operations._operations.values() if item.status == "InProgress"]


def begun(stand: Stand, prefix: str) -> int:
    return len([name for name in stand.sim.operations._operations if name.startswith(prefix)])


@pytest.mark.parametrize("fault", [THROTTLED, DOWN, NO_REPLY], ids=["throttled", "down", "no-reply"])
async def test_every_call_of_the_path_may_fail_once_and_nothing_is_made_twice(fault: dict[str, Any]) -> None:
    """429 with Retry-After, 503, and a reply lost after the call was done: one run, one conversion, one pool."""
    async with azure() as stand:
        assert await walk(stand) is None
        calls = set(stand.sim.calls)
    assert {"runs.schedule", "streaming.post", "agentPools.put", "blobs.put", "oauth2.token"} <= calls
    async with azure() as stand:
        stand.sim.faults.update({call: dict(fault) for call in calls})
        assert await walk(stand) is None
        # A read is left out where the first look finds the end; then it could not fail. A conversion whose first reply
        # was lost is found by the image's digest, not by its number.
        assert set(stand.sim.faults) & set(stand.sim.calls) == set(), "each call that was made did fail"
        assert {name.rpartition(".")[2] for name in stand.sim.faults} <= {"get", "list"}
        assert await left(stand) == ["agent_pool", "streaming_artifact", "image"]
        assert (len(stand.sim.tasks.runs), begun(stand, "conv-"), begun(stand, "aks-")) == (1, 1, 1)


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        *((call, EXPIRED) for call in ("registries.get", "runs.schedule", "runs.get", "tags.get", "streaming.post")),
        *((call, EXPIRED) for call in ("conversions.get", "referrers.list", "agentPools.put")),
        ("agentPools.put", {**IN_PROGRESS, "times": 3}),
        ("streaming.post", CONFLICT),
    ],
    ids=lambda item: item if isinstance(item, str) else item["kind"],
)
async def test_an_expired_token_and_an_operation_in_progress_are_waited_out(call: str, fault: dict[str, Any]) -> None:
    """Another token, another look, the same operation; at any step of the path."""
    async with azure() as stand:
        stand.sim.faults[call] = dict(fault)
        assert await walk(stand) is None
        assert call not in stand.sim.faults
        assert await left(stand) == ["agent_pool", "streaming_artifact", "image"]


@pytest.mark.parametrize(
    ("call", "fault", "stays", "said"),
    [
        *(("runs.schedule", ends(status), [], f"ended {status}: no luck.") for status in ("Failed", "Canceled")),
        ("runs.schedule", {"kind": "never_ends"}, [], "did not end within 9000 s"),
        *(("streaming.post", ends("Failed", code), ["image"], f"{code} (no luck); {ADVICE[code]}") for code in ADVICE),
        ("streaming.post", ends("Canceled", "CANCELED"), ["image"], "ended Canceled"),
        ("streaming.post", {"kind": "never_ends"}, ["image"], "did not end within 3600 s"),
        *(
            ("agentPools.put", ends(status), ["streaming_artifact", "image"], f"ended {status}: InternalError: no luck")
            for status in ("Failed", "Canceled")
        ),
    ],
    ids=lambda item: item["kind"] if isinstance(item, dict) else None,
)
async def test_what_fails_leaves_only_what_was_finished_and_says_one_sentence(
    call: str, fault: dict[str, Any], stays: list[str], said: str
) -> None:
    """The image of a failed conversion stays and is ours; a run, a conversion or a pool that ended badly does not."""
    async with azure() as stand:
        stand.sim.faults[call] = dict(fault)
        error = await walk(stand)
        assert error is not None
        assert said in error
        assert "\n" not in error
        assert ("aksgpu" if call == "agentPools.put" else "llmprovisioning.azurecr.io/ray-serving:r-") in error
        assert await left(stand) == stays


@pytest.mark.parametrize(
    ("call", "fault", "taken_back_by", "stays"),
    [
        ("runs.schedule", {"kind": "never_ends"}, "runs.cancel", []),
        ("streaming.post", {"kind": "never_ends"}, "conversions.cancel", ["image"]),
        ("agentPools.put", ends("Failed"), "agentPools.delete", ["streaming_artifact", "image"]),
    ],
)
@pytest.mark.parametrize("trouble", [NO_REPLY, THROTTLED], ids=["no-reply", "throttled"])
async def test_taking_back_survives_trouble_of_its_own(
    call: str, fault: dict[str, Any], taken_back_by: str, stays: list[str], trouble: dict[str, Any]
) -> None:
    """Azure busy or silent while a failure is cleaned up: it is tried again until it is gone, the first reason told."""
    async with azure() as stand:
        stand.sim.faults.update({call: dict(fault), taken_back_by: dict(trouble)})
        error = await walk(stand)
        assert error is not None
        assert "did not end" in error or "no luck" in error
        assert taken_back_by not in stand.sim.faults
        assert await left(stand) == stays


async def test_a_registry_that_is_not_premium_costs_no_conversion_and_no_intent() -> None:
    """The image was built there and stays; nothing else was begun."""
    async with azure(registries=[Registry("llmprovisioning", sku="Standard")]) as stand:
        error = await walk(stand)
        assert error is not None
        assert "is Standard, and artifact streaming needs Premium" in error
        assert await left(stand) == ["image"]
        assert stand.count("streaming.post") == 0
