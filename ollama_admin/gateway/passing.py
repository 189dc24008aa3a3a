"""Calls that pass on to the one server that is named, and that no model works on."""

import asyncio

from ollama_admin.domain.relayed import RelayedCall
from ollama_admin.errors import AdminError
from ollama_admin.gateway.errors import Failure
from ollama_admin.gateway.exchange import Exchange
from ollama_admin.gateway.headers import of_body, to_client
from ollama_admin.gateway.relaying import server_of
from ollama_admin.services.passages import Passages


async def pass_to_server(
    exchange: Exchange, passages: Passages, server: str, call: RelayedCall
) -> None:
    """Answer with what the server answers, as it comes, until it ends or the client leaves."""
    leaving = exchange.watch()
    leaving.start()
    try:
        async with passages.to_server(server_of(server), call, exchange.rights) as response:
            if response.refusal is not None:
                shown = to_client(response.headers)
                await exchange.document(response.status, response.body, shown)
                return
            await exchange.begin(response.status, of_body(response.headers))
            async for chunk in response.chunks:
                await exchange.send(chunk)
        await exchange.end()
    except asyncio.CancelledError:
        if not leaving.has_left:
            raise
    except AdminError as error:
        await exchange.fail(Failure.of(error))
    finally:
        leaving.end()
