"""SQL on `ollama_sessions`. Every function takes a connection in a transaction that its caller
owns.
"""

from datetime import datetime

from sqlalchemy import Connection, delete, insert, select

from ollama_admin.domain.sessions import SessionRow
from ollama_admin.domain.values import fields_of
from ollama_admin.store.tables import sessions


def add(connection: Connection, row: SessionRow) -> None:
    """Insert a session, and forget those that were over when it began."""
    connection.execute(delete(sessions).where(sessions.c.expires_at <= row.created_at))
    connection.execute(insert(sessions).values(fields_of(row)))


def find(connection: Connection, token_hash: str, now: datetime) -> SessionRow | None:
    """The session of a token; None where there is none or it is over."""
    query = select(sessions).where(sessions.c.token_hash == token_hash)
    row = connection.execute(query.where(sessions.c.expires_at > now)).one_or_none()
    if row is None:
        return None
    return SessionRow(**row._mapping)


def remove(connection: Connection, token_hash: str) -> None:
    connection.execute(delete(sessions).where(sessions.c.token_hash == token_hash))
