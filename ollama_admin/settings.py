"""What the program is told from outside: options and `OLLAMA_ADMIN_*`, never `.env` or another
variable.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from ollama_admin.domain.secret import Secret
from ollama_admin.errors import InvalidInput

DATABASE_URL = "OLLAMA_ADMIN_DATABASE_URL"
SECRET_KEY = "OLLAMA_ADMIN_SECRET_KEY"  # noqa: S105 (the variable's name)
SECRET_KEY_FILE = "OLLAMA_ADMIN_SECRET_KEY_FILE"  # noqa: S105
PROXY = "OLLAMA_ADMIN_PROXY"
CA_FILE = "OLLAMA_ADMIN_CA_FILE"
RECEIPTS = "OLLAMA_ADMIN_RECEIPTS"
API_TOKEN = "OLLAMA_ADMIN_API_TOKEN"  # noqa: S105 (the variable's name)
DYNAMIC_SERVERS = "OLLAMA_ADMIN_DYNAMIC_SERVERS"

# what other programs read and this one does not; `doctor` names those that are set
IGNORED_VARIABLES = (
    "OLLAMA_HOST",
    "OLLAMA_BASE_URL",
    "OLLAMA_API_BASE",
    "OLLAMA_API_BASE_URL",
    "OLLAMA_URL",
    "OLLAMA_MODEL",
    "OLLAMA_API_KEY",
    "OPENAI_BASE_URL",
    "OPENAI_API_BASE",
    "OPENAI_API_KEY",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NETRC",
)

_POSTGRES = ("postgres://", "postgresql://", "postgresql+psycopg://")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`database_url` is in SQLAlchemy's spelling; it, the key and the proxy may hold passwords and
    are never shown.

    `database_source` says where the URL comes from: `option`, the variable's name, or `default`.
    `dynamic_servers` says whether a request to the REST API may name the URL of a server that no
    row has.
    """

    database_url: str = field(repr=False)
    database_source: str = "option"
    secret_key: Secret | None = None
    secret_key_file: Path | None = None
    proxy: Secret | None = None
    ca_file: Path | None = None
    receipts: bool = True
    api_token: Secret | None = None
    dynamic_servers: bool = True

    @classmethod
    def read(cls, environ: Mapping[str, str], database_url: str | None = None) -> "Settings":
        """An option wins over the environment, the environment over the default file."""
        given = database_url if database_url is not None else environ.get(DATABASE_URL)
        source = (
            "option" if database_url is not None else "default" if given is None else DATABASE_URL
        )
        key_file, ca_file = environ.get(SECRET_KEY_FILE), environ.get(CA_FILE)
        return cls(
            database_url=_default_database_url() if given is None else _database_url(given),
            database_source=source,
            secret_key=_secret(environ.get(SECRET_KEY)),
            secret_key_file=Path(key_file).absolute() if key_file else None,
            proxy=_proxy(environ.get(PROXY)),
            ca_file=Path(ca_file).absolute() if ca_file else None,
            receipts=_is_first_of(RECEIPTS, environ.get(RECEIPTS, "on"), "on", "off"),
            api_token=_api_token(environ.get(API_TOKEN)),
            dynamic_servers=_is_first_of(
                DYNAMIC_SERVERS, environ.get(DYNAMIC_SERVERS, "allow"), "allow", "registered"
            ),
        )

    @property
    def is_postgresql(self) -> bool:
        return self.database_url.startswith("postgresql")

    @property
    def sqlite_path(self) -> Path:
        """The file of an SQLite database, absolute."""
        return Path(self.database_url.removeprefix("sqlite:///")).absolute()


def ignored_variables(environ: Mapping[str, str]) -> list[str]:
    """Variables that are set and have no effect here, though users may expect one; either case of
    letters.
    """
    return sorted(name for name in environ if name.upper() in IGNORED_VARIABLES)


def _is_first_of(variable: str, value: str, first: str, second: str) -> bool:
    if value not in (first, second):
        problem = f"{variable} is {value[:100]!a}, neither {first} nor {second}"
        raise InvalidInput(problem, "set it to one of them, or unset it")
    return value == first


def _api_token(value: str | None) -> Secret | None:
    if value is None:
        return None
    # a header could not carry it
    if not value or not value.isascii() or not value.isprintable() or " " in value:
        raise InvalidInput(
            f"{API_TOKEN} is empty, or has a character that is not printable ASCII",
            "unset it to have one made",
        )
    return Secret(value)


def _secret(value: str | None) -> Secret | None:
    return None if value is None else Secret(value)


def _proxy(value: str | None) -> Secret | None:
    if not value:
        return None
    try:
        parts = urlsplit(value)
        is_usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable or not value.isascii() or not value.isprintable() or " " in value:
        # which may hold a password
        raise InvalidInput(f"{PROXY} is not an http:// or https:// URL")
    return Secret(value)


def _database_url(text: str) -> str:
    if not text:  # often a secret that CI does not have: another database would be changed instead
        raise InvalidInput(
            "the database URL is empty", f"unset {DATABASE_URL} to use the default file"
        )
    for prefix in _POSTGRES:
        if text.startswith(prefix):
            return "postgresql+psycopg://" + text.removeprefix(prefix)
    if text.startswith("sqlite:///"):
        path = text.removeprefix("sqlite:///")
        if path and path != ":memory:" and "?" not in path and not path.startswith("file:"):
            return text
        raise InvalidInput(
            "the SQLite URL names no file",
            "write sqlite:////absolute/path.db or sqlite:///relative.db",
        )
    raise InvalidInput(
        "the database URL is not one of postgresql:// and sqlite:///",
        f"give it with --database-url or {DATABASE_URL}",
    )


def _default_database_url() -> str:
    from platformdirs import user_data_path  # noqa: PLC0415 (only who names no database needs it)

    path = user_data_path("ollama-admin") / "ollama-admin.db"
    if not path.is_absolute():  # no HOME, and the user is unknown to the system
        raise InvalidInput("there is no home folder to keep the database in", f"set {DATABASE_URL}")
    return f"sqlite:///{path}"
