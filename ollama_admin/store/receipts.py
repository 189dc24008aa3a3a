"""SQL on `ollama_receipts`.

Names are compared in Python, folded as everywhere, and the rows are then chosen by the spellings
that mean the name.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    delete,
    false,
    func,
    inspect,
    select,
    true,
)

from ollama_admin.domain.answers import Proof, Stats
from ollama_admin.domain.callers import Way
from ollama_admin.domain.keys import KeyRef
from ollama_admin.domain.names import model_key
from ollama_admin.domain.receipts import NO_FAILURE, SORTS, Receipt, Search
from ollama_admin.domain.servers import ServerRef
from ollama_admin.errors import DatabaseUnavailable, NotFound, ServerNotFound
from ollama_admin.settings import Settings
from ollama_admin.store import keys as store_keys
from ollama_admin.store import readers, usage_names
from ollama_admin.store import servers as store_servers
from ollama_admin.store.engines import READ, WRITE, open_engine
from ollama_admin.store.faults import translated
from ollama_admin.store.new_receipts import NAME_LIMIT, STATS_COLUMNS
from ollama_admin.store.tables import receipts, usage

PATIENCE = 30.0  # seconds that deleting old ones waits for another writer of an SQLite file
_NEWEST = (receipts.c.created_at.desc(), receipts.c.id.desc())
_REQUEST = re.compile(r"[0-9a-f]{16}")  # as `serve` numbers requests


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which receipts are meant: `server` and `key` are an id or a name, `model` a name in any
    spelling, `of` is the very key, `below` the id of a receipt that they are older than; None is
    every one.
    """

    server: int | str | None = None
    model: str | None = None
    since: datetime | None = None
    failed: bool = False
    key: int | str | None = None
    of: KeyRef | None = None
    outcome: str | None = None
    below: int | None = None


def newest(
    connection: Connection, wanted: Wanted, limit: int, *, sort: str | None = None
) -> list[Receipt]:
    """The newest first, or those with most of `sort`; raises ServerNotFound for a server that
    neither a row nor a receipt knows.
    """
    return _read(connection, newest_query(connection, wanted, sort).limit(limit))


def newest_query(connection: Connection, wanted: Wanted, sort: str | None = None) -> Select[Any]:
    """The query of `newest`, for all of them."""
    query = select(receipts).where(condition(connection, wanted))
    if sort is not None:
        query = query.order_by(receipts.c[SORTS[sort]].desc().nulls_last())
    return query.order_by(*_NEWEST)


def find(connection: Connection, receipt: int | str) -> Receipt:
    """The receipt with this id, or of the request with this one; raises NotFound."""
    text = str(receipt)
    if _REQUEST.fullmatch(text):
        condition = receipts.c.request_id == text
    elif text.isdecimal():
        condition = receipts.c.id == min(int(text), 2**63 - 1)
    else:
        condition = false()
    rows = _read(connection, select(receipts).where(condition).limit(1))
    if not rows:
        raise no_receipt(text)
    return rows[0]


def no_receipt(text: str) -> NotFound:
    return NotFound(
        f"no receipt has the id {text[:100]!a}",
        "see which there are with: ollama-admin receipts list; an answer's receipt is written "
        "soon after it",
    )


def _read(connection: Connection, query: Select[Any]) -> list[Receipt]:
    try:
        return [_receipt(row) for row in connection.execute(query)]
    except readers.UNREADABLE as exc:
        raise _unreadable(connection, query) from exc


def count_before(connection: Connection, time: datetime) -> int:
    """How many receipts are older."""
    count = select(func.count()).select_from(receipts).where(receipts.c.created_at < time)
    return connection.scalar(count) or 0


def delete_before(connection: Connection, time: datetime) -> int:
    """Delete the receipts that are older; gives back how many."""
    return connection.execute(delete(receipts).where(receipts.c.created_at < time)).rowcount


def tidy(settings: Settings, before: datetime) -> int:
    """`delete_before` on a database that may have no such table yet; it is written to only if there
    is an old one.
    """
    engine = open_engine(settings, sqlite_patience=PATIENCE)
    old = select(receipts.c.id).where(receipts.c.created_at < before).limit(1)
    with translated(settings):
        try:
            with engine.connect().execution_options(**READ) as connection, connection.begin():
                if (
                    not inspect(connection).has_table(receipts.name)
                    or connection.scalar(old) is None
                ):
                    return 0
            with engine.connect().execution_options(**WRITE) as connection, connection.begin():
                return delete_before(connection, before)
        finally:
            engine.dispose()


