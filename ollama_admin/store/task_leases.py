"""SQL on `ollama_task_leases`: which process does a task of the background for all of them.

A lease ends by itself, so that the task goes on elsewhere when its process is gone.
"""

from typing import Any

from sqlalchemy import Connection, delete, select

from ollama_admin.store.clocks import CLOCKS, moment, shorten
from ollama_admin.store.dialects import insert_or
from ollama_admin.store.tables import task_leases


def hold(connection: Connection, task: str, *, holder: str, ttl: float) -> bool:
    """Take the lease of a task for `ttl` seconds, or hold it on; False where another holder has
    it.
    """
    clock = CLOCKS[connection.dialect.name]
    new: dict[str, Any] = {"holder": holder, "clock": clock.name, "expires_at": clock.now + ttl}
    row = insert_or(connection, task_leases).values(task=task, **new)
    is_ours = (task_leases.c.holder == holder) | ~clock.is_live(task_leases)
    row = row.on_conflict_do_update(index_elements=["task"], set_=new, where=is_ours)
    query = row.returning(task_leases.c.holder)
    is_taken = connection.execute(query, moment(connection)).first() is not None
    if not is_taken:
        shorten(connection, task_leases)
    return is_taken


def is_held(connection: Connection, task: str) -> bool:
    """Whether some process has the task now."""
    clock = CLOCKS[connection.dialect.name]
    condition = (task_leases.c.task == task) & clock.is_live(task_leases)
    row = connection.execute(select(task_leases.c.task).where(condition), moment(connection))
    return row.first() is not None


def release(connection: Connection, task: str, *, holder: str) -> None:
    """Let another process have the task at once."""
    is_ours = (task_leases.c.task == task) & (task_leases.c.holder == holder)
    connection.execute(delete(task_leases).where(is_ours))
