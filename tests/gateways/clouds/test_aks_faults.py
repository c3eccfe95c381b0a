"""Azure at its worst: throttled, refusing tokens, silent, forbidden. Every verb is polled by the same code."""

import pytest
from aks_stand import BUILD, POOL, azure

from airflow_llm_provisioning.exceptions import CloudError, ConfigurationError
from airflow_llm_provisioning.gateways.clouds.aks.arm import LocalCredential

pytestmark = pytest.mark.aks

REQUEST = {"cluster": "c1", "pool": POOL, "target": "aks"}
THROTTLED = {"kind": "http", "status": 429, "code": "TooManyRequests", "message": "slow down", "retry_after_s": 600}


async def test_throttling_is_waited_out_as_long_as_azure_asks_without_blocking() -> None:
    """429 with Retry-After: no call is made before the time has come, and no poll sleeps."""
    async with azure() as stand:
        cloud = stand.cloud()
        operation = await stand.start("set_up_node_pool", REQUEST, cloud)
        stand.sim.faults["agentPools.get"] = dict(THROTTLED)
        operation = await stand.poll(operation, cloud)
        assert operation.state == "running"
        assert "429 TooManyRequests" in operation.step
        calls = len(stand.sim.calls)
        operation = await stand.poll(operation, cloud)
        assert len(stand.sim.calls) == calls, "asked again too early"
        stand.jump_s(601)
        assert (await stand.end(operation, cloud)).state == "succeeded"


async def test_a_throttled_start_leaves_its_checks_to_the_first_poll() -> None:
    """`start` neither blocks nor fails because Azure is busy, and no intent is written unchecked."""
    async with azure() as stand:
        stand.sim.faults["clusters.get"] = dict(THROTTLED)
        cloud = stand.cloud()
        operation = await stand.start("set_up_node_pool", REQUEST, cloud)
        assert operation.state == "running"
        assert stand.ledger.events == []
        stand.jump_s(601)
        assert (await stand.end(operation, cloud)).state == "succeeded"


async def test_a_check_that_fails_in_a_poll_ends_the_operation_instead_of_raising() -> None:
    """A trigger must see an end, not an exception."""
    async with azure() as stand:
        stand.sim.faults["clusters.get"] = dict(THROTTLED)
        cloud = stand.cloud()
        operation = await stand.start("set_up_node_pool", {**REQUEST, "cluster": "c9"}, cloud)
        stand.jump_s(601)
        done = await stand.end(operation, cloud)
        assert done.error is not None
        assert "no AKS cluster 'c9'" in done.error


@pytest.mark.parametrize("call", ["agentPools.get", "clusters.get", "agentPools.put"])
async def test_an_expired_token_is_replaced(call: str) -> None:
    """401 ExpiredAuthenticationToken: another token, the same operation."""
    async with azure() as stand:
        stand.sim.faults[call] = {"kind": "expired_token"}
        done = await stand.run("set_up_node_pool", REQUEST)
        assert done.state == "succeeded", done.error


async def test_an_expired_registry_token_is_exchanged_again() -> None:
    """Registry tokens live 75 minutes; a conversion may outlive one."""
    async with azure() as stand:
        built = await stand.built()
        cloud = stand.cloud()
        operation = await stand.start("enable_streaming", {"image": built["image"]}, cloud)
        exchanges = stand.count("oauth2.exchange")
        stand.sim.data_plane._access_tokens.clear()
        done = await stand.end(operation, cloud)
        assert done.state == "succeeded", done.error
        assert stand.count("oauth2.exchange") == exchanges + 1


async def test_a_token_that_is_always_refused_ends_the_operation() -> None:
    """Three refusals are no bad luck."""
    async with azure() as stand:
        cloud = stand.cloud()
        operation = await stand.start("set_up_node_pool", REQUEST, cloud)
        stand.sim.faults["agentPools.get"] = {"kind": "expired_token", "times": 3}
        done = await stand.end(operation, cloud)
        assert done.state == "failed"
        assert done.error is not None
        assert "401 ExpiredAuthenticationToken" in done.error


async def test_a_passing_outage_is_forgotten_and_a_lasting_one_ends_the_operation() -> None:
    """Fifteen minutes of 503 are enough; one between two answers is nothing."""
    async with azure() as stand:
        cloud = stand.cloud()
        operation = await stand.start("set_up_node_pool", REQUEST, cloud)
        outage = {"kind": "http", "status": 503, "code": "ServiceUnavailable", "message": "down"}
        stand.sim.faults["agentPools.get"] = dict(outage)
        operation = await stand.poll(operation, cloud)
        operation = await stand.poll(operation, cloud)
        assert operation.progress["unanswered_since_at"] is None
        stand.sim.faults["agentPools.get"] = {**outage, "times": 2}
        operation = await stand.poll(operation, cloud)
        stand.jump_s(901)
        operation = await stand.poll(operation, cloud)
        done = await stand.end(operation, cloud)
        assert done.error is not None
        assert "503 ServiceUnavailable" in done.error
        assert stand.ledger.open_entries() == []


async def test_azure_that_does_not_answer_at_all_is_waited_for() -> None:
    """A dropped connection says nothing about what happened: look again."""
    async with azure() as stand:
        stand.sim.faults["agentPools.get"] = {"kind": "lost_reply", "times": 2}
        done = await stand.run("set_up_node_pool", REQUEST)
        assert done.state == "succeeded", done.error


async def test_a_missing_role_is_said_with_where_the_roles_are_listed() -> None:
    """403 is the user's to mend, at once."""
    async with azure() as stand:
        stand.sim.faults["clusters.get"] = {
            "kind": "http",
            "status": 403,
            "code": "AuthorizationFailed",
            "message": "The client has no authorization to read.",
        }
        with pytest.raises(CloudError, match=r"403 AuthorizationFailed.*docs/aks\.md"):
            await stand.start("set_up_node_pool", REQUEST)


async def test_a_registry_that_refuses_is_quoted() -> None:
    """Registries word their errors differently; the code and message still arrive."""
    async with azure() as stand:
        stand.sim.faults["oauth2.exchange"] = {"kind": "http", "status": 403, "code": "DENIED", "message": "no access"}
        with pytest.raises(CloudError, match="403 DENIED: no access"):
            await stand.start("build_image", BUILD)


async def test_nothing_of_an_operation_is_a_secret() -> None:
    """Operations are stored in Airflow's database: no token, no signature, no upload address in them."""
    async with azure() as stand:
        minted: list[str] = []

        class Noting(LocalCredential):
            def get_token(self, *scopes: str, **options: object) -> object:  # type: ignore[override]
                token = super().get_token(*scopes, **options)
                minted.append(token.token)
                return token

        cloud = stand.cloud()
        cloud._account.credential = Noting()
        operation = await stand.start("build_image", BUILD, cloud)
        seen = [str(operation)]
        while operation.state == "running":
            operation = await stand.poll(operation, cloud)
            seen.append(str(operation))
        assert operation.state == "succeeded", operation.error
        assert minted
        assert not [token for token in minted if token in "".join(seen)]
        assert "sig=" not in "".join(seen)


@pytest.mark.parametrize("url", ["http://example.com", "ftp://127.0.0.1", "http://10.0.0.1:80"])
async def test_plain_http_is_for_this_machine_only(url: str) -> None:
    """A token must not travel in the clear."""
    async with azure() as stand:
        with pytest.raises(ConfigurationError, match="neither https nor plain http to this machine"):
            stand.cloud(endpoints={"arm": url})
