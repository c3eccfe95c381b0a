"""The hub's stand-in satisfies the real huggingface_hub client."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError

from llm_provisioning_simulator.hub import MODELS, PHI3, HubModel, HubServer

SMALL = HubModel(
    "acme/tiny", "0123456789abcdef0123456789abcdef01234567", {"config.json": 40, "model.safetensors": 3_000_000}
)


@pytest.fixture
async def hub() -> AsyncIterator[tuple[HubServer, str]]:
    """A hub with the profile's model and a small one."""
    server = HubServer({**MODELS, SMALL.model_id: SMALL})
    url = await server.start()
    yield server, url
    await server.stop()


async def test_revision_and_weight_bytes_are_resolved(hub: tuple[HubServer, str]) -> None:
    """What pins a trial's model: the commit, and the size of every file."""
    api = HfApi(endpoint=hub[1])
    info = await asyncio.to_thread(api.model_info, PHI3.model_id, files_metadata=True)
    assert info.sha == PHI3.revision
    weights = [item.size for item in info.siblings or [] if item.rfilename.endswith(".safetensors")]
    assert sum(size or 0 for size in weights) == PHI3.weight_bytes == 7_642_181_880


async def test_a_snapshot_is_downloaded_whole(hub: tuple[HubServer, str], tmp_path: Path) -> None:
    """Listing, HEADs, redirect and GET, at the pinned revision."""
    folder = await asyncio.to_thread(
        snapshot_download, SMALL.model_id, revision=SMALL.revision, endpoint=hub[1], cache_dir=tmp_path
    )
    assert _sizes(Path(folder)) == dict(SMALL.files)


async def test_missing_things_are_told_apart(hub: tuple[HubServer, str], tmp_path: Path) -> None:
    """The client raises its own errors for a repository and for a file that is not there."""
    api = HfApi(endpoint=hub[1])
    with pytest.raises(RepositoryNotFoundError):
        await asyncio.to_thread(api.model_info, "acme/none")
    with pytest.raises(EntryNotFoundError):
        await asyncio.to_thread(
            hf_hub_download, SMALL.model_id, "pytorch_model.bin", endpoint=hub[1], cache_dir=tmp_path
        )


async def test_ranges_are_answered_as_hf_transfer_asks(hub: tuple[HubServer, str]) -> None:
    """One probe of a byte, then parts; beyond the end nothing."""
    url = f"{hub[1]}/{PHI3.model_id}/resolve/main/model-00001-of-00002.safetensors"
    size = PHI3.files["model-00001-of-00002.safetensors"]
    async with aiohttp.ClientSession() as session:
        async with session.get(url, headers={"Range": "bytes=0-0"}) as probe:
            assert probe.status == 206
            assert probe.headers["Content-Range"] == f"bytes 0-0/{size}"
            assert await probe.read() == b"\0"
        async with session.get(url, headers={"Range": f"bytes={size - 10}-{size + 99}"}) as tail:
            assert len(await tail.read()) == 10
        async with session.get(url, headers={"Range": f"bytes={size}-"}) as beyond:
            assert beyond.status == 416
        async with session.head(url, allow_redirects=False) as head:
            assert head.status == 302
            assert int(head.headers["X-Linked-Size"]) == size
            assert head.headers["X-Repo-Commit"] == PHI3.revision


async def test_it_sends_no_xet_headers_and_counts_requests(hub: tuple[HubServer, str]) -> None:
    """Without them every client stays on plain HTTP."""
    server, url = hub
    async with (
        aiohttp.ClientSession() as session,
        session.head(f"{url}/{SMALL.model_id}/resolve/main/config.json") as r,
    ):
        assert not [name for name in r.headers if name.lower().startswith("x-xet")]
    assert server.requests["HEAD", f"/{SMALL.model_id}/resolve/main/config.json"] == 1


def _sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.iterdir()}
