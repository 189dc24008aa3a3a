"""The schema's way to head, as a use case: waiting for the database to come up, then one
upgrade.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from ollama_admin.errors import (
    AdminError,
    DatabaseUnavailable,
    InvalidInput,
    PendingMigrations,
    SchemaOutOfDate,
)
from ollama_admin.services.receipts import KEPT
from ollama_admin.settings import Settings
from ollama_admin.store import migrations, receipts
from ollama_admin.store.migrations import LOCK_TIMEOUT, SchemaStatus

POLL = 0.5  # seconds between two looks at a database that is not up yet


def upgrade(
    settings: Settings,
    *,
    to: str | None = None,
    wait: float = 0,
    lock_timeout: float = LOCK_TIMEOUT,
    on_revision: Callable[[str], None] = lambda _: None,
    on_note: Callable[[str], None] = lambda _: None,
) -> SchemaStatus:
    """Bring the schema to `to` (default: head), waiting up to `wait` seconds for the database to
    answer.

    Then delete old receipts; where that fails, `on_note` hears of it.
    """
    if lock_timeout <= 0:
        raise InvalidInput("the lock timeout must be greater than 0 seconds")
    if wait < 0:
        raise InvalidInput("the time to wait must be 0 seconds or more")
    status(settings, wait=wait)
    done = migrations.upgrade(settings, to, lock_timeout, on_revision)
    _delete_old_receipts(settings, on_note)
    return done


def status(settings: Settings, *, wait: float = 0) -> SchemaStatus:
    """Where the schema stands; raises DatabaseUnavailable when the database does not answer within
    `wait` seconds.
    """
    deadline = time.monotonic() + wait
    while True:
        try:
            return migrations.status(settings)
        except SchemaOutOfDate:
            raise
        except DatabaseUnavailable as exc:
            if time.monotonic() < deadline:
                time.sleep(POLL)
            elif wait:
                raise DatabaseUnavailable(
                    f"{exc.message}; timed out after {wait:g} s", exc.hint
                ) from exc
            else:
                raise


def require_nothing_pending(settings: Settings, *, wait: float = 0) -> SchemaStatus:
    """Raise PendingMigrations when `upgrade` would do something: the step for CI."""
    schema = status(settings, wait=wait)
    if schema.pending:
        raise PendingMigrations(
            f"pending migrations: {', '.join(schema.pending)}", "run: ollama-admin migrate"
        )
    return schema


def pending_sql(settings: Settings, *, wait: float = 0) -> str:
    """The SQL that `upgrade` would run (PostgreSQL)."""
    status(settings, wait=wait)
    return migrations.pending_sql(settings)


def _delete_old_receipts(settings: Settings, on_note: Callable[[str], None]) -> None:
    try:
        count = receipts.tidy(settings, datetime.now(UTC) - KEPT)
    except AdminError as exc:
        on_note(f"old receipts could not be deleted: {exc.message}")
        return
    if count == 1:
        on_note(f"deleted 1 receipt older than {KEPT.days} days")
    elif count:
        on_note(f"deleted {count} receipts older than {KEPT.days} days")
