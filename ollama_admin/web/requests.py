"""Requests: those on their way, what became of the others, and all of one."""

import re
from datetime import datetime, timedelta
from typing import Any

from starlette.responses import Response

from ollama_admin.domain.activity import RequestActivity
from ollama_admin.domain.keys import KeyRef, Right
from ollama_admin.domain.receipts import Receipt, Search
from ollama_admin.errors import NotFound
from ollama_admin.services.receipts import LIMIT, no_receipt
from ollama_admin.web.page import Page, View
from ollama_admin.web.visit import Visit
from ollama_admin.web.words import now

LIST = "/ui/requests"
SPANS = {
    "1h": ("the last hour", timedelta(hours=1)),
    "24h": ("the last 24 hours", timedelta(hours=24)),
    "7d": ("the last 7 days", timedelta(days=7)),
    "90d": ("the last 90 days", timedelta(days=90)),
}
OUTCOMES = {
    "": "any",
    "ok": "answered",
    "failed": "failed",
    "cancelled": "cancelled",
}
NOTHING = Search(receipts=(), last_id=None, last_at=None)
_FILTERS = ("model", "server", "key")
_REQUEST = re.compile(r"[0-9a-f]{1,19}")


async def show(visit: Visit) -> Response:
    """The requests on their way, and the log of those that ended, the newest first."""
    filters = {name: visit.asked(name).strip() for name in _FILTERS}
    outcome, since = visit.asked("outcome"), visit.asked("since")
    if outcome not in OUTCOMES:
        outcome = ""
    if since not in SPANS:
        since = "24h"
    found, problem = await _log(visit, filters, outcome, since)
    return await visit.page(
        "requests.html",
        part=await part(visit),
        found=found,
        problem=problem,
        filters=filters | {"outcome": outcome, "since": since},
        is_first=not visit.asked("below"),
        more=len(found.receipts) == LIMIT,
        outcomes=OUTCOMES,
        spans=SPANS,
        owner=owner(visit),
    )


async def part(visit: Visit) -> str:
    """The table of the requests on their way in this service."""
    requests = await _on_their_way(visit)
    return await visit.fragment("requests_part.html", requests=requests)


async def one(visit: Visit) -> Response:
    """All of one request: what became of it, or that it is on its way still."""
    word = visit.part("request")
    if _REQUEST.fullmatch(word) is None:
        raise no_receipt(word)
    going = [each for each in await _on_their_way(visit) if each.id == word]
    if going:
        return await visit.page("request_going.html", request=going[0])
    receipt = await visit.client.receipts.show(word)
    mine = owner(visit)
    if mine is not None and receipt.key != mine:
        raise no_receipt(word)
    return await visit.page("request.html", receipt=receipt, times=times(receipt))


async def cancel(visit: Visit) -> Response:
    """End a request that is on its way."""
    await visit.form()
    of = None if visit.may(Right.MANAGE) else visit.key.ref
    ended = await visit.client.fleet.cancel(visit.part("request"), of=of)
    return visit.go(LIST, f"the request for {ended.model or 'a default model'} was cancelled")


def owner(visit: Visit) -> KeyRef | None:
    """Whose requests may be seen alone: those of a key that may only ask; None is everybody's."""
    return None if visit.may(Right.READ) else visit.key.ref


def times(receipt: Receipt) -> list[tuple[str, datetime, int | None]]:
    """What happened when, by our clock, and so many ms after the request came. The receipt is made
    at the end.
    """
    stats = receipt.stats
    if stats is None:
        return [("done", receipt.created_at, None)]
    came = receipt.created_at - timedelta(milliseconds=stats.total_ms)
    points: list[tuple[str, int | None]] = [("came", 0), ("sent", receipt.queued_ms)]
    first = None
    if stats.time_to_first_token_ms is not None:
        first = (receipt.queued_ms or 0) + stats.time_to_first_token_ms
    points += [("first token", first), ("done", stats.total_ms)]
    return [(name, came + timedelta(milliseconds=ms), ms) for name, ms in points if ms is not None]


async def _log(
    visit: Visit, filters: dict[str, str], outcome: str, since: str
) -> tuple[Search, NotFound | None]:
    """What is found; nothing, and why, where a filter names what was never there."""
    wanted: dict[str, Any] = {name: value for name, value in filters.items() if value}
    mine = owner(visit)
    if mine is not None:
        wanted.pop("key", None)
    if outcome == "failed":
        wanted["failed"] = True
    elif outcome:
        wanted["outcome"] = outcome
    if visit.asked("below"):
        wanted["below"] = visit.number("below", 1, 2**53)
    start = now() - SPANS[since][1]
    try:
        return await visit.client.receipts.search(since=start, of=mine, **wanted), None
    except NotFound as exc:
        return NOTHING, exc


async def _on_their_way(visit: Visit) -> list[RequestActivity]:
    activity = await visit.client.fleet.activity(wait=False)
    mine = owner(visit)
    requests = activity.requests or ()
    return [each for each in requests if mine is None or each.key == mine]


PAGE = Page(
    name="requests",
    title="Requests",
    views=[
        View(path=LIST, answer=show, right=Right.READ, other=Right.ASK),
        View(path=f"{LIST}/{{request}}", answer=one, right=Right.READ, other=Right.ASK),
        View(
            path=f"{LIST}/{{request}}/cancel",
            answer=cancel,
            right=Right.MANAGE,
            other=Right.ASK,
            method="POST",
        ),
    ],
    live=part,
    of_key=True,
)
