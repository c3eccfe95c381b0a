"""The instance that fills a data volume: started, commanded through SSM, stopped, always terminated.

The builder is found again by its tags and its commands by their comment. So a repeated operation starts nothing twice,
and a second preparation of the same content shares both. What the volume is for is the caller's.
"""

import shlex
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from airflow_llm_provisioning.core.image_reference import ImageReference
from airflow_llm_provisioning.core.names import LABEL_CONTENT, LABEL_MANAGED_BY, OWNER
from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.gateways.clouds.eks.aws import AWS_ERRORS, Aws, error_code, filters, pairs
from airflow_llm_provisioning.gateways.clouds.eks.by_name import client_token
from airflow_llm_provisioning.gateways.clouds.eks.names import EksNames
from airflow_llm_provisioning.gateways.clouds.eks.nodes import DATA_DEVICE
from airflow_llm_provisioning.gateways.clouds.eks.tags import name_of, tags_of
from airflow_llm_provisioning.gateways.clouds.verbs import StepFailedError, started_at
from airflow_llm_provisioning.gateways.store.ledger import LedgerEntries

# The sample's own values for the data volume: the pull is bound by its throughput, not by the network.
DATA_IOPS: Final = 4000
DATA_THROUGHPUT_MIB_S: Final = 1000
LIFETIME: Final = timedelta(hours=6)
PULLING: Final = "pulling"
"""The step after which the volume is filled; commands are known by their step."""
# Without the admin container there is no way into the host, and no way to containerd.
USER_DATA: Final = "[settings.host-containers.admin]\nenabled = true\n"

ALIVE: Final = ("pending", "running", "stopping", "stopped")
# Every other status is an end (botocore 1.44, CommandInvocationStatus), also one that is not known yet.
_COMMAND_RUNS: Final = {"Pending", "InProgress", "Delayed", "Cancelling"}
_SHELTIE: Final = "apiclient exec admin sheltie"
_CTR: Final = f"{_SHELTIE} ctr -a /run/containerd/containerd.sock -n k8s.io"
_HOST_CTR: Final = f"{_SHELTIE} host-ctr --containerd-socket=/run/containerd/containerd.sock --namespace=k8s.io"
_REGISTRIES: Final = "--registry-config=/etc/host-containers/host-ctr.toml"
_CRI_LABEL: Final = "io.cri-containerd.image=managed"

STOP_KUBELET: Final = (f"{_SHELTIE} systemctl stop kubelet",)
CLEAR_IMAGES: Final = (
    f"images=$({_CTR} images ls -q)",
    f'if [ -n "$images" ]; then {_CTR} images rm $images; fi',
)


def pull_commands(image: str) -> tuple[str, ...]:
    """Return the commands that pull an image so that kubelet finds it, and print the names that are there then.

    The label makes it visible to the CRI plugin. host-ctr's options are those of its source and of Bottlerocket's own
    kubelet unit, which pulls the pause image so (bottlerocket-core-kit, host-ctr main.go; kubelet's prestart drop-in);
    `--label` is there since host-ctr pins that image, so in every release that is still published.
    """
    reference = shlex.quote(ImageReference.parse(image).full())
    return (
        f"{_HOST_CTR} pull-image --source={reference} {_REGISTRIES} --label={_CRI_LABEL}",
        f"{_CTR} images label {reference} {_CRI_LABEL}",
        f"{_CTR} images ls -q",
    )


