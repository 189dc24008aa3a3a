"""What a server says of itself when it is asked, and what is recorded of that."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from ollama_admin.domain.servers import ApiVersion, CheckResult, Server, ServerStatus
from ollama_admin.errors import AdminError, Conflict, NotFound, ServerBusy, UpstreamError
from ollama_admin.rules.health import status_after
from ollama_admin.services.fleet import Answered, Failed

if TYPE_CHECKING:
    from ollama_admin.ollama.endpoint import Endpoint

PATIENCE = 120.0  # seconds for a token: a model may have to be loaded

Ask = Callable[..., Awaitable[object]]


async def version_of(endpoint: "Endpoint", server: Server) -> str | None:
    """Ask a server for Ollama's version; None of a v1 server that is not Ollama.

    A native one that is not Ollama is an UpstreamError.
    """
    version = await endpoint.version()
    if version is None and server.api_version is ApiVersion.NATIVE:
        raise UpstreamError(
            f"server {server.name} ({server.url}) answers, but not as Ollama",
            f"if it speaks the OpenAI-compatible API: ollama-admin server update {server.ref.word} "
            "--api-version v1",
        )
    if version is None:
        await endpoint.models(is_ollama=False)
    return version


async def asked_for_a_token(ask: Ask, server: Server, model: str) -> None:
    """Ask a model of a server for one token. Raises UpstreamError where the server gives none, and
    else what stands in the way of the request.
    """
    options = {"num_predict": 1}
    try:
        await ask(server=server.id, model=model, prompt="hi", options=options, timeout=PATIENCE)
    except ServerBusy:  # its slots are in use, or it says so
        raise
    except UpstreamError as exc:
        raise UpstreamError(f"{exc.message} (it tells its version)", exc.hint) from exc


def check_result(outcome: Answered[str | None] | Failed, deep: str | None = None) -> CheckResult:
    """What is recorded of a server that was asked for its version, and for a token of `deep`."""
    if isinstance(outcome, Failed):
        return CheckResult(
            server=outcome.server.ref,
            status=_status_after(outcome.error, deep),
            version=None,
            ms=outcome.ms,
            error=outcome.error,
            model=deep,
        )
    return CheckResult(
        server=outcome.server.ref,
        status=ServerStatus.ONLINE,
        version=outcome.answer,
        ms=outcome.ms,
        model=deep,
    )


def _status_after(error: AdminError, deep: str | None) -> ServerStatus:
    """What a server is called after an error; one that only keeps a model from being asked is none
    of the server's.
    """
    if deep is not None and isinstance(error, (ServerBusy, NotFound, Conflict)):
        return ServerStatus.ONLINE
    return status_after(error)
