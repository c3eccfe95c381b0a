"""BuildServingImage on Azure: the SDK's clients over HTTP against the stand-in."""

import asyncio
from typing import Any

import pytest
from aks_stand import BUILD, HOST, RECIPE, azure

from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.core.workload import ImageRecipe
from airflow_llm_provisioning.exceptions import CloudError, ConfigurationError
from llm_provisioning_simulator.clouds.aks import tasks
from llm_provisioning_simulator.clouds.aks.tasks import Registry, Run

pytestmark = pytest.mark.aks

IMAGE = f"{HOST}/ray-serving:{RECIPE.tag()}"


async def test_a_build_leaves_the_recipes_image_in_the_registry_and_says_what_it_took() -> None:
    """The Dockerfile that arrived decides what is in the image; phases and price are the run's own stamps."""
    async with azure() as stand:
        result = await stand.built()
        image = stand.world.images[IMAGE]
        assert image.packages["hf-transfer"] == "0.1.9"
        assert image.env["HF_HUB_ENABLE_HF_TRANSFER"] == "1"
        assert (result["image"], result["digest"], result["reused"]) == (IMAGE, image.digest, False)
        assert result["size_bytes"] == image.compressed_bytes
        run = stand.sim.tasks.runs["ca1"]
        assert run.started_at is not None
        assert run.finished_at is not None
        build_s = (run.finished_at - run.started_at).total_seconds()
        assert result["phases"]["build"] == pytest.approx(build_s, abs=0.002)
        assert result["seconds"] == pytest.approx(sum(result["phases"].values()))
        assert result["price_usd"] == pytest.approx(build_s * 2 * 0.0001, abs=0.0001)
        assert "list price" in result["price_basis"]
        assert result["log_url"].endswith("/ca1.log"), "no signature may be kept"


