"""What a server says of itself when it is asked: as what it answers, and with which models."""

import asyncio
from typing import TYPE_CHECKING

from ollama_admin.domain.names import ModelName
from ollama_admin.domain.servers import ApiVersion, CheckResult, Server, ServerStatus
from ollama_admin.errors import AdminError, ServerUnauthorized, ServerUnreachable, UpstreamError
from ollama_admin.rules import absence, routing
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
            f"if it speaks the OpenAI-compatible API: ollama-admin server update {server.id} "
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


async def require_default_model(endpoint: "Endpoint", server: Server) -> None:
    """Raise ModelNotFound where a server that was checked does not list its default model."""
    if server.default_model is None:
        return
    is_ollama = server.version is not None
    listed = await endpoint.models(is_ollama=is_ollama)
    name = ModelName.parse(server.default_model)
    if not routing.named(listed, name, is_ollama=is_ollama):
        names = [model.name for model in listed]
        raise await asyncio.to_thread(absence.not_listed, name.text, server.ref, names)
