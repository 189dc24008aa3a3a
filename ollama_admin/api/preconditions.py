"""`ETag` and `If-Match`: a change that is refused where somebody else was quicker."""

import re
from typing import Annotated, Any

from fastapi import Depends, Request

from ollama_admin.domain.servers import Server
from ollama_admin.gateway.refusals import Refused

_TAG = r'(?:W/)?"[!#-~\x80-\xff]*"'
_TAGS = re.compile(rf"[ \t]*{_TAG}[ \t]*(?:,[ \t]*{_TAG}[ \t]*)*")

ETAG: dict[str, Any] = {
    "ETag": {
        "description": "the state of the row, for If-Match; every change gives it a new value",
        "schema": {"type": "string"},
    }
}
IF_MATCH: dict[str, Any] = {
    "parameters": [
        {
            "name": "If-Match",
            "in": "header",
            "required": False,
            "description": "the ETag you read; if the row has changed since, 412",
            "schema": {"type": "string", "pattern": r'^(\*|"[!#-~]*")$'},
        }
    ]
}


def etag(server: Server) -> dict[str, str]:
    """The header that names the state of a server."""
    return {"ETag": f'"{server.state}"'}


async def wanted_states(request: Request) -> frozenset[str] | None:
    """The states that `If-Match` names, None for any; Refused where it names none in a proper way.

    A weak tag matches nothing, as RFC 9110 says.
    """
    value = ",".join(request.headers.getlist("if-match"))
    if "if-match" not in request.headers or value.strip() == "*":
        return None
    if _TAGS.fullmatch(value) is None:
        raise Refused(400, "the header If-Match cannot be read", 'If-Match: "the ETag", or *')
    strong = (tag for tag in re.findall(_TAG, value) if tag.startswith('"'))
    return frozenset(tag.strip('"') for tag in strong)


IfMatch = Annotated[frozenset[str] | None, Depends(wanted_states)]
