"""What a server says of itself when it is asked, and what is recorded of that."""

from typing import TYPE_CHECKING

from ollama_admin.domain.servers import ApiVersion, CheckResult, Server, ServerStatus
from ollama_admin.errors import AdminError, ServerUnauthorized, ServerUnreachable, UpstreamError
from ollama_admin.services.fleet import Answered, Failed

if TYPE_CHECKING:
    from ollama_admin.ollama.endpoint import Endpoint


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


def check_result(outcome: Answered[str | None] | Failed) -> CheckResult:
    """What is recorded of a server that was asked for its version."""
    if isinstance(outcome, Failed):
        return CheckResult(
            server=outcome.server.ref,
            status=_status_after(outcome.error),
            version=None,
            ms=outcome.ms,
            error=outcome.error,
        )
    return CheckResult(
        server=outcome.server.ref,
        status=ServerStatus.ONLINE,
        version=outcome.answer,
        ms=outcome.ms,
    )


def _status_after(error: AdminError) -> ServerStatus:
    if isinstance(error, ServerUnreachable):
        return ServerStatus.OFFLINE
    if isinstance(error, ServerUnauthorized):
        return ServerStatus.UNAUTHORIZED
    return ServerStatus.ERROR
