"""Dragonfly's programs in pods: scheduler, dfdaemon as peer or seed peer, dfinit; and what waits for a node's peer.

Their configuration is read from the ConfigMaps that their pods mount, as far as it decides where layers come from.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import yaml

from llm_provisioning_simulator.app.logs import PodLogs
from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.kube.store import ObjectStore
from llm_provisioning_simulator.peers import Peer, PeerNetwork
from llm_provisioning_simulator.profiles import Profile
from llm_provisioning_simulator.runtime import ContainerContext

_WAITS: Final = re.compile(r'nc -z -w \d+ "\$NODE_IP" (\d+).*?-ge (\d+) .*?exit (\d)')
_LAYER: Final = "https://host/v2/name/blobs/sha256:0"


class DragonflyPods:
    """The programs of one cluster's Dragonfly."""

    def __init__(self, store: ObjectStore, clock: SimClock, profile: Profile, network: PeerNetwork) -> None:
        self._store = store
        self._clock = clock
        self._profile = profile
        self._network = network

    def knows(self, ctx: ContainerContext) -> bool:
        """Tell whether a container runs one of the programs, or waits for one."""
        return _program(ctx) != "" or _waits(ctx) is not None

    async def run_init(self, ctx: ContainerContext, logs: PodLogs) -> int:
        """Run dfinit, or the wait for a peer, to its end."""
        if (waited := _waits(ctx)) is not None:
            return await self._wait(ctx, logs, *waited)
        runtime = mapping(mapping(self._file(ctx, "dfinit.yaml").get("containerRuntime")).get("containerd"))
        if not runtime.get("configPath"):
            return 1
        named = [str(mapping(one).get("hostNamespace")) for one in runtime.get("registries") or ()]
        self._network.mirrors[ctx.node.name] = None if runtime.get("proxyAllRegistries") else frozenset(named)
        return 0

    async def run(self, ctx: ContainerContext, logs: PodLogs) -> None:
        """Run the scheduler or dfdaemon: after a moment it does its part, until `stopped`."""
        await self._clock.sleep(self._profile.value("peer_start_s"))
        metadata = ctx.pod["metadata"]
        if _program(ctx) == "scheduler":
            self._network.schedulers.add(metadata["uid"])
            return
        while not self._network.schedulers:
            # dfdaemon does not serve before it has found a scheduler (dynconfig/local.rs, AvailableSchedulersNotFound).
            await self._clock.sleep(1.0)
        settings = self._file(ctx, "dfdaemon.yaml")
        proxy = mapping(settings.get("proxy"))
        rules = [str(mapping(rule).get("regex")) for rule in proxy.get("rules") or ()]
        container = ctx.container["name"]
        console = "--console" in (ctx.container.get("args") or ())
        stored = self._store.peek("pods", metadata["name"], metadata["namespace"]) or ctx.pod

        def say(told: str) -> None:
            logs.output(f"{self._clock.now().isoformat().replace('+00:00', 'Z')} {told}", container)

        peer = self._network.peers[metadata["uid"]] = Peer(
            pod=metadata["name"],
            node=ctx.node.name,
            address=str((stored.get("status") or {}).get("podIP") or "10.0.0.1"),
            seed=bool(mapping(settings.get("seedPeer")).get("enable")),
            proxies=any(re.search(rule, _LAYER) for rule in rules),
            by_digest=bool(mapping(proxy.get("registryMirror")).get("enableTaskIDBasedBlobDigest")),
            say=say if console else None,
        )
        peer.log("dragonfly-client/src/proxy/mod.rs:190", "proxy server listening on 0.0.0.0:4001")

    def probe(self, pod: Mapping[str, Any], container: str) -> str | None:
        """Answer a probe of one of the programs: it fails until the program does its part. Others succeed."""
        uid = pod["metadata"]["uid"]
        named = next((one["image"] for one in pod["spec"]["containers"] if one["name"] == container), "")
        if "dragonflyoss/" not in named:
            return None
        if uid in self._network.peers or uid in self._network.schedulers:
            return None
        return "timeout: failed to connect service within 1s: context deadline exceeded"

    def stopped(self, pod: Mapping[str, Any]) -> None:
        """Take a pod's program out."""
        self._network.peers.pop(pod["metadata"]["uid"], None)
        self._network.schedulers.discard(pod["metadata"]["uid"])

    async def _wait(self, ctx: ContainerContext, logs: PodLogs, port: int, limit_s: int, failure: int) -> int:
        name, waited = ctx.container["name"], 0
        while self._network.listening(ctx.node.name) is None or port != 4001:
            if waited >= limit_s:
                logs.output(f"no peer on {ctx.node.name} after {waited} s", name)
                return failure
            await self._clock.sleep(1.0)
            waited += 1
        logs.output(f"peer on {ctx.node.name} after {waited} s", name)
        return 0

    def _file(self, ctx: ContainerContext, name: str) -> Mapping[str, Any]:
        """Return a configuration file of a container; empty where it mounts none."""
        metadata, spec = ctx.pod["metadata"], ctx.pod["spec"]
        mounts = [mount for mount in ctx.container.get("volumeMounts") or () if mount["mountPath"].endswith(f"/{name}")]
        for mount in mounts:
            volume: Mapping[str, Any] = next(
                (one for one in spec.get("volumes") or () if one["name"] == mount["name"]), {}
            )
            named = mapping(volume.get("configMap")).get("name", "")
            found = self._store.peek("configmaps", named, metadata["namespace"]) or {}
            return mapping(yaml.safe_load((found.get("data") or {}).get(mount.get("subPath") or name) or "{}"))
        return {}


def mapping(value: Any) -> Mapping[str, Any]:
    """Return a mapping; an empty one for anything else."""
    return value if isinstance(value, Mapping) else {}


def _program(ctx: ContainerContext) -> str:
    """Return which of Dragonfly's programs a container runs; empty for none."""
    _, found, rest = ctx.image.reference.partition("dragonflyoss/")
    return rest.partition(":")[0] if found and not ctx.container.get("command") else ""


def _waits(ctx: ContainerContext) -> tuple[int, int, int] | None:
    """Return port, limit and exit code at the limit of a script that waits for a peer, or None."""
    script = " ".join(str(part) for part in ctx.container.get("command") or ())
    found = _WAITS.search(script)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None
