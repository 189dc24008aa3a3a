"""What a process that serves elsewhere tells of the fleet."""

import asyncio
from typing import Any

from ollama_admin.domain.secret import Secret
from ollama_admin.domain.servers import ApiVersion, ServerRef, Target
from ollama_admin.domain.urls import server_url
from ollama_admin.errors import ServerUnauthorized, ServerUnreachable, UpstreamError
from ollama_admin.ollama.faults import reason_of
from ollama_admin.ollama.response import Patience, read_json, read_whole
from ollama_admin.services.servers import Connect

PATH = "/api/fleet/activity"
SECONDS = 10.0  # for an answer


async def activity_at(connect: Connect, url: str, token: Secret) -> dict[str, Any]:
    """The JSON of `FleetActivity`; raises InvalidInput and UpstreamError."""
    bearer = Secret(f"Bearer {token.reveal()}")
    target = Target(
        ref=ServerRef(id=None, name=None, url=server_url(url).url),
        api_version=ApiVersion.NATIVE,
        headers={"Authorization": bearer},
        secrets=(bearer, token),
    )
    patience = Patience(first_byte=SECONDS, idle=SECONDS)
    try:
        async with (
            asyncio.timeout(SECONDS),
            connect(target, None).request("GET", PATH, patience=patience) as response,
        ):
            answer = await read_whole(response, PATH)
            document = read_json(answer.body) if answer.status == 200 else None
    except TimeoutError as exc:
        raise ServerUnreachable(f"{url} did not answer within {SECONDS:g} s") from exc
    except ServerUnreachable as exc:
        raise ServerUnreachable(f"{url} cannot be reached: {reason_of(exc, target)}") from exc
    if answer.status in (401, 403):
        raise ServerUnauthorized(
            f"{url} refused the key ({answer.status})", "put one that may read into the variable"
        )
    if not isinstance(document, dict) or not isinstance(document.get("servers"), list):
        raise UpstreamError(
            f"{url} answered {answer.status}, but not as ollama-admin serve",
            "name the URL that serve listens on, as http://127.0.0.1:8421",
        )
    return document