def search(connection: Connection, wanted: Wanted, limit: int, most: int) -> Search:
    """The newest first, out of the `most` newest that an index finds: what else is wanted of them
    stands in no index, and there may be millions. Raises as `newest` does.
    """
    indexed, time = _indexed(connection, wanted), _not_before(wanted.since)
    last_at, last_id = _place(connection, and_(time, indexed), most)
    if last_at is not None:  # instead of the time that is wanted: SQLite looks at one bound only
        is_newer = (receipts.c.created_at > last_at) | (receipts.c.id >= last_id)
        time = and_(_not_before(last_at), is_newer)
    chosen = and_(time, indexed, _others(connection, wanted))
    rows = _read(connection, select(receipts).where(chosen).order_by(*_NEWEST).limit(limit))
    if len(rows) == limit:
        return Search(receipts=rows, last_id=None, last_at=None)
    return Search(receipts=rows, last_id=last_id, last_at=last_at)


def _place(
    connection: Connection, condition: ColumnElement[bool], number: int
) -> tuple[datetime | None, int | None]:
    """Time and id of so far a row in the order of `newest`; None where there are no more."""
    query = select(receipts.c.created_at, receipts.c.id).where(condition).order_by(*_NEWEST)
    rows = connection.execute(query.offset(number - 1).limit(2)).all()
    if len(rows) < 2:
        return None, None
    return rows[0].created_at, rows[0].id


def condition(connection: Connection, wanted: Wanted) -> ColumnElement[bool]:
    indexed, others = _indexed(connection, wanted), _others(connection, wanted)
    return and_(_not_before(wanted.since), indexed, others)


def _not_before(since: datetime | None) -> ColumnElement[bool]:
    return true() if since is None else receipts.c.created_at >= since


def _indexed(connection: Connection, wanted: Wanted) -> ColumnElement[bool]:
    """What of it an index finds, but for the time."""
    conditions: list[ColumnElement[bool]] = [true()]
    if wanted.below is not None:
        conditions.append(_older_than(connection, wanted.below))
    if wanted.key is not None:
        conditions.append(_of_key(connection, wanted, wanted.key))
    if wanted.of is not None:
        conditions.append(receipts.c.key_id == wanted.of.id)
        conditions.append(receipts.c.key_name.is_not(None))
    return and_(*conditions)


def _others(connection: Connection, wanted: Wanted) -> ColumnElement[bool]:
    """What of it no index finds."""
    conditions: list[ColumnElement[bool]] = [true()]
    if wanted.failed:
        conditions.append(receipts.c.outcome.not_in(NO_FAILURE))
    if wanted.outcome is not None:
        conditions.append(receipts.c.outcome == wanted.outcome)
    if wanted.server is not None:
        conditions.append(_of_server(connection, wanted, wanted.server))
    if wanted.model is not None:
        conditions.append(_of_model(connection, wanted, wanted.model))
    return and_(*conditions)


def _older_than(connection: Connection, receipt_id: int) -> ColumnElement[bool]:
    """Behind this receipt in the order of `newest`; none where it was deleted."""
    time = connection.scalar(select(receipts.c.created_at).where(receipts.c.id == receipt_id))
    if time is None:
        return false()
    is_older = (receipts.c.created_at < time) | (receipts.c.id < receipt_id)
    return and_(receipts.c.created_at <= time, is_older)


def _of_key(connection: Connection, wanted: Wanted, key: int | str) -> ColumnElement[bool]:
    """Of the row with this id or name, or of one that was removed; whatever it was called."""
    try:
        return receipts.c.key_id == store_keys.find(connection, key).id
    except NotFound:
        former = usage_names.former(connection, "key", str(key), wanted.since)
        if not former:
            raise
    unnumbered = [name for key_id, name in former if not key_id]
    is_one = receipts.c.key_id.in_([key_id for key_id, _ in former if key_id])
    if not unnumbered:
        return is_one
    return is_one | (receipts.c.key_id.is_(None) & receipts.c.key_name.in_(unnumbered))


