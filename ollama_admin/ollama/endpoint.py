"""One server's HTTP API, in the domain's terms."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from ollama_admin.domain.answers import StreamEvent
from ollama_admin.domain.models import BuildDetails, ListedModel
from ollama_admin.domain.servers import ApiVersion, Target
from ollama_admin.errors import InvalidInput, ServerUnreachable, StreamInterrupted, UpstreamError
from ollama_admin.ollama import wire
from ollama_admin.ollama.calls import Call, call
from ollama_admin.ollama.faults import Answer, reason_of, refused, scrubbed, translated, unreachable
from ollama_admin.ollama.http import HTTP
from ollama_admin.ollama.lines import lines
from ollama_admin.ollama.patience import Patience, PieceTimer
from ollama_admin.ollama.response import Response
from ollama_admin.ollama.wire import BadAnswer

if TYPE_CHECKING:
    from ollama_admin.domain.requests import GenerateRequest

T = TypeVar("T")
Headers = Sequence[tuple[bytes, bytes]]

# bytes of an answer that is read as a whole: 800 for each model that may be listed
BODY_LIMIT = 8 * 1024 * 1024
ERROR_BODY_LIMIT = 64 * 1024
END_PATIENCE = 0.1  # seconds that a response may take to end after its last record
NOT_OLLAMA = (400, 404, 405, 501)  # how other programs answer `/api/version`
JSON_HEADERS = ((b"Content-Type", b"application/json"),)
# of a call that is bounded as a whole
NO_LIMITS = Patience(first_byte=None, idle=None)


class Endpoint:
    """Asks one server. Every way to ask is built on `request`.

    `timeout` is seconds for each metadata call in all; None takes the usual ten. Raises the errors
    under UpstreamError, ModelNotFound for a name the server does not have, and SecretUnavailable
    before anything is sent.
    """

    def __init__(self, http: HTTP, target: Target, timeout: float | None = None) -> None:
        self._http = http
        self._target = target
        self._timeout = timeout or http.times.metadata

    async def version(self) -> str | None:
        """Ollama's version; None when the server answers and is not Ollama."""
        answer = await self._whole("GET", "/api/version")
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
        path, read = "/v1/models", wire.v1_models
        if is_ollama:
            path, read = "/api/tags", wire.listed_models
        return self._document(path, await self._whole("GET", path), read)

    async def show(self, model: str) -> BuildDetails:
        """What the server tells of the build that the name stands for."""
        path, body = "/api/show", wire.dumps({"model": model})
        answer = await self._whole("POST", path, headers=JSON_HEADERS, body=body)
        return self._document(path, answer, wire.build_details, model)

    async def running_context(self, model: str) -> int | None:
        """Tokens of context that a loaded model has; None when the server does not tell."""
        answer = await self._whole("GET", "/api/ps")
        return self._document(
            "/api/ps", answer, lambda document: wire.running_context(document, model)
        )

    async def generate(
        self, request: "GenerateRequest", model: str
    ) -> AsyncGenerator[StreamEvent, None]:
        """The records of an answer as they arrive. Closing the generator cancels the generation
        upstream.

        Raises StreamInterrupted once a record has come, and before that what `stream` raises.
        """
        has_begun, characters = False, 0
        asked = call(request, model, self._target.api_version)
        try:
            async with aclosing(self._events(asked, model)) as events:
                async for event in events:
                    has_begun = True
                    characters += len(event.response) + len(event.thinking)
                    yield event
        except UpstreamError as exc:
            if not has_begun:
                raise
            raise self._interrupted(exc, characters) from exc

    @asynccontextmanager
    async def request(
        self,
        method: str,
        path: str,
        *,
        headers: Headers = (),
        body: bytes | None = None,
        patience: Patience | None = None,
    ) -> AsyncIterator[Response]:
        """A response as it is, of whatever status, its body unread; leaving the block ends the work
        at the server.

        `path` begins with `/` and may have a query; it goes out as it is written, but for `.` and
        `..`, which are resolved, and for characters that no URL may hold. The server's own headers,
        with its credentials, replace `headers` of the same name; compression is never asked for.
        Without `patience` the server may load a model first.

        Raises UpstreamError and what is under it, here and where a chunk is read. Its `may_pass_on`
        is about the server's work: who has handed on a chunk may ask no other server.
        """
        if not path.startswith("/"):
            raise InvalidInput("the path of a request does not begin with '/'")
        patience = patience or self._model_patience
        name = path.partition("?")[0]  # errors never repeat a query
        with translated(self._target, name):
            async with AsyncExitStack() as stack:
                async with self._within(patience.first_byte, is_answering=True):
                    sending = self._http.send(
                        method,
                        self._target.ref.url + path,
                        self._with_own(headers),
                        body,
                        silence=patience.silence,
                    )
                    response = await stack.enter_async_context(sending)
                chunks = aclosing(self._chunks(response, name, patience))
                yield replace(response, chunks=await stack.enter_async_context(chunks))

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        headers: Headers = (),
        body: bytes | None = None,
        patience: Patience | None = None,
        model: str | None = None,
    ) -> AsyncIterator[Response]:
        """A response of 200 that is not compressed, its body unread; leaving the block ends the
        work at the server.

        Raises what any other status means; `model` is the one that a 404 is about. The rest is as
        `request` says.
        """
        asking = self.request(method, path, headers=headers, body=body, patience=patience)
        async with asking as response:
            if response.status != 200:
                async with self._within(self._timeout):
                    answer = await _read_whole(response)
                raise refused(self._target, path.partition("?")[0], answer, model)
            _refuse_encoding(response)
            yield response

    async def _events(self, asked: Call, model: str) -> AsyncGenerator[StreamEvent, None]:
        read: Callable[[bytes], StreamEvent | None] = wire.native_event
        if self._target.api_version is ApiVersion.V1:
            read = wire.v1_event
        body = wire.dumps(asked.body)
        async with (
            self.stream("POST", asked.path, headers=JSON_HEADERS, body=body, model=model) as answer,
            aclosing(lines(answer.chunks)) as records,
        ):
            async for record in records:
                event = read(record)
                if event is None:
                    continue
                if event.error is not None:
                    event = replace(event, error=scrubbed(event.error, self._target))
                if event.done:
                    await _read_to_the_end(records)
                yield event

    def _interrupted(self, exc: UpstreamError, characters: int) -> StreamInterrupted:
        message = exc.message
        if isinstance(exc, ServerUnreachable):
            message = (
                f"server {self._target.ref} broke off in the middle of the answer, "
                f"after {characters} characters: {reason_of(exc, self._target)}"
            )
        return StreamInterrupted(message, "what was shown is incomplete; ask again")

    async def _whole(
        self, method: str, path: str, *, headers: Headers = (), body: bytes | None = None
    ) -> Answer:
        """A whole answer of any status, within the metadata timeout."""
        asking = self.request(method, path, headers=headers, body=body, patience=NO_LIMITS)
        async with self._within(self._timeout), asking as response:
            return await _read_whole(response)

    def _document(
        self, path: str, answer: Answer, read: Callable[[Any], T], model: str | None = None
    ) -> T:
        """What `read` makes of the JSON of an answer; raises what a status other than 200 means."""
        if answer.status != 200:
            raise refused(self._target, path, answer, model)
        with translated(self._target, path):
            return read(wire.loads(answer.body))

    async def _chunks(
        self, response: Response, path: str, patience: Patience
    ) -> AsyncGenerator[bytes, None]:
        """The body as it arrives; ServerUnreachable when a piece takes longer than `patience`."""
        timer, seconds = PieceTimer(), patience.first_byte
        with translated(self._target, path):
            try:
                while True:
                    yield await timer.next_of(response.chunks, seconds)
                    seconds = patience.idle
            except StopAsyncIteration:
                return
            except TimeoutError as exc:
                reason = f"nothing was sent for {seconds:g} s"
                raise unreachable(self._target, reason, may_pass_on=False) from exc
            finally:
                timer.close()

    @asynccontextmanager
    async def _within(
        self, seconds: float | None, *, is_answering: bool = False
    ) -> AsyncIterator[None]:
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

    @property
    def _model_patience(self) -> Patience:
        times = self._http.times
        return Patience(first_byte=times.first_byte, idle=times.idle)

    def _with_own(self, headers: Headers) -> list[tuple[bytes, bytes]]:
        """The headers, and the server's own in place of those that have the same names."""
        # httpx itself would take ASCII only
        own = [
            (name.encode(), value.reveal().encode("latin-1"))
            for name, value in self._target.headers.items()
        ]
        names = {name.lower() for name, _ in own}
        return own + [pair for pair in headers if pair[0].lower() not in names]


async def _read_whole(response: Response) -> Answer:
    """The whole answer, or the beginning of one that is no 200."""
    _refuse_encoding(response)
    body = bytearray()
    async for chunk in response.chunks:
        body += chunk
        if response.status != 200 and len(body) > ERROR_BODY_LIMIT:
            break
        if len(body) > BODY_LIMIT:
            raise BadAnswer(f"the answer is longer than {BODY_LIMIT // 2**20} MiB")
    return Answer(status=response.status, location=response.header("location"), body=bytes(body))


async def _read_to_the_end(records: AsyncIterator[bytes]) -> None:
    """Take what still belongs to the response, which is nothing that counts: its connection can
    then be used again.
    """
    with suppress(TimeoutError, BadAnswer, UpstreamError):
        async with asyncio.timeout(END_PATIENCE):
            async for _ in records:
                pass


def _refuse_encoding(response: Response) -> None:
    """We ask for no compression: a compressed body could be a bomb."""
    encoding = response.header("content-encoding")
    if encoding is not None and encoding.lower() != "identity":
        raise BadAnswer("the answer is compressed, which was not asked for")
