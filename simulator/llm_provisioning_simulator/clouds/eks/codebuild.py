"""CodeBuild's calls of the stand-in; what a build does is planned in `builds`."""

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.clouds.eks.builds import Build, manifest, plan_build
from llm_provisioning_simulator.clouds.eks.calls import Call, json_reply, refusal
from llm_provisioning_simulator.clouds.eks.moto import Moto
from llm_provisioning_simulator.world import World


class CodeBuild:
    """Builds in virtual time; projects stay with moto."""

    def __init__(
        self, world: World, clock: SimClock, moto: Moto, durations: Mapping[str, float], faults: Mapping[str, Any]
    ) -> None:
        self._world, self._clock, self._moto = world, clock, moto
        self._durations, self._faults = durations, faults
        self.builds: dict[str, Build] = {}

    def move(self) -> None:
        """Let the builds that have ended push what they built."""
        now = self._clock.now()
        for build in self.builds.values():
            if build.settled or build.status(now) == "IN_PROGRESS":
                continue
            build.settled = True
            if build.status(now) == "SUCCEEDED" and build.pushes is not None:
                self._world.push(build.pushes)
                self._moto.put_image(build.region, build.pushes, manifest(build.pushes))

    def answer(self, call: Call) -> web.Response | None:
        """Answer the calls about builds; None for those about projects."""
        answers: dict[str, Callable[[Call], web.Response]] = {
            "StartBuild": self._start,
            "BatchGetBuilds": self._get,
            "ListBuildsForProject": self._list,
            "StopBuild": self._stop,
        }
        return answers[call.action](call) if call.action in answers else None

    def _start(self, call: Call) -> web.Response:
        name, token = call.body["projectName"], call.body.get("idempotencyToken", "")
        project = self._moto.project(call.region, name)
        if project is None:
            return refusal(call, "ResourceNotFoundException", f"Project cannot be found: {name}")
        known = next((item for item in self.builds.values() if token and item.token == token), None)
        if known is not None:
            return json_reply({"build": known.as_json(self._clock.now(), self._moto.account)})
        now = self._clock.now()
        phases, final, pushes = plan_build(
            self._world,
            project,
            self._moto.read_object(project.get("source", {}).get("location", "")),
            lambda repository: self._moto.has_repository(call.region, repository),
            call.region,
            now,
            self._durations,
            self._faults.get("build"),
        )
        build_id = f"{name}:{uuid.uuid4()}"
        self.builds[build_id] = Build(build_id, name, call.region, now, phases, final, pushes, token)
        return json_reply({"build": self.builds[build_id].as_json(now, self._moto.account)})

    def _get(self, call: Call) -> web.Response:
        now, ids = self._clock.now(), call.body.get("ids", [])
        found = [self.builds[item].as_json(now, self._moto.account) for item in ids if item in self.builds]
        return json_reply({"builds": found, "buildsNotFound": [item for item in ids if item not in self.builds]})

    def _list(self, call: Call) -> web.Response:
        name = call.body["projectName"]
        if self._moto.project(call.region, name) is None:
            return refusal(call, "ResourceNotFoundException", f"Project cannot be found: {name}")
        listed = [item for item in self.builds.values() if item.project == name and item.region == call.region]
        newest_first = sorted(listed, key=lambda item: item.started_at, reverse=True)
        return json_reply({"ids": [item.build_id for item in newest_first]})

    def _stop(self, call: Call) -> web.Response:
        build = self.builds.get(call.body["id"])
        if build is None:
            return refusal(call, "ResourceNotFoundException", "no such build")
        now = self._clock.now()
        if build.status(now) == "IN_PROGRESS":
            build.stopped_at = now
        return json_reply({"build": build.as_json(now, self._moto.account)})
