"""Ask: a small place to try a model at a server, with the receipt of the answer beside it."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from typing import Any

from starlette.responses import Response

from ollama_admin.domain.answers import Piece, Reply
from ollama_admin.domain.keys import Right
from ollama_admin.domain.requests import GenerateRequest
from ollama_admin.errors import AdminError
from ollama_admin.gateway.exchange import REQUEST_ID
from ollama_admin.services.matrix import MatrixPage
from ollama_admin.services.relay import BYTES_OF_A_TOKEN
from ollama_admin.web.page import Page, View
from ollama_admin.web.rendering import in_lines
from ollama_admin.web.streaming import HERE, Streamed
from ollama_admin.web.visit import Form, Visit

CHOICES = 500  # names in a list to choose from
Pieces = AsyncGenerator[Piece | Reply, None]


async def show(visit: Visit) -> Response:
    """The form for a question."""
    given = {"model": visit.asked("model"), "server": visit.asked("server")}
    return await visit.page("ask.html", **await _values(visit, given))


async def answer(visit: Visit) -> Response:
    """The answer as it comes. The status tells how it went up to the first piece of it; what fails
    later is told on the page.
    """
    form = await visit.form()
    given = {name: form.text(name) for name in ("model", "server", "prompt")}
    values = await _values(visit, given)
    stack = AsyncExitStack()
    try:
        pieces = await _begun(visit, form, stack)
    except AdminError as exc:
        await stack.aclose()
        return await visit.page("ask.html", exc.http_status, **values | {"problem": exc})
    except BaseException:
        await stack.aclose()
        raise
    page = await visit.html("ask.html", **values | {"here": HERE})
    return Streamed(page, _told(visit, pieces), stack)


async def _begun(visit: Visit, form: Form, stack: AsyncExitStack) -> Pieces:
    """The pieces of the answer, once the first one is there; the key's limits hold here too."""
    prompt, key = form.text("prompt"), visit.key
    request = GenerateRequest(
        model=form.text("model").strip() or None,
        server=form.text("server").strip() or None,
        prompt=prompt,
        allow_truncate=key.allow_truncate,
        allow_remote=key.allow_remote,
    )
    counted = None
    if key.is_limited:
        tokens = len(prompt.encode()) // BYTES_OF_A_TOKEN
        admission = await stack.enter_async_context(visit.client.key_limits.admitted(key, tokens))
        counted = admission.use
    request_id = visit.request.scope.get(REQUEST_ID)
    stream = visit.client.ask(request, request_id=request_id)
    pieces = stream.events
    await stack.enter_async_context(aclosing(pieces))
    first = await anext(pieces)
    return _all(first, pieces, counted)


async def _all(first: Piece | Reply, pieces: Pieces, counted: Any) -> Pieces:
    event: Piece | Reply | None = first
    while event is not None:
        if isinstance(event, Reply) and counted is not None:
            counted((event.stats.prompt_tokens or 0) + (event.stats.output_tokens or 0))
        yield event
        event = await anext(pieces, None)


async def _told(visit: Visit, pieces: Pieces) -> AsyncGenerator[str, None]:
    """The text of the answer, and its receipt behind it."""
    reply = None
    yield '<pre class="answer">'
    try:
        async for event in pieces:
            if isinstance(event, Reply):
                reply = event
            else:
                yield str(in_lines(event.response))
    except AdminError as exc:
        yield "</pre>" + await visit.fragment("problem.html", problem=exc)
        return
    request_id = visit.request.scope.get(REQUEST_ID)
    notes = list(visit.notes)
    receipt = await visit.fragment("ask_receipt.html", reply=reply, id=request_id, notes=notes)
    yield "</pre>" + receipt


async def _values(visit: Visit, given: dict[str, str]) -> dict[str, Any]:
    choices = MatrixPage(names=CHOICES, servers=CHOICES)
    matrix = await visit.client.models.matrix(choices, visit.rights)
    return {
        "given": {"prompt": ""} | given,
        "models": [line.name for line in matrix.lines],
        "servers": [server.name for server in matrix.servers],
        "problem": None,
        "here": "",
    }


PAGE = Page(
    name="ask",
    title="Ask",
    views=[
        View(path="/ui/ask", answer=show, right=Right.ASK),
        View(path="/ui/ask", answer=answer, right=Right.ASK, method="POST"),
    ],
)
