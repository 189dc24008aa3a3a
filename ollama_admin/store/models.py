"""Reads of `ollama_models`. Only `store/listings.py` writes there."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection, Row, Select, bindparam, func, null, select

from ollama_admin.domain.models import Model
from ollama_admin.domain.names import ModelName, model_key
from ollama_admin.domain.pins import Pin
from ollama_admin.errors import DatabaseUnavailable
from ollama_admin.store import pins as store_pins
from ollama_admin.store import readers
from ollama_admin.store.servers import by_preference
from ollama_admin.store.tables import models, pins, servers

T = TypeVar("T")

SIMILAR = 2000
BATCH = 1000  # rows that are in memory at once
CHUNK = 500  # values in one statement: SQLite allows 999 parameters in old builds

_optional_text = readers.optional(readers.text)
_optional_texts = readers.optional(readers.texts)
_optional_number = readers.optional(readers.number)
READERS: readers.Readers = {
    "name": readers.text,
    "digest": _optional_text,
    "size": _optional_number,
    "format": _optional_text,
    "family": _optional_text,
    "families": _optional_texts,
    "parameter_size": _optional_text,
    "quantization_level": _optional_text,
    "context_length": _optional_number,
    "embedding_length": _optional_number,
    "capabilities": _optional_texts,
    "remote_host": _optional_text,
    "remote_model": _optional_text,
}


class ModelEntry(NamedTuple):
    """What a view by name needs of a row."""

    name_key: str
    name: str
    digest: str | None
    is_available: bool
    server: str
    capabilities: tuple[str, ...] | None


def each(
    connection: Connection,
    *,
    server_ids: Collection[int] | None = None,
    everything: bool = False,
    is_named: Callable[[str], bool] | None = None,
) -> Iterator[list[Model]]:
    """Yield rows by the key of their name and server preference, BATCH at a time, while the
    transaction lasts.

    Without `everything` only available ones of active servers. `is_named` is asked once for each
    name: the rows that it refuses are not read, but for those whose key is that of another name.
    """
    return _each(connection, _some(_with_server(), server_ids, everything), _model, is_named)


def each_entry(
    connection: Connection,
    *,
    server_ids: Collection[int] | None = None,
    everything: bool = False,
    is_named: Callable[[str], bool] | None = None,
    capabilities: bool = False,
) -> Iterator[list[ModelEntry]]:
    """Yield what a view by name needs of the rows that `each` reads: a third of the time that whole
    rows take. `capabilities` are read where they are asked for.
    """
    query = select(
        models.c.name_key,
        models.c.name,
        models.c.digest,
        models.c.is_available,
        servers.c.name,
        models.c.capabilities if capabilities else null(),
    ).join(servers, servers.c.id == models.c.server_id)
    return _each(connection, _some(query, server_ids, everything), _entry, is_named)


def _each(
    connection: Connection,
    query: Select[Any],
    read: Callable[[Row[Any]], T],
    is_named: Callable[[str], bool] | None,
) -> Iterator[list[T]]:
    query = by_preference(query.order_by(models.c.name_key)).order_by(models.c.name)
    if is_named is None:
        yield from _batches(connection, query, read)
        return
    for keys in chunks(_keys(connection, is_named)):
        yield from _batches(connection, query.where(models.c.name_key.in_(keys)), read)


def page(
    connection: Connection,
    after: int,
    limit: int,
    *,
    server_ids: Collection[int] | None,
    everything: bool,
) -> list[Model]:
    """Up to `limit` rows by id, beginning after an id.

    Without `everything` only available ones of active servers.
    """
    query = (
        _some(_with_server(), server_ids, everything)
        .where(models.c.id > after)
        .order_by(models.c.id)
        .limit(limit)
    )
    try:
        return [_model(row) for row in connection.execute(query)]
    except readers.UNREADABLE as exc:
        raise _unreadable(connection, query) from exc


def _keys(connection: Connection, is_named: Callable[[str], bool]) -> list[str]:
    """The keys of the names that are wanted, in the order of the rows."""
    query = select(models.c.name_key, models.c.name).distinct().order_by(models.c.name_key)
    rows = connection.execute(query.execution_options(yield_per=BATCH))
    return list(dict.fromkeys(row.name_key for row in rows if is_named(row.name)))


def _batches(
    connection: Connection, query: Select[Any], read: Callable[[Row[Any]], T]
) -> Iterator[list[T]]:
    try:
        for batch in connection.execute(query.execution_options(yield_per=BATCH)).partitions():
            yield [read(row) for row in batch]
    except readers.UNREADABLE as exc:
        raise _unreadable(connection, query) from exc


def _some(query: Select[Any], server_ids: Collection[int] | None, everything: bool) -> Select[Any]:
    if server_ids is not None:
        query = query.where(models.c.server_id.in_(server_ids))
    if not everything:
        query = query.where(models.c.is_available)
        if server_ids is None:
            query = query.where(servers.c.is_active)
    return query


def named(
    connection: Connection, name: ModelName, server_id: int | None = None
) -> tuple[list[Model], Pin | None]:
    """Available rows whose name may mean `name`, equal after folding or the same opaque id, and the
    name's pin.
    """
    query = _named()
    if server_id is not None:
        query = query.where(models.c.server_id == server_id)
    values = {"keys": meanings(name), "key": name.key}
    try:
        rows = connection.execute(query, values).all()
        available = [_model_of(_COLUMNS, row[: len(_COLUMNS)]) for row in rows]
        if rows:
            return available, _joined_pin(rows[0])
    except readers.UNREADABLE as exc:
        store_pins.for_name(connection, name)  # is it the pin that cannot be read?
        raise _unreadable(connection, query, values) from exc
    return [], store_pins.for_name(connection, name)


def meanings(name: ModelName) -> list[str]:
    """The keys of rows that `name` may mean."""
    return list({name.text, name.key})


def names(connection: Connection, beginning: str) -> list[str]:
    """SIMILAR names that begin so at most, in whatever case and of whatever servers."""
    begins_so = func.lower(models.c.name).startswith(beginning.lower(), autoescape=True)
    query = select(models.c.name).where(begins_so, models.c.is_available).distinct()
    return list(connection.scalars(query.order_by(models.c.name).limit(SIMILAR)))


def capabilities(connection: Connection) -> set[str]:
    """The capabilities that models or servers have."""
    known = set[str]()
    for texts in connection.scalars(select(servers.c.capabilities).distinct()):
        known.update(texts or ())
    return known.union(*capability_sets(connection))


def names_with(connection: Connection, capability: str, limit: int) -> list[str]:
    """Up to `limit` names of available models of active servers that have a capability, by name."""
    query = (
        select(models.c.name, models.c.capabilities)
        .join(servers, servers.c.id == models.c.server_id)
        .where(models.c.is_available, servers.c.is_active, models.c.capabilities.is_not(None))
        .distinct()
    )
    found = {row.name for row in connection.execute(query) if capability in row.capabilities}
    return sorted(found)[:limit]


def capability_sets(connection: Connection) -> list[tuple[str, ...]]:
    """The lists of capabilities that available models have, each once."""
    query = select(models.c.capabilities).where(models.c.is_available).distinct()
    return [tuple(texts or ()) for texts in connection.scalars(query)]


def counts(connection: Connection) -> dict[int, int]:
    """How many available models each server has, by its id."""
    query = select(models.c.server_id, func.count().label("models")).where(models.c.is_available)
    rows = connection.execute(query.group_by(models.c.server_id))
    return {row.server_id: row.models for row in rows}


def similar_names(connection: Connection, name: str) -> list[str]:
    """Names that can be asked for now, for hints: those that begin like `name`, then others,
    SIMILAR of each at most.
    """
    query = (
        select(models.c.name)
        .join(servers)
        .where(models.c.is_available, servers.c.is_active)
        .distinct()
        .limit(SIMILAR)
    )
    key = model_key(name)
    begins_alike = models.c.name_key.startswith(key[: key.rfind("/") + 3], autoescape=True)
    alike = connection.scalars(query.where(begins_alike)).all()
    others = connection.scalars(query).all()
    return list(alike) + list(others)


@cache
def _named() -> Select[Any]:
    """The query of `named`, with the pin in each row; kept, as to put it together takes longer than
    to look up a few rows.
    """
    return (
        _with_server()
        .outerjoin(pins, pins.c.name_key == bindparam("key"))
        .add_columns(
            pins.c.name.label("pin_name"),
            pins.c.digest.label("pin_digest"),
            pins.c.created_at.label("pin_created_at"),
            pins.c.updated_at.label("pin_updated_at"),
        )
        .where(models.c.name_key.in_(bindparam("keys", expanding=True)), models.c.is_available)
        .order_by(models.c.id)
    )


@cache
def _with_server() -> Select[Any]:
    return select(models, servers.c.name.label("server")).join(
        servers, servers.c.id == models.c.server_id
    )


_COLUMNS = (*models.columns.keys(), "server")  # of `_with_server`


def _model(row: Row[Any]) -> Model:
    return _model_of(row._fields, row)


def _model_of(columns: Sequence[str], values: Sequence[Any]) -> Model:
    fields = readers.read_values(zip(columns, values, strict=True), READERS)
    del fields["name_key"]
    return Model(**fields)


def _joined_pin(row: Row[Any]) -> Pin | None:
    if row.pin_digest is None:
        return None
    return Pin(
        name=readers.text(row.pin_name),
        digest=readers.text(row.pin_digest),
        created_at=row.pin_created_at,
        updated_at=row.pin_updated_at,
    )


def _entry(row: Row[Any]) -> ModelEntry:
    key, name, digest, is_available, server, capabilities = tuple(row)
    return ModelEntry(
        key,
        readers.text(name),
        _optional_text(digest),
        is_available,
        server,
        _optional_texts(capabilities),
    )


def _unreadable(
    connection: Connection, query: Select[Any], values: Mapping[str, Any] | None = None
) -> DatabaseUnavailable:
    """The error for the first row of the query that cannot be read."""
    refs = query.with_only_columns(models.c.id, models.c.name, models.c.server_id)
    for row in connection.execute(refs, values):
        try:
            _model(connection.execute(_with_server().where(models.c.id == row.id)).one())
        except readers.UNREADABLE:
            column = readers.unreadable_column(connection, models, row.id, READERS)
            return DatabaseUnavailable(
                f"model {row.name!a} of server {row.server_id}: its {column} cannot be read; "
                "another program wrote it",
                f"read it again: ollama-admin discover {row.server_id}",
            )
    return DatabaseUnavailable("a row of ollama_models could not be read", "run the command again")


def chunks(values: list[T]) -> Iterable[list[T]]:
    """The values in lists of CHUNK at most."""
    return (values[start : start + CHUNK] for start in range(0, len(values), CHUNK))
