"""A client's call to one server, and its answer as it is."""

from collections.abc import AsyncIterator
from types import TracebackType

from ollama_admin.domain.relayed import Headers
from ollama_admin.domain.values import made_often
from ollama_admin.errors import AdminError, ModelMismatch
from ollama_admin.ollama.endpoint import Endpoint
from ollama_admin.ollama.faults import refused, scrubbed_bytes, translated, translation
from ollama_admin.ollama.passing import OtherModel, Passing, passing, shape_of
from ollama_admin.ollama.response import Response, Sending, refuse_encoding

OURS = (401, 403, 407)  # about our credentials, which no client can mend


@made_often
class RelayedResponse:
    """A server's answer to a relayed call: a body on its way, or, where `refusal` says what its
    status means, the `body` of that. `is_early`: it came before the call was sent whole.
    """

    status: int
    headers: Headers
    chunks: AsyncIterator[bytes]
    is_early: bool = False
    refusal: AdminError | None = None
    body: bytes = b""

    def passing(self, path: str, accepted: frozenset[str], *, holds: bool) -> Passing:
        """The one that looks at this answer to `path`; see `passing`."""
        content_type = b""
        for name, value in self.headers:
            if name.lower() == b"content-type":
                content_type = value
        return passing(shape_of(path, content_type), accepted, holds=holds)


class relayed:  # noqa: N801 (used as a function; written out, since it stands in every request)
    """The answer to a client's call for `model`, to be passed on as it comes, as a context manager;
    leaving the block ends the work at the server.

    A status that the client should see is there with what it means. Raises what `Endpoint.request`
    raises, ServerUnauthorized for a server that refuses our credentials, and out of the block what
    is wrong with the answer.
    """

    __slots__ = ("_endpoint", "_exchange", "_is_begun", "_model", "_path", "_sending", "_target")

    def __init__(
        self,
        endpoint: Endpoint,
        method: str,
        path: str,
        headers: Headers,
        body: bytes,
        model: str,
    ) -> None:
        self._endpoint = endpoint
        self._target = endpoint.target
        self._path = path.partition("?")[0]  # errors never repeat a query
        self._model = model
        self._sending = Sending()
        self._is_begun = False
        self._exchange = endpoint.exchange(method, path, headers, body, self._sending)

    async def __aenter__(self) -> RelayedResponse:
        try:
            response = await self._exchange.__aenter__()
        except Exception as exc:
            self._raise_translated(exc)
            raise
        try:
            if 200 <= response.status < 300:
                refuse_encoding(response)
                return RelayedResponse(
                    status=response.status,
                    headers=response.headers,
                    chunks=response.chunks,
                    is_early=not self._sending.is_whole,
                )
            return await self._refused(response)
        except BaseException as exc:
            await self._exchange.__aexit__(type(exc), exc, exc.__traceback__)
            self._raise_translated(exc)
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._exchange.__aexit__(kind, exc, trace)
        if exc is not None:
            self._raise_translated(exc)

    def _raise_translated(self, exc: BaseException) -> None:
        """Raise what an exception means; return where it passes."""
        if isinstance(exc, OtherModel):
            raise ModelMismatch(
                f"server {self._target.ref} answered as {exc.name!r}, not as {self._model!r}",
                "nothing from another model is accepted",
            ) from exc
        error = translation(exc, self._target, self._path, self._sending)
        if error is not None:
            try:
                raise error from exc
            finally:
                del error  # else it stays in memory, with all that its frames hold

    async def _refused(self, response: Response) -> RelayedResponse:
        with translated(self._target, self._path):
            answer = await self._endpoint.refusal_of(response)
        error = refused(self._target, self._path, answer, self._model)
        if answer.status in OURS or 300 <= answer.status < 400:
            raise error
        return RelayedResponse(
            status=answer.status,
            headers=response.headers,
            chunks=response.chunks,
            refusal=error,
            body=scrubbed_bytes(answer.body, self._target),
        )
