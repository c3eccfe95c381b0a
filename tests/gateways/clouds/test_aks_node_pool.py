"""Agent pools on AKS: created once, without nodes, as asked; taken back when Azure fails."""

import re
from typing import Any

import pytest
from aks_stand import POOL, azure
from hypothesis import given
from hypothesis import strategies as st

from airflow_llm_provisioning.exceptions import CloudError, ConfigurationError
from airflow_llm_provisioning.gateways.clouds.aks.pools import pool_name
from llm_provisioning_simulator.world import NodePool

pytestmark = pytest.mark.aks

REQUEST = {"cluster": "c1", "pool": POOL, "target": "aks"}


async def test_a_pool_is_created_as_asked_and_without_nodes() -> None:
    """Streaming, taint, label, machine and limits arrive; nothing is billed before a trial wants a node."""
    async with azure() as stand:
        done = await stand.run("set_up_node_pool", REQUEST)
        assert done.result is not None, done.error
        assert (done.result["pool"], done.result["reused"], done.result["price_usd"]) == ("aksgpu", False, 0.0)
        pool = stand.world.clusters["c1"].pools["aksgpu"]
        assert (pool.streaming, pool.min_nodes, pool.max_nodes, pool.gpu) == (True, 0, 4, {"A10": 1})
        assert pool.taints == ({"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"},)
        assert pool.labels["llm-provisioning/target"] == "aks"
        assert pool.image_type == "Ubuntu2204"
        assert [event.split()[0] for event in stand.ledger.events] == ["intend", "created"]


async def test_success_waits_until_the_pool_is_there() -> None:
    """Azure answers a PUT long before the pool exists."""
    async with azure() as stand:
        stand.durations["create_pool"] = 60.0
        cloud = stand.cloud()
        operation = await stand.start("set_up_node_pool", REQUEST, cloud)
        operation = await stand.until(operation, lambda op: op.step == "pool: creating", cloud)
        assert "aksgpu" not in stand.world.clusters["c1"].pools
        assert (await stand.end(operation, cloud)).state == "succeeded"
        assert "aksgpu" in stand.world.clusters["c1"].pools


async def test_the_same_pool_again_is_found() -> None:
    """Idempotent, and it says so."""
    async with azure() as stand:
        await stand.run("set_up_node_pool", REQUEST)
        again = await stand.run("set_up_node_pool", REQUEST)
        assert again.result is not None
        assert (again.result["reused"], again.result["seconds"]) == (True, 0.0)
        assert stand.count("agentPools.put") == 1


async def test_a_killed_process_begins_again_and_creates_no_second_pool() -> None:
    """From the first operation the pool is found while it is created."""
    async with azure() as stand:
        first = await stand.start("set_up_node_pool", REQUEST)
        await stand.until(first, lambda op: op.step == "pool asked for")
        done = await stand.end(first, stand.cloud())
        assert done.state == "succeeded", done.error
        assert stand.count("agentPools.put") == 1


async def test_a_lost_reply_after_the_put_doubles_nothing() -> None:
    """After a call without an answer, the next attempt looks first."""
    async with azure() as stand:
        stand.sim.faults["agentPools.put"] = {"kind": "lost_reply"}
        done = await stand.run("set_up_node_pool", REQUEST)
        assert done.state == "succeeded", done.error
        assert stand.count("agentPools.put") == 1


async def test_a_pool_of_that_name_that_is_not_ours_is_left_alone() -> None:
    """Refused before the intent, and it stays as it was."""
    async with azure() as stand:
        foreign = NodePool("aksgpu", "Standard_D4s_v5", 0, 1, {}, (), {})
        stand.world.clusters["c1"].pools["aksgpu"] = foreign
        with pytest.raises(CloudError, match="not ours"):
            await stand.start("set_up_node_pool", REQUEST)
        assert stand.world.clusters["c1"].pools["aksgpu"] is foreign
        assert stand.ledger.events == []