async def test_a_run_without_its_instants_has_no_price(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it was charged for is not known, and that is not nothing."""

    class Untimed(tasks.Run):
        finished_at = property(lambda _: None, lambda _, __: None)

    monkeypatch.setattr(tasks, "Run", Untimed)
    async with azure() as stand:
        result = await stand.built()
        assert (result["price_usd"], result["phases"]) == (None, {})
        assert "is not known" in result["price_basis"]
        assert result["seconds"] > 0


async def test_the_intent_is_written_before_anything_is_uploaded_or_scheduled() -> None:
    """A crash between intent and create leaves a trail, not a leak."""
    async with azure() as stand:
        called: list[list[str]] = []
        stand.ledger.on_intend = lambda: called.append(list(stand.sim.calls))
        await stand.built()
        assert called
        assert not {"uploads.create", "blobs.put", "runs.schedule"} & set(called[0])
        assert stand.ledger.events[0] == f"intend image {IMAGE}"
        assert stand.ledger.events[1].startswith(f"created {HOST}/ray-serving@sha256:")


async def test_the_same_recipe_is_not_built_twice() -> None:
    """The tag follows from the content; a second build finds it and costs nothing."""
    async with azure() as stand:
        first = await stand.built()
        again = await stand.built()
        assert again["reused"]
        assert (again["digest"], again["price_usd"], again["phases"]) == (first["digest"], 0.0, {})
        assert stand.count("runs.schedule") == 1


async def test_a_killed_process_begins_again_with_the_first_operation_and_schedules_no_second_run() -> None:
    """The run of the earlier life is adopted, and its own stamps still give the phases."""
    async with azure() as stand:
        first = await stand.start("build_image", BUILD)
        await stand.until(first, lambda op: op.progress.get("run_id") is not None)
        done = await stand.end(first, stand.cloud())
        assert done.state == "succeeded", done.error
        assert stand.count("runs.schedule") == 1
        assert done.result is not None
        assert done.result["phases"]["build"] > 0
        assert not done.result["reused"]


async def test_a_process_killed_after_the_build_ended_still_tells_what_the_build_took() -> None:
    """An image that this operation's earlier life made is not reported as found for free."""
    async with azure() as stand:
        first = await stand.start("build_image", BUILD)
        await stand.end(first)
        done = await stand.end(first, stand.cloud())
        assert done.result is not None
        assert not done.result["reused"]
        assert done.result["phases"]["build"] > 0
        assert stand.count("runs.schedule") == 1


async def test_a_run_that_ends_while_it_is_looked_for_is_not_run_again() -> None:
    """Between the look for the tag and the look at the runs the build may end: it must be seen by one of them."""
    async with azure() as stand:
        first = await stand.start("build_image", BUILD)
        await stand.end(first)
        run, image = stand.sim.tasks.runs["ca1"], stand.world.images.pop(IMAGE)
        run.status = "Running"

        class EndsInBetween(list[str]):
            def append(self, call: str) -> None:
                if call == "runs.get" or (call == "runs.list" and "tags.get" in self):
                    run.status = "Succeeded"
                    stand.world.push(image)
                super().append(call)

        stand.sim.calls = EndsInBetween()
        done = await stand.end(first, stand.cloud())
        assert done.state == "succeeded", done.error
        assert list(stand.sim.tasks.runs) == ["ca1"]


async def test_a_task_that_starts_over_adopts_the_run_of_its_first_try() -> None:
    """A retried Airflow task calls `start` again: the open ledger entry says which runs may be ours."""
    async with azure() as stand:
        await stand.until(await stand.start("build_image", BUILD), lambda op: op.progress.get("run_id") is not None)
        done = await stand.run("build_image", BUILD)
        assert done.state == "succeeded", done.error
        assert stand.count("runs.schedule") == 1


async def test_a_lost_reply_to_the_scheduling_doubles_nothing() -> None:
    """After a call without an answer, the next attempt looks for the run before it schedules another."""
    async with azure() as stand:
        stand.sim.faults["runs.schedule"] = {"kind": "lost_reply"}
        done = await stand.run("build_image", BUILD)
        assert done.state == "succeeded", done.error
        assert len(stand.sim.tasks.runs) == 1


async def test_somebody_elses_run_is_adopted_by_mistake_at_most_until_it_ends() -> None:
    """Runs carry no mark of ours; one whose images are not ours is left alone, and ours is scheduled."""
    async with azure() as stand:
        operation = await stand.start("build_image", BUILD)
        foreign = Run("cz9", "llmprovisioning", f"{HOST}/other:1", stand.clock.now(), status="Running")
        stand.sim.tasks.runs["cz9"] = foreign
        cloud = stand.cloud()
        operation = await stand.until(operation, lambda op: op.progress.get("run_id") == "cz9", cloud)
        foreign.status, foreign.finished_at, foreign.digest = "Succeeded", stand.clock.now(), "sha256:1"
        done = await stand.end(operation, cloud)
        assert done.state == "succeeded", done.error
        assert done.result is not None
        assert done.result["image"] == IMAGE
        assert foreign.status == "Succeeded"


async def test_a_run_that_was_active_before_the_intent_is_never_adopted() -> None:
    """What ran before us cannot be ours, however long it runs."""
    async with azure() as stand:
        stand.sim.tasks.runs["cz9"] = Run("cz9", "llmprovisioning", f"{HOST}/other:1", stand.clock.now(), "Running")
        done = await stand.run("build_image", BUILD)
        assert done.state == "succeeded", done.error
        assert stand.sim.tasks.runs["cz9"].status == "Running"


@pytest.mark.parametrize("status", ["Failed", "Canceled", "Error", "Timeout"])
async def test_a_run_that_ends_badly_ends_the_operation_with_its_reason(status: str) -> None:
    """One sentence: which run, of what, how it ended, why, where the log is; and nothing stays open in the ledger."""
    async with azure() as stand:
        stand.sim.faults["runs.schedule"] = {"kind": "operation", "status": status, "message": "disk full"}
        done = await stand.run("build_image", BUILD)
        assert done.state == "failed"
        assert done.error is not None
        assert f"ended {status}: disk full." in done.error
        assert "az acr task logs --registry llmprovisioning --run-id ca1" in done.error
        assert stand.ledger.open_entries() == []
        assert IMAGE not in stand.world.images


async def test_a_base_that_is_gone_fails_the_build_and_says_which() -> None:
    """Deleted base images are why this error will be seen one day."""
    async with azure() as stand:
        recipe = ImageRecipe(base="rayproject/ray-ml:0.0.0").as_dict()
        done = await stand.run("build_image", {**BUILD, "recipe": recipe})
        assert done.error is not None
        assert "rayproject/ray-ml:0.0.0: not found" in done.error


async def test_a_run_that_never_ends_is_cancelled_at_the_deadline() -> None:
    """The limit is the step's own; the run does not go on costing money after it."""
    async with azure() as stand:
        stand.sim.faults["runs.schedule"] = {"kind": "never_ends"}
        cloud = stand.cloud()
        operation = await stand.until(
            await stand.start("build_image", BUILD, cloud), lambda op: "running" in op.step, cloud
        )
        stand.jump_s(9001)
        done = await stand.end(operation, cloud)
        assert done.state == "failed"
        assert done.error is not None
        assert "did not end within 9000 s" in done.error
        assert stand.sim.tasks.runs["ca1"].status == "Canceled"
        assert stand.ledger.open_entries() == []


@pytest.mark.parametrize(
    "request_, said",
    [
        ({**BUILD, "recipe": {"pip": []}}, "needs `base`"),
        ({**BUILD, "repository": ""}, "`repository` is missing"),
    ],
)
async def test_a_request_that_cannot_work_is_refused_without_asking_azure(request_: dict[str, Any], said: str) -> None:
    """Bad input costs no call."""
    async with azure() as stand:
        with pytest.raises(ConfigurationError, match=said):
            await stand.start("build_image", request_)
        assert stand.sim.calls == []


async def test_a_registry_that_does_not_exist_is_named_with_what_to_do() -> None:
    """The sentence names the extras to set."""
    async with azure() as stand:
        cloud = stand.cloud(registry="nosuch")
        with pytest.raises(CloudError, match=r"no container registry 'nosuch'.*registry_resource_group"):
            await stand.start("build_image", BUILD, cloud)
        assert stand.ledger.events == []


async def test_without_a_registry_the_extra_is_named() -> None:
    """A connection that lacks the registry says so before any call."""
    async with azure() as stand:
        with pytest.raises(ConfigurationError, match="extra `registry`"):
            await stand.start("build_image", BUILD, stand.cloud(registry=None))


async def test_an_unknown_verb_is_refused_with_those_there_are() -> None:
    """A snapshot is EKS's business."""
    async with azure() as stand:
        with pytest.raises(ConfigurationError, match="build_image, enable_streaming, set_up_node_pool"):
            await stand.start("snapshot_image", {})


async def test_polling_an_ended_operation_asks_nobody() -> None:
    """An end is an end."""
    async with azure() as stand:
        ended = Operation("build_image", BUILD).failed("once")
        assert await asyncio.to_thread(stand.cloud().poll, ended) == ended
        assert stand.sim.calls == []


async def test_an_abac_registry_builds_for_a_caller_with_a_role_on_its_repositories() -> None:
    """The run names the caller's identity, without which the registry would refuse its push."""
    async with azure(registries=[Registry("llmprovisioning", abac=True)]) as stand:
        assert (await stand.built())["digest"] == stand.world.images[IMAGE].digest


async def test_an_abac_registry_fails_a_caller_without_a_role_and_the_role_is_named() -> None:
    """Azure says `exit status 1` and no more (azure-cli, test_acr_abac_build)."""
    async with azure(registries=[Registry("llmprovisioning", abac=True, caller_may_push=False)]) as stand:
        done = await stand.run("build_image", BUILD)
        assert "ended Failed: failed during run, err: exit status 1. The registry is in ABAC mode" in str(done.error)
        assert "role Container Registry Repository Contributor" in str(done.error)
        assert IMAGE not in stand.world.images
