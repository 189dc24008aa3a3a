"""Which paths the gateway answers, and in what dialect their clients read.

`[/k/KEY][/servers/NAME]` may stand before each of them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import unquote

from ollama_admin.domain.keys import Right
from ollama_admin.domain.relayed import Dialect


class Kind(Enum):
    """What becomes of a call."""

    RELAY = "relay"
    ALIVE = "alive"
    VERSION = "version"
    TAGS = "tags"
    PS = "ps"
    SHOW = "show"
    MODELS = "models"
    STATUS = "status"
    MANAGE = "manage"
    NEVER = "never"  # of an account, or served by somebody else than the fleet


OPEN = (Kind.ALIVE, Kind.VERSION)  # for clients that cannot say who they are
# What it takes to be answered, where it is not open to all.
RIGHTS = {
    Kind.RELAY: Right.ASK,
    Kind.ALIVE: Right.ASK,
    Kind.VERSION: Right.ASK,
    Kind.TAGS: Right.ASK,
    Kind.PS: Right.ASK,
    Kind.SHOW: Right.ASK,
    Kind.MODELS: Right.ASK,
    Kind.STATUS: Right.ASK,
    Kind.MANAGE: Right.MANAGE,
    Kind.NEVER: Right.ASK,
}
_V1_MODEL = "/v1/models/"
_BLOBS = "/api/blobs/"
# As Ollama names them: a proxy before it would take `..` for the way to another path.
_BLOB = re.compile(_BLOBS + r"sha256(?:[:-]|%3[Aa])[0-9A-Fa-f]{64}")


def _post(kind: Kind) -> Mapping[str, Kind]:
    return {"POST": kind}


def _get(kind: Kind) -> Mapping[str, Kind]:
    return {"GET": kind, "HEAD": kind}


# Ollama 0.33, server/routes.go
_OLLAMA: dict[str, Mapping[str, Kind]] = {
    "/": _get(Kind.ALIVE),
    "/api/version": _get(Kind.VERSION),
    "/api/tags": _get(Kind.TAGS),
    "/api/ps": _get(Kind.PS),
    "/api/show": _post(Kind.SHOW),
    "/api/status": _get(Kind.STATUS),
    "/api/generate": _post(Kind.RELAY),
    "/api/chat": _post(Kind.RELAY),
    "/api/embed": _post(Kind.RELAY),
    "/api/embeddings": _post(Kind.RELAY),
    "/api/pull": _post(Kind.MANAGE),
    "/api/push": _post(Kind.MANAGE),
    "/api/create": _post(Kind.MANAGE),
    "/api/copy": _post(Kind.MANAGE),
    "/api/delete": {"DELETE": Kind.MANAGE},
    "/api/me": {"POST": Kind.NEVER, "GET": Kind.NEVER},
    "/api/signout": _post(Kind.NEVER),
}
_OPENAI: dict[str, Mapping[str, Kind]] = {
    "/v1/models": _get(Kind.MODELS),
    "/v1/chat/completions": _post(Kind.RELAY),
    "/v1/completions": _post(Kind.RELAY),
    "/v1/embeddings": _post(Kind.RELAY),
    "/v1/responses": _post(Kind.RELAY),
    "/v1/audio/transcriptions": _post(Kind.RELAY),
}
_ANTHROPIC: dict[str, Mapping[str, Kind]] = {
    "/v1/messages": _post(Kind.RELAY),
    "/v1/messages/count_tokens": _post(Kind.RELAY),
}
_TABLES = (
    (Dialect.OLLAMA, _OLLAMA),
    (Dialect.OPENAI, _OPENAI),
    (Dialect.ANTHROPIC, _ANTHROPIC),
)
_NEVER_BELOW = ("/api/user/keys/", "/api/experimental/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a call goes. `path` is without the prefixes, whose `key` and `server` it has; `methods`
    are the ones that it takes, with what becomes of each; none for a path that nobody serves.
    """

    path: str
    dialect: Dialect
    methods: Mapping[str, Kind]
    key: str | None = field(default=None, repr=False)
    server: str | None = None
    model: str | None = None

    def right(self, kind: Kind) -> Right:
        """What a key needs for a call of this kind; one that names no server changes none."""
        if kind is Kind.MANAGE and self.server is None:
            return Right.ASK
        return RIGHTS[kind]

    @property
    def is_open(self) -> bool:
        return self.server is None and any(kind in OPEN for kind in self.methods.values())


_PLAIN = {
    path.encode(): Place(path=path, dialect=dialect, methods=methods)
    for dialect, table in _TABLES
    for path, methods in table.items()
}


def placed(raw_path: bytes) -> Place | None:
    """The place of a path as it was sent; None for one that is not the gateway's."""
    place = _PLAIN.get(raw_path)
    if place is not None:
        return place
    path, key, server = raw_path.decode("latin-1"), None, None
    if path.startswith("/k/"):
        key, path = _first_part(path.removeprefix("/k/"))
    if path.startswith("/servers/"):
        server, path = _first_part(path.removeprefix("/servers/"))
    elif key is None and not path.startswith("/v1/") and not _is_below_api(path):
        return None
    return _placed(path, key, server)


def _first_part(path: str) -> tuple[str, str]:
    """What stands before the first slash, and the path from there on."""
    first, _, rest = path.partition("/")
    return unquote(first), f"/{rest}"


def _is_below_api(path: str) -> bool:
    return path.startswith((_BLOBS, *_NEVER_BELOW))


def _placed(path: str, key: str | None, server: str | None) -> Place:
    """The place of a path whose prefixes are cut off."""
    plain = _PLAIN.get(path.encode("latin-1"))
    if plain is not None:
        return Place(
            path=path, dialect=plain.dialect, methods=plain.methods, key=key, server=server
        )
    dialect, model = Dialect.OLLAMA, None
    methods: Mapping[str, Kind] = {}
    if path.startswith(_V1_MODEL):
        dialect, methods, model = Dialect.OPENAI, _get(Kind.MODELS), unquote(path[len(_V1_MODEL) :])
    elif path.startswith("/v1/messages"):
        dialect = Dialect.ANTHROPIC
    elif path.startswith("/v1/"):
        dialect = Dialect.OPENAI
    elif _BLOB.fullmatch(path):
        methods = {"HEAD": Kind.MANAGE, "POST": Kind.MANAGE}
    elif path.startswith(_NEVER_BELOW):
        methods = dict.fromkeys(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"), Kind.NEVER)
    return Place(path=path, dialect=dialect, methods=methods, key=key, server=server, model=model)