async def test_our_pool_with_other_settings_is_not_silently_rewritten() -> None:
    """A rewrite could reimage nodes: the user decides."""
    async with azure() as stand:
        await stand.run("set_up_node_pool", REQUEST)
        with pytest.raises(CloudError, match="other settings"):
            await stand.start("set_up_node_pool", {**REQUEST, "pool": {**POOL, "max_nodes": 9}})


@pytest.mark.parametrize("status", ["Failed", "Canceled"])
async def test_a_pool_that_ends_badly_is_deleted_and_the_reason_told(status: str) -> None:
    """After the failure nothing is left, and the sentence carries Azure's code and message."""
    async with azure() as stand:
        fault = {"kind": "operation", "status": status, "code": "VMSkuNotAvailable", "message": "none left in eastus"}
        stand.sim.faults["agentPools.put"] = fault
        done = await stand.run("set_up_node_pool", REQUEST)
        assert done.state == "failed"
        assert done.error == (
            f"Writing agent pool 'aksgpu' of cluster 'c1' ended {status}: VMSkuNotAvailable: none left in eastus."
        )
        assert stand.count("agentPools.delete") == 1
        assert stand.ledger.open_entries() == []
        assert await stand.owned() == []


async def test_a_process_killed_before_it_saw_the_failure_still_tells_the_reason() -> None:
    """Without the operation's name the pool's own provisioning error is reported."""
    async with azure() as stand:
        fault = {"kind": "operation", "status": "Failed", "code": "VMSkuNotAvailable", "message": "none left"}
        stand.sim.faults["agentPools.put"] = fault
        first = await stand.start("set_up_node_pool", REQUEST)
        await stand.until(first, lambda op: op.step == "pool asked for")
        done = await stand.end(first, stand.cloud())
        assert done.error is not None
        assert "VMSkuNotAvailable: none left" in done.error


async def test_an_exhausted_quota_fails_at_once_instead_of_waiting() -> None:
    """It comes with the status and code of `another operation is in progress`, and waiting would never end."""
    async with azure() as stand:
        stand.sim.faults["agentPools.put"] = {
            "kind": "http",
            "status": 409,
            "code": "OperationNotAllowed",
            "message": "exceeding approved standardNVADSA10v5Family Cores quota",
        }
        done = await stand.run("set_up_node_pool", REQUEST)
        assert done.error is not None
        assert "Cores quota" in done.error
        assert stand.ledger.open_entries() == []


async def test_a_conflict_with_a_running_operation_is_waited_out() -> None:
    """409 in progress is no failure."""
    async with azure() as stand:
        stand.sim.faults["agentPools.put"] = {
            "kind": "http",
            "status": 409,
            "code": "OperationNotAllowed",
            "message": "another operation (Upgrading) is in progress",
            "times": 3,
        }
        done = await stand.run("set_up_node_pool", REQUEST)
        assert done.state == "succeeded", done.error
        assert stand.count("agentPools.put") == 4


async def test_a_pool_that_is_never_ready_is_taken_back_or_named_as_left() -> None:
    """AKS refuses to delete a pool that it still creates: the operation keeps trying, then says what stays."""
    async with azure() as stand:
        stand.sim.faults["agentPools.put"] = {"kind": "never_ends"}
        cloud = stand.cloud()
        operation = await stand.start("set_up_node_pool", REQUEST, cloud)
        operation = await stand.until(operation, lambda op: op.step == "pool: creating", cloud)
        stand.jump_s(7201)
        operation = await stand.until(operation, lambda op: bool(op.progress.get("failure")), cloud)
        stand.jump_s(1801)
        done = await stand.end(operation, cloud)
        assert done.state == "failed"
        assert done.error is not None
        assert "did not end within 7200 s" in done.error
        assert [entry.name for entry in stand.ledger.open_entries()] == ["c1/aksgpu"], "what stays is still recorded"
        assert [owned.identity for owned in await stand.owned()] == ["c1/aksgpu"], "and can be listed"


