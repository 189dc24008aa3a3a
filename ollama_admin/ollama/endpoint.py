"""One server's HTTP API, in the domain's terms."""

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    aclosing,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from ollama_admin.domain.answers import StreamEvent
from ollama_admin.domain.callers import Watch
from ollama_admin.domain.models import BuildDetails, ListedModel, Listing, ShownContext
from ollama_admin.domain.servers import ApiVersion, Target
from ollama_admin.errors import InvalidInput, ServerUnreachable, StreamInterrupted, UpstreamError
from ollama_admin.ollama import wire
from ollama_admin.ollama.calls import Call, call, json_body
from ollama_admin.ollama.faults import harmless, reason_of, refused, translated, unreachable
from ollama_admin.ollama.response import (
    Answer,
    BadAnswer,
    Patience,
    PieceTimer,
    Response,
    Sending,
    answer_of,
    is_document,
    lines,
    read_json,
    read_to_the_end,
    read_whole,
    refuse_encoding,
)

if TYPE_CHECKING:
    from ollama_admin.domain.requests import Question
    from ollama_admin.ollama.http import HTTP
    from ollama_admin.ollama.raw_http import RawHTTP

T = TypeVar("T")
Headers = Sequence[tuple[bytes, bytes]]

NOT_OLLAMA = (400, 404, 405, 501)  # how other programs answer `/api/version`
LONG = 2**16  # bytes; a longer list is not read on the loop
JSON_HEADERS = ((b"Content-Type", b"application/json"),)
# of a call that is bounded as a whole
NO_LIMITS = Patience(first_byte=None, idle=None)


