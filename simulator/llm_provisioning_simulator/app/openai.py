"""Port 8000 of a pod: Serve's proxy, and the OpenAI-compatible answer behind it, well-behaved or not.

`MISBEHAVIOURS` are servers that must never pass for ready: each is switched on by name and replaces the application's
answer; the proxy's own health check stays well, which is the trap. `SOME_REPLICAS` fail only now and then.
`WELL_BEHAVED` are unusual, and right.
"""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from llm_provisioning_simulator.app.costs import Costs
from llm_provisioning_simulator.clock import SimClock

Answer = tuple[int, dict[str, str], "bytes | AsyncIterator[bytes]"]

JSON: Final[Mapping[str, str]] = MappingProxyType({"Content-Type": "application/json"})
HTML: Final[Mapping[str, str]] = MappingProxyType({"Content-Type": "text/html"})
EVENTS: Final[Mapping[str, str]] = MappingProxyType({"Content-Type": "text/event-stream; charset=utf-8"})
_COUNTED: Final = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_WORDS: Final = ("The", " capital", " of", " France", " is", " Paris", ".")


class OpenAiServer:
    """One model's completion endpoint. Times are those of the profile, on the simulator's clock."""

    def __init__(self, model: str, clock: SimClock, costs: Costs) -> None:
        self.model = model
        self.clock = clock
        self.costs = costs
        self.answered = 0
        self.step_ratio = 1.0
        """How much longer a decode step takes than that of a fully optimized engine."""

    async def request(self, method: str, path: str, body: bytes, misbehaviour: str | None = None) -> Answer:
        """Answer a request as vLLM's OpenAI server does, or as the named misbehaving server."""
        self.answered += 1
        if misbehaviour is not None and misbehaviour in SOME_REPLICAS:
            misbehaviour = "error_500" if self.answered % SOME_REPLICAS[misbehaviour] == 1 else None
        if misbehaviour is not None:
            return await _misbehave(self, misbehaviour, body)
        if method == "GET" and path == "/v1/models":
            card = {"id": self.model, "object": "model", "created": self._created(), "owned_by": "vllm"}
            return 200, dict(JSON), _dump({"object": "list", "data": [card]})
        if path == "/health":
            return 200, {}, b""
        if path not in ("/v1/chat/completions", "/v1/completions"):
            return 404, dict(JSON), _dump({"detail": "Not Found"})
        if method != "POST":
            return 405, dict(JSON), _dump({"detail": "Method Not Allowed"})
        return await self._complete(path, body)

    async def _complete(self, path: str, body: bytes) -> Answer:
        try:
            asked = json.loads(body)
        except ValueError:
            return 400, dict(JSON), error_body("There was an error parsing the body", "BadRequestError", 400)
        missing = "messages" if path.startswith("/v1/chat") else "prompt"
        if not isinstance(asked, dict) or not asked.get(missing):
            return 400, dict(JSON), error_body(f"Field required: {missing}", "BadRequestError", 400)
        if asked.get("model") != self.model:
            message = f"The model `{asked.get('model')}` does not exist."
            return 404, dict(JSON), error_body(message, "NotFoundError", 404)
        limit = asked.get("max_tokens") or asked.get("max_completion_tokens") or len(_WORDS)
        words = _text(asked, max(1, int(limit)))
        chat = path.startswith("/v1/chat")
        if asked.get("stream"):
            return 200, dict(EVENTS), self.stream(words, chat=chat)
        steps_s = self.costs.draw("token_s") * self.step_ratio * (len(words) - 1)
        await self.clock.sleep(self.costs.draw("first_token_s") + steps_s)
        return 200, dict(JSON), _dump(self.completion("".join(words), chat=chat))

    def completion(self, text: str, *, chat: bool = True) -> dict[str, Any]:
        """Return a whole answer."""
        said: dict[str, Any] = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        choice = {"index": 0, **said, "logprobs": None, "finish_reason": "stop"}
        tokens = len(text.split())
        usage = {"prompt_tokens": 9, "completion_tokens": tokens, "total_tokens": 9 + tokens}
        return {**self._head("chat.completion" if chat else "text_completion"), "choices": [choice], "usage": usage}

    async def stream(self, words: tuple[str, ...], *, chat: bool, done: bool = True) -> AsyncIterator[bytes]:
        """Yield server-sent events, one a token; without the closing `[DONE]` for `done=False`."""
        for position, word in enumerate(words):
            await self.clock.sleep(self.costs.draw("token_s" if position else "first_token_s"))
            said = {"delta": {"role": "assistant", "content": word}} if chat else {"text": word}
            last = position == len(words) - 1
            choice = {"index": 0, **said, "finish_reason": "stop" if last and done else None}
            kind = "chat.completion.chunk" if chat else "text_completion"
            yield b"data: " + _dump({**self._head(kind), "choices": [choice]}) + b"\n\n"
        if done:
            yield b"data: [DONE]\n\n"

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": f"cmpl-{self.answered:08x}", "object": kind, "created": self._created(), "model": self.model}

    def _created(self) -> int:
        return int(self.clock.now().timestamp())