class Builder:
    """The builder of one operation; its state is in AWS and in the operation, none is kept here."""

    def __init__(self, aws: Aws, entries: LedgerEntries, names: EksNames) -> None:
        self._aws, self._entries, self._names = aws, entries, names

    def intend(self, operation: Operation) -> str:
        """Write the intent of an instance in the ledger; return the entry."""
        return self._entries.intend(
            "instance", name_of(operation), tags_of(operation, LIFETIME), started_at(operation) + LIFETIME
        )

    def launch(self, operation: Operation) -> str:
        """Return the running builder of this content, or start one."""
        entry = self.intend(operation)
        alive = self._of_content(operation, ALIVE)
        if alive:
            instance_id = str(alive[0]["InstanceId"])
        else:
            reply = self._aws.client("ec2").run_instances(**self._launch_request(operation))
            instance_id = str(reply["Instances"][0]["InstanceId"])
        self._entries.created(entry, instance_id)
        return instance_id

    def online(self, operation: Operation) -> bool:
        """Return whether SSM reaches the builder."""
        chosen = [{"Key": "InstanceIds", "Values": [self._living(operation)]}]
        listed = self._aws.client("ssm").describe_instance_information(Filters=chosen)["InstanceInformationList"]
        return any(item.get("PingStatus") == "Online" for item in listed)

    def run(self, operation: Operation, commands: Sequence[str]) -> dict[str, Any] | None:
        """Return the ended invocation of this step's commands, None while they run; raise if they ended otherwise."""
        instance_id = self._living(operation)
        command_id = self._sent(operation, instance_id) or self._send(operation, instance_id, commands)
        try:
            reply = self._aws.client("ssm").get_command_invocation(CommandId=command_id, InstanceId=instance_id)
        except AWS_ERRORS as error:
            # A command is not known to every host of SSM at once.
            if error_code(error) in ("InvocationDoesNotExist", "InvalidCommandId"):
                return None
            raise
        if reply["Status"] in _COMMAND_RUNS:
            return None
        if reply["Status"] != "Success":
            said = str(reply.get("StandardErrorContent") or reply.get("StandardOutputContent") or "").strip()
            status = reply.get("StatusDetails") or reply["Status"]
            raise StepFailedError(
                f"the command on {instance_id} ended as {status}" + (f", saying: {said[-300:]}" if said else "")
            )
        return dict(reply)

    def filled(self, operation: Operation) -> bool:
        """Return whether the builder was stopped after its volume was filled: another preparation may do both."""
        instance_id, state = self._state(operation)
        if state not in ("stopping", "stopped"):
            return False
        wanted = _comment(operation.at(PULLING, current=PULLING), "")
        return any(
            command.get("Comment", "").startswith(wanted) and command.get("Status") == "Success"
            for command in self._commands(instance_id)
        )

    def stopped(self, operation: Operation) -> bool:
        """Stop the builder; return whether it has stopped, so that nothing writes to its volume any more."""
        instance_id, state = self._state(operation)
        if state == "running":
            self._aws.client("ec2").stop_instances(InstanceIds=[instance_id])
        elif state not in ("stopping", "stopped"):
            raise _underneath(instance_id, state)
        return state == "stopped"

    def data_volume(self, operation: Operation) -> str:
        """Return the id of the volume that was filled."""
        instance_id = operation.progress["instance_id"]
        reply = self._aws.client("ec2").describe_instances(InstanceIds=[instance_id])
        for item in reply["Reservations"][0]["Instances"][0].get("BlockDeviceMappings", []):
            if item["DeviceName"] == DATA_DEVICE:
                return str(item["Ebs"]["VolumeId"])
        raise StepFailedError(f"the builder {instance_id} has no volume at {DATA_DEVICE}")

    def still_there(self, operation: Operation) -> list[str]:
        """Terminate every builder of this content; return those that are not gone yet."""
        standing = self._of_content(operation, (*ALIVE, "shutting-down"))
        alive = [item["InstanceId"] for item in standing if item["State"]["Name"] in ALIVE]
        if alive:
            self._aws.client("ec2").terminate_instances(InstanceIds=alive)
            standing = self._of_content(operation, (*ALIVE, "shutting-down"))
        if not standing:
            self._entries.gone("instance", name=name_of(operation))
        return [str(item["InstanceId"]) for item in standing]

    def _launch_request(self, operation: Operation) -> dict[str, Any]:
        progress, names = operation.progress, self._names
        tags = pairs(tags_of(operation, LIFETIME))
        volume = {
            "VolumeSize": progress["volume_gib"],
            "VolumeType": "gp3",
            "Iops": DATA_IOPS,
            "Throughput": DATA_THROUGHPUT_MIB_S,
            "DeleteOnTermination": True,
        }
        request: dict[str, Any] = {
            "ImageId": progress["ami_id"],
            "InstanceType": operation.request.get("instance_type") or names.builder_instance_type,
            "MinCount": 1,
            "MaxCount": 1,
            # The same token answers with the same instance: a lost reply starts no second one.
            "ClientToken": client_token(progress["token"], progress["content"]),
            "IamInstanceProfile": {"Name": names.builder_instance_profile},
            "UserData": USER_DATA,
            "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 2},
            "BlockDeviceMappings": [{"DeviceName": DATA_DEVICE, "Ebs": volume}],
            "TagSpecifications": [{"ResourceType": kind, "Tags": tags} for kind in ("instance", "volume")],
        }
        return {**request, **self._network(operation)}

    def _network(self, operation: Operation) -> dict[str, Any]:
        """Return where the builder stands. EC2 takes a public address in a network interface only, beside its subnet
        and groups.
        """
        subnet, groups = subnet_of(operation, self._names), list(self._names.security_group_ids)
        public = operation.progress.get("public_ip")
        if public is None:
            told = {"SubnetId": subnet, "SecurityGroupIds": groups}
            return {key: value for key, value in told.items() if value}
        told = {"SubnetId": subnet, "Groups": groups}
        interface = {"DeviceIndex": 0, "AssociatePublicIpAddress": public, "DeleteOnTermination": True}
        return {"NetworkInterfaces": [interface | {key: value for key, value in told.items() if value}]}

    def _of_content(self, operation: Operation, states: Sequence[str]) -> list[dict[str, Any]]:
        ours = {LABEL_MANAGED_BY: OWNER, LABEL_CONTENT: operation.progress["content"]}
        wanted = filters(ours, instance_state_name=list(states))
        pages = self._aws.client("ec2").get_paginator("describe_instances").paginate(Filters=wanted)
        found = [item for page in pages for group in page["Reservations"] for item in group["Instances"]]
        return sorted(found, key=lambda item: item["LaunchTime"])

    def _state(self, operation: Operation) -> tuple[str, str]:
        instance_id = str(operation.progress["instance_id"])
        try:
            reply = self._aws.client("ec2").describe_instances(InstanceIds=[instance_id])
        except AWS_ERRORS as error:
            if not error_code(error).startswith("InvalidInstanceID"):
                raise
            # A new instance is not visible everywhere at once; one that stays away ends by the step's deadline.
            return instance_id, "pending"
        return instance_id, str(reply["Reservations"][0]["Instances"][0]["State"]["Name"])

    def _living(self, operation: Operation) -> str:
        instance_id, state = self._state(operation)
        if state not in ("pending", "running"):
            raise _underneath(instance_id, state)
        return instance_id

    def _sent(self, operation: Operation, instance_id: str) -> str | None:
        """Return the command of this step that was sent already, by the comment it carries: our own however it ended,
        another preparation's while it runs or when it went well.
        """
        of_step, own = _comment(operation, ""), _comment(operation)
        shared = None
        for command in self._commands(instance_id):
            comment, status = command.get("Comment", ""), command.get("Status")
            if comment == own:
                return str(command["CommandId"])
            if comment.startswith(of_step) and (status in _COMMAND_RUNS or status == "Success"):
                shared = str(command["CommandId"])
        return shared

    def _commands(self, instance_id: str) -> list[dict[str, Any]]:
        pages = self._aws.client("ssm").get_paginator("list_commands").paginate(InstanceId=instance_id)
        return [command for page in pages for command in page["Commands"]]

    def _send(self, operation: Operation, instance_id: str, commands: Sequence[str]) -> str:
        limits = self._names.deadlines
        limit = limits.pull_s if operation.progress["current"] == PULLING else limits.command_s
        reply = self._aws.client("ssm").send_command(
            InstanceIds=[instance_id],
            DocumentName="AWS-RunShellScript",
            Comment=_comment(operation),
            TimeoutSeconds=600,
            Parameters={"commands": ["set -eu", *commands], "executionTimeout": [str(int(limit))]},
        )
        return str(reply["Command"]["CommandId"])


def subnet_of(operation: Operation, names: EksNames) -> str | None:
    """Return the subnet that the request or the connection names; None for the default VPC's."""
    return operation.request.get("subnet_id") or names.subnet_id or None


def _comment(operation: Operation, token: str | None = None) -> str:
    """Return what a step's command is known by; SSM allows 100 characters. The token tells preparations apart."""
    return f"{OWNER} {operation.progress['current']}: {operation.progress['token'][:12] if token is None else token}"[
        :100
    ]


def _underneath(instance_id: str, state: str) -> StepFailedError:
    return StepFailedError(f"the builder {instance_id} is {state}: something outside ended it while it was needed")
