"""EKS and the nodes' side of EC2: clusters and running nodes come from the World, not from moto."""

import base64
import hashlib
from collections.abc import Callable, Iterable
from xml.sax.saxutils import escape

from aiohttp import web

from llm_provisioning_simulator.clouds.eks.calls import EC2_NAMESPACE, Call, json_reply, refusal, xml_reply
from llm_provisioning_simulator.clouds.eks.compute import Compute
from llm_provisioning_simulator.clouds.eks.machines import DATA_DEVICE, Ami
from llm_provisioning_simulator.world import GP3_BASELINE_MIB_S, NodeSpec, World


class Clusters:
    """What AWS says about the simulated clusters and their nodes."""

    def __init__(self, world: World, compute: Compute, account: str, auto_mode: set[str]) -> None:
        self._world, self._compute, self._account, self._auto_mode = world, compute, account, auto_mode

    def eks(self, call: Call) -> web.Response | None:
        """Answer ListClusters and DescribeCluster."""
        here = [item for item in self._world.clusters.values() if item.cloud == "eks" and item.region == call.region]
        if call.action == "GET /clusters":
            return json_reply({"clusters": [item.name for item in here]})
        name = call.action.removeprefix("GET /clusters/")
        if name == call.action or "/" in name:
            return None
        found = next((item for item in here if item.name == name), None)
        if found is None:
            return refusal(call, "ResourceNotFoundException", f"No cluster found for name: {name}.", 404)
        cluster = {
            "name": name,
            "arn": f"arn:aws:eks:{found.region}:{self._account}:cluster/{name}",
            "version": ".".join(found.kubernetes_version.removeprefix("v").split(".")[:2]),
            "endpoint": found.server or "",
            "status": "ACTIVE" if found.server else "CREATING",
            "certificateAuthority": {"data": ""},
            "computeConfig": {"enabled": name in self._auto_mode},
        }
        return json_reply({"cluster": cluster})

    def ec2(self, call: Call) -> web.Response | None:
        """Answer what is asked about nodes and Bottlerocket images; None for the machines that moto holds."""
        if call.action == "DescribeInstances":
            wanted = {*call.listed("InstanceId"), *call.filters().get("instance-id", [])}
            nodes = self._nodes(wanted)
            return xml_reply(_instances(nodes, self._ami_of)) if nodes else None
        if call.action == "DescribeInstanceAttribute" and call.form.get("Attribute") == "userData":
            nodes = self._nodes({call.form.get("InstanceId", "")})
            return xml_reply(_user_data(nodes[0])) if nodes else None
        if call.action == "DescribeVolumes":
            wanted = {*call.listed("VolumeId"), *call.filters().get("volume-id", [])}
            volumes = [node for node in self._world.nodes.values() if volume_id(node) in wanted]
            return xml_reply(_volumes(volumes)) if volumes else None
        if call.action == "DescribeImages":
            amis = [self._compute.amis[item] for item in call.listed("ImageId") if item in self._compute.amis]
            return xml_reply(_images(amis)) if amis else None
        return None

    def _nodes(self, wanted: set[str]) -> list[NodeSpec]:
        return [node for node in self._world.nodes.values() if instance_id(node) in wanted]

    def _ami_of(self, node: NodeSpec) -> str:
        cluster = self._world.clusters.get(node.cluster)
        version = cluster.kubernetes_version.removeprefix("v") if cluster else "1.31"
        return self._compute.ami(".".join(version.split(".")[:2]), nvidia=bool(node.gpu), alias=node.ami_alias).ami_id


def instance_id(node: NodeSpec) -> str:
    """Return the instance a node's provider id names (`aws:///<zone>/<instance>`)."""
    return node.provider_id.rpartition("/")[2]


def volume_id(node: NodeSpec) -> str:
    """Return the id of a node's data volume."""
    return "vol-" + hashlib.sha256(node.provider_id.encode()).hexdigest()[:17]


def _instances(nodes: Iterable[NodeSpec], ami_of: Callable[[NodeSpec], str]) -> str:
    items = "".join(
        f"<item><instancesSet><item><instanceId>{instance_id(node)}</instanceId>"
        f"<imageId>{ami_of(node)}</imageId>"
        f"<instanceState><code>16</code><name>running</name></instanceState>"
        f"<instanceType>{escape(node.instance_type)}</instanceType>"
        f"<placement><availabilityZone>{escape(node.zone)}</availabilityZone></placement>"
        f"<blockDeviceMapping><item><deviceName>{DATA_DEVICE}</deviceName>"
        f"<ebs><volumeId>{volume_id(node)}</volumeId><status>attached</status></ebs></item></blockDeviceMapping>"
        "</item></instancesSet></item>"
        for node in nodes
    )
    return _wrap("DescribeInstances", f"<reservationSet>{items}</reservationSet>")


def _user_data(node: NodeSpec) -> str:
    value = base64.b64encode(node.user_data.encode()).decode()
    held = f"<value>{value}</value>" if value else ""
    named = f"<instanceId>{instance_id(node)}</instanceId>"
    return _wrap("DescribeInstanceAttribute", f"{named}<userData>{held}</userData>")


def _volumes(nodes: Iterable[NodeSpec]) -> str:
    items = "".join(
        f"<item><volumeId>{volume_id(node)}</volumeId><size>{node.data_volume_gib or 20}</size>"
        f"<snapshotId>{node.snapshot_id or ''}</snapshotId><status>in-use</status><volumeType>gp3</volumeType>"
        + (
            f"<volumeInitializationRate>{node.volume_initialization_rate_mib_s}</volumeInitializationRate>"
            if node.volume_initialization_rate_mib_s
            else ""
        )
        + (f"<throughput>{node.data_volume_throughput_mib_s or GP3_BASELINE_MIB_S}</throughput>")
        + "</item>"
        for node in nodes
    )
    return _wrap("DescribeVolumes", f"<volumeSet>{items}</volumeSet>")


def _images(amis: Iterable[Ami]) -> str:
    items = "".join(f"<item><imageId>{ami.ami_id}</imageId><name>{ami.name}</name></item>" for ami in amis)
    return _wrap("DescribeImages", f"<imagesSet>{items}</imagesSet>")


def _wrap(action: str, content: str) -> str:
    return f'<{action}Response xmlns="{EC2_NAMESPACE}"><requestId>simulated</requestId>{content}</{action}Response>'
