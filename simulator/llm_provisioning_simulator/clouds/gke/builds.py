"""Cloud Build of the simulated project: runs the Docker builds that really arrived and pushes what they make.

A step is understood where its script pipes a base64 Dockerfile out of its environment into `docker build`. What cannot
be understood fails as a build step, rather than be guessed.
"""

import asyncio
import base64
import binascii
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.clouds.gke.http import Call, GoogleError, Handler, stamp
from llm_provisioning_simulator.clouds.gke.registry import ArtifactRegistry
from llm_provisioning_simulator.images import DockerfileError, built_image
from llm_provisioning_simulator.world import Image, World

_TAG = re.compile(r"^\w[\w.-]{0,127}$")
_SCRIPT = re.compile(r"\$\{?(\w+)\}?.{0,4}\|\s*base64\s+(?:-d|--decode)\s*\|\s*docker\s+build\b")
ACTIVE = ("PENDING", "QUEUED", "WORKING")


class CloudBuild:
    """The builds of a project by id, newest last."""

    def __init__(
        self, world: World, clock: SimClock, registry: ArtifactRegistry, durations_s: Mapping[str, float]
    ) -> None:
        self._world = world
        self._clock = clock
        self._registry = registry
        self._durations_s = durations_s
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.builds: dict[str, dict[str, Any]] = {}

    def handlers(self) -> dict[str, Handler]:
        """Return the answers of cloudbuild.v1: the global shape and the regional one."""
        answers: dict[str, Handler] = {}
        for prefix in ("cloudbuild.projects.builds.", "cloudbuild.projects.locations.builds."):
            answers |= {
                f"{prefix}create": self._create,
                f"{prefix}get": self._get,
                f"{prefix}list": self._list,
                f"{prefix}cancel": self._cancel,
            }
        return answers

    async def stop(self) -> None:
        """Stop every build's clockwork."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _create(self, call: Call) -> dict[str, Any]:
        wanted = call.body
        bad = [tag for tag in wanted.get("tags", []) if not _TAG.match(tag)]
        if bad or not wanted.get("steps"):
            raise GoogleError("INVALID_ARGUMENT", f"invalid build: tags {bad}, {len(wanted.get('steps', []))} steps")
        if any(step.get("script") and (step.get("args") or step.get("entrypoint")) for step in wanted["steps"]):
            raise GoogleError("INVALID_ARGUMENT", "invalid build: a step with a script takes no entrypoint or args")
        build_id = str(uuid.uuid4())
        project = call.path.get("projectId") or call.path["projectsId"]
        build = {
            **wanted,
            "id": build_id,
            "projectId": project,
            "status": "QUEUED",
            "createTime": stamp(self._clock.now()),
            "logUrl": f"https://console.cloud.google.com/cloud-build/builds/{build_id}?project={project}",
        }
        self.builds[build_id] = build
        self._tasks[build_id] = asyncio.create_task(self._run(build, call.fault))
        return {
            "name": f"operations/build/{project}/{base64.b64encode(build_id.encode()).decode()}",
            "metadata": {
                "@type": "type.googleapis.com/google.devtools.cloudbuild.v1.BuildOperationMetadata",
                "build": build,
            },
        }

    async def _get(self, call: Call) -> dict[str, Any]:
        return self._build(call)

    def _build(self, call: Call) -> dict[str, Any]:
        build_id = call.path.get("id") or call.path["buildsId"]
        if build_id not in self.builds:
            raise GoogleError("NOT_FOUND", "Requested entity was not found.")
        return self.builds[build_id]

    async def _list(self, call: Call) -> dict[str, Any]:
        wanted = re.findall(r'tags\s*[=:]\s*"([^"]+)"', call.query.get("filter", ""))
        found = [b for b in reversed(self.builds.values()) if set(wanted) <= set(b.get("tags", []))]
        return {"builds": found}

    async def _cancel(self, call: Call) -> dict[str, Any]:
        build = self._build(call)
        if build["status"] in ACTIVE:
            self._tasks[build["id"]].cancel()
            build |= {"status": "CANCELLED", "finishTime": stamp(self._clock.now())}
        return build

    async def _run(self, build: dict[str, Any], fault: Mapping[str, Any] | None) -> None:
        await self._clock.sleep(self._durations_s["build_queue"])
        if fault and fault["kind"] == "build_status" and fault["status"] == "EXPIRED":
            self._end(build, "EXPIRED", fault.get("detail", "the build waited longer than its queue TTL"))
            return
        build |= {"status": "WORKING", "startTime": stamp(self._clock.now())}
        try:
            image = self._image(build)
        except (DockerfileError, ValueError) as error:
            await self._clock.sleep(self._durations_s["build_setup"])
            self._end(build, "FAILURE", f'build step 0 "{build["steps"][0]["name"]}" failed: {error}')
            return
        await self._phases(build, image, fault)

    async def _phases(self, build: dict[str, Any], image: Image, fault: Mapping[str, Any] | None) -> None:
        setting_up = self._clock.now()
        await self._clock.sleep(self._durations_s["build_setup"])
        limit_s = float(str(build.get("timeout", "3600s")).removesuffix("s"))
        seconds = self._build_s(image)
        began = self._clock.now()
        await self._clock.sleep(min(seconds, limit_s))
        if fault and fault["kind"] == "build_status":
            self._end(build, fault["status"], fault.get("detail", "told to"))
            return
        if seconds > limit_s:
            self._end(build, "TIMEOUT", "the build exceeded its timeout")
            return
        built = self._clock.now()
        await self._clock.sleep(image.compressed_bytes / self._durations_s["build_push_bytes_s"])
        if not self._registry.holds(image.reference):
            self._end(build, "FAILURE", f"push of {image.reference} failed: the repository does not exist", push=True)
            return
        self._push(build, image, [setting_up, began, built])

    def _push(self, build: dict[str, Any], image: Image, phases: Sequence[datetime]) -> None:
        setting_up, began, built = phases
        now = self._clock.now()
        self._world.push(replace(image, pushed_at=now))
        pushing = _span(built, now)
        build |= {
            "results": {"images": [{"name": image.reference, "digest": image.digest, "pushTiming": pushing}]},
            "timing": {"SETUPBUILD": _span(setting_up, began), "BUILD": _span(began, built), "PUSH": pushing},
        }
        self._end(build, "SUCCESS", "")

    def _end(self, build: dict[str, Any], status: str, detail: str, *, push: bool = False) -> None:
        build |= {"status": status, "finishTime": stamp(self._clock.now())}
        if detail:
            kind = "PUSH_FAILED" if push else "USER_BUILD_STEP"
            build |= {"statusDetail": detail, "failureInfo": {"type": kind, "detail": detail}}

    def _build_s(self, image: Image) -> float:
        base = sum(image.layer_bytes[:-1]) if len(image.layer_bytes) > 1 else image.compressed_bytes
        added = image.compressed_bytes - base
        rates = self._durations_s
        return base / rates["build_pull_bytes_s"] + added / rates["build_install_bytes_s"]

    def _image(self, build: Mapping[str, Any]) -> Image:
        if len(build.get("images", [])) != 1:
            raise ValueError("the simulator pushes exactly one image per build")
        reference = build["images"][0]
        text = _dockerfile(build["steps"])
        host = reference.partition("/")[0]
        region = host.removesuffix("-docker.pkg.dev")
        return built_image(self._world, text, reference, region=region, now=self._clock.now())


def _dockerfile(steps: list[Mapping[str, Any]]) -> str:
    for step in steps:
        found = _SCRIPT.search(step.get("script", ""))
        if not found or "docker" not in step["name"]:
            continue
        env = dict(entry.partition("=")[::2] for entry in step.get("env", []))
        try:
            return base64.b64decode(env.get(found.group(1), ""), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise ValueError(f"base64: invalid input in {found.group(1)}") from error
    raise ValueError("no step pipes a Dockerfile into `docker build`")


def _span(start: datetime, end: datetime) -> dict[str, str]:
    return {"startTime": stamp(start), "endTime": stamp(end)}
