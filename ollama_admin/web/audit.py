"""Audit: who changed what, and what was refused."""

from datetime import timedelta
from typing import Any

from starlette.responses import Response

from ollama_admin.domain.audit import AuditEntry
from ollama_admin.domain.keys import Right
from ollama_admin.web.page import Page, View
from ollama_admin.web.visit import Visit
from ollama_admin.web.words import now

LIST = "/ui/audit"
PER_PAGE = 50
SPANS = {"24h": 1, "7d": 7, "30d": 30, "365d": 365, "all": 36_500}  # days
_NOT_TOLD = ("updated_at", "created_at", "last_used_at", "slots_in_use")


async def show(visit: Visit) -> Response:
    """Changes, the newest first."""
    since = visit.asked("since")
    if since not in SPANS:
        since = "30d"
    filters = {name: visit.asked(name).strip() for name in ("who", "action")}
    refused = visit.asked("refused") == "yes"
    below = visit.number("below", 0, 2**53) or None
    entries = await visit.client.audit.list(
        since=now() - timedelta(days=SPANS[since]),
        who=filters["who"] or None,
        action=filters["action"] or None,
        refused=refused,
        limit=PER_PAGE,
        below=below,
    )
    return await visit.page(
        "audit.html",
        entries=[(entry, changes(entry)) for entry in entries],
        filters=filters | {"since": since, "refused": "yes" if refused else ""},
        spans=SPANS,
        is_first=below is None,
        more=len(entries) == PER_PAGE,
    )


def changes(entry: AuditEntry) -> list[tuple[str, Any, Any]]:
    """The fields that differ, with what they were and are; all of them where one side is not
    there.
    """
    before, after = entry.before or {}, entry.after or {}
    names = list(dict.fromkeys(list(before) + list(after)))
    return [
        (name, before.get(name, ""), after.get(name, ""))
        for name in names
        if name not in _NOT_TOLD and before.get(name, "") != after.get(name, "")
    ]


PAGE = Page(
    name="audit",
    title="Audit",
    views=[View(path=LIST, answer=show, right=Right.ADMIN)],
)
