"""EC2 and SSM of the stand-in: what happens around the calls that moto keeps the objects of."""

import base64
import binascii
import hashlib
import re
import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from aiohttp import web

from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.clouds.eks.calls import Call, iso, json_reply, refusal
from llm_provisioning_simulator.clouds.eks.machines import (
    DATA_DEVICE,
    Ami,
    Command,
    Machine,
    TakenSnapshot,
    carry_out,
    online,
    plan_command,
    snapshot_of,
    state_of,
    stored_gib,
)
from llm_provisioning_simulator.clouds.eks.moto import Moto
from llm_provisioning_simulator.world import World

_PARAMETER: Final = re.compile(
    r"/aws/service/bottlerocket/aws-k8s-(?P<minor>1\.\d+)(?P<nvidia>-nvidia)?/(?:x86_64|arm64)/latest/image_id"
)
# Minor versions that Bottlerocket published for EKS up to 2026; older ones are withdrawn with time.
PUBLISHED_MINORS: Final = tuple(f"1.{number}" for number in range(27, 36))
_UNFINISHED: Final = ("Pending", "InProgress")


class Compute:
    """Machines, their commands and their snapshots."""

    def __init__(
        self, world: World, clock: SimClock, moto: Moto, durations: Mapping[str, float], faults: Mapping[str, Any]
    ) -> None:
        self._world, self._clock, self._moto = world, clock, moto
        self._durations, self._faults = durations, faults
        self.machines: dict[str, Machine] = {}
        self.commands: dict[str, Command] = {}
        self.snapshots: dict[str, TakenSnapshot] = {}
        self.amis: dict[str, Ami] = {}
        self._launches: dict[str, bytes] = {}

    def ami(self, minor: str, *, nvidia: bool, alias: str = "") -> Ami:
        """Return the image of a minor version, the same id every time. `alias`: as in NodeSpec."""
        suffix = hashlib.sha256(f"{alias or 'bottlerocket'} {minor} {nvidia}".encode()).hexdigest()[:17]
        return self.amis.setdefault(f"ami-{suffix}", Ami(f"ami-{suffix}", minor, nvidia, alias))

    # --- time

    def move(self) -> None:
        """Bring machines, commands and snapshots to the present instant."""
        now = self._clock.now()
        for command in self.commands.values():
            self._settle(command)
        for machine in self.machines.values():
            name, code = state_of(machine, now, self._durations)
            self._moto.set_instance_state(machine.region, machine.instance_id, name, code)
        for taken in self.snapshots.values():
            self._move_snapshot(taken)

    def _settle(self, command: Command) -> None:
        """Let a command that has ended have happened, if its machine lived so long."""
        if command.settled or self._clock.now() < command.ends_at:
            return
        command.settled = True
        machine = self.machines[command.instance_id]
        ended_before = [at for at in (machine.stop_at, machine.terminate_at) if at and at < command.ends_at]
        if ended_before:
            command.status, command.details = "TimedOut", "DeliveryTimedOut"
        elif command.status == "Success":
            carry_out(machine, command.lines, self._world)

    def _move_snapshot(self, taken: TakenSnapshot) -> None:
        if self._clock.now() < taken.completes_at:
            self._moto.set_snapshot_state(taken.region, taken.snapshot_id, "pending")
        elif taken.fails:
            self._moto.set_snapshot_state(taken.region, taken.snapshot_id, "error")
        else:
            self._moto.set_snapshot_state(taken.region, taken.snapshot_id, "completed")
            self._world.snapshots.setdefault(taken.snapshot_id, snapshot_of(taken))

    # --- EC2, around moto

    def replay(self, call: Call) -> bytes | None:
        """Return the first reply to a RunInstances of this client token: EC2 starts nothing twice."""
        return self._launches.get(call.form.get("ClientToken", "")) if call.action == "RunInstances" else None

    def after(self, call: Call, reply: bytes) -> None:
        """Take note of what moto has just done."""
        actions = {
            "RunInstances": self._launched,
            "StopInstances": self._stopped,
            "TerminateInstances": self._terminated,
            "CreateSnapshot": self._snapshot_taken,
            "DeleteSnapshot": self._snapshot_deleted,
        }
        if call.action in actions:
            actions[call.action](call, reply)
            self.move()

    def _launched(self, call: Call, reply: bytes) -> None:
        if call.form.get("ClientToken"):
            self._launches[call.form["ClientToken"]] = reply
        ami = self.amis.get(call.form.get("ImageId", ""))
        user_data = _decoded(call.form.get("UserData", ""))
        for instance_id in dict.fromkeys(re.findall(r"<instanceId>(i-[0-9a-f]+)</instanceId>", reply.decode())):
            public = call.form.get("NetworkInterface.1.AssociatePublicIpAddress", "").lower() or None
            self.machines[instance_id] = Machine(
                instance_id,
                call.region,
                user_data,
                ami,
                self._clock.now(),
                reaches_aws=self._moto.reaches_aws(call.region, instance_id, public),
            )

    def _stopped(self, call: Call, reply: bytes) -> None:
        for instance_id in call.listed("InstanceId"):
            machine = self.machines.get(instance_id)
            if machine is not None and machine.stop_at is None:
                machine.stop_at = self._clock.now()

    def _terminated(self, call: Call, reply: bytes) -> None:
        for instance_id in call.listed("InstanceId"):
            machine = self.machines.get(instance_id)
            if machine is not None and machine.terminate_at is None:
                machine.terminate_at = self._clock.now()

    def _snapshot_taken(self, call: Call, reply: bytes) -> None:
        snapshot_id = re.search(r"<snapshotId>(snap-[0-9a-f]+)</snapshotId>", reply.decode())
        kept = self._moto.snapshot(call.region, snapshot_id[1]) if snapshot_id else None
        if snapshot_id is None or kept is None:
            return
        volume_id, size_gib = kept
        machine = self._holder(volume_id)
        images = machine.visible_images() if machine else {}
        seconds = self._durations["snapshot_base_s"] + self._durations["snapshot_s_per_gib"] * stored_gib(
            images, self._world
        )
        self.snapshots[snapshot_id[1]] = TakenSnapshot(
            snapshot_id=snapshot_id[1],
            region=call.region,
            size_gib=size_gib,
            images=images,
            minor=machine.ami.minor if machine and machine.ami else None,
            completes_at=self._clock.now() + timedelta(seconds=seconds),
            fails=bool(self._faults.get("snapshot_error")),
        )

    def _snapshot_deleted(self, call: Call, reply: bytes) -> None:
        self.snapshots.pop(call.form["SnapshotId"], None)
        self._world.snapshots.pop(call.form["SnapshotId"], None)

    def _holder(self, volume_id: str) -> Machine | None:
        """Return the machine whose data volume this is."""
        for machine in self.machines.values():
            if self._moto.volumes(machine.region, machine.instance_id).get(DATA_DEVICE) == volume_id:
                return machine
        return None

    # --- SSM, without moto

    def ssm(self, call: Call) -> web.Response | None:
        """Answer the calls that moto lacks or hurries; None for the others."""
        if call.action == "GetParameter" and call.body.get("Name", "").startswith("/aws/service/bottlerocket/"):
            return self._parameter(call)
        answers = {
            "DescribeInstanceInformation": self._information,
            "SendCommand": self._send,
            "ListCommands": self._list_commands,
            "GetCommandInvocation": self._invocation,
            "ListCommandInvocations": self._list_invocations,
        }
        return answers[call.action](call) if call.action in answers else None

    def _parameter(self, call: Call) -> web.Response:
        found = _PARAMETER.fullmatch(call.body["Name"])
        if found is None or found["minor"] not in PUBLISHED_MINORS:
            return refusal(call, "ParameterNotFound", "")
        ami = self.ami(found["minor"], nvidia=bool(found["nvidia"]))
        parameter = {"Name": call.body["Name"], "Type": "String", "Value": ami.ami_id, "Version": 1}
        return json_reply({"Parameter": parameter})

    def _information(self, call: Call) -> web.Response:
        chosen = {value for item in call.body.get("Filters", []) for value in item.get("Values", [])}
        now = self._clock.now()
        listed = [
            {
                "InstanceId": machine.instance_id,
                "PingStatus": "Online",
                "PlatformType": "Linux",
                "PlatformName": "Bottlerocket",
            }
            for machine in self.machines.values()
            if (not chosen or machine.instance_id in chosen) and online(machine, now, self._durations, self._faults)
        ]
        return json_reply({"InstanceInformationList": listed})

    def _send(self, call: Call) -> web.Response:
        (instance_id, *_) = call.body.get("InstanceIds", [""])
        machine, now = self.machines.get(instance_id), self._clock.now()
        if machine is None or not online(machine, now, self._durations, {}):
            return refusal(call, "InvalidInstanceId", f"Instances [[{instance_id}]] not in a valid state for account")
        parameters = call.body.get("Parameters", {})
        lines = list(parameters.get("commands", []))
        limit = float(parameters.get("executionTimeout", ["3600"])[0])
        seconds, status, output, error = plan_command(machine, lines, self._world, self._durations, self._faults, limit)
        # `Failed/Undeliverable`: a status and what it means.
        status, _, details = str(self._faults.get("command_status") or status).partition("/")
        command = Command(
            command_id=str(uuid.uuid4()),
            instance_id=instance_id,
            comment=call.body.get("Comment", ""),
            lines=lines,
            sent_at=now,
            ends_at=now + timedelta(seconds=seconds),
            status=status,
            details=details or ("ExecutionTimedOut" if status == "TimedOut" else status),
            output=output,
            error=error,
        )
        self.commands[command.command_id] = command
        if self._faults.get("instance_terminated"):
            machine.terminate_at = now
            self._moto.terminate(machine.region, instance_id)
        return json_reply({"Command": self._as_command(command, call.body.get("Parameters", {}))})

    def _list_commands(self, call: Call) -> web.Response:
        chosen = call.body.get("InstanceId")
        listed = [item for item in self.commands.values() if not chosen or item.instance_id == chosen]
        return json_reply({"Commands": [self._as_command(item, {"commands": item.lines}) for item in listed]})

    def _invocation(self, call: Call) -> web.Response:
        command = self.commands.get(call.body.get("CommandId", ""))
        if command is None or command.instance_id != call.body.get("InstanceId"):
            return refusal(call, "InvocationDoesNotExist", "")
        ended = command.settled
        return json_reply(
            {
                **self._as_invocation(command),
                "StandardOutputContent": command.output if ended else "",
                "StandardErrorContent": command.error if ended else "",
                "ResponseCode": (0 if command.status == "Success" else 1) if ended else -1,
                "ExecutionStartDateTime": iso(command.sent_at),
                "ExecutionEndDateTime": iso(command.ends_at) if ended else "",
            }
        )

    def _list_invocations(self, call: Call) -> web.Response:
        chosen = call.body.get("CommandId")
        listed = [item for item in self.commands.values() if not chosen or item.command_id == chosen]
        return json_reply({"CommandInvocations": [self._as_invocation(item) for item in listed]})

    def _as_command(self, command: Command, parameters: Mapping[str, Any]) -> dict[str, Any]:
        return {**self._as_invocation(command), "InstanceIds": [command.instance_id], "Parameters": dict(parameters)}

    def _as_invocation(self, command: Command) -> dict[str, Any]:
        return {
            "CommandId": command.command_id,
            "InstanceId": command.instance_id,
            "Comment": command.comment,
            "DocumentName": "AWS-RunShellScript",
            "Status": command.status if command.settled else "InProgress",
            "StatusDetails": command.details if command.settled else "InProgress",
            "RequestedDateTime": command.sent_at,
        }


def _decoded(user_data: str) -> str:
    try:
        return base64.b64decode(user_data).decode()
    except (binascii.Error, UnicodeDecodeError):
        return user_data
