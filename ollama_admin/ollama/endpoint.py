"""One server's HTTP API, in the domain's terms."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    aclosing,
    asynccontextmanager,
    suppress,
)
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from ollama_admin.domain.answers import StreamEvent
from ollama_admin.domain.models import BuildDetails, ListedModel
from ollama_admin.domain.servers import ApiVersion, Target
from ollama_admin.errors import ServerUnreachable, StreamInterrupted, UpstreamError
from ollama_admin.ollama import wire
from ollama_admin.ollama.calls import Call, call
from ollama_admin.ollama.faults import Answer, reason_of, refused, scrubbed, translated, unreachable
from ollama_admin.ollama.http import HTTP
from ollama_admin.ollama.lines import lines
from ollama_admin.ollama.patience import Patience
from ollama_admin.ollama.wire import BadAnswer

if TYPE_CHECKING:
    from ollama_admin.domain.requests import GenerateRequest

T = TypeVar("T")

# bytes of an answer that is read as a whole: 800 for each model that may be listed
BODY_LIMIT = 8 * 1024 * 1024
ERROR_BODY_LIMIT = 64 * 1024
END_PATIENCE = 0.1  # seconds that a response may take to end after its last record
NOT_OLLAMA = (400, 404, 405, 501)  # how other programs answer `/api/version`


class Endpoint:
    """`timeout` is seconds for each metadata call in all; None takes the usual ten.

    Raises the errors under UpstreamError, ModelNotFound for a name the server does not have, and
    SecretUnavailable before anything is sent.
    """

    def __init__(self, http: HTTP, target: Target, timeout: float | None = None) -> None:
        self._http = http
        self._target = target
        self._timeout = timeout or http.times.metadata

    async def version(self) -> str | None:
        """Ollama's version; None when the server answers and is not Ollama."""
        answer = await self._fetch("GET", "/api/version")
        if answer.status in NOT_OLLAMA:
            return None
        if answer.status != 200:
            raise refused(self._target, "/api/version", answer, None)
        try:
            return wire.version(wire.loads(answer.body))
        except BadAnswer:
            return None

    async def models(self, *, is_ollama: bool) -> list[ListedModel]:
        """What the server lists, with digests where it is Ollama."""
        if is_ollama:
            return await self._read("/api/tags", wire.listed_models)
        return await self._read("/v1/models", wire.v1_models)

    async def show(self, model: str) -> BuildDetails:
        """What the server tells of the build that the name stands for."""
        return await self._read("/api/show", wire.build_details, model)

    async def running_context(self, model: str) -> int | None:
        """Tokens of context that a loaded model has; None when the server does not tell."""
        return await self._read("/api/ps", lambda document: wire.running_context(document, model))

    async def generate(
        self, request: "GenerateRequest", model: str
    ) -> AsyncGenerator[StreamEvent, None]:
        """The records of an answer as they arrive. Closing the generator cancels the generation
        upstream.
        """
        received, characters = False, 0
        try:
            async with aclosing(
                self._events(call(request, model, self._target.api_version), model)
            ) as events:
                async for event in events:
                    received, characters = (
                        True,
                        characters + len(event.response) + len(event.thinking),
                    )
                    yield event
        except UpstreamError as exc:
            if not received:
                raise
            message = exc.message
            if isinstance(exc, ServerUnreachable):
                message = (
                    f"server {self._target.ref} broke off in the middle of the answer, "
                    f"after {characters} characters"
                )
                message += f": {reason_of(exc, self._target)}"
            raise StreamInterrupted(message, "what was shown is incomplete; ask again") from exc

    async def _events(self, asked: Call, model: str) -> AsyncGenerator[StreamEvent, None]:
        is_v1 = self._target.api_version is ApiVersion.V1
        with translated(self._target, asked.path):
            async with (
                self._opened(asked, model) as response,
                aclosing(lines(self._chunks(response))) as found,
            ):
                async for line in found:
                    event = wire.v1_event(line) if is_v1 else wire.native_event(line)
                    if event is not None and event.error is not None:
                        event = replace(event, error=scrubbed(event.error, self._target))
                    if event is not None and event.done:
                        await _read_to_the_end(found)
                    if event is not None:
                        yield event

    @asynccontextmanager
    async def _opened(self, asked: Call, model: str) -> AsyncIterator[httpx.Response]:
        """A response that begins with 200, its head complete within the time for the first byte."""
        async with AsyncExitStack() as stack:
            async with self._within(self._http.times.first_byte, is_answering=True):
                response = await stack.enter_async_context(
                    self._send("POST", asked.path, asked.body)
                )
            if response.status_code != 200:
                async with self._within(self._timeout):
                    answer = await self._answer(response)
                raise refused(self._target, asked.path, answer, model)
            yield response

    async def _chunks(self, response: httpx.Response) -> AsyncGenerator[bytes, None]:
        """The body as it arrives; a pause over the idle time is an interruption.

        Some servers send the head at once and then load the model: the first piece has the time for
        the first byte.
        """
        _refuse_encoding(response)
        stream, seconds, patience = response.aiter_raw(), self._http.times.first_byte, Patience()
        try:
            while True:
                yield await patience.next_of(stream, seconds)
                seconds = self._http.times.idle
        except StopAsyncIteration:
            return
        except TimeoutError as exc:
            why = f"nothing was sent for {seconds:g} s"
            raise unreachable(self._target, why, may_pass_on=False) from exc
        finally:
            patience.close()

    async def _read(self, path: str, read: Callable[[Any], T], model: str | None = None) -> T:
        method, body = ("POST", {"model": model}) if model else ("GET", None)
        answer = await self._fetch(method, path, body)
        if answer.status != 200:
            raise refused(self._target, path, answer, model)
        with translated(self._target, path):
            return read(wire.loads(answer.body))

    async def _fetch(self, method: str, path: str, body: Any = None) -> Answer:
        """A whole answer within the metadata timeout."""
        with translated(self._target, path):
            async with self._within(self._timeout), self._send(method, path, body) as response:
                return await self._answer(response)

    @asynccontextmanager
    async def _within(self, seconds: float, *, is_answering: bool = False) -> AsyncIterator[None]:
        """Raise ServerUnreachable when the block takes longer; `is_answering`: the model may be at
        work on it.
        """
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError as exc:
            raise unreachable(
                self._target, f"no answer within {seconds:g} s", may_pass_on=not is_answering
            ) from exc

    def _send(
        self, method: str, path: str, body: Any
    ) -> AbstractAsyncContextManager[httpx.Response]:
        headers = {name: value.reveal() for name, value in self._target.headers.items()}
        return self._http.send(method, self._target.ref.url + path, headers, body)

    async def _answer(self, response: httpx.Response) -> Answer:
        """The whole answer, or the beginning of one that is no 200."""
        _refuse_encoding(response)
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if response.status_code != 200 and len(body) > ERROR_BODY_LIMIT:
                break
            if len(body) > BODY_LIMIT:
                raise BadAnswer(f"the answer is longer than {BODY_LIMIT // 2**20} MiB")
        return Answer(
            status=response.status_code, location=response.headers.get("location"), body=bytes(body)
        )


async def _read_to_the_end(found: AsyncIterator[bytes]) -> None:
    """Take what still belongs to the response, which is nothing that counts: its connection can
    then be used again.
    """
    with suppress(TimeoutError, BadAnswer, UpstreamError, httpx.HTTPError):
        async with asyncio.timeout(END_PATIENCE):
            async for _ in found:
                pass


def _refuse_encoding(response: httpx.Response) -> None:
    """We ask for no compression: a compressed body could be a bomb."""
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise BadAnswer("the answer is compressed, which was not asked for")