def _text(asked: Mapping[str, Any], limit: int) -> tuple[str, ...]:
    """Return what the model writes: as many numbers as it may where it is asked to count, else one sentence."""
    messages = asked.get("messages") or [{"content": asked.get("prompt")}]
    said = messages[-1].get("content") if isinstance(messages[-1], dict) else ""
    if "count from" not in str(said).lower():
        return _WORDS[:limit]
    return tuple(f"{' ' if place else ''}{_COUNTED[place % len(_COUNTED)]}" for place in range(min(limit, 200)))


def error_body(message: str, kind: str, code: int) -> bytes:
    """Return an error as vLLM words it."""
    return _dump({"object": "error", "message": message, "type": kind, "param": None, "code": code})


def _dump(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document).encode()


async def _forever() -> None:
    await asyncio.Event().wait()


async def _stall(server: OpenAiServer, body: bytes) -> Answer:
    await _forever()
    raise AssertionError("unreachable: the wait above ends by cancellation only")


async def _stall_in_stream(server: OpenAiServer, body: bytes) -> Answer:
    async def halting() -> AsyncIterator[bytes]:
        async for event in server.stream(_WORDS[:2], chat=True, done=False):
            yield event
        await _forever()

    return 200, dict(EVENTS), halting()


async def _cut_stream(server: OpenAiServer, body: bytes) -> Answer:
    return 200, dict(EVENTS), server.stream(_WORDS[:2], chat=True, done=False)


async def _error_in_stream(server: OpenAiServer, body: bytes) -> Answer:
    async def failing() -> AsyncIterator[bytes]:
        yield b"data: " + error_body("engine is dead", "InternalServerError", 500) + b"\n\n"
        yield b"data: [DONE]\n\n"

    return 200, dict(EVENTS), failing()


def _always(status: int, headers: Mapping[str, str], body: bytes) -> "Behaviour":
    async def answer(server: OpenAiServer, asked: bytes) -> Answer:
        return status, dict(headers), body

    return answer


def _altered(change: Callable[[dict[str, Any]], object]) -> "Behaviour":
    async def answer(server: OpenAiServer, body: bytes) -> Answer:
        document = server.completion("The capital of France is Paris.")
        change(document)
        return 200, dict(JSON), _dump(document)

    return answer


