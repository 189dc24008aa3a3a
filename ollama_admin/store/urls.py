"""What a PostgreSQL URL says: as libpq takes it, and as other programs write it for their own
drivers.
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import unquote

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from ollama_admin.domain.secret import MASK
from ollama_admin.errors import InvalidInput
from ollama_admin.settings import Settings

# parameters of other drivers that change nothing here
_FOREIGN = frozenset(
    (
        "pgbouncer",
        "connection_limit",
        "pool_timeout",
        "socket_timeout",
        "sslaccept",
        "statement_cache_size",
        "prepared_statement_cache_size",
        "prepared_statement_name_func",
        "command_timeout",
        "max_inactive_connection_lifetime",
        "async_fallback",
        "pool_size",
        "max_overflow",
        "pool_recycle",
        "pool_pre_ping",
        "pool",
        "pool_mode",
        "pool_max_conns",
        "pool_min_conns",
        "default_query_exec_mode",
        "uselibpqcompat",
        "prepareThreshold",
        "ApplicationName",
        "workaround",
        "supa",
        "serverVersion",
        "charset",
    )
)
_SSL = {"true": "require", "require": "require", "1": "require", "false": None, "0": None}
# values that may be shown: the others may be secrets, or a part of one
_PLAIN = frozenset(("host", "hostaddr", "port", "dbname", "user"))
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_HOSTS = re.compile(
    r"(?P<before>[^/@]*://(?:[^@]*@)?)(?P<hosts>[^/?@]*,[^/?@]*)(?P<rest>.*)", re.DOTALL
)
_UNREADABLE = (
    "the database URL cannot be read",
    "write postgresql://user@host:5432/database, the password %-encoded",
)


def parsed(settings: Settings) -> URL:
    """The URL as the engine takes it; InvalidInput, without a word of it, for one that says
    nothing.
    """
    with suppress(ArgumentError, ValueError):  # their own messages repeat the URL, password and all
        url = _with_hosts(settings.database_url)
        if "%00" not in settings.database_url and (url.port is None or 0 < url.port <= 65535):
            return _in_our_words(url)
    raise InvalidInput(*_UNREADABLE)


def foreign_parameters(settings: Settings) -> list[str]:
    """A sentence for each parameter of another driver that is left out."""
    with suppress(ArgumentError, ValueError):
        url = _with_hosts(settings.database_url)
        names = [name for name in url.query if name in _FOREIGN]
        return [
            f"{name} in the database URL is another driver's, and is left out" for name in names
        ]
    return []


def shown_url(settings: Settings) -> str:
    """The URL of a PostgreSQL database as it may be shown: without password and parameters.

    Read as the engine reads it: another parser would take a part of a password that is not
    %-encoded for the host.
    """
    url = parsed(settings)
    if _may_hold_password(url):
        return "postgresql://***"
    shown = URL.create(
        "postgresql", username=url.username, host=url.host, port=url.port, database=url.database
    )
    return shown.render_as_string()


def location(settings: Settings) -> str | None:
    """`"name" at host:port`; None where nobody can say which part of the URL is which.

    Several hosts stand with commas between them; for a socket, host is its folder.
    """
    url = parsed(settings)
    if _may_hold_password(url):
        return None
    hosts = _listed(url.host or url.query.get("host") or os.environ.get("PGHOST"))
    ports = _listed(url.port or url.query.get("port") or os.environ.get("PGPORT") or 5432)
    if len(ports) == 1:
        ports *= len(hosts)
    name = f'"{url.database}"' if url.database else "the user's own database"
    where = ",".join(_address(*pair) for pair in zip(hosts, ports, strict=False))
    return f"{name} at {where or 'the local socket'}"


def _listed(value: object) -> list[str]:
    """What one parameter holds, by commas or given several times."""
    if isinstance(value, tuple):
        value = ",".join(value)
    return [] if value is None else str(value).split(",")


def _address(host: str, port: str) -> str:
    if ":" in host:
        host = f"[{host}]"
    return f"{host}:{port}"


def secrets(settings: Settings) -> list[str]:
    """The values of the URL that no message may repeat."""
    return list(_secrets(parsed(settings)))


def masked(sentence: str, values: list[str]) -> str:
    """The sentence without these values; those of under four characters are words like others."""
    for value in sorted(values, key=len, reverse=True):
        if len(value) > 3:
            sentence = re.sub(re.escape(value), MASK, sentence, flags=re.IGNORECASE)
    return sentence


def _secrets(url: URL) -> Iterator[str]:
    if url.password:
        yield str(url.password)
    for name, value in url.query.items():
        if name in _PLAIN or value in SSL_MODES:
            continue
        if isinstance(value, str):
            yield value
        else:
            yield from value


def _may_hold_password(url: URL) -> bool:
    """A password with an @ in it: nobody can say where it ends."""
    return "@" in f"{url.host}{url.database}{url.query.get('host')}"


def _with_hosts(text: str) -> URL:
    """SQLAlchemy reads several hosts from the parameters alone, and no %-encoded folder."""
    several = _HOSTS.fullmatch(text)
    if several is None:
        url = make_url(text)
        if url.host is None:
            return url
        return url.set(host=unquote(url.host))
    hosts, ports = [], []
    for place in several["hosts"].split(","):
        host, _, port = place.rpartition(":") if re.search(r":\d+$", place) else (place, "", "5432")
        if not 0 < int(port) <= 65535:
            raise ValueError(port)
        hosts.append(unquote(host).strip("[]"))
        ports.append(port)
    url = make_url(several["before"] + several["rest"])
    return url.update_query_dict({"host": ",".join(hosts), "port": ",".join(ports)})


def _in_our_words(url: URL) -> URL:
    """Without what other drivers alone read, and with what libpq calls otherwise."""
    ssl, schema = url.query.get("ssl"), url.query.get("schema") or url.query.get("currentSchema")
    if ssl is not None:
        if ssl not in _SSL:
            raise InvalidInput("the database URL has an unknown ssl", _SSL_HINT)
        if (mode := _SSL[str(ssl)]) is not None and "sslmode" not in url.query:
            url = url.update_query_dict({"sslmode": mode})
    if schema not in (None, "public"):
        raise InvalidInput(
            "the database URL names a schema as another driver does",
            "write it as options=-csearch_path%3DNAME",
        )
    return url.difference_update_query(_FOREIGN | {"ssl", "schema", "currentSchema"})


_SSL_HINT = f"write sslmode, one of {', '.join(SSL_MODES)}"
