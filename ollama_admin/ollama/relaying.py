"""A client's call to one server, and its answer as it is."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from ollama_admin.domain.relayed import Headers
from ollama_admin.domain.servers import Target
from ollama_admin.errors import AdminError, ModelMismatch
from ollama_admin.ollama.endpoint import Endpoint
from ollama_admin.ollama.faults import refused, scrubbed_bytes, translated
from ollama_admin.ollama.passing import OtherModel, Passing, passing, shape_of
from ollama_admin.ollama.response import Response, refuse_encoding

OURS = (401, 403, 407)  # about our credentials, which no client can mend


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayedResponse:
    """A server's answer to a relayed call: a body on its way, or, where `refusal` says what its
    status means, the `body` of that.
    """

    status: int
    headers: Headers
    chunks: AsyncIterator[bytes]
    refusal: AdminError | None = None
    body: bytes = b""

    def passing(self, path: str, accepted: frozenset[str], *, holds: bool) -> Passing:
        """The one that looks at this answer to `path`; see `passing`."""
        content_type = b""
        for name, value in self.headers:
            if name.lower() == b"content-type":
                content_type = value
        return passing(shape_of(path, content_type), accepted, holds=holds)


@asynccontextmanager
async def relayed(
    endpoint: Endpoint, method: str, path: str, headers: Headers, body: bytes, model: str
) -> AsyncIterator[RelayedResponse]:
    """The answer to a client's call for `model`, to be passed on as it comes; leaving the block
    ends the work at the server.

    A status that the client should see is there with what it means. Raises what `Endpoint.request`
    raises, ServerUnauthorized for a server that refuses our credentials, and in the block what is
    wrong with the answer.
    """
    name = path.partition("?")[0]
    async with endpoint.request(method, path, headers=headers, body=body) as response:
        if not 200 <= response.status < 300:
            yield await _refused(endpoint, response, name, model)
            return
        with translated(endpoint.target, name), _named_as_asked(endpoint.target, model):
            refuse_encoding(response)
            yield RelayedResponse(
                status=response.status, headers=tuple(response.headers), chunks=response.chunks
            )


async def _refused(
    endpoint: Endpoint, response: Response, path: str, model: str
) -> RelayedResponse:
    answer = await endpoint.refusal_of(response)
    error = refused(endpoint.target, path, answer, model)
    if answer.status in OURS or 300 <= answer.status < 400:
        raise error
    return RelayedResponse(
        status=answer.status,
        headers=tuple(response.headers),
        chunks=response.chunks,
        refusal=error,
        body=scrubbed_bytes(answer.body, endpoint.target),
    )


@contextmanager
def _named_as_asked(target: Target, model: str) -> Iterator[None]:
    """Raise ModelMismatch for the name of another model."""
    try:
        yield
    except OtherModel as exc:
        raise ModelMismatch(
            f"server {target.ref} answered as {exc.name!r}, asked was {model!r}",
            "nothing of another model is accepted",
        ) from exc
