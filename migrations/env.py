"""Runs the revisions on the connection that the caller hands over in `config.attributes`.

Only `ollama_admin.store.migrations` runs this: it owns the transaction and takes the lock inside
it.
"""

from alembic import context

from ollama_admin.store.tables import metadata

version_table = context.config.attributes["version_table"]
if context.is_offline_mode():
    context.configure(
        dialect_name="postgresql",
        literal_binds=True,
        target_metadata=metadata,
        version_table=version_table,
    )
    with context.begin_transaction():
        context.run_migrations()
else:
    connection = context.config.attributes["connection"]
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table=version_table,
        transactional_ddl=True,
        render_as_batch=connection.dialect.name == "sqlite",
        on_version_apply=context.config.attributes["on_version_apply"],
    )
    with context.begin_transaction():
        context.config.attributes["lock"](connection)
        context.run_migrations()
        context.config.attributes["check"](connection)
