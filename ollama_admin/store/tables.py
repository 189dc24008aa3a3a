"""The tables at head. `migrations/versions/` says how they came to be; a test compares the two.

Each column has a constraint for its type where the database has none: see `column_types.py`.

What PostgreSQL alone has (the condition of an index, a fill factor) is said there: naming a dialect
here would load it.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from ollama_admin.domain.receipts import BOUNDS
from ollama_admin.store.column_types import UTCDateTime, check_types
from ollama_admin.store.dialects import JSONDocument

HEAD = "0011"

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


json_object = JSONDocument("object")
json_texts = JSONDocument("texts")
identity = BigInteger().with_variant(Integer, "sqlite")  # AUTOINCREMENT exists for INTEGER only

servers = Table(
    "ollama_servers",
    metadata,
    Column("id", identity, primary_key=True, autoincrement=True),
    Column("name", Text, nullable=False),
    Column("name_key", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("api_version", Text, nullable=False),
    Column("capabilities", json_texts, nullable=False),
    Column("max_concurrent", Integer, nullable=False, server_default=text("1")),
    Column("priority", Integer, nullable=False, server_default=text("0")),
    Column("is_default", Boolean, nullable=False, server_default=text("false")),
    Column("is_active", Boolean, nullable=False, server_default=text("true")),
    Column("default_model", Text),
    Column("auth_type", Text, nullable=False, server_default=text("'none'")),
    Column("auth_config", json_object, nullable=False),
    Column("headers", json_object, nullable=False),
    Column("status", Text, nullable=False, server_default=text("'unknown'")),
    Column("version", Text),
    Column("last_error", Text),
    Column("last_seen_at", UTCDateTime),
    Column("last_discovered_at", UTCDateTime),
    Column("created_at", UTCDateTime, nullable=False),
    Column("updated_at", UTCDateTime, nullable=False),
    Column("labels", json_object, nullable=False, server_default=text("'{}'")),
    Column("is_draining", Boolean, nullable=False, server_default=text("false")),
    Column("status_since", UTCDateTime),
    Column("status_at", UTCDateTime),
    Column("latency_ms", Integer),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("asked_last_until", UTCDateTime),
    Column("managed_by", Text),
    Column("ca_file", Text),
    Column("client_cert_file", Text),
    Column("client_key_file", Text),
    Column("proxy", Text),
    UniqueConstraint("name_key"),
    UniqueConstraint("url"),
    CheckConstraint("name <> ''", name="name"),
    CheckConstraint("substr(url, 1, 7) = 'http://' OR substr(url, 1, 8) = 'https://'", name="url"),
    CheckConstraint("api_version IN ('native', 'v1')", name="api_version"),
    CheckConstraint("auth_type IN ('none', 'basic', 'bearer', 'api_key')", name="auth_type"),
    CheckConstraint("max_concurrent >= 1", name="max_concurrent"),
    CheckConstraint(
        "status IN ('unknown', 'online', 'offline', 'unauthorized', 'error')", name="status"
    ),
    CheckConstraint("latency_ms >= 0", name="latency_ms"),
    CheckConstraint("failures >= 0", name="failures"),
    sqlite_autoincrement=True,
)
Index(
    "uq_ollama_servers_is_default",
    servers.c.is_default,
    unique=True,
    sqlite_where=servers.c.is_default,
)

models = Table(
    "ollama_models",
    metadata,
    Column("id", identity, primary_key=True, autoincrement=True),
    Column(
        "server_id", identity, ForeignKey("ollama_servers.id", ondelete="CASCADE"), nullable=False
    ),
    Column("name", Text, nullable=False),
    Column("name_key", Text, nullable=False, index=True),
    Column("digest", Text, index=True),
    Column("size", BigInteger),
    Column("format", Text),
    Column("family", Text),
    Column("families", json_texts),
    Column("parameter_size", Text),
    Column("quantization_level", Text),
    Column("context_length", BigInteger),
    Column("embedding_length", BigInteger),
    Column("capabilities", json_texts),
    Column("modified_at", UTCDateTime),
    Column("remote_host", Text),
    Column("remote_model", Text),
    Column("is_available", Boolean, nullable=False, server_default=text("true")),
    Column("first_seen_at", UTCDateTime, nullable=False),
    Column("last_seen_at", UTCDateTime, nullable=False),
    Column("digest_changed_at", UTCDateTime),
    UniqueConstraint("server_id", "name"),
    sqlite_autoincrement=True,
)

pins = Table(
    "ollama_pins",
    metadata,
    Column("name_key", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("created_at", UTCDateTime, nullable=False),
    Column("updated_at", UTCDateTime, nullable=False),
    Column("managed_by", Text),
    CheckConstraint("name_key <> ''", name="name_key"),
    CheckConstraint("name <> ''", name="name"),
    CheckConstraint("digest <> ''", name="digest"),
)

# A row is a slot for one request at a server, and stays: `token`, which only grows, says whose
# lease it is, and `expires_at` until when, in seconds of the clock that `clock` names (see
# `store/slots.py`).
slots = Table(
    "ollama_slots",
    metadata,
    Column(
        "server_id", identity, ForeignKey("ollama_servers.id", ondelete="CASCADE"), nullable=False
    ),
    Column("slot", Integer, nullable=False),
    Column("token", BigInteger, nullable=False, server_default=text("0")),
    Column("holder", Text),
    Column("clock", Text, nullable=False, server_default=text("''")),
    Column("expires_at", Double, nullable=False, server_default=text("0")),
    PrimaryKeyConstraint("server_id", "slot"),
    CheckConstraint("slot >= 1", name="slot"),
    CheckConstraint("token >= 0", name="token"),
)

# No foreign key: what a server answered is told after it was removed, too. Never the prompt or the
# answer.
receipts = Table(
    "ollama_receipts",
    metadata,
    Column("id", identity, primary_key=True, autoincrement=True),
    Column("created_at", UTCDateTime, nullable=False, index=True),
    Column("way", Text, nullable=False),
    Column("asked_model", Text),
    Column("model", Text),
    Column("server_id", BigInteger),
    Column("server_name", Text),
    Column("server_url", Text),
    Column("digest", Text),
    Column("proof", Text),
    Column("verified", Boolean, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("prompt_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("tokens_per_second", Double),
    Column("total_ms", BigInteger),
    Column("load_ms", BigInteger),
    Column("time_to_first_token_ms", BigInteger),
    Column("request_id", Text, index=True),
    Column("key_id", BigInteger),
    Column("key_name", Text),
    Column("client", Text),
    Column("server_version", Text),
    Column("estimated", Boolean),
    Column("truncated", Boolean),
    Column("queued_ms", BigInteger),
    Column("passed_over", json_object),
    CheckConstraint("way IN ('cli', 'api', 'python')", name="way"),
    CheckConstraint(
        "proof IN ('digest', 'drift', 'changed', 'unread', 'remote', 'name')", name="proof"
    ),
    CheckConstraint("attempts >= 0", name="attempts"),
    sqlite_autoincrement=True,
)
Index(None, receipts.c.key_id, receipts.c.created_at)

# Receipts added up by day of UTC as they are written, and kept when they are deleted. What is not
# known is 0 or empty: a key, a model, a server (of one without a row, the name is its URL).
# `within_200` counts requests for whose time to the first token 200 ms is the least of `BOUNDS`.
usage = Table(
    "ollama_usage",
    metadata,
    Column("day", Text, nullable=False),
    Column("key_id", BigInteger, nullable=False),
    Column("key_name", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("server_id", BigInteger, nullable=False),
    Column("server_name", Text, nullable=False),
    Column("server_url", Text, nullable=False),
    Column("requests", BigInteger, nullable=False),
    Column("failures", BigInteger, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("estimated_tokens", BigInteger, nullable=False),
    Column("timed_tokens", BigInteger, nullable=False),
    Column("timed_seconds", Double, nullable=False),
    PrimaryKeyConstraint("day", "key_id", "key_name", "model", "server_id", "server_name"),
)
for _bound in BOUNDS:
    usage.append_column(Column(f"within_{_bound}", BigInteger, nullable=False))

# One row: how often servers, models, pins or keys were changed, which tells a process whether what
# it keeps of them is still true (see `store/registry.py`).
registry = Table(
    "ollama_registry",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("revision", BigInteger, nullable=False),
    CheckConstraint("id = 1", name="id"),
    CheckConstraint("revision >= 0", name="revision"),
)

# Which processes have requests that wait for a slot of a server: `count` of them, the longest since
# `since`, in seconds of the clock of `ollama_slots`. No foreign key: a renewal holds slots when it
# writes here, and would wait for who removes a server and its slots. Rows end by themselves.
waiting = Table(
    "ollama_waiting",
    metadata,
    Column("holder", Text, nullable=False),
    Column("server_id", BigInteger, nullable=False),
    Column("count", Integer, nullable=False),
    Column("since", Double, nullable=False),
    Column("clock", Text, nullable=False),
    Column("expires_at", Double, nullable=False),
    PrimaryKeyConstraint("holder", "server_id"),
    CheckConstraint("count >= 1", name="count"),
)

# Who may ask here. `public_id` stands in the key itself; of its secret there is the SHA-256 in
# hexadecimal digits, none where it was revoked, and the one before for a while.
keys = Table(
    "ollama_keys",
    metadata,
    Column("id", identity, primary_key=True, autoincrement=True),
    Column("name", Text, nullable=False),
    Column("name_key", Text, nullable=False),
    Column("public_id", Text, nullable=False),
    Column("secret_hash", Text),
    Column("old_secret_hash", Text),
    Column("old_secret_expires_at", UTCDateTime),
    Column("can", json_texts, nullable=False),
    Column("models", json_texts, nullable=False),
    Column("servers", json_texts, nullable=False),
    Column("networks", json_texts, nullable=False),
    Column("allow_remote", Boolean, nullable=False),
    Column("allow_truncate", Boolean, nullable=False),
    Column("anonymous", Boolean, nullable=False),
    Column("is_active", Boolean, nullable=False, server_default=text("true")),
    Column("max_concurrent", Integer),
    Column("weight", Integer, nullable=False, server_default=text("1")),
    Column("requests_per_minute", Integer),
    Column("tokens_per_day", BigInteger),
    Column("expires_at", UTCDateTime),
    Column("last_used_at", UTCDateTime),
    Column("note", Text),
    Column("created_at", UTCDateTime, nullable=False),
    Column("updated_at", UTCDateTime, nullable=False),
    Column("managed_by", Text),
    UniqueConstraint("name_key"),
    UniqueConstraint("public_id"),
    CheckConstraint("name <> ''", name="name"),
    CheckConstraint("max_concurrent >= 1", name="max_concurrent"),
    CheckConstraint("weight >= 1", name="weight"),
    CheckConstraint("requests_per_minute >= 1", name="requests_per_minute"),
    CheckConstraint("tokens_per_day >= 1", name="tokens_per_day"),
    sqlite_autoincrement=True,
)

# What processes took of a key's budget in its present `period`: a minute for requests, a day for
# tokens, counted from 1970 in UTC. No foreign keys here and below: who removes a key removes them.
key_budgets = Table(
    "ollama_key_budgets",
    metadata,
    Column("key_id", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("period", BigInteger, nullable=False),
    Column("granted", BigInteger, nullable=False),
    PrimaryKeyConstraint("key_id", "kind"),
    CheckConstraint("kind IN ('requests', 'tokens')", name="kind"),
)

# How many requests of a key may run in a process, until `expires_at` in seconds of the clock of
# `ollama_slots`.
key_leases = Table(
    "ollama_key_leases",
    metadata,
    Column("key_id", BigInteger, nullable=False),
    Column("holder", Text, nullable=False),
    Column("count", Integer, nullable=False),
    Column("clock", Text, nullable=False),
    Column("expires_at", Double, nullable=False),
    PrimaryKeyConstraint("key_id", "holder"),
    CheckConstraint("count >= 0", name="count"),
)

# Which process does a task for all of them, until `expires_at` in seconds of the clock of
# `ollama_slots`.
task_leases = Table(
    "ollama_task_leases",
    metadata,
    Column("task", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("clock", Text, nullable=False),
    Column("expires_at", Double, nullable=False),
)

# Who is signed in to the pages, until `expires_at`: the SHA-256 of what the cookie holds, and the
# key; NULL is the token of `serve`. What a key may do is read anew at each request.
sessions = Table(
    "ollama_sessions",
    metadata,
    Column("token_hash", Text, primary_key=True),
    Column("key_id", BigInteger),
    Column("csrf_token", Text, nullable=False),
    Column("created_at", UTCDateTime, nullable=False),
    Column("expires_at", UTCDateTime, nullable=False),
)

# Who changed what, or tried to: `outcome` is ok or the code of the error. Never a secret.
audit = Table(
    "ollama_audit",
    metadata,
    Column("id", identity, primary_key=True, autoincrement=True),
    Column("created_at", UTCDateTime, nullable=False, index=True),
    Column("way", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("key_id", BigInteger),
    Column("action", Text, nullable=False),
    Column("subject", Text),
    Column("before", json_object),
    Column("after", json_object),
    Column("outcome", Text, nullable=False),
    Column("request_id", Text),
    CheckConstraint("way IN ('cli', 'api', 'python')", name="way"),
    sqlite_autoincrement=True,
)

for _table in metadata.tables.values():
    check_types(_table)