@pytest.mark.parametrize(
    "change, said",
    [
        ({"taints": ["sku=gpu:NoSchedule"]}, "'sku=gpu:NoSchedule' is not tolerated by the worker"),
        ({"os_sku": "AzureLinux"}, "runs AzureLinux"),
        ({"os_sku": "Windows2022"}, "runs Windows2022"),
        ({"machine_type": "Standard_D8pds_v5"}, "ARM machines"),
        ({"min_nodes": 5}, "limits 5 to 4"),
        ({"max_nodes": 0}, "limits 0 to 0"),
        ({"machine_type": None}, "`pool.machine_type` is missing"),
    ],
)
async def test_a_pool_that_could_not_serve_is_refused_without_a_call(change: dict[str, Any], said: str) -> None:
    """Each of these would be found only when a trial hangs or pulls the plain image."""
    async with azure() as stand:
        with pytest.raises(ConfigurationError, match=said):
            await stand.start("set_up_node_pool", {**REQUEST, "pool": {**POOL, **change}})
        assert stand.sim.calls == []


async def test_a_taint_that_the_worker_is_said_to_tolerate_is_taken() -> None:
    """The caller knows its own manifest."""
    async with azure() as stand:
        pool = {**POOL, "taints": ["sku=gpu:NoSchedule"], "tolerations": [{"key": "sku", "operator": "Exists"}]}
        assert (await stand.run("set_up_node_pool", {**REQUEST, "pool": pool})).state == "succeeded"


async def test_a_cluster_that_does_not_exist_is_named() -> None:
    """With where to say which."""
    async with azure() as stand:
        with pytest.raises(CloudError, match=r"no AKS cluster 'c9'.*resource_group"):
            await stand.start("set_up_node_pool", {**REQUEST, "cluster": "c9"})


@given(st.text(max_size=40))
def test_any_name_becomes_one_that_aks_takes(wanted: str) -> None:
    """1 to 12 lower-case letters and digits, a letter first; the same wish gives the same name."""
    name = pool_name(wanted)
    assert re.fullmatch(r"[a-z][a-z0-9]{0,11}", name)
    assert name == pool_name(wanted)


async def test_a_pool_of_ours_that_failed_once_is_written_again_and_reused() -> None:
    """AKS keeps Failed on a pool until the next write: what failed on an earlier day is no reason to refuse it now."""
    async with azure() as stand:
        request = {"cluster": "c1", "pool": POOL}
        await stand.run("set_up_node_pool", request)
        stand.sim.clusters._pools["c1", "aksgpu"]["provisioningState"] = "Failed"
        done = await stand.run("set_up_node_pool", request)
        assert done.state == "succeeded", done.error
        assert stand.count("agentPools.put") == 2
        assert stand.world.clusters["c1"].pools["aksgpu"].streaming


@pytest.mark.parametrize("state", ["Scaling", "Upgrading", "UpgradingNodeImageVersion", "Stopping", "Starting"])
async def test_a_pool_that_aks_changes_meanwhile_is_waited_for(state: str) -> None:
    """AKS has more states than those of our own calls: none of them is an end."""
    async with azure() as stand:
        request = {"cluster": "c1", "pool": POOL}
        await stand.run("set_up_node_pool", request)
        stand.sim.clusters.states["c1", "aksgpu"] = state
        operation = await stand.start("set_up_node_pool", request)
        for _ in range(3):
            operation = await stand.poll(operation)
        assert (operation.state, operation.step) == ("running", f"pool: {state.lower()}")
        stand.sim.clusters.states.clear()
        assert (await stand.end(operation)).state == "succeeded"
        assert stand.count("agentPools.put") == 1


async def test_what_an_operation_says_meanwhile_decides_nothing() -> None:
    """Free text instead of InProgress and an error that passes (azure-cli recordings): the pool's own state counts."""
    async with azure() as stand:
        words = {"progress": "CreatingAgentPool: 1/2 nodes completed", "trouble": {"code": "X", "message": "retrying"}}
        stand.sim.faults["agentPools.put"] = {"kind": "operation_words", **words}
        done = await stand.run("set_up_node_pool", {"cluster": "c1", "pool": POOL})
        assert done.state == "succeeded", done.error
