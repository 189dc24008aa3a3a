"""One question to each of several servers: what every command over a fleet is built on."""

import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from ollama_admin.domain.servers import Server
from ollama_admin.errors import AdminError
from ollama_admin.services.tasks import WorkLimit, together

Answer = TypeVar("Answer")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered(Generic[Answer]):
    """A server, its answer, and the time that asking took in milliseconds."""

    server: Server
    answer: Answer
    ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A server, the error that asking it ended with, and the time it took in milliseconds."""

    server: Server
    error: AdminError
    ms: int


async def ask_each(
    servers: Iterable[Server],
    ask: Callable[[Server], Awaitable[Answer]],
    conclude: Callable[[Answered[Answer] | Failed], Awaitable[Result]],
    *,
    limit: WorkLimit,
    on_result: Callable[[Result], None] = lambda _: None,
) -> list[Result]:
    """Ask servers side by side, as many at once as `limit` lets; the results in the servers' order.

    `ask` puts the question to one server. An AdminError that it raises is what came of that server,
    and costs the others nothing. `conclude` stores what came of one server and makes its result,
    which `on_result` then hears of. Whatever else is raised, also by `conclude`, cancels the rest.
    """

    async def result_of(server: Server) -> Result:
        async with limit.take():
            result = await conclude(await _outcome(server, ask))
        on_result(result)
        return result

    return await together(result_of(server) for server in servers)


async def _outcome(
    server: Server, ask: Callable[[Server], Awaitable[Answer]]
) -> Answered[Answer] | Failed:
    started = time.monotonic()
    try:
        answer = await ask(server)
    except AdminError as exc:
        return Failed(server=server, error=exc, ms=_ms_since(started))
    return Answered(server=server, answer=answer, ms=_ms_since(started))


def _ms_since(started: float) -> int:
    return round((time.monotonic() - started) * 1000)