def _of_server(connection: Connection, wanted: Wanted, server: int | str) -> ColumnElement[bool]:
    """Of the row with this id or name, whatever it was called, and of whatever had this name when
    it was asked.
    """
    try:
        same_row = receipts.c.server_id == store_servers.find(connection, server).id
    except ServerNotFound:
        names = _server_names(connection, wanted, str(server))
        if not names:
            raise
        if str(server).isdecimal():
            return receipts.c.server_id == store_servers.row_id(str(server))
        return receipts.c.server_name.in_(names)
    if str(server).isdecimal():
        return same_row
    return same_row | receipts.c.server_name.in_(_server_names(connection, wanted, str(server)))


def _server_names(connection: Connection, wanted: Wanted, word: str) -> list[str]:
    """What servers with rows were called that this id or name has meant."""
    former = usage_names.former(connection, "server", word, wanted.since)
    return [name for server_id, name in former if server_id]


def _of_model(connection: Connection, wanted: Wanted, model: str) -> ColumnElement[bool]:
    """Asked for or sent under this name; ids of servers that are not Ollama are equal to themselves
    anyway.
    """
    meant = usage_names.spellings(connection, usage.c.model, model, model_key, wanted.since)
    if not meant and len(model) <= NAME_LIMIT:
        return false()
    meant.append(model)
    return receipts.c.asked_model.in_(meant) | receipts.c.model.in_(meant)


def _unreadable(connection: Connection, query: Select[Any]) -> DatabaseUnavailable:
    """The error for the first receipt of the query that cannot be read."""
    ids = connection.scalars(query.with_only_columns(receipts.c.id)).all()
    hint = "mend or delete that row of ollama_receipts in the database"
    rows = ((receipt_id, f"receipt {receipt_id}", hint) for receipt_id in ids)
    return readers.first_unreadable(connection, receipts, rows, READERS)


_OPTIONAL_TEXT = readers.optional(readers.text)
_OPTIONAL_NUMBER = readers.optional(readers.number)
READERS: readers.Readers = {
    "way": Way,
    "asked_model": _OPTIONAL_TEXT,
    "model": _OPTIONAL_TEXT,
    "server_id": _OPTIONAL_NUMBER,
    "server_name": _OPTIONAL_TEXT,
    "server_url": _OPTIONAL_TEXT,
    "digest": _OPTIONAL_TEXT,
    "proof": readers.optional(Proof),
    "outcome": readers.text,
    "attempts": readers.number,
    "request_id": _OPTIONAL_TEXT,
    "key_id": _OPTIONAL_NUMBER,
    "key_name": _OPTIONAL_TEXT,
    "client": _OPTIONAL_TEXT,
    "server_version": _OPTIONAL_TEXT,
    "queued_ms": _OPTIONAL_NUMBER,
    "passed_over": readers.optional(readers.json_object),
    "prompt_tokens": _OPTIONAL_NUMBER,
    "output_tokens": _OPTIONAL_NUMBER,
    "tokens_per_second": readers.optional(readers.real),
    "total_ms": _OPTIONAL_NUMBER,
    "load_ms": _OPTIONAL_NUMBER,
    "time_to_first_token_ms": _OPTIONAL_NUMBER,
}


def _receipt(row: Row[Any]) -> Receipt:
    values = readers.read_values(zip(row._fields, row, strict=True), READERS)
    server = server_ref(
        values.pop("server_id"), values.pop("server_name"), values.pop("server_url")
    )
    key = key_ref(values.pop("key_id"), values.pop("key_name"))
    numbers = {name: values.pop(name) for name in STATS_COLUMNS}
    stats = None
    if numbers["total_ms"] is not None:
        stats = Stats(**numbers)
    return Receipt(**values, server=server, key=key, stats=stats)


def server_ref(server_id: int | None, name: str | None, url: str | None) -> ServerRef | None:
    if server_id is None and url is None:
        return None
    return ServerRef(id=server_id, name=name, url=url or "")


def key_ref(key_id: int | None, name: str | None) -> KeyRef | None:
    if key_id is None and name is None:
        return None
    return KeyRef(id=key_id, name=name or "")