async def _truncated(server: OpenAiServer, body: bytes) -> Answer:
    whole = _dump(server.completion("The capital of France is Paris."))
    return 200, dict(JSON), whole[: len(whole) // 2]


async def _echo(server: OpenAiServer, body: bytes) -> Answer:
    return 200, dict(JSON), body


def _whole(server: OpenAiServer) -> bytes:
    return _dump(server.completion("The capital of France is Paris."))


async def _endless(server: OpenAiServer, body: bytes) -> Answer:
    async def pieces() -> AsyncIterator[bytes]:
        yield _whole(server)[:-1]
        while True:
            yield b" " * 65536
            await asyncio.sleep(0)

    return 200, dict(JSON), pieces()


async def _dripping(server: OpenAiServer, body: bytes) -> Answer:
    async def pieces() -> AsyncIterator[bytes]:
        for letter in _whole(server)[:-1]:
            yield bytes([letter])
            await asyncio.sleep(0.2)
        await _forever()

    return 200, dict(JSON), pieces()


async def _dies(server: OpenAiServer, body: bytes) -> Answer:
    async def pieces() -> AsyncIterator[bytes]:
        yield _whole(server)[:40]
        raise ConnectionResetError("the engine's process died")

    return 200, dict(JSON), pieces()


async def _named_otherwise(server: OpenAiServer, body: bytes) -> Answer:
    return 200, {"Content-Type": "text/plain"}, _whole(server)


async def _false_encoding(server: OpenAiServer, body: bytes) -> Answer:
    return 200, {**JSON, "Content-Encoding": "gzip"}, _whole(server)


async def _slow(server: OpenAiServer, body: bytes) -> Answer:
    await server.clock.sleep(10.0)
    return 200, dict(JSON), _whole(server)


async def _in_pieces(server: OpenAiServer, body: bytes) -> Answer:
    async def pieces() -> AsyncIterator[bytes]:
        whole = _whole(server)
        for start in range(0, len(whole), 16):
            yield whole[start : start + 16]
            await asyncio.sleep(0)

    return 200, dict(JSON), pieces()


async def _packed(server: OpenAiServer, body: bytes) -> Answer:
    return 200, {**JSON, "Content-Encoding": "gzip"}, gzip.compress(_whole(server))


Behaviour = Callable[[OpenAiServer, bytes], Awaitable[Answer]]

MISBEHAVIOURS: Final[Mapping[str, Behaviour]] = MappingProxyType(
    {
        "health_only": _always(404, JSON, b'{"detail": "Not Found"}'),
        "empty_body": _always(200, JSON, b""),
        "empty_object": _always(200, JSON, b"{}"),
        "plain_ok": _always(200, {"Content-Type": "text/plain"}, b"OK"),
        "html_error": _always(200, HTML, b"<html><body><h1>502 Bad Gateway</h1></body></html>"),
        "html_502": _always(502, HTML, b"<html><body><h1>502 Bad Gateway</h1></body></html>"),
        "error_500": _always(500, JSON, error_body("engine is dead", "InternalServerError", 500)),
        "error_in_200": _always(200, JSON, error_body("engine is dead", "InternalServerError", 500)),
        "overloaded": _always(429, {**JSON, "Retry-After": "1"}, error_body("too many", "RateLimitError", 429)),
        "unauthorized": _always(401, JSON, b'{"error": "Unauthorized"}'),
        "redirect": _always(302, {"Location": "/login"}, b""),
        "no_content": _always(204, {}, b""),
        "truncated_json": _truncated,
        "echo": _echo,
        "wrong_model": _altered(lambda document: document.update(model="facebook/opt-125m")),
        "no_choices": _altered(lambda document: document.update(choices=[])),
        "empty_text": _altered(lambda document: document["choices"][0]["message"].update(content="")),
        "null_text": _altered(lambda document: document["choices"][0]["message"].update(content=None)),
        "aborted": _altered(
            lambda document: document["choices"][0].update(
                message={"role": "assistant", "content": ""}, finish_reason="abort"
            )
        ),
        "stall": _stall,
        "stall_in_stream": _stall_in_stream,
        "cut_stream": _cut_stream,
        "error_in_stream": _error_in_stream,
        "endless": _endless,
        "dripping": _dripping,
        "dies_in_mid_answer": _dies,
        "wrong_content_type": _named_otherwise,
        "false_encoding": _false_encoding,
        "redirect_loop": _always(307, {"Location": "?again"}, b""),
        "aborted_in_mid_text": _altered(lambda document: document["choices"][0].update(finish_reason="abort")),
        "not_a_number": _altered(lambda document: document["choices"][0]["message"].update(content="!!!!!!!!")),
        "no_model": _altered(lambda document: document.pop("model")),
        "list_of_nothing": _always(200, JSON, b"[]"),
    }
)
"""Name -> server."""

SOME_REPLICAS: Final[Mapping[str, int]] = MappingProxyType({"some_replicas_only": 2, "one_replica_of_eight": 8})
"""Name -> of how many replicas behind one Service one is bad; the good ones answer in between."""

WELL_BEHAVED: Final[Mapping[str, Behaviour]] = MappingProxyType(
    {
        "slow": _slow,
        "in_pieces": _in_pieces,
        "packed": _packed,
        "reasoning": _altered(
            lambda document: document["choices"][0].update(
                message={"role": "assistant", "content": None, "reasoning_content": "The user asks for"}
            )
        ),
        "cut_at_length": _altered(lambda document: document["choices"][0].update(finish_reason="length")),
    }
)
"""Name -> server that answers rightly in an unusual way; the empty name is the usual one."""


async def _misbehave(server: OpenAiServer, name: str, body: bytes) -> Answer:
    behaviour = MISBEHAVIOURS.get(name) or WELL_BEHAVED.get(name)
    if behaviour is None:
        known = ", ".join([*MISBEHAVIOURS, *SOME_REPLICAS, *WELL_BEHAVED])
        return 500, dict(JSON), error_body(f"no misbehaving server is called {name!r}: {known}", "Fault", 500)
    return await behaviour(server, body)