class Endpoint:
    """Asks one server. Every way to ask is built on `request`.

    `timeout` is seconds for each metadata call in all; None takes the usual ten. Raises the errors
    under UpstreamError, ModelNotFound for a name the server does not have, and SecretUnavailable
    before anything is sent. Without `any_address` some addresses are not connected to, see
    `addresses.py`. `watch` hears of each request.
    """

    def __init__(
        self,
        http: "HTTP | RawHTTP",
        target: Target,
        timeout: float | None = None,
        *,
        any_address: bool,
        watch: Watch | None = None,
    ) -> None:
        self._http = http
        self.target = target
        self.any_address = any_address
        self._watch = watch
        self._timeout = timeout or http.times.metadata

    async def version(self) -> str | None:
        """Ollama's version; None when the server answers and is not Ollama."""
        async with self._answer("GET", "/api/version") as answer:
            if answer.status in NOT_OLLAMA:
                return None
            if answer.status != 200:
                raise refused(self.target, "/api/version", answer, None)
            try:
                return wire.version(read_json(answer.body))
            except BadAnswer:
                return None

    async def models(self, *, is_ollama: bool) -> list[ListedModel]:
        """What the server lists, with digests where it is Ollama."""
        if is_ollama:
            return list((await self.listing()).models)
        return await self._document("GET", "/v1/models", wire.v1_models)

    async def listing(self, before: Listing | None = None) -> Listing:
        """What a server that is Ollama lists now: `before` where not a byte of it has changed."""
        async with self._answer("GET", "/api/tags") as answer:
            if answer.status != 200:
                raise refused(self.target, "/api/tags", answer, None)
            if before is not None and answer.body == before.body:
                return before
            if len(answer.body) > LONG:
                return await asyncio.to_thread(_listing, answer.body)
            return _listing(answer.body)

    async def show(self, model: str) -> BuildDetails:
        """What the server tells of the build that the name stands for."""
        return await self._document("POST", "/api/show", wire.build_details, model)

    async def shown_context(self, model: str) -> ShownContext:
        """The context of a model that `/api/show` tells."""
        return await self._document("POST", "/api/show", wire.shown_context, model)

    async def running(self) -> list[Mapping[str, Any]]:
        """The entries of `/api/ps`, as the server writes them."""
        return await self._document("GET", "/api/ps", wire.running)

    async def running_context(self, model: str) -> int | None:
        """Tokens of context that a loaded model has; None when the server does not tell."""
        return await self._document(
            "GET", "/api/ps", lambda document: wire.running_context(document, model)
        )

    async def loaded(self) -> frozenset[str]:
        """The keys of the names, and the digests, of the models that are in memory now."""
        return await self._document("GET", "/api/ps", wire.loaded)

    async def generate(
        self, question: "Question", model: str, path: str | None = None
    ) -> AsyncGenerator[StreamEvent, None]:
        """The records of an answer as they arrive. Closing the generator cancels the generation
        upstream. `path` is that of `calls.call`.

        Raises StreamInterrupted once a record has come, and before that what `stream` raises.
        """
        has_begun, characters = False, 0
        # images are tens of megabytes: they are not written down on the loop
        asked = await asyncio.to_thread(call, question, model, self.target.api_version, path)
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
        patience = patience or self.patience
        name = path.partition("?")[0]  # errors never repeat a query
        sending = Sending()
        async with (
            self._sent(method, path, headers, body, patience, sending) as response,
            aclosing(self._chunks(response, name, patience, sending)) as chunks,
        ):
            yield replace(response, chunks=chunks)

    def exchange(
        self, method: str, path: str, headers: Headers, body: bytes, sending: Sending
    ) -> AbstractAsyncContextManager[Response]:
        """The bare way of `request`: what goes wrong is not translated, and the connection alone
        bounds how long it may be silent.
        """
        times = self._http.times
        return self._http.send(
            method,
            self.target.ref.url + path,
            self._with_own(headers),
            body,
            silence=max(times.first_byte, times.idle),
            idle=times.idle,
            any_address=self.any_address,
            sending=sending,
            transport=self.target.transport,
        )

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
                answer = await self.refusal_of(response)
                raise refused(self.target, path.partition("?")[0], answer, model)
            refuse_encoding(response)
            yield response

    async def refusal_of(self, response: Response) -> Answer:
        """A refusal with what it says; without it where that does not come."""
        try:
            async with self._within(self._timeout):
                return await read_whole(response)
        except UpstreamError:
            return answer_of(response, b"")

    async def _events(self, asked: Call, model: str) -> AsyncGenerator[StreamEvent, None]:
        is_v1 = self.target.api_version is ApiVersion.V1
        async with (
            self.stream(
                "POST", asked.path, headers=JSON_HEADERS, body=asked.body, model=model
            ) as answer,
            aclosing(lines(answer.chunks)) as records,
        ):
            if is_document(answer, is_v1=is_v1):
                document = read_json(b"\n".join([line async for line in records]))
                for part in wire.v1_answer(document):
                    yield harmless(part, self.target)
                return
            async for record in records:
                event = wire.v1_event(record) if is_v1 else wire.native_event(read_json(record))
                if event is None:
                    continue
                if event.done:
                    await read_to_the_end(records)
                yield event if event.error is None else harmless(event, self.target)

    def _interrupted(self, exc: UpstreamError, characters: int) -> StreamInterrupted:
        message = exc.message
        if isinstance(exc, ServerUnreachable):
            message = (
                f"server {self.target.ref} broke off in the middle of the answer, "
                f"after {characters} characters: {reason_of(exc, self.target)}"
            )
        return StreamInterrupted(message, "what was shown is incomplete; ask again")

    async def _document(
        self, method: str, path: str, read: Callable[[Any], T], model: str | None = None
    ) -> T:
        """What `read` makes of the JSON of an answer, about `model` where one is named; raises what
        a status other than 200 means.
        """
        headers: Headers = ()
        body = None
        if model is not None and method == "POST":
            headers, body = JSON_HEADERS, json_body({"model": model})
        async with self._answer(method, path, headers, body) as answer:
            if answer.status != 200:
                raise refused(self.target, path, answer, model)
            return read(read_json(answer.body))

    @asynccontextmanager
    async def _answer(
        self, method: str, path: str, headers: Headers = (), body: bytes | None = None
    ) -> AsyncIterator[Answer]:
        """A whole answer of any status, within the metadata timeout; what is wrong with it is told
        as the server's fault.
        """
        async with (
            self._within(self._timeout),
            self._sent(method, path, headers, body, NO_LIMITS) as response,
        ):
            yield await read_whole(response, path)

    @asynccontextmanager
    async def _sent(
        self,
        method: str,
        path: str,
        headers: Headers,
        body: bytes | None,
        patience: Patience,
        sending: Sending | None = None,
    ) -> AsyncIterator[Response]:
        """The response to a request, its head complete within the time for the first byte.

        `sending` is for what a model works on, which another server must not do a second time.
        """
        name, silence = path.partition("?")[0], None
        if patience.first_byte is not None and patience.idle is not None:
            silence = max(patience.first_byte, patience.idle)
        with translated(self.target, name, sending):
            async with AsyncExitStack() as stack:
                answered = stack.enter_context(self._watched(method, name))
                async with self._within(patience.first_byte, sending):
                    asking = self._http.send(
                        method,
                        self.target.ref.url + path,
                        self._with_own(headers),
                        body,
                        silence=silence,
                        any_address=self.any_address,
                        sending=sending,
                        transport=self.target.transport,
                    )
                    response = await stack.enter_async_context(asking)
                if answered is not None:
                    answered(response.status)
                yield response

    @contextmanager
    def _watched(self, method: str, path: str) -> Iterator[Callable[[int | None], None] | None]:
        if self._watch is None:
            yield None
            return
        answered = self._watch.asked(self.target.ref, method, path)
        try:
            yield answered
        finally:
            answered(None)  # means nothing after a status

    async def _chunks(
        self, response: Response, path: str, patience: Patience, sending: Sending
    ) -> AsyncGenerator[bytes, None]:
        """The body as it arrives; ServerUnreachable when a piece takes longer than `patience`."""
        timer, seconds = PieceTimer(), patience.first_byte
        with translated(self.target, path, sending):
            try:
                while True:
                    yield await timer.next_of(response.chunks, seconds)
                    seconds = patience.idle
            except StopAsyncIteration:
                return
            except TimeoutError as exc:
                reason = f"timed out after {seconds:g} s without data"
                raise unreachable(self.target, reason, may_pass_on=False) from exc
            finally:
                timer.close()

    @asynccontextmanager
    async def _within(
        self, seconds: float | None, sending: Sending | None = None
    ) -> AsyncIterator[None]:
        """Raise ServerUnreachable when the block takes longer; `sending` as in `_sent`."""
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError as exc:
            raise unreachable(
                self.target,
                f"timed out after {seconds:g} s without an answer",
                may_pass_on=sending is None or not sending.is_whole,
            ) from exc

    @property
    def patience(self) -> Patience:
        """How long an answer that a model works on is waited for."""
        times = self._http.times
        return Patience(first_byte=times.first_byte, idle=times.idle)

    def _with_own(self, headers: Headers) -> Headers:
        """The headers, and the server's own in place of those that have the same names."""
        if not self.target.headers:
            return headers
        # httpx itself would take ASCII only
        own = [
            (name.encode(), value.reveal().encode("latin-1"))
            for name, value in self.target.headers.items()
        ]
        names = {name.lower() for name, _ in own}
        return own + [pair for pair in headers if pair[0].lower() not in names]


def _listing(body: bytes) -> Listing:
    return Listing(body, wire.listed_models(read_json(body)))
