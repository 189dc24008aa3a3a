"""Usage: requests, tokens, failures and times, by day, and by key, model or server."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from starlette.responses import Response

from ollama_admin.domain.keys import Right
from ollama_admin.domain.receipts import Usage
from ollama_admin.errors import NotFound
from ollama_admin.rules.usage_csv import usage_csv
from ollama_admin.web.page import Page, View
from ollama_admin.web.requests import owner
from ollama_admin.web.visit import Visit
from ollama_admin.web.words import now

PATH = "/ui/usage"
SPANS = {"7d": 7, "30d": 30, "90d": 90, "365d": 365}  # days
GROUPS = {"key": "Key", "model": "Model", "server": "Server"}
MOST = 500  # rows of the table by key, model or server; CSV has all
_FILTERS = ("model", "server", "key")


async def show(visit: Visit) -> Response:
    """Charts and a table by day, and a table by something else."""
    groups = _groups(visit)
    by = visit.asked("by")
    if by not in groups:
        by = next(iter(groups))
    problem = None
    days: Sequence[Usage] = ()
    rows: Sequence[Usage] = ()
    try:
        days, rows = await _used(visit, "day"), await _used(visit, by)
    except NotFound as exc:
        problem = exc
    return await visit.page(
        "usage.html",
        days=days,
        rows=rows[:MOST],
        left_out=max(0, len(rows) - MOST),
        problem=problem,
        by=by,
        groups=groups,
        spans=SPANS,
        since=_since(visit),
        filters={name: visit.asked(name).strip() for name in _FILTERS},
        owner=owner(visit),
    )


async def as_csv(visit: Visit) -> Response:
    """All rows by what `by` names, for a spreadsheet; by day and key without it."""
    by = visit.asked("by") or None
    if by not in (None, "day") and by not in _groups(visit):
        by = None
    lines = [f"{line}\r\n" for line in usage_csv(await _used(visit, by), by)]
    headers = {"Content-Disposition": f'attachment; filename="usage-by-{by or "day-and-key"}.csv"'}
    return Response("".join(lines), media_type="text/csv", headers=headers)


async def _used(visit: Visit, by: str | None) -> Sequence[Usage]:
    mine = owner(visit)
    wanted: dict[str, Any] = {name: visit.asked(name).strip() or None for name in _FILTERS}
    if mine is not None:
        wanted["key"] = None
    start = now() - timedelta(days=SPANS[_since(visit)] - 1)
    return await visit.client.receipts.usage(of=mine, since=start, by=by, **wanted)


def _since(visit: Visit) -> str:
    since = visit.asked("since")
    return since if since in SPANS else "30d"


def _groups(visit: Visit) -> dict[str, str]:
    """What can be added up by: who sees the own key alone, not by key."""
    if owner(visit) is None:
        return GROUPS
    return {name: title for name, title in GROUPS.items() if name != "key"}


PAGE = Page(
    name="usage",
    title="Usage",
    views=[
        View(path=PATH, answer=show, right=Right.READ, other=Right.ASK),
        View(path=f"{PATH}/csv", answer=as_csv, right=Right.READ, other=Right.ASK),
    ],
)
