"""AWS for the simulated EKS clusters on 127.0.0.1: moto, behind a front that answers what moto lacks or hurries.

The front takes every request. CodeBuild's builds, SSM's commands and Bottlerocket parameters, EKS's clusters and the
simulated nodes' instances it answers itself; everything else goes to moto, whose instances and snapshots it moves in
virtual time. What the calls left behind (images, snapshots) is written into the World, and only that.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web
from multidict import CIMultiDict

from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.clouds.eks.builds import BUILD_DURATIONS
from llm_provisioning_simulator.clouds.eks.calls import Call, json_reply, read_call, refusal, xml_reply
from llm_provisioning_simulator.clouds.eks.clusters import Clusters
from llm_provisioning_simulator.clouds.eks.codebuild import CodeBuild
from llm_provisioning_simulator.clouds.eks.compute import Compute
from llm_provisioning_simulator.clouds.eks.machines import MACHINE_DURATIONS
from llm_provisioning_simulator.clouds.eks.moto import Moto
from llm_provisioning_simulator.loopback import Loopback
from llm_provisioning_simulator.world import World, normalise

# moto's own account for callers without credentials of its making.
ACCOUNT: Final = "123456789012"
BUILDER_PROFILE: Final = "llm-provisioning-builder"
CODEBUILD_ROLE: Final = "llm-provisioning-codebuild"
CODEBUILD_ROLE_ARN: Final = f"arn:aws:iam::{ACCOUNT}:role/{CODEBUILD_ROLE}"
"""What docs/eks.md has the user make once; the simulated account has it."""

FAULTS: Final[Mapping[str, Any]] = {
    "ssm_never_online": False,
    "pull_fails": False,
    "pull_times_out": False,
    "command_status": None,  # every command ends so: Cancelled, TimedOut, Failed/Undeliverable, ...
    "instance_terminated": False,  # the builder is terminated from outside when its next command arrives
    "snapshot_error": False,
    "build": None,  # FAILED, FAULT or TIMED_OUT
    "throttle": {},  # call name (`ec2.RunInstances`, or `*`) -> how many times
    "expired_token": {},  # the same
    "lost_reply": {},  # the same: carried out, and the connection is cut before the reply
}
_NOT_FORWARDED: Final = {"content-length", "expect", "connection", "transfer-encoding"}
_NOT_RETURNED: Final = {"content-length", "connection", "transfer-encoding", "date", "server"}


class EksStandIn:
    """One AWS account at one address. `faults` may be changed at any time, also by POST /_simulator/faults."""

    def __init__(
        self,
        world: World,
        clock: SimClock,
        *,
        region: str = "us-west-2",
        durations: Mapping[str, float] | None = None,
        seeded: bool = True,
    ) -> None:
        """`region`: the connection's; every region is served. `durations` overrides single entries of MACHINE_DURATIONS
        and BUILD_DURATIONS. `seeded`: the roles of docs/eks.md exist.
        """
        self.region = region
        self.world, self.clock = world, clock
        self.durations = {**MACHINE_DURATIONS, **BUILD_DURATIONS, **(durations or {})}
        self.faults: dict[str, Any] = {
            name: dict(value) if isinstance(value, dict) else value for name, value in FAULTS.items()
        }
        self.auto_mode_clusters: set[str] = set()
        self.calls: list[str] = []
        """Every call by name, in order: `ec2.RunInstances`, ..."""
        self._seeded = seeded
        self._moto = Moto(ACCOUNT)
        self.compute = Compute(world, clock, self._moto, self.durations, self.faults)
        self.codebuild = CodeBuild(world, clock, self._moto, self.durations, self.faults)
        self._clusters = Clusters(world, self.compute, ACCOUNT, self.auto_mode_clusters)
        self._loopback = Loopback()

    async def start(self, port: int = 0) -> dict[str, str]:
        """Start the server; return {"aws": url} for every service."""
        await self._moto.start()
        if self._seeded:
            await asyncio.to_thread(self._moto.add_roles, [CODEBUILD_ROLE], [BUILDER_PROFILE])
        app = web.Application(client_max_size=64 * 1024**2)
        app.router.add_get("/_simulator/faults", self._show_faults)
        app.router.add_post("/_simulator/faults", self._set_fault)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        return {"aws": await self._loopback.serve(runner, port)}

    async def stop(self) -> None:
        """Stop the server."""
        await self._loopback.stop()

    # --- requests

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        call = read_call(request, raw)
        self.calls.append(call.name)
        fault = self._fault(call)
        if fault is not None:
            return fault
        self.compute.move()
        self.codebuild.move()
        reply = self._presigned(request) or self._own(call) or await self._forwarded(request, call, raw)
        if self._counted("lost_reply", call) and request.transport is not None:
            request.transport.abort()
        return reply

    def _own(self, call: Call) -> web.Response | None:
        if call.service == "ssm":
            return self.compute.ssm(call)
        if call.service == "codebuild":
            return self.codebuild.answer(call)
        if call.service == "eks":
            return self._clusters.eks(call)
        if call.service == "ec2":
            again = self.compute.replay(call)
            return xml_reply(again.decode()) if again is not None else self._clusters.ec2(call)
        return None

    def _presigned(self, request: web.Request) -> web.Response | None:
        """Answer a presigned GetCallerIdentity, which a cluster fetches to know who holds the token."""
        if request.query.get("Action") != "GetCallerIdentity" or "X-Amz-Signature" not in request.query:
            return None
        identity = (
            f"<Arn>arn:aws:iam::{ACCOUNT}:user/simulated</Arn><UserId>simulated</UserId><Account>{ACCOUNT}</Account>"
        )
        return xml_reply(
            '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
            f"<GetCallerIdentityResult>{identity}</GetCallerIdentityResult></GetCallerIdentityResponse>"
        )

    async def _forwarded(self, request: web.Request, call: Call, raw: bytes) -> web.Response:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _NOT_FORWARDED}
        status, answered, body = await self._moto.call(request.method, request.raw_path, headers, raw)
        if status < 300 and call.service == "ec2":
            self.compute.after(call, body)
        if status < 300 and call.service == "ecr" and "Delete" in call.action:
            self._forget_deleted_images(call.region)
        kept = [(name, value) for name, value in answered if name.lower() not in _NOT_RETURNED]
        return web.Response(body=body, status=status, headers=CIMultiDict(kept))

    def _forget_deleted_images(self, region: str) -> None:
        """Take out of the World what ECR no longer has: nothing can pull it any more."""
        here = normalise(f"{ACCOUNT}.dkr.ecr.{region}.amazonaws.com/x").partition("/")[0]
        kept = self._moto.image_digests(region)
        for reference, image in list(self.world.images.items()):
            if reference.startswith(f"{here}/") and image.digest not in kept:
                del self.world.images[reference]

    # --- faults

    def _fault(self, call: Call) -> web.Response | None:
        if self._counted("throttle", call):
            code = "RequestLimitExceeded" if call.service == "ec2" else "ThrottlingException"
            return refusal(call, code, "Rate exceeded", 503 if call.service == "ec2" else 400)
        if self._counted("expired_token", call):
            return refusal(call, "ExpiredTokenException", "The security token included in the request is expired", 400)
        return None

    def _counted(self, name: str, call: Call) -> bool:
        """Use up one of a fault's times, for this call or for any."""
        left = self.faults[name]
        for key in (call.name, "*"):
            if left.get(key, 0) > 0:
                left[key] -= 1
                return True
        return False

    async def _show_faults(self, request: web.Request) -> web.Response:
        return json_reply(self.faults)

    async def _set_fault(self, request: web.Request) -> web.Response:
        wanted = json.loads(await request.read())
        if wanted.get("name") not in FAULTS:
            return web.json_response(
                {"error": f"no fault {wanted.get('name')!r}", "faults": sorted(FAULTS)}, status=404
            )
        self.faults[wanted["name"]] = wanted.get("value")
        return json_reply(self.faults)
