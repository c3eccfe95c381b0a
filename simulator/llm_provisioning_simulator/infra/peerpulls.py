"""A pull through the node's peer: every layer from a peer that holds it, else from the registry.

A seed peer that does not hold a layer fetches it from the registry while others already get it. dfdaemon writes what it
gets to its own store on the node's disk, and the runtime unpacks from there (dragonflyoss/client, resource/piece.rs).
"""

from llm_provisioning_simulator.infra import delivery
from llm_provisioning_simulator.infra.machines import ClusterContext
from llm_provisioning_simulator.peers import Peer, layer_digests
from llm_provisioning_simulator.world import Image, NodeSpec, digest_of, normalise

_DOWNLOAD = "download_task: dragonfly-client/src/grpc/dfdaemon_download.rs"
_TASK = "download_task: dragonfly-client/src/resource/task.rs"


async def pull_through(ctx: ClusterContext, peer: Peer, reference: str, image: Image, node: NodeSpec) -> None:
    """Let a pull through a peer pass."""
    network = ctx.peers
    network.pulling += 1
    try:
        seeds = network.seeds()
        seed = seeds[0] if seeds else None
        held = [digest for digest in layer_digests(image) if any(digest in one.held for one in seeds)]
        tasks = {digest: _task(peer, reference, digest) for digest in layer_digests(image)}
        for digest, task in tasks.items():
            _say_started(peer, reference, digest, task)
            if seed is not None and digest not in held:
                _say_started(seed, reference, digest, task)
        await ctx.clock.sleep(
            delivery.peer_pull_s(image, ctx.profile, ctx.rng, node, len(held) / len(tasks), network.pulling)
        )
        for digest, task in tasks.items():
            if seed is not None and digest not in held:
                _end(ctx, seed, digest, task, None)
            _end(ctx, peer, digest, task, seed)
    finally:
        network.pulling -= 1


def _task(peer: Peer, reference: str, digest: str) -> str:
    return digest if peer.by_digest else digest_of("task", reference, digest).removeprefix("sha256:")


def _say_started(peer: Peer, reference: str, digest: str, task: str) -> None:
    host, _, path = normalise(reference).partition("/")
    repository = path.partition("@")[0].rpartition(":")[0] or path
    server = "registry-1.docker.io" if host == "docker.io" else host
    url = f"https://{server}/v2/{repository}/blobs/sha256:{digest}?ns={host}"
    told = f'download task started: Download {{ url: "{url}", digest: None, range: None, r#type: Standard }}'
    peer.log(f"{_DOWNLOAD}:401", f'{told} host_id="{peer.address}-{peer.pod}" task_id="{task}"')


def _end(ctx: ClusterContext, peer: Peer, digest: str, task: str, parent: Peer | None) -> None:
    """Say where a layer's first piece came from, and that the layer is there."""
    source = f'from parent Some("{parent.peer_id}") using protocol tcp' if parent else "from source"
    peer.log(f"{_TASK}:1406", f"finished piece {task}-0 {source}")
    named = f'host_id="{peer.address}-{peer.pod}" task_id="{task}" peer_id="{peer.peer_id}"'
    peer.log(f"{_DOWNLOAD}:454", f"download task succeeded {named}")
    peer.held[digest] = ctx.clock.now()
