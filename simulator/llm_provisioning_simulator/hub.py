"""A stand-in for the Hugging Face hub over HTTP: listings, HEADs and ranged GETs of made-up weights.

It serves what huggingface_hub 0.24, 0.36, 1.33 and 2.4 ask for without Xet (no Xet headers are sent, so every client
stays on plain HTTP). Contents are zeros made while they are sent; sizes are the model's own.
"""

import hashlib
import json
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from aiohttp import web

from llm_provisioning_simulator.hub_models import MODELS, PHI3, HubModel
from llm_provisioning_simulator.loopback import Loopback

__all__ = ["CHUNK_BYTES", "MODELS", "PHI3", "HubModel", "HubServer"]

CHUNK_BYTES: Final = 1 << 20
_ZEROS: Final = bytes(CHUNK_BYTES)


class HubServer:
    """The hub on 127.0.0.1. `requests` counts what was asked for: (method, path) -> times."""

    def __init__(self, models: Mapping[str, HubModel] = MODELS) -> None:
        self.models = dict(models)
        self.requests: dict[tuple[str, str], int] = {}
        self._loopback = Loopback()

    async def start(self, port: int = 0) -> str:
        """Listen, and return the URL for HF_ENDPOINT."""
        app = web.Application(middlewares=[self._count])
        app.router.add_get("/api/models/{owner}/{name}", self._info)
        app.router.add_get("/api/models/{owner}/{name}/revision/{revision}", self._info)
        app.router.add_get("/api/models/{owner}/{name}/tree/{revision}", self._tree)
        app.router.add_get("/api/models/{owner}/{name}/tree/{revision}/{folder:.+}", self._tree)
        app.router.add_get("/{owner}/{name}/resolve/{revision}/{file:.+}", self._resolve)
        app.router.add_get("/cdn/{owner}/{name}/{revision}/{file:.+}", self._content)
        return await self._loopback.serve(web.AppRunner(app, access_log=None), port)

    async def stop(self) -> None:
        """Stop listening."""
        await self._loopback.stop()

    @web.middleware
    async def _count(self, request: web.Request, handler: Any) -> web.StreamResponse:
        key = (request.method, request.path)
        self.requests[key] = self.requests.get(key, 0) + 1
        response: web.StreamResponse = await handler(request)
        return response

    def _model(self, request: web.Request) -> HubModel:
        model = self.models.get(f"{request.match_info['owner']}/{request.match_info['name']}")
        if model is None:
            raise _missing("RepoNotFound", "Repository not found")
        if request.match_info.get("revision", "main") not in ("main", model.revision, "refs/pr/1"):
            raise _missing("RevisionNotFound", "Invalid rev id")
        return model

    async def _info(self, request: web.Request) -> web.Response:
        model = self._model(request)
        return web.json_response(
            {
                "_id": hashlib.sha256(model.model_id.encode()).hexdigest()[:24],
                "id": model.model_id,
                "modelId": model.model_id,
                "sha": model.revision,
                "private": False,
                "gated": model.gated,
                "disabled": False,
                "tags": ["safetensors", "simulated"],
                "downloads": 0,
                "siblings": [{"rfilename": name, **_blob(request, size)} for name, size in model.files.items()],
            }
        )

    async def _tree(self, request: web.Request) -> web.Response:
        model = self._model(request)
        if request.match_info.get("folder"):
            raise _missing("EntryNotFound", "no such folder")
        return web.json_response([_entry(name, size) for name, size in sorted(model.files.items())])

    async def _resolve(self, request: web.Request) -> web.StreamResponse:
        model = self._model(request)
        name = request.match_info["file"]
        if name not in model.files:
            raise _missing("EntryNotFound", "Entry not found")
        size = model.files[name]
        headers = {"X-Repo-Commit": model.revision, "Accept-Ranges": "bytes", "ETag": f'"{_oid(name)}"'}
        if not name.endswith(".safetensors"):
            return await _send(request, size, headers)
        headers |= {"X-Linked-Size": str(size), "X-Linked-ETag": f'"{_oid(name, 64)}"'}
        headers["Location"] = str(request.url.origin()) + f"/cdn/{model.model_id}/{model.revision}/{name}"
        return web.Response(status=302, headers=headers)

    async def _content(self, request: web.Request) -> web.StreamResponse:
        model = self._model(request)
        name = request.match_info["file"]
        if name not in model.files:
            raise _missing("EntryNotFound", "Entry not found")
        # The real storage is another host, where a client stops following; on one host it reads the answer here.
        headers = {"Accept-Ranges": "bytes", "ETag": f'"{_oid(name, 64)}"', "X-Repo-Commit": model.revision}
        return await _send(request, model.files[name], headers)


def _missing(code: str, message: str) -> web.HTTPNotFound:
    return web.HTTPNotFound(
        headers={"X-Error-Code": code, "X-Error-Message": message},
        text=json.dumps({"error": message}),
        content_type="application/json",
    )


def _blob(request: web.Request, size: int) -> dict[str, Any]:
    return {"size": size} if request.query.get("blobs", "").lower() == "true" else {}


def _entry(name: str, size: int) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "oid": _oid(name), "size": size, "path": name}
    if name.endswith(".safetensors"):
        entry["lfs"] = {"oid": _oid(name, 64), "size": size, "pointerSize": 135}
    return entry


def _oid(name: str, length: int = 40) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:length]


async def _send(request: web.Request, size: int, headers: Mapping[str, str]) -> web.StreamResponse:
    first, last, status = _range(request.headers.get("Range"), size)
    length = last - first + 1
    response = web.StreamResponse(status=status, headers=headers)
    if status == 206:
        response.headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    response.content_length = length
    response.content_type = "application/octet-stream"
    await response.prepare(request)
    if request.method != "HEAD":
        async for chunk in _zeros(request.match_info["file"], length):
            await response.write(chunk)
    await response.write_eof()
    return response


def _range(header: str | None, size: int) -> tuple[int, int, int]:
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", header or "")
    if match is None:
        return 0, size - 1, 200
    first, last = int(match[1]), int(match[2] or size - 1)
    if first >= size:
        raise web.HTTPRequestRangeNotSatisfiable(headers={"Content-Range": f"bytes */{size}"})
    return first, min(last, size - 1), 206


async def _zeros(name: str, length: int) -> AsyncIterator[bytes]:
    # JSON files must parse: an empty object padded with blanks is one of any length.
    if name.endswith(".json"):
        yield b"{}" + b" " * (length - 2)
        return
    while length > 0:
        yield _ZEROS[: min(length, CHUNK_BYTES)]
        length -= CHUNK_BYTES
